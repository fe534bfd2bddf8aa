//! Without a majority nobody is served, nobody hangs, and nothing needs help afterwards.

use std::time::Duration;

use rustix::process::Signal;

use super::scene::{expect, lead};
use crate::support::{Cluster, PATIENCE, alone, cluster_of, cluster_options};

const CLOSED_WITHIN: Duration = Duration::from_secs(6);
const TOLD_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn the_last_of_three_closes_its_clients_and_comes_back_by_itself() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let last = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|&member| member != last).collect();
    let mut client = cluster.client(last);
    expect(&mut client, "use kept", "USING kept");
    let put = client.put("0 0 100", b"kept").expect("the member serves");
    assert!(put.starts_with("INSERTED "), "{put}");
    others.iter().for_each(|&member| cluster.kill(member));
    // A command under way is not answered with a lie: there is no answer.
    client.send(b"put 0 0 100 5\r\nafter\r\n").expect("the connection is open");
    assert!(client.is_closed_within(CLOSED_WITHIN), "{:?}", client.unread());
    cluster.wait_for("its port to refuse", CLOSED_WITHIN, |it| it.refuses(last));
    cluster.spawn(others[0]);
    cluster.wait_serving(last);
    cluster.wait_serving(others[0]);
    let mut client = cluster.client(last);
    expect(&mut client, "peek 1", "FOUND 1 4\r\nkept");
    cluster.restart(others[1]);
    cluster.wait_in_step();
    expect(&mut cluster.client(others[1]), "peek 1", "FOUND 1 4\r\nkept");
}

#[test]
fn a_member_without_a_majority_may_be_told_to_keep_its_clients() {
    let _alone = alone();
    let settings = vec!["close_without_majority = false".to_owned()];
    let options = crate::support::ClusterOptions { settings, ..cluster_options() };
    let mut cluster = Cluster::start_with(options).expect("no cables are asked for");
    let last = cluster.leader();
    let mut client = cluster.client(last);
    expect(&mut client, "list-tube-used", "USING default");
    let others: Vec<usize> = (0..3).filter(|&member| member != last).collect();
    others.iter().for_each(|&member| cluster.kill(member));
    client.send(b"put 0 0 100 4\r\nlate\r\n").expect("the connection is open");
    assert!(client.is_silent_for(CLOSED_WITHIN), "{:?}", client.unread());
    others.iter().for_each(|&member| cluster.spawn(member));
    let reply = client.reply(Duration::from_secs(20)).unwrap_or_default();
    assert!(reply.starts_with(b"INSERTED "), "{reply:?}");
}

#[test]
fn a_member_without_a_majority_ends_when_it_is_asked() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    // Before it has noticed, when it has, and when it never had one.
    for stage in ["serving", "no-majority", "started alone"] {
        let last = cluster.leader();
        let mut client = cluster.client(last);
        let others: Vec<usize> = (0..3).filter(|&member| member != last).collect();
        others.iter().for_each(|&member| cluster.kill(member));
        // A command that cannot be answered must not hold it up.
        client.send(b"put 0 0 100 1\r\nx\r\n").expect("the connection is open");
        if stage == "started alone" {
            cluster.kill(last);
            cluster.spawn(last);
        }
        if stage != "serving" {
            cluster.wait_for("the loss to be noticed", PATIENCE, |it| {
                it.status(last).is_ok_and(|view| view.phase == "no-majority") && it.refuses(last)
            });
        }
        cluster.signal(last, Signal::TERM);
        let ended = cluster.wait_for_end(last, Duration::from_secs(6));
        assert!(ended.is_some(), "{stage}: it goes on\n{}", cluster.logs());
        (0..3).for_each(|member| cluster.spawn(member));
        cluster.wait_in_step();
    }
}

#[test]
fn each_member_says_who_leads_and_the_last_one_that_nobody_does() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let next = cluster.follower_beside(0);
    let (id, last) = (cluster.id(next), 3 - next);
    for member in 0..3 {
        let is_told = |it: &mut Cluster| it.log(member).contains(" leads now term=");
        cluster.wait_for("a word on the first leader", TOLD_WITHIN, is_told);
    }
    for newcomer in 1..3 {
        let log = cluster.log(newcomer);
        assert!(!log.contains("not let in") && log.contains("joins cluster"), "{log}");
    }
    lead(&mut cluster, next);
    for member in 0..3 {
        let words = format!(" member {id} leads now term=");
        cluster
            .wait_for("a word on the next one", TOLD_WITHIN, |it| it.log(member).contains(&words));
    }
    // On a machine that is busy with other things a leader may have been missed before.
    let told = |cluster: &Cluster| cluster.log(last).matches("nobody leads").count();
    let before = told(&cluster);
    cluster.kill(0);
    cluster.kill(next);
    cluster.wait_for("a word on the end of the last one", TOLD_WITHIN, |it| told(it) > before);
    let view = cluster.status(last).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(view.leader, None, "{view:?}");
    assert!(view.members.iter().all(|member| member.role != "leader"), "{view:?}");
    let remove = serde_json::json!({"do": "remove", "member": 1});
    let reason = cluster.change(last, &remove).expect_err("it is refused");
    assert!(reason.starts_with("nobody leads"), "{reason}");
}
