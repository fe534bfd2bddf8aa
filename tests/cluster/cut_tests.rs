//! Cables are cut, both ways and one way.

use std::time::Duration;

use super::scene::{Keepers, RESUMES_WITHIN, cabled, expect, lead, under_load};
use crate::support::{Cluster, Load, PATIENCE, alone, now};

/// The lease, and the ticks by which it is counted.
const CLOSED_WITHIN: Duration = Duration::from_secs(6);
/// After which the waiters of a silent member are passed over, and some more.
const PASSED_OVER_AFTER: Duration = Duration::from_millis(600);

#[test]
fn a_member_that_is_cut_off_closes_its_clients_and_refuses_until_it_is_back() {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    let leader = cluster.leader();
    for member in [cluster.follower_beside(leader), leader] {
        let mut waiting = cluster.client(member);
        waiting.send(b"reserve\r\n").expect("the member serves");
        let mut resting = cluster.client(member);
        expect(&mut resting, "list-tube-used", "USING default");
        let cut = now();
        cluster.isolate(member);
        for client in [&mut waiting, &mut resting] {
            assert!(client.is_closed_within(CLOSED_WITHIN), "{:?}", client.unread());
        }
        let after = now() - cut;
        assert!(after > Duration::from_millis(1000), "closed after {after:?}, with a lease");
        cluster.wait_for("its port to refuse", CLOSED_WITHIN, |it| it.refuses(member));
        let mut other = cluster.client((member + 1) % 3);
        let put = other.put("0 0 100", b"meanwhile").expect("the majority serves");
        let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}"));
        cluster.heal();
        cluster.wait_in_step();
        let mut client = cluster.client(member);
        expect(&mut client, &format!("peek {id}"), &format!("FOUND {id} 9\r\nmeanwhile"));
        expect(&mut client, &format!("delete {id}"), "DELETED");
    }
}

#[test]
fn clients_of_others_do_not_notice_a_leader_that_is_not_heard() {
    one_way(true, |cluster, member, other| cluster.cut(member, other));
}

#[test]
fn clients_of_others_do_not_notice_a_leader_that_hears_nothing() {
    one_way(true, |cluster, member, other| cluster.cut(other, member));
}

#[test]
fn clients_of_others_do_not_notice_a_follower_that_is_not_heard() {
    one_way(false, |cluster, member, other| cluster.cut(member, other));
}

#[test]
fn clients_of_others_do_not_notice_a_follower_that_hears_nothing() {
    one_way(false, |cluster, member, other| cluster.cut(other, member));
}

fn one_way(is_leader: bool, cut: impl Fn(&mut Cluster, usize, usize)) {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    let leader = cluster.leader();
    let member = if is_leader { leader } else { cluster.follower_beside(leader) };
    let others: Vec<usize> = (0..3).filter(|&other| other != member).collect();
    let keepers = Keepers::at(&cluster, &others);
    let load = Load::on(cluster.addresses_without(member));
    under_load(&mut cluster, &load, |cluster, traffic| {
        others.iter().for_each(|&other| cut(cluster, member, other));
        let resumed = traffic.wait_for_writes(200, RESUMES_WITHIN);
        resumed.unwrap_or_else(|why| panic!("cut: {why}\n{}", cluster.logs()));
        cluster.heal();
        cluster.wait_in_step();
    });
    keepers.check(&cluster, others[0]);
}

#[test]
fn two_followers_that_do_not_hear_each_other_do_not_matter() {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    let leader = cluster.leader();
    let [one, two] = [(leader + 1) % 3, (leader + 2) % 3];
    let load = Load::on((0..3).map(|member| cluster.address(member)).collect());
    under_load(&mut cluster, &load, |cluster, traffic| {
        cluster.cut(one, two);
        cluster.cut(two, one);
        let resumed = traffic.wait_for_writes(500, RESUMES_WITHIN);
        resumed.unwrap_or_else(|why| panic!("cut: {why}"));
        assert_eq!(cluster.leader(), leader, "nobody had to lead anew\n{}", cluster.logs());
        cluster.heal();
    });
}

#[test]
fn a_leader_that_one_follower_does_not_hear_is_a_pause_at_most() {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    let leader = cluster.leader();
    let [deaf, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let load = Load::on(vec![cluster.address(leader), cluster.address(other)]);
    under_load(&mut cluster, &load, |cluster, traffic| {
        cluster.cut(leader, deaf);
        cluster.cut(deaf, leader);
        // The one that hears nobody lead asks for votes again and again; nobody gives them.
        let resumed = traffic.wait_for_writes(2000, RESUMES_WITHIN);
        resumed.unwrap_or_else(|why| panic!("cut: {why}"));
        cluster.heal();
        cluster.wait_in_step();
    });
}

/// While it was not heard its waiters were passed over; nobody else says that it is heard again
/// when it is the leader itself.
#[test]
fn a_member_that_was_passed_over_and_leads_serves_its_own_waiters() {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    // Killed at once, and when the log may have come after.
    for caught_up in [Duration::ZERO, Duration::from_millis(100)] {
        let leader = cluster.leader();
        let silent = cluster.follower_beside(leader);
        let third = 3 - leader - silent;
        let mut waiting = cluster.client(silent);
        expect(&mut waiting, "watch passed-over", "WATCHING 2");
        waiting.send(b"reserve\r\n").expect("the member serves");
        let mut putter = cluster.client(third);
        expect(&mut putter, "use passed-over", "USING passed-over");
        cluster.cut(leader, silent);
        cluster.cut(silent, leader);
        // What is waited for is time itself: the silence must have lasted.
        std::thread::sleep(PASSED_OVER_AFTER);
        cluster.heal();
        std::thread::sleep(caught_up);
        cluster.kill(leader);
        cluster.wait_in_step_of(2);
        lead(&mut cluster, silent);
        let put = putter.put("0 0 1000", b"x").expect("the member serves");
        let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}"));
        let reply = waiting.reply(Duration::from_secs(3)).unwrap_or_default();
        let reply = String::from_utf8_lossy(&reply);
        assert_eq!(reply, format!("RESERVED {id} 1\r\nx\r\n"), "{}", cluster.logs());
        expect(&mut waiting, &format!("delete {id}"), "DELETED");
        cluster.restart(leader);
        cluster.wait_in_step();
    }
}

#[test]
fn the_clock_of_a_leader_that_was_deposed_is_not_followed() {
    let _alone = alone();
    let Some(mut cluster) = cabled() else { return };
    let deposed = cluster.leader();
    cluster.isolate(deposed);
    // What is waited for is time itself: for so long its clock went on alone.
    std::thread::sleep(Duration::from_secs(5));
    let leader = cluster.leader();
    assert_ne!(leader, deposed, "{}", cluster.logs());
    let mut putter = cluster.client(leader);
    let mut reserver = cluster.client(leader);
    let began = now();
    let put = putter.put("0 2 1000", b"x").expect("the majority serves");
    let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}"));
    reserver.send(b"reserve\r\n").expect("the majority serves");
    cluster.heal();
    let reply = reserver.reply(PATIENCE).unwrap_or_default();
    let after = now() - began;
    assert_eq!(String::from_utf8_lossy(&reply), format!("RESERVED {id} 1\r\nx\r\n"));
    assert!(after >= Duration::from_millis(1950), "ready after {after:?}\n{}", cluster.logs());
    assert!(after <= Duration::from_secs(4), "ready after {after:?}\n{}", cluster.logs());
    cluster.wait_in_step();
}
