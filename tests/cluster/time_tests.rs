//! The cluster's time stands still while nobody leads, and nobody is ahead of it afterwards.

use std::time::Duration;

use serde_json::json;

use super::scene::expect;
use crate::support::{alone, cluster_of, now};

/// For so long nobody leads.
const WITHOUT_LEADER: Duration = Duration::from_secs(5);
/// A delay that would be over by then, if that time were counted.
const DELAY_SECONDS: u64 = 3;
/// The survivor asks all the time to be elected; but one that was started may be faster.
const ATTEMPTS: usize = 5;

#[test]
fn a_leader_after_one_that_was_long_in_coming_is_not_ahead_of_it() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let survivor = (0..ATTEMPTS).find_map(|_| {
        let leader = cluster.leader();
        let survivor = cluster.follower_beside(leader);
        let others: Vec<usize> = (0..3).filter(|&member| member != survivor).collect();
        others.iter().for_each(|&member| cluster.kill(member));
        std::thread::sleep(WITHOUT_LEADER);
        others.iter().for_each(|&member| cluster.spawn(member));
        cluster.wait_in_step();
        (cluster.leader() == survivor).then_some(survivor)
    });
    let survivor = survivor.expect("in one of some attempts the survivor leads");
    let next = cluster.follower_beside(survivor);
    let began = now();
    let mut client = cluster.client(next);
    let put = client.put(&format!("0 {DELAY_SECONDS} 60"), b"delayed").expect("it serves");
    assert!(put.starts_with("INSERTED "), "{put}");
    let id = cluster.id(next);
    cluster.change(survivor, &json!({"do": "transfer", "to": id})).expect("it is in step");
    assert_eq!(cluster.leader(), next);
    client.send(b"reserve\r\n").expect("it serves");
    let reply = client.reply(Duration::from_secs(20)).expect("the delay ends");
    assert!(reply.starts_with(b"RESERVED "), "{reply:?}");
    let passed = now() - began;
    assert!(passed >= Duration::from_secs(DELAY_SECONDS), "ready after {passed:?}");
    expect(&mut client, "delete 1", "DELETED");
}
