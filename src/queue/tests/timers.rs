//! What happens by itself: TTR, delays, timeouts, warnings, pauses (reference 1.3, 1.4).

use super::play;
use super::script::name;
use crate::queue::{JobId, JobStateName, LogicalTime};

#[test]
fn job_is_ready_again_exactly_when_its_time_to_run_is_over() {
    play(
        "1 put 7 0 3 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         ? deadline = 3000
         +2999
         ? stats-job 1 state time-left = reserved 0
         +1
         ? stats-job 1 state pri timeouts reserves releases = ready 7 1 1 0
         ? stats job-timeouts = 1
         1 touch 1 = 1 NOT_FOUND
         1 release 1 0 0 = 1 NOT_FOUND
         1 bury 1 0 = 1 NOT_FOUND
         1 delete 1 = 1 DELETED",
    );
}

#[test]
fn touch_gives_the_whole_time_to_run_again() {
    play(
        "1 put 7 0 3 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         +2000
         1 touch 1 = 1 TOUCHED
         ? stats-job 1 time-left = 3
         +2999
         ? stats-job 1 state = reserved
         +1
         ? stats-job 1 state = ready",
    );
}

#[test]
fn expired_job_goes_to_who_waits() {
    play(
        "1 put 0 0 2 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         2 reserve = 2 waits
         +2000 = 2 RESERVED 1 a
         1 delete 1 = 1 NOT_FOUND
         ? stats-job 1 timeouts reserves = 1 2",
    );
}

#[test]
fn delayed_jobs_become_ready_in_order_of_their_time() {
    play(
        "1 put 0 3 60 a = 1 INSERTED 1
         1 put 0 2 60 b = 1 INSERTED 2
         2 reserve = 2 waits
         3 reserve = 3 waits
         ? deadline = 2000
         +1999
         +8001 = 2 RESERVED 2 b, 3 RESERVED 1 a",
    );
}

#[test]
fn reserve_with_timeout_ends_on_time() {
    play(
        "1 reserve-with-timeout 0 = 1 TIMED_OUT
         1 reserve-with-timeout 2 = 1 waits
         ? stats current-waiting = 1
         ? deadline = 2000
         +1999
         +1 = 1 TIMED_OUT
         ? stats current-waiting = 0
         ? deadline = none",
    );
}

#[test]
fn job_that_is_due_with_a_timeout_still_finds_its_waiter() {
    play(
        "1 reserve-with-timeout 2 = 1 waits
         2 put 0 2 60 a = 2 INSERTED 1
         +2000 = 1 RESERVED 1 a",
    );
}

#[test]
fn holder_in_its_last_second_is_warned_at_once_when_nothing_is_ready() {
    play(
        "1 put 0 0 5 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         +4000
         1 reserve = 1 DEADLINE_SOON
         1 reserve-with-timeout 0 = 1 DEADLINE_SOON
         1 reserve-half-closed = 1 DEADLINE_SOON
         2 put 0 0 60 b = 2 INSERTED 2
         1 reserve = 1 RESERVED 2 b",
    );
}

#[test]
fn holder_before_its_last_second_waits_until_it_begins() {
    play(
        "1 put 0 0 5 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         1 reserve-with-timeout 0 = 1 TIMED_OUT
         1 reserve-with-timeout 60 = 1 waits
         ? deadline = 4000
         +3999
         +1 = 1 DEADLINE_SOON
         ? stats current-waiting = 0
         1 touch 1 = 1 TOUCHED
         1 reserve-with-timeout 1 = 1 waits
         +1000 = 1 TIMED_OUT",
    );
}

#[test]
fn holder_in_its_last_second_waits_for_a_paused_job_until_the_next_entry() {
    play(
        "1 put 0 0 1 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         2 put 0 0 60 b = 2 INSERTED 2
         2 pause-tube default 60 = 2 PAUSED
         1 reserve-with-timeout 0 = 1 DEADLINE_SOON
         1 reserve = 1 waits
         ? pending = true
         +0 = 1 DEADLINE_SOON
         ? pending = false",
    );
}

#[test]
fn half_closed_client_takes_a_ready_job_and_never_waits() {
    play(
        "1 reserve-half-closed = 1 TIMED_OUT
         2 put 0 0 60 a = 2 INSERTED 1
         1 reserve-half-closed = 1 RESERVED 1 a
         1 reserve = 1 waits
         1 stop-waiting = 1 TIMED_OUT
         1 stop-waiting
         9 stop-waiting
         ? stats current-connections current-waiting = 2 0",
    );
}

#[test]
fn paused_tube_hands_out_nothing_until_its_pause_ends() {
    play(
        "1 reserve = 1 waits
         2 reserve = 2 waits
         3 pause-tube default 2 = 3 PAUSED
         ? stats-tube default pause pause-time-left cmd-pause-tube = 2 2 1
         3 put 5 0 60 a = 3 INSERTED 1
         3 put 4 0 60 b = 3 INSERTED 2
         3 put 3 0 60 c = 3 INSERTED 3
         ? peek-ready 3 = FOUND 3 c
         4 reserve-with-timeout 0 = 4 TIMED_OUT
         +1999
         ? stats-tube default pause pause-time-left = 2 0
         +1 = 1 RESERVED 3 c, 2 RESERVED 2 b
         ? stats-tube default pause pause-time-left = 0 0
         4 reserve = 4 RESERVED 1 a",
    );
}

#[test]
fn new_pause_replaces_the_old_and_zero_ends_it() {
    play(
        "1 pause-tube default 100 = 1 PAUSED
         1 pause-tube default 50 = 1 PAUSED
         ? deadline = 50000
         1 put 0 0 60 a = 1 INSERTED 1
         2 reserve = 2 waits
         1 pause-tube default 0 = 1 PAUSED, 2 RESERVED 1 a
         ? stats-tube default pause pause-time-left = 0 0",
    );
}

#[test]
fn pause_leaves_other_tubes_and_timers_alone() {
    play(
        "1 use x = 1 USING x
         1 put 0 1 60 a = 1 INSERTED 1
         1 pause-tube x 60 = 1 PAUSED
         2 watch x = 2 WATCHING 2
         2 reserve-with-timeout 9 = 2 waits
         +1000
         ? stats-tube x current-jobs-ready current-jobs-delayed current-waiting = 1 0 1
         3 put 0 0 60 b = 3 INSERTED 2, 2 RESERVED 2 b
         1 kick-job 1 = 1 NOT_FOUND
         1 delete 1 = 1 DELETED
         2 reserve-with-timeout 9 = 2 waits
         +9000 = 2 TIMED_OUT",
    );
}

#[test]
fn clock_never_goes_back() {
    let mut player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         +5000",
    );
    player.now.0 -= 3_000_000_000;
    let before = player.queue.now();
    player.play("1 put 0 0 60 b = 1 INSERTED 2");
    assert_eq!(player.queue.now(), before);
}

#[test]
fn end_of_time_is_reached_without_harm() {
    let mut player = play(
        "1 put 0 9 9 a = 1 INSERTED 1
         1 put 0 0 9 b = 1 INSERTED 2
         1 reserve = 1 RESERVED 2 b
         2 reserve-with-timeout 9 = 2 waits",
    );
    player.now = LogicalTime(u64::MAX);
    player.play(
        "1 pause-tube default 9 = 2 RESERVED 1 a, 1 PAUSED
         2 reserve-with-timeout 9 = 2 RESERVED 1 a
         ? stats-job 1 time-left = 0",
    );
}

#[test]
fn reads_are_answered_for_the_time_they_are_given() {
    let player = play(
        "1 put 0 9 9 a = 1 INSERTED 1
         1 pause-tube default 2 = 1 PAUSED",
    );
    let table: [(u64, u64, u64, u64); 4] =
        [(0, 0, 9, 2), (1, 1, 8, 2), (2, 2, 7, 0), (10, 10, 0, 0)];
    for (seconds, age, time_left, pause) in table {
        let now = LogicalTime(player.now.0 + seconds * 1_000_000_000);
        let job = player.queue.job_stats(JobId(1), now).expect("it is there");
        assert_eq!((job.state, job.age, job.time_left), (JobStateName::Delayed, age, time_left));
        let tube = player.queue.tube_stats(&name("default"), now).expect("it is there");
        assert_eq!((tube.pause, tube.pause_time_left), (pause, pause.saturating_sub(seconds)));
    }
}
