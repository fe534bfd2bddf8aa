//! A member whose state differs from that of the others: it takes itself out, and nobody does when it
//! cannot be told who is right.

use std::time::Duration;

use super::forgery::change_priority;
use super::scene::{expect, lead, under_load};
use crate::support::{Cluster, Load, PATIENCE, alone, cluster_of};

/// Of two jobs, the one that all members but the odd one hand out first.
const FIRST: u32 = 4_000_000_001;
const SECOND: u32 = 4_000_000_002;
/// What the first has for the odd one.
const LAST: u32 = 4_000_000_003;
const EXPELLED: i32 = 78;
const EXPULSION: &str = "this member's state differs from that of two others, which agree";
const REPORT: &str = "the states of members differ";
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Longer than it takes for states to be compared, twice.
const COMPARED_AFTER: Duration = Duration::from_millis(2500);

/// A cluster in which some members have another state than the others, of which nothing was to be seen
/// so far: it shows when somebody [`reserve`]s.
fn with_odd_ones(members: u8, odd: &[usize]) -> Cluster {
    let mut cluster = cluster_of(members);
    let right = (0..usize::from(members)).find(|member| !odd.contains(member));
    let right = right.expect("not all are odd");
    // So that nobody's hand-over gets between the entries that are changed.
    lead(&mut cluster, right);
    let mut client = cluster.client(right);
    expect(&mut client, "use odd", "USING odd");
    for priority in [FIRST, SECOND] {
        let put = client.put(&format!("{priority} 0 1000"), b"x").expect("the member serves");
        assert!(put.starts_with("INSERTED "), "{put}");
    }
    for &odd in odd {
        cluster.wait_in_step();
        assert_eq!(cluster.terminate(odd).code(), Some(0));
        change_priority(&cluster.data(odd), FIRST, LAST);
        cluster.restart(odd);
    }
    cluster.wait_in_step();
    cluster
}

/// Lets the difference show, at a member that has it right.
fn reserve(cluster: &Cluster, member: usize) {
    let mut client = cluster.client(member);
    expect(&mut client, "watch odd", "WATCHING 2");
    expect(&mut client, "reserve", "RESERVED 1 1\r\nx");
    expect(&mut client, "delete 1", "DELETED");
    expect(&mut client, "reserve", "RESERVED 2 1\r\nx");
    expect(&mut client, "delete 2", "DELETED");
}

/// The member ends as one that must not come back, and clients of the others do not notice.
fn expect_expulsion(odd: usize, leader: usize) {
    let _alone = alone();
    let mut cluster = with_odd_ones(3, &[odd]);
    lead(&mut cluster, leader);
    let load = Load::on(cluster.addresses_without(odd));
    under_load(&mut cluster, &load, |cluster, _| {
        reserve(cluster, (odd + 1) % 3);
        let ended = cluster.wait_for_end(odd, NOTICED_WITHIN);
        let code = ended.unwrap_or_else(|| panic!("it goes on; {}", cluster.logs())).code();
        assert_eq!(code, Some(EXPELLED), "{}", cluster.logs());
        assert!(cluster.log(odd).contains(EXPULSION), "{}", cluster.logs());
    });
    for other in (0..3).filter(|&other| other != odd) {
        assert!(cluster.is_running(other), "{}", cluster.logs());
        assert!(!cluster.log(other).contains(EXPULSION), "{}", cluster.logs());
    }
}

#[test]
fn a_follower_whose_state_differs_takes_itself_out() {
    expect_expulsion(2, 0);
}

#[test]
fn a_leader_whose_state_differs_takes_itself_out() {
    expect_expulsion(1, 1);
}

#[test]
fn of_five_members_the_two_that_differ_alike_leave() {
    let _alone = alone();
    let odd = [3, 4];
    let mut cluster = with_odd_ones(5, &odd);
    lead(&mut cluster, 0);
    reserve(&cluster, 1);
    for odd in odd {
        let ended = cluster.wait_for_end(odd, NOTICED_WITHIN);
        assert_eq!(ended.and_then(|it| it.code()), Some(EXPELLED), "{}", cluster.logs());
    }
    // What is waited for is time: whoever wanted to leave would have left.
    std::thread::sleep(COMPARED_AFTER);
    for member in 0..3 {
        assert!(cluster.is_running(member), "{}", cluster.logs());
        let put = cluster.client(member).put("0 0 1000", b"y").expect("the member serves");
        assert!(put.starts_with("INSERTED "), "{put}");
    }
}

#[test]
fn of_two_members_that_differ_nobody_leaves_and_it_is_reported() {
    let _alone = alone();
    let odd = 2;
    let mut cluster = with_odd_ones(3, &[odd]);
    let (leader, lost) = (0, 1);
    lead(&mut cluster, leader);
    cluster.kill(lost);
    cluster.wait_in_step_of(2);
    reserve(&cluster, leader);
    cluster.wait_for("a report", NOTICED_WITHIN, |it| it.log(leader).contains(REPORT));
    // What is waited for is time: whoever wanted to leave would have left.
    std::thread::sleep(COMPARED_AFTER);
    for member in [leader, odd] {
        assert!(cluster.is_running(member), "{}", cluster.logs());
        let put = cluster.client(member).put("0 0 1000", b"y").expect("the member serves");
        assert!(put.starts_with("INSERTED "), "{put}");
    }
    // The third settles it: it agrees with the leader, as soon as it is back.
    cluster.restart(lost);
    let ended = cluster.wait_for_end(odd, PATIENCE);
    assert_eq!(ended.and_then(|it| it.code()), Some(EXPELLED), "{}", cluster.logs());
    assert!(cluster.is_running(leader) && cluster.is_running(lost), "{}", cluster.logs());
}
