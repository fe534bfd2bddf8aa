//! How tubes come and go (reference 1.4).

use super::play;

#[test]
fn lists_keep_their_order_but_for_removals() {
    play(
        "1 watch w1 = 1 WATCHING 2
         1 watch w2 = 1 WATCHING 3
         1 watch w3 = 1 WATCHING 4
         1 watch w2 = 1 WATCHING 4
         1 ignore default = 1 WATCHING 3
         ? list-tubes-watched 1 = w3 w1 w2
         ? list-tubes = default w1 w2 w3
         1 ignore w1 = 1 WATCHING 2
         ? list-tubes = default w3 w2
         1 ignore nix = 1 WATCHING 2
         1 ignore w2 = 1 WATCHING 1
         1 ignore w3 = 1 NOT_IGNORED
         1 ignore w2 = 1 WATCHING 1
         ? list-tubes = default w3",
    );
}

#[test]
fn unknown_session_uses_and_watches_default() {
    play(
        "? list-tube-used 7 = default
         ? list-tubes-watched 7 = default
         ? peek-ready 7 = NOT_FOUND
         ? stats current-connections total-connections current-tubes = 0 0 1",
    );
}

#[test]
fn tube_lives_as_long_as_somebody_refers_to_it_or_a_job_is_in_it() {
    play(
        "1 use x = 1 USING x
         1 put 0 0 60 a = 1 INSERTED 1
         1 pause-tube x 99 = 1 PAUSED
         1 use default = 1 USING default
         ? stats-tube x total-jobs pause = 1 99
         2 reserve-job 1 = 2 RESERVED 1 a
         ? stats-tube x current-jobs-reserved = 1
         2 delete 1 = 2 DELETED
         ? stats-tube x total-jobs = NOT_FOUND
         ? list-tubes = default
         1 pause-tube x 1 = 1 NOT_FOUND
         1 use x = 1 USING x
         ? stats-tube x total-jobs pause current-using = 0 0 1
         ? deadline = none",
    );
}

#[test]
fn default_tube_stays_when_nobody_refers_to_it() {
    play(
        "1 use x = 1 USING x
         1 watch x = 1 WATCHING 2
         1 ignore default = 1 WATCHING 1
         ? list-tubes = default x
         ? stats-tube default current-using current-watching = 0 0
         1 close
         ? list-tubes = default",
    );
}

#[test]
fn using_the_tube_that_is_used_keeps_it() {
    play(
        "1 use x = 1 USING x
         1 put 0 0 60 a = 1 INSERTED 1
         1 delete 1 = 1 DELETED
         1 use x = 1 USING x
         ? stats-tube x total-jobs cmd-delete current-using = 1 1 1",
    );
}

#[test]
fn tubes_of_an_ending_session_end_first_watched_then_backwards_then_used() {
    play(
        "1 use u = 1 USING u
         1 watch w1 = 1 WATCHING 2
         1 watch u = 1 WATCHING 3
         1 watch w2 = 1 WATCHING 4
         1 watch w3 = 1 WATCHING 5
         1 ignore default = 1 WATCHING 4
         ? list-tubes-watched 1 = w3 w1 u w2
         2 watch s1 = 2 WATCHING 2
         2 watch s2 = 2 WATCHING 3
         2 watch s3 = 2 WATCHING 4
         2 watch s4 = 2 WATCHING 5
         2 watch s5 = 2 WATCHING 6
         ? list-tubes = default u w1 w2 w3 s1 s2 s3 s4 s5
         1 close
         ? list-tubes = default s2 s3 s4 s5 s1",
    );
}
