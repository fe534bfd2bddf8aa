//! A member that is only silent keeps what it holds until TTR, and is passed over meanwhile.

use std::time::Duration;

use super::scene::{expect, next};
use crate::support::{Client, Cluster, alone, now};

const TTR_SECONDS: u64 = 4;
/// After which the waiters of a silent member are passed over, and some more.
const PASSED_OVER_AFTER: Duration = Duration::from_millis(700);

#[test]
fn a_frozen_members_jobs_come_back_by_time_to_run_and_not_before() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    for member in [cluster.follower_beside(leader), leader] {
        let other = (member + 1) % 3;
        let mut holder = cluster.client(member);
        let put = holder.put(&format!("0 0 {TTR_SECONDS}"), b"x").expect("the member serves");
        let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}")).to_owned();
        let mut collector = cluster.client(other);
        let reserved = now();
        expect(&mut holder, "reserve", &format!("RESERVED {id} 1\r\nx"));
        cluster.freeze(member);
        let again = collector.ask("reserve-with-timeout 10").expect("the member serves");
        let after = now() - reserved;
        assert_eq!(again, format!("RESERVED {id} 1\r\nx"));
        assert!(after >= Duration::from_secs(TTR_SECONDS), "it came back after {after:?}");
        // While nobody led, its time stood still.
        assert!(after <= Duration::from_secs(TTR_SECONDS + 2), "it came back after {after:?}");
        expect(&mut collector, &format!("delete {id}"), "DELETED");
        cluster.thaw(member);
        cluster.wait_in_step();
        expect(&mut cluster.client(member), &format!("peek {id}"), "NOT_FOUND");
    }
}

#[test]
fn the_waiters_of_a_frozen_member_are_passed_over_and_keep_their_place() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let frozen = cluster.follower_beside(leader);
    let mut first = park(&mut cluster, frozen, 1);
    let mut second = park(&mut cluster, leader, 2);
    let mut third = park(&mut cluster, leader, 3);
    let mut putter = cluster.client(leader);
    cluster.freeze(frozen);
    // What is waited for is time itself: the silence must have lasted.
    std::thread::sleep(PASSED_OVER_AFTER);
    put(&mut putter, b"a");
    assert!(next(&mut second).ends_with("\r\na"), "the second in line");
    cluster.thaw(frozen);
    cluster.wait_in_step();
    put(&mut putter, b"b");
    assert!(next(&mut first).ends_with("\r\nb"), "the first in line, back in time");
    put(&mut putter, b"c");
    assert!(next(&mut third).ends_with("\r\nc"), "the third in line");
}

/// Time is counted in the member's own ticks: while it stood still, its lease did too.
#[test]
fn a_member_that_was_frozen_for_long_goes_on_with_its_clients() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    for member in [cluster.follower_beside(leader), leader] {
        let mut old = park(&mut cluster, member, 1);
        cluster.freeze(member);
        // Longer than its lease.
        std::thread::sleep(Duration::from_secs(4));
        cluster.thaw(member);
        cluster.wait_in_step();
        assert!(old.is_silent_for(Duration::from_millis(50)), "{:?}", old.unread());
        let mut other = cluster.client((member + 1) % 3);
        put(&mut other, b"x");
        let reserved = next(&mut old);
        let id = reserved.strip_prefix("RESERVED ").and_then(|rest| rest.split_once(' '));
        let (id, _) = id.unwrap_or_else(|| panic!("a parked reserve is answered {reserved:?}"));
        expect(&mut old, &format!("delete {id}"), "DELETED");
    }
}

/// A client of `member` whose reserve waits as the `place`-th.
fn park(cluster: &mut Cluster, member: usize, place: usize) -> Client {
    let mut client = cluster.client(member);
    client.send(b"reserve\r\n").expect("the member serves");
    let mut control = cluster.client(member);
    let wanted = format!("\ncurrent-waiting: {place}\n");
    cluster.wait_for("a waiter in its place", Duration::from_secs(5), |_| {
        control.ask("stats").is_ok_and(|stats| stats.contains(&wanted))
    });
    client
}

fn put(client: &mut Client, body: &[u8]) {
    let put = client.put("0 0 1000", body).expect("the member serves");
    assert!(put.starts_with("INSERTED "), "{put}");
}
