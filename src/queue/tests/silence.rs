//! Members that are not heard (DESIGN D4).

use super::play;
use super::script::{Player, action};
use crate::queue::*;

/// Connections from 10 on of the present member wait for a job.
fn wait_many(player: &mut Player, count: u64) {
    for connection in 10..10 + count {
        player.ask(connection, action("reserve"));
    }
}

#[test]
fn silent_member_is_passed_over_and_keeps_its_place() {
    play(
        "1 reserve = 1 waits
         2 reserve = 2 waits
         ! member 2
         3 reserve = 3 waits
         4 reserve = 4 waits
         9 put 0 0 60 a = 9 INSERTED 1, 1 RESERVED 1 a
         ! member 1
         ! silent
         ? stats current-waiting = 3
         ! member 2
         9 put 0 0 60 b = 9 INSERTED 2, 3 RESERVED 2 b
         ! member 1
         ! heard
         ! member 2
         9 put 0 0 60 c = 9 INSERTED 3, 2 RESERVED 3 c
         9 put 0 0 60 d = 9 INSERTED 4, 4 RESERVED 4 d",
    );
}

#[test]
fn jobs_that_only_silent_members_wait_for_are_handed_over_when_one_is_heard() {
    play(
        "1 reserve = 1 waits
         2 watch x = 2 WATCHING 2
         2 reserve = 2 waits
         ! silent
         ! member 2
         3 reserve = 3 waits
         ! silent
         ! member 3
         9 put 9 0 60 a = 9 INSERTED 1
         9 use x = 9 USING x
         9 put 5 0 60 b = 9 INSERTED 2
         9 put 1 0 60 c = 9 INSERTED 3
         ? stats current-jobs-ready current-waiting = 3 3
         ! member 1
         ! heard = 1 RESERVED 1 a, 2 RESERVED 3 c
         ! member 2
         ! heard
         ? stats current-jobs-ready current-waiting = 1 1",
    );
}

#[test]
fn first_member_that_is_heard_takes_the_job() {
    play(
        "1 reserve = 1 waits
         ! silent
         ! member 2
         2 reserve = 2 waits
         ! silent
         ! member 3
         9 put 0 0 60 a = 9 INSERTED 1
         9 reserve = 9 RESERVED 1 a
         9 release 1 0 0 = 9 RELEASED
         ! member 2
         ! heard = 2 RESERVED 1 a
         ! member 1
         ! heard",
    );
}

#[test]
fn kicks_delays_expiries_and_pauses_pass_a_silent_member_over() {
    play(
        "1 reserve = 1 waits
         ! silent
         ! member 2
         2 put 0 1 1 a = 2 INSERTED 1
         +1000
         ? stats current-jobs-ready = 1
         2 reserve = 2 RESERVED 1 a
         +1000
         ? stats-job 1 state timeouts = ready 1
         2 reserve = 2 RESERVED 1 a
         2 bury 1 0 = 2 BURIED
         2 kick 9 = 2 KICKED 1
         2 pause-tube default 1 = 2 PAUSED
         ! member 1
         ! heard
         ! silent
         +1000
         ? stats-tube default pause current-jobs-ready = 0 1
         ! heard = 1 RESERVED 1 a",
    );
}

#[test]
fn paused_tube_gives_nothing_to_a_member_that_is_heard_again() {
    play(
        "1 reserve = 1 waits
         ! silent
         2 put 0 0 60 a = 2 INSERTED 1
         2 pause-tube default 5 = 2 PAUSED
         ! heard
         +5000 = 1 RESERVED 1 a",
    );
}

#[test]
fn timers_of_waits_that_are_passed_over_still_fire() {
    play(
        "1 reserve-with-timeout 3 = 1 waits
         2 put 0 0 4 a = 2 INSERTED 1, 1 RESERVED 1 a
         1 reserve = 1 waits
         3 reserve-with-timeout 5 = 3 waits
         ! silent
         2 put 0 0 60 b = 2 INSERTED 2
         +3000 = 1 DEADLINE_SOON
         +2000 = 3 TIMED_OUT
         ? stats current-waiting = 0
         ! heard",
    );
}

#[test]
fn ops_of_a_silent_member_are_applied_and_do_not_make_it_heard() {
    let player = play(
        "1 reserve = 1 waits
         ! silent
         2 put 0 0 60 a = 2 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         2 release 1 0 0 = 2 RELEASED
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 waits
         2 stop-waiting = 2 TIMED_OUT
         1 close
         2 release 1 0 0 = 2 RELEASED
         ! heard",
    );
    assert!(player.queue.life(MemberId(1)).is_some_and(|life| life.is_heard));
}

#[test]
fn hearing_is_of_the_present_life_only_and_a_new_life_is_heard() {
    let mut player = play("! silent");
    let heard = |player: &Player| player.queue.life(MemberId(1)).map(|life| life.is_heard);
    assert_eq!(heard(&player), Some(false));
    for (member, incarnation) in [(1, 0), (1, 2), (2, 1)] {
        let (member, incarnation) = (MemberId(member), Incarnation(incarnation));
        player.apply(vec![Part::Hearing { member, incarnation, is_heard: true }]);
    }
    assert_eq!(heard(&player), Some(false));
    assert_eq!(player.queue.life(MemberId(2)), None);
    player.play("! open");
    assert_eq!(heard(&player), Some(true));
    player.play(
        "! end
         ! silent",
    );
    assert_eq!(heard(&player), Some(true), "there is no life that could be silent");
}

#[test]
fn ten_thousand_silent_waiters_cost_no_work_when_nothing_is_ready() {
    let mut player = Player::new();
    wait_many(&mut player, 10_000);
    player.play(
        "! silent
         ! heard
         ? pending = false
         1 put 0 0 60 a = 1 INSERTED 1, 10 RESERVED 1 a",
    );
}

#[test]
fn member_that_is_heard_again_is_served_in_slices_and_in_order() {
    let quota = u64::from(WORK_QUOTA_JOBS);
    let mut player = Player::new();
    wait_many(&mut player, 2 * quota);
    player.play("! silent");
    for _ in 0..2 * quota {
        player.ask(1, action("put 0 0 60 a"));
    }
    // Job `from` goes to connection `to`, and so on.
    let served = |jobs: std::ops::RangeInclusive<u64>, to: u64| {
        let words = jobs.clone().map(|job| format!("{} RESERVED {job} a", job - jobs.start() + to));
        words.collect::<Vec<_>>().join(", ")
    };
    // Who is served, and the tube that it watches, count as two moves.
    let slice = quota / 2;
    assert_eq!(player.line("! heard"), served(1..=slice, 10));
    player.queue.check_invariants();
    // Meanwhile a ready job belongs to who asks for it, not to who is still passed over.
    player.member = MemberId(2);
    (player.incarnation, player.last) = (Incarnation(0), OpNumber(0));
    assert_eq!(player.open(), served(slice + 1..=2 * slice, 10 + slice));
    let asked = player.ask(5, action("reserve"));
    let expected = served(2 * slice + 1..=3 * slice, 10 + 2 * slice);
    assert_eq!(asked, format!("{expected}, 5 RESERVED {} a", 3 * slice + 1));
    player.play("? stats current-jobs-ready current-waiting = 511 512");
    assert_eq!(player.line("+0"), served(3 * slice + 2..=4 * slice, 10 + 3 * slice));
    player.play(
        "? pending = false
         ? stats current-jobs-ready current-waiting = 0 1
         6 put 0 0 60 a = 6 INSERTED 2049, 2057 RESERVED 2049 a",
    );
}

#[test]
fn checkpoint_in_the_middle_of_a_return_goes_on_where_it_was() {
    let quota = u64::from(WORK_QUOTA_JOBS);
    let mut player = Player::new();
    wait_many(&mut player, quota);
    player.play("! silent");
    for _ in 0..quota {
        player.ask(1, action("put 0 0 60 a"));
    }
    player.line("! heard");
    let mut restored = Queue::restore(player.queue.records(), Box::new(ColdInMemory::default()))
        .expect("the state is sound");
    assert_eq!(restored.digest(), player.queue.digest());
    std::mem::swap(&mut restored, &mut player.queue);
    let words = player.line("+0");
    std::mem::swap(&mut restored, &mut player.queue);
    assert_eq!(words, player.line("+0"));
    assert_eq!(words.matches("RESERVED").count() as u64, quota / 2);
    assert_eq!(
        (restored.digest(), restored.chain()),
        (player.queue.digest(), player.queue.chain())
    );
    player.play("? pending = false");
}

#[test]
fn member_that_falls_silent_while_it_returns_is_passed_over_again() {
    let quota = u64::from(WORK_QUOTA_JOBS);
    let mut player = Player::new();
    wait_many(&mut player, quota);
    player.play("! silent");
    for _ in 0..quota {
        player.ask(1, action("put 0 0 60 a"));
    }
    player.line("! heard");
    let between = player.line("! silent");
    assert_eq!(between.matches("RESERVED").count() as u64, quota / 2, "it went on before");
    player.play("? pending = false");
}
