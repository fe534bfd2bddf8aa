//! Members come and go while the others serve.

use std::time::Duration;

use serde_json::json;

use super::scene::{Keepers, RESUMES_WITHIN, expect, lead, next, under_load};
use crate::support::{Cluster, Load, alone, cluster_command, cluster_of};

#[test]
fn one_member_grows_to_three_while_it_serves() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    let keepers = Keepers::at(&cluster, &[0]);
    let load = Load::on(vec![cluster.address(0)]);
    under_load(&mut cluster, &load, |cluster, _| {
        for _ in 0..2 {
            let newcomer = cluster.newcomer();
            cluster.add(0, newcomer).unwrap_or_else(|why| panic!("add: {why}"));
        }
        cluster.wait_in_step();
    });
    keepers.check(&cluster, 2);
    // It is a cluster of three now: the first is no longer needed.
    let load = Load::on(cluster.addresses_without(0));
    under_load(&mut cluster, &load, |cluster, _| cluster.kill(0));
}

#[test]
fn a_member_whose_disk_is_lost_is_replaced_under_load() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let lost = cluster.follower_beside(leader);
    let gone = cluster.id(lost);
    let keepers = Keepers::at(&cluster, &[leader]);
    let load = Load::on(cluster.addresses_without(lost));
    under_load(&mut cluster, &load, |cluster, traffic| {
        cluster.kill(lost);
        traffic.wait_for_writes(200, RESUMES_WITHIN).unwrap_or_else(|why| panic!("{why}"));
        let newcomer = cluster.newcomer();
        cluster.replace(leader, gone, newcomer).unwrap_or_else(|why| panic!("replace: {why}"));
        cluster.wait_in_step_of(3);
        let view = cluster.status(leader).unwrap_or_else(|why| panic!("{why}"));
        let ids: Vec<u64> = view.members.iter().map(|member| member.id).collect();
        assert!(!ids.contains(&gone) && ids.len() == 3, "{ids:?}");
        assert!(ids.contains(&cluster.id(newcomer)), "{ids:?}");
    });
    keepers.check(&cluster, leader);
}

#[test]
fn limits_set_at_one_member_hold_at_all() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let asked = cluster.follower_beside(leader);
    let output = cluster_command(&cluster.data(asked), &["limits", "--tubes", "1"]).output();
    let output = output.expect("it was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.wait_in_step();
    for member in 0..3 {
        let mut client = cluster.client(member);
        assert_eq!(client.ask("use a").expect("it serves"), "USING a");
        assert_eq!(client.ask("use b").expect("it serves"), "OUT_OF_MEMORY");
    }
}

#[test]
fn three_become_five_and_three_again_and_any_two_of_five_may_die() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let load = Load::on(vec![cluster.address(0)]);
    under_load(&mut cluster, &load, |cluster, traffic| {
        for _ in 0..2 {
            let newcomer = cluster.newcomer();
            cluster.add(0, newcomer).unwrap_or_else(|why| panic!("add: {why}"));
        }
        cluster.wait_in_step();
        cluster.kill(1);
        cluster.kill(2);
        traffic.wait_for_writes(200, RESUMES_WITHIN).unwrap_or_else(|why| panic!("{why}"));
        cluster.spawn(1);
        cluster.spawn(2);
        cluster.wait_in_step();
        for member in [3, 4] {
            let id = cluster.id(member);
            let removed = cluster.change(0, &json!({"do": "remove", "member": id}));
            removed.unwrap_or_else(|why| panic!("remove of {id}: {why}"));
        }
        cluster.wait_in_step_of(3);
        let view = cluster.status(0).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(view.members.len(), 3, "{view:?}");
    });
}

#[test]
fn a_removed_leader_hands_over() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let id = cluster.id(leader);
    let load = Load::on(cluster.addresses_without(leader));
    under_load(&mut cluster, &load, |cluster, traffic| {
        let removed = cluster.change((leader + 1) % 3, &json!({"do": "remove", "member": id}));
        removed.unwrap_or_else(|why| panic!("remove: {why}"));
        traffic.wait_for_writes(200, RESUMES_WITHIN).unwrap_or_else(|why| panic!("{why}"));
        cluster.kill(leader);
    });
}

#[test]
fn a_removed_members_clients_are_gone_before_their_jobs_come_back() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let removed = cluster.follower_beside(leader);
    let request = json!({"do": "remove", "member": cluster.id(removed)});
    let mut holder = cluster.client(removed);
    let put = holder.put("0 0 1000", b"x").expect("the member serves");
    let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}"));
    let reserved = format!("RESERVED {id} 1\r\nx");
    expect(&mut holder, "reserve", &reserved);
    let mut resting = cluster.client(removed);
    expect(&mut resting, "list-tube-used", "USING default");
    let mut collector = cluster.client(leader);
    collector.send(b"reserve\r\n").expect("the member serves");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| cluster.change(leader, &request));
        assert_eq!(next(&mut collector), reserved, "{}", cluster.logs());
        // What has happened before is here already.
        for client in [&mut holder, &mut resting] {
            let is_closed = client.is_closed_within(Duration::from_millis(1));
            assert!(is_closed, "open while its job is given away\n{}", cluster.logs());
        }
        let asked = asked.join().expect("no helper panics");
        asked.unwrap_or_else(|why| panic!("remove: {why}\n{}", cluster.logs()));
    });
    let ended = cluster.wait_for_end(removed, Duration::from_secs(10));
    assert!(ended.is_some(), "it goes on without a cluster\n{}", cluster.log(removed));
    let reason = cluster.change(leader, &request).expect_err("it is refused");
    assert!(reason.len() > 10, "a reason for people: {reason}");
    expect(&mut collector, &format!("delete {id}"), "DELETED");
}

#[test]
fn what_is_unsafe_is_refused_with_a_reason() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let refused = |cluster: &Cluster, request: serde_json::Value| {
        let reason = cluster.change(0, &request).expect_err("it is refused");
        assert!(reason.len() > 10, "a reason for people: {reason}");
        reason
    };
    refused(&cluster, json!({"do": "init"}));
    refused(&cluster, json!({"do": "remove", "member": 99}));
    refused(&cluster, json!({"do": "transfer", "to": 99}));
    refused(&cluster, json!({"do": "replace", "member": 99, "address": "127.0.0.1:1"}));
    refused(&cluster, json!({"do": "add", "address": "127.0.0.1:1"}));
    let reason = refused(&cluster, json!({"do": "add", "address": "somewhere"}));
    assert_eq!(reason, "somewhere is no address: HOST:PORT is wanted");
    // Two are left of three: without one of them there is no majority of the three.
    let ids: Vec<u64> = (0..3).map(|member| cluster.id(member)).collect();
    cluster.kill(2);
    cluster.wait_for("the loss to be noticed", Duration::from_secs(5), |it| {
        it.can_stop(0) == Ok(false)
    });
    refused(&cluster, json!({"do": "remove", "member": ids[1]}));
    // The dead one may go.
    let removed = cluster.change(0, &json!({"do": "remove", "member": ids[2]}));
    removed.unwrap_or_else(|why| panic!("remove: {why}\n{}", cluster.logs()));
}

#[test]
fn check_tells_by_exit_status_whether_a_member_may_stop() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let check = |cluster: &Cluster| {
        let output = cluster_command(&cluster.data(0), &["check"]).output();
        output.expect("the program runs").status.code()
    };
    assert_eq!(check(&cluster), Some(0));
    cluster.kill(1);
    cluster.wait_for("the loss to be noticed", Duration::from_secs(5), |it| check(it) == Some(1));
    cluster.restart(1);
    cluster.wait_in_step();
    assert_eq!(check(&cluster), Some(0));
    let status = cluster_command(&cluster.data(0), &["status", "--json"]).output();
    let status = status.expect("the program runs").stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).expect("a line of JSON");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(3), "{status}");
}

#[test]
fn a_member_that_was_removed_while_it_was_away_learns_so_when_it_is_back() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let away = cluster.follower_beside(leader);
    let other = 3 - leader - away;
    let id = cluster.id(away);
    cluster.kill(away);
    let removed = cluster.change(leader, &json!({"do": "remove", "member": id}));
    removed.unwrap_or_else(|why| panic!("remove: {why}\n{}", cluster.logs()));
    // The leader that it knows leads no more: nobody takes its pings for those of a member.
    lead(&mut cluster, other);
    cluster.spawn(away);
    let ended = cluster.wait_for_end(away, Duration::from_secs(15));
    let log = cluster.log(away);
    assert_eq!(ended.and_then(|status| status.code()), Some(78), "{log}");
    assert!(log.contains("ERROR beanpole: this member was removed from its cluster"), "{log}");
}

#[test]
fn the_only_voter_is_told_why_it_cannot_go() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    let newcomer = cluster.newcomer();
    let refused = |cluster: &Cluster, request: serde_json::Value| {
        cluster.change(0, &request).expect_err("it is refused")
    };
    let reason = cluster.replace(0, 1, newcomer).expect_err("it is refused");
    assert!(reason.starts_with("member 1 is the only voter"), "{reason}");
    assert!(reason.contains("`add ") && reason.contains("`remove 1`"), "{reason}");
    let reason = refused(&cluster, json!({"do": "remove", "member": 1}));
    assert_eq!(reason, "member 1 is the only voter: the cluster would be gone");
    let reason = refused(&cluster, json!({"do": "transfer", "to": null}));
    assert_eq!(reason, "there is no other voter that could lead, or none is heard");
    // What it is told to do does it.
    cluster.add(0, newcomer).unwrap_or_else(|why| panic!("add: {why}"));
    let removed = cluster.change(0, &json!({"do": "remove", "member": 1}));
    removed.unwrap_or_else(|why| panic!("remove: {why}\n{}", cluster.logs()));
    expect(&mut cluster.client(newcomer), "list-tube-used", "USING default");
}
