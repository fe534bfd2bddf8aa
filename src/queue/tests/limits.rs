//! Limits of what is not a job: what is refused, what goes on, and who is served when there is room.

use super::play;
use super::script::{Player, action};
use crate::queue::*;

#[test]
fn a_new_queue_has_the_documented_limits() {
    let limits = Queue::new().limits();
    assert_eq!(limits.all(), [100_000, 500_000, 100_000, 100_000]);
}

#[test]
fn no_tube_is_made_beyond_the_limit_and_those_there_can_be_used() {
    play(
        "! limit tubes 2
         1 use a = 1 USING a
         2 watch b = 2 WATCHING 2
         2 use c = 2 OUT_OF_MEMORY
         2 watch c = 2 OUT_OF_MEMORY
         2 use a = 2 USING a
         2 watch a = 2 WATCHING 3
         3 put 0 0 9 x = 3 INSERTED 1
         ? list-tubes = default a b
         ? list-tube-used 2 = a
         ? list-tubes-watched 2 = default b a
         ? limits tubes watches = 2 2
         2 ignore b = 2 WATCHING 2
         3 watch c = 3 WATCHING 2",
    );
}

#[test]
fn default_exists_at_any_limit() {
    play(
        "! limit tubes 0
         1 use a = 1 OUT_OF_MEMORY
         1 put 0 0 9 x = 1 INSERTED 1
         1 use default = 1 USING default
         1 watch default = 1 WATCHING 1
         2 reserve = 2 RESERVED 1 x",
    );
}

#[test]
fn pairs_with_default_are_no_watches() {
    play(
        "! limit watches 2
         1 watch a = 1 WATCHING 2
         2 watch a = 2 WATCHING 2
         3 watch a = 3 OUT_OF_MEMORY
         3 watch b = 3 OUT_OF_MEMORY
         ? list-tubes = default a
         1 ignore default = 1 WATCHING 1
         3 watch b = 3 OUT_OF_MEMORY
         1 watch default = 1 WATCHING 2
         1 watch a = 1 WATCHING 2
         ? limits watches = 2
         1 close
         3 watch b = 3 WATCHING 2",
    );
}

#[test]
fn an_op_of_a_session_too_many_is_refused_and_opens_none() {
    play(
        "! limit sessions 2
         1 put 0 0 9 a = 1 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         3 put 0 0 9 b = 3 OUT_OF_MEMORY
         3 reserve = 3 OUT_OF_MEMORY
         3 use x = 3 OUT_OF_MEMORY
         3 stop-waiting
         3 close
         ? stats current-connections total-connections cmd-put = 2 2 2
         ? list-tubes-watched 3 = default
         2 delete 1 = 2 DELETED
         2 close
         3 use x = 3 USING x
         4 use x = 4 OUT_OF_MEMORY
         ! limit sessions 1
         3 use y = 3 USING y",
    );
}

#[test]
fn without_room_among_the_held_jobs_nothing_is_ready() {
    play(
        "! limit held 1
         1 put 0 0 9 a = 1 INSERTED 1
         1 put 0 0 9 b = 1 INSERTED 2
         2 reserve = 2 RESERVED 1 a
         3 reserve-with-timeout 0 = 3 TIMED_OUT
         3 reserve-half-closed = 3 TIMED_OUT
         3 reserve-job 2 = 3 OUT_OF_MEMORY
         3 reserve-job 1 = 3 NOT_FOUND
         3 reserve-with-timeout 1 = 3 waits
         ? stats current-jobs-ready current-jobs-reserved = 1 1
         ? peek-ready 1 = FOUND 2 b
         +1000 = 3 TIMED_OUT
         1 put 0 0 9 c = 1 INSERTED 3
         2 delete 1 = 2 DELETED
         3 reserve-job 3 = 3 RESERVED 3 c",
    );
}

#[test]
fn who_holds_jobs_and_finds_no_room_is_warned_of_their_deadlines() {
    play(
        "! limit held 1
         1 put 0 0 2 a = 1 INSERTED 1
         1 put 0 0 9 b = 1 INSERTED 2
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 waits
         +1000 = 2 DEADLINE_SOON
         2 reserve = 2 DEADLINE_SOON
         2 touch 1 = 2 TOUCHED
         2 reserve = 2 waits",
    );
}

/// What ends the holding of job 1, and what comes of it besides the one who is served.
const ENDS: [(&str, &str); 5] = [
    ("2 delete 1", "2 DELETED, "),
    ("2 release 1 9 0", "2 RELEASED, "),
    ("2 release 1 9 99", "2 RELEASED, "),
    ("2 bury 1 0", "2 BURIED, "),
    ("2 close", ""),
];

#[test]
fn who_has_waited_longest_is_served_when_a_held_job_ends() {
    for (end, outcome) in ENDS {
        play(&format!(
            "! limit held 1
             1 put 9 0 9 a = 1 INSERTED 1
             2 reserve = 2 RESERVED 1 a
             1 use x = 1 USING x
             4 watch x = 4 WATCHING 2
             3 watch x = 3 WATCHING 2
             4 reserve = 4 waits
             3 reserve = 3 waits
             5 reserve = 5 waits
             1 put 7 0 9 b = 1 INSERTED 2
             1 put 6 0 9 c = 1 INSERTED 3
             1 put 8 0 9 d = 1 INSERTED 4
             {end} = {outcome}4 RESERVED 3 c
             4 delete 3 = 4 DELETED, 3 RESERVED 2 b
             ? limits held-jobs = 1"
        ));
    }
}

#[test]
fn the_end_of_a_held_jobs_time_makes_room_for_the_longest_wait() {
    play(
        "! limit held 1
         1 put 5 0 1 a = 1 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         3 watch x = 3 WATCHING 2
         3 ignore default = 3 WATCHING 1
         3 reserve = 3 waits
         4 reserve = 4 waits
         1 use x = 1 USING x
         1 put 9 0 9 b = 1 INSERTED 2
         +1000 = 3 RESERVED 2 b
         3 delete 2 = 3 DELETED, 4 RESERVED 1 a",
    );
}

#[test]
fn at_the_limit_jobs_are_kicked_and_come_back_and_are_not_handed_out() {
    play(
        "! limit held 1
         1 put 5 0 9 a = 1 INSERTED 1
         1 put 5 1 9 b = 1 INSERTED 2
         1 put 5 50 9 c = 1 INSERTED 3
         2 reserve = 2 RESERVED 1 a
         3 reserve = 3 waits
         +1000
         4 kick 9 = 4 KICKED 1
         1 put 5 0 9 d = 1 INSERTED 4
         ? stats current-jobs-ready current-waiting = 3 1
         2 touch 1 = 2 TOUCHED
         2 bury 1 0 = 2 BURIED, 3 RESERVED 2 b
         4 kick-job 1 = 4 KICKED
         3 release 2 5 0 = 3 RELEASED",
    );
}

#[test]
fn a_pause_that_ends_without_room_serves_nobody_until_there_is_some() {
    play(
        "! limit held 1
         1 put 5 0 9 a = 1 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         2 pause-tube default 2 = 2 PAUSED
         3 reserve = 3 waits
         1 put 5 0 9 b = 1 INSERTED 2
         2 bury 1 0 = 2 BURIED
         1 reserve-job 1 = 1 RESERVED 1 a
         +2000
         1 delete 1 = 1 DELETED, 3 RESERVED 2 b",
    );
}

#[test]
fn waiters_of_a_silent_member_get_no_room_and_keep_their_places() {
    play(
        "! limit held 1
         1 put 5 0 9 a = 1 INSERTED 1
         1 put 5 0 9 b = 1 INSERTED 2
         1 put 5 0 9 c = 1 INSERTED 3
         2 reserve = 2 RESERVED 1 a
         3 reserve = 3 waits
         ! member 2
         1 reserve = 1 waits
         ! member 1
         ! silent
         ! member 2
         2 reserve-job 2 = 2 OUT_OF_MEMORY
         ! limit held 2 = 1 RESERVED 2 b
         1 delete 2 = 1 DELETED
         1 reserve = 1 RESERVED 3 c
         1 release 3 5 0 = 1 RELEASED
         1 reserve = 1 RESERVED 3 c
         ! member 1
         ! heard
         ! member 2
         1 release 3 5 0 = 1 RELEASED, 3 RESERVED 3 c",
    );
}

#[test]
fn a_raised_limit_serves_those_who_waited_and_a_lowered_one_takes_nothing_away() {
    play(
        "1 put 5 0 9 a = 1 INSERTED 1
         1 put 5 0 9 b = 1 INSERTED 2
         1 put 5 0 9 c = 1 INSERTED 3
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 RESERVED 2 b
         ! limit held 0
         3 reserve = 3 waits
         4 reserve = 4 waits
         2 delete 1 = 2 DELETED
         2 touch 2 = 2 TOUCHED
         ! limit held 1
         ! limit held 9 = 3 RESERVED 3 c
         1 put 5 0 9 d = 1 INSERTED 4, 4 RESERVED 4 d",
    );
}

/// With a limit of nothing 2,500 sessions wait for 2,500 jobs.
fn crowd() -> Player {
    let mut player = Player::new();
    player.line("! limit held 0");
    for connection in 1..=2500 {
        player.ask(connection, action("put 0 0 9 a"));
        player.ask(connection, action("reserve"));
    }
    player
}

#[test]
fn a_crowd_that_waited_for_room_is_served_in_slices_and_before_others() {
    let mut player = crowd();
    let served = |player: &Player| player.queue.limits_used().held_jobs;
    player.line("! limit held 2501");
    assert_eq!(served(&player), u64::from(WORK_QUOTA_JOBS) / 2);
    player.play("? pending = true");
    let got = player.line("2501 reserve-with-timeout 0");
    assert!(got.ends_with(", 2501 TIMED_OUT"), "somebody overtook those who waited");
    while player.queue.work_pending() {
        player.line("+0");
    }
    player.play(
        "? stats current-jobs-ready current-waiting = 0 0
         1 put 0 0 9 b = 1 INSERTED 2501
         2501 reserve = 2501 RESERVED 2501 b",
    );
}

#[test]
fn serving_that_meets_a_lowered_limit_is_over() {
    let mut player = crowd();
    player.line("! limit held 2500");
    player.line("! limit held 10");
    player.play(
        "+0
         ? pending = false
         ? stats current-jobs-reserved = 1024",
    );
}

#[test]
fn limits_and_serving_survive_a_restore() {
    let mut player = crowd();
    player.line("! limit held 2500");
    player.line("! limit tubes 7");
    let cold = Box::new(ColdInMemory::default());
    let mut restored = Queue::restore(player.queue.records(), cold).expect("the state is sound");
    assert_eq!(restored.limits(), player.queue.limits());
    assert_eq!(restored.limits().tubes, 7);
    assert_eq!(restored.digest(), player.queue.digest());
    std::mem::swap(&mut restored, &mut player.queue);
    player.line("+0");
    assert_eq!(player.queue.limits_used().held_jobs, 1536);
}
