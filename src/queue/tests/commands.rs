//! What the commands on single jobs do (reference 1.2 to 1.4).

use super::play;

#[test]
fn least_priority_then_least_id_is_reserved_first() {
    play(
        "1 put 5 0 60 a = 1 INSERTED 1
         1 put 3 0 60 b = 1 INSERTED 2
         1 put 3 0 60 c = 1 INSERTED 3
         ? peek-ready 1 = FOUND 2 b
         2 reserve = 2 RESERVED 2 b
         2 reserve = 2 RESERVED 3 c
         2 release 2 3 0 = 2 RELEASED
         2 reserve = 2 RESERVED 2 b
         2 reserve = 2 RESERVED 1 a",
    );
}

#[test]
fn job_choice_goes_over_all_watched_tubes_whatever_their_order() {
    play(
        "1 use x = 1 USING x
         1 put 2 0 60 a = 1 INSERTED 1
         1 use y = 1 USING y
         1 put 1 0 60 b = 1 INSERTED 2
         1 put 2 0 60 c = 1 INSERTED 3
         2 watch x = 2 WATCHING 2
         2 watch y = 2 WATCHING 3
         2 reserve = 2 RESERVED 2 b
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 RESERVED 3 c",
    );
}

#[test]
fn put_hands_its_job_to_who_waited_longest() {
    play(
        "1 reserve = 1 waits
         2 reserve = 2 waits
         3 put 0 0 60 a = 3 INSERTED 1, 1 RESERVED 1 a
         1 reserve = 1 waits
         3 put 0 0 60 b = 3 INSERTED 2, 2 RESERVED 2 b
         3 put 0 0 60 c = 3 INSERTED 3, 1 RESERVED 3 c
         ? stats current-waiting current-jobs-reserved current-jobs-ready = 0 3 0
         ? stats-job 1 state reserves = reserved 1",
    );
}

#[test]
fn ttr_of_zero_is_one_second() {
    play(
        "1 put 0 0 0 a = 1 INSERTED 1
         ? stats-job 1 ttr = 1",
    );
}

#[test]
fn only_the_holder_touches_releases_buries_and_deletes_a_reserved_job() {
    play(
        "1 put 0 0 60 a = 1 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         1 touch 1 = 1 NOT_FOUND
         1 release 1 0 0 = 1 NOT_FOUND
         1 bury 1 0 = 1 NOT_FOUND
         1 delete 1 = 1 NOT_FOUND
         1 reserve-job 1 = 1 NOT_FOUND
         2 reserve-job 1 = 2 NOT_FOUND
         1 kick-job 1 = 1 NOT_FOUND
         2 touch 1 = 2 TOUCHED
         2 delete 1 = 2 DELETED
         2 delete 1 = 2 NOT_FOUND
         ? peek 1 = NOT_FOUND",
    );
}

#[test]
fn anybody_deletes_a_job_that_is_not_reserved() {
    play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 put 0 9 60 b = 1 INSERTED 2
         1 put 0 0 60 c = 1 INSERTED 3
         1 reserve-job 3 = 1 RESERVED 3 c
         1 bury 3 0 = 1 BURIED
         2 delete 1 = 2 DELETED
         2 delete 2 = 2 DELETED
         2 delete 3 = 2 DELETED
         ? deadline = none",
    );
}

#[test]
fn release_gives_priority_and_delay_and_counts() {
    play(
        "1 put 5 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         1 release 1 7 30 = 1 RELEASED
         ? stats-job 1 state pri delay time-left releases = delayed 7 30 30 1
         +500
         ? stats-job 1 time-left age = 29 0
         +29499
         ? stats-job 1 state time-left = delayed 0
         +1
         ? stats-job 1 state delay age = ready 30 30",
    );
}

#[test]
fn buried_jobs_are_kicked_in_order_of_burying_and_before_delayed_ones() {
    play(
        "1 put 1 0 60 a = 1 INSERTED 1
         1 put 2 0 60 b = 1 INSERTED 2
         1 put 3 20 60 c = 1 INSERTED 3
         1 put 3 10 60 d = 1 INSERTED 4
         1 reserve-job 2 = 1 RESERVED 2 b
         1 reserve-job 1 = 1 RESERVED 1 a
         1 bury 2 9 = 1 BURIED
         1 bury 1 0 = 1 BURIED
         ? peek-buried 1 = FOUND 2 b
         ? peek-delayed 1 = FOUND 4 d
         1 kick 1 = 1 KICKED 1
         ? stats-job 2 state pri buries kicks = ready 9 1 1
         1 kick 9 = 1 KICKED 1
         ? stats-job 1 state pri buries kicks = ready 0 1 1
         1 kick 1 = 1 KICKED 1
         ? stats-job 4 state delay kicks = ready 10 1
         1 kick 9 = 1 KICKED 1
         1 kick 9 = 1 KICKED 0
         ? deadline = none",
    );
}

#[test]
fn kick_hands_each_job_over_as_it_goes() {
    play(
        "1 put 9 0 60 a = 1 INSERTED 1
         1 put 1 0 60 b = 1 INSERTED 2
         1 reserve-job 1 = 1 RESERVED 1 a
         1 reserve-job 2 = 1 RESERVED 2 b
         1 bury 1 9 = 1 BURIED
         1 bury 2 1 = 1 BURIED
         2 reserve = 2 waits
         1 kick 5 = 1 KICKED 2, 2 RESERVED 1 a",
    );
}

#[test]
fn kick_job_takes_buried_and_delayed_jobs_of_any_tube() {
    play(
        "1 use x = 1 USING x
         1 put 0 9 60 a = 1 INSERTED 1
         1 put 0 0 60 b = 1 INSERTED 2
         1 reserve-job 2 = 1 RESERVED 2 b
         1 bury 2 0 = 1 BURIED
         2 kick-job 1 = 2 KICKED
         2 kick-job 2 = 2 KICKED
         2 kick-job 2 = 2 NOT_FOUND
         2 kick-job 3 = 2 NOT_FOUND
         ? stats cmd-kick current-jobs-ready = 0 2",
    );
}

#[test]
fn reserve_job_takes_ready_delayed_and_buried_jobs() {
    play(
        "1 use x = 1 USING x
         1 put 0 0 60 a = 1 INSERTED 1
         1 put 0 9 60 b = 1 INSERTED 2
         1 put 0 0 60 c = 1 INSERTED 3
         1 reserve-job 3 = 1 RESERVED 3 c
         1 bury 3 0 = 1 BURIED
         1 pause-tube x 60 = 1 PAUSED
         2 reserve-job 9 = 2 NOT_FOUND
         ? stats current-workers = 1
         2 reserve-job 1 = 2 RESERVED 1 a
         2 reserve-job 2 = 2 RESERVED 2 b
         2 reserve-job 3 = 2 RESERVED 3 c
         ? stats current-workers cmd-reserve cmd-reserve-with-timeout = 2 0 0
         2 release 2 0 0 = 2 RELEASED
         ? stats-job 2 state reserves = ready 1",
    );
}

#[test]
fn commands_count_once_and_urgent_jobs_are_those_below_1024() {
    play(
        "1 put 1023 0 60 a = 1 INSERTED 1
         1 put 1024 0 60 b = 1 INSERTED 2
         1 put 0 5 60 c = 1 INSERTED 3
         ? stats current-jobs-urgent current-jobs-ready current-jobs-delayed = 1 2 1
         ? stats-tube default current-jobs-urgent current-jobs-ready total-jobs = 1 2 3
         1 reserve = 1 RESERVED 1 a
         1 bury 1 5 = 1 BURIED
         ? stats current-jobs-urgent current-jobs-buried = 0 1
         1 kick 1 = 1 KICKED 1
         ? stats current-jobs-urgent current-jobs-buried = 1 0
         1 delete 9 = 1 NOT_FOUND
         1 delete 1 = 1 DELETED
         1 touch 9 = 1 NOT_FOUND
         1 release 9 0 0 = 1 NOT_FOUND
         1 use x = 1 USING x
         1 watch x = 1 WATCHING 2
         1 ignore x = 1 WATCHING 1
         1 ignore default = 1 NOT_IGNORED
         1 pause-tube nix 1 = 1 NOT_FOUND
         1 reserve-with-timeout 0 = 1 RESERVED 2 b
         ? stats cmd-put cmd-reserve cmd-reserve-with-timeout cmd-delete cmd-touch = 3 1 1 2 1
         ? stats cmd-release cmd-bury cmd-kick cmd-use cmd-watch = 1 1 1 1 1
         ? stats cmd-ignore cmd-pause-tube total-jobs current-tubes = 2 1 3 2
         ? stats-tube default cmd-delete cmd-pause-tube = 1 0
         ? stats current-connections current-producers current-workers = 1 1 1",
    );
}
