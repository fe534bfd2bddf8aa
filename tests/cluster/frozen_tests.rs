//! A member that is only silent keeps what it holds until TTR, and is passed over meanwhile.

use std::time::Duration;

use super::scene::{Keepers, expect, lead, next};
use crate::support::{Client, Cluster, alone, cluster_of, now};

const TTR_SECONDS: u64 = 4;
/// After which the waiters of a silent member are passed over, and some more.
const PASSED_OVER_AFTER: Duration = Duration::from_millis(700);

#[test]
fn a_frozen_members_jobs_come_back_by_time_to_run_and_not_before() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
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
    let mut cluster = cluster_of(3);
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

/// It leads before anybody has written that it is heard again: it must say so itself.
#[test]
fn a_member_that_was_frozen_and_leads_at_once_serves_its_own_waiters() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let frozen = cluster.follower_beside(leader);
    let third = 3 - leader - frozen;
    let mut waiting = park(&mut cluster, frozen, 1);
    let mut putter = cluster.client(third);
    cluster.freeze(frozen);
    // What is waited for is time itself: it falls silent and is back before the leader, which does
    // not write of one member all the time, says so.
    std::thread::sleep(Duration::from_millis(400));
    cluster.thaw(frozen);
    std::thread::sleep(Duration::from_millis(40));
    // The third is late for the election.
    cluster.freeze(third);
    cluster.kill(leader);
    std::thread::sleep(Duration::from_millis(400));
    cluster.thaw(third);
    cluster.wait_in_step_of(2);
    lead(&mut cluster, frozen);
    put(&mut putter, b"x");
    let reply = waiting.reply(Duration::from_secs(3)).unwrap_or_default();
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.ends_with("\r\nx\r\n"), "{reply:?}\n{}", cluster.logs());
}

/// Time is counted in the member's own ticks: while it stood still, its lease did too.
#[test]
fn a_member_that_was_frozen_for_long_goes_on_with_its_clients() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
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

/// A refused connection says that a process is dead, but only of the process that was there then.
#[test]
fn a_leader_that_was_once_dead_is_only_silent_when_it_is_frozen() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let member = cluster.leader();
    cluster.kill(member);
    cluster.restart(member);
    cluster.wait_in_step();
    lead(&mut cluster, member);
    let ttr = Duration::from_secs(6);
    let mut holder = cluster.client(member);
    let put = holder.put("0 0 6", b"x").expect("the member serves");
    let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{put}")).to_owned();
    let mut collector = cluster.client((member + 1) % 3);
    let reserved = now();
    expect(&mut holder, "reserve", &format!("RESERVED {id} 1\r\nx"));
    cluster.freeze(member);
    collector.send(b"reserve-with-timeout 12\r\n").expect("the member serves");
    let reply = collector.reply(Duration::from_secs(15)).unwrap_or_default();
    let after = now() - reserved;
    assert_eq!(String::from_utf8_lossy(&reply), format!("RESERVED {id} 1\r\nx\r\n"));
    assert!(after >= ttr, "it came back after {after:?}\n{}", cluster.logs());
    // While nobody led, its time stood still.
    assert!(after <= ttr + Duration::from_secs(2), "it came back after {after:?}");
}

/// As on a machine that was suspended.
#[test]
fn a_pause_of_all_members_closes_no_connection_and_moves_no_job() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let keepers = Keepers::at(&cluster, &[0, 1, 2]);
    let mut putters: Vec<Client> = (0..3).map(|member| cluster.client(member)).collect();
    // Who would get a job of theirs that came back.
    let mut collector = cluster.client(0);
    for member in 0..3 {
        let watching = format!("WATCHING {}", member + 2);
        expect(&mut collector, &format!("watch held-kept-{member}"), &watching);
    }
    expect(&mut collector, "ignore default", "WATCHING 3");
    collector.send(b"reserve\r\n").expect("the member serves");
    for putter in &mut putters {
        expect(putter, "use unwatched", "USING unwatched");
    }
    (0..3).for_each(|member| cluster.freeze(member));
    // Longer than the lease.
    std::thread::sleep(Duration::from_secs(4));
    (0..3).for_each(|member| cluster.thaw(member));
    let thawed = now();
    for (member, putter) in putters.iter_mut().enumerate() {
        put(putter, b"x");
        let after = now() - thawed;
        let logs = || cluster.logs();
        assert!(after < Duration::from_secs(3), "member {member}: {after:?}\n{}", logs());
    }
    // What a member concludes from the pause it would have done by then.
    cluster.wait_in_step();
    assert!(collector.is_silent_for(Duration::from_secs(3)), "{:?}", collector.unread());
    keepers.check(&cluster, 0);
}
