//! Sessions that outlive their connection.

use super::play;
use super::script::Player;
use crate::queue::*;

#[test]
fn a_session_goes_on_at_another_member_with_all_it_has() {
    play(
        "9 put 4 0 60 a = 9 INSERTED 1
         9 use t = 9 USING t
         9 put 4 0 60 b = 9 INSERTED 2
         1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 use u = 1 USING u
         1#2/1 watch t = 1 WATCHING 2
         1#3/2 reserve = 1 RESERVED 1 a
         1 detach
         ? stats current-connections current-workers = 1 0
         ! member 2
         5 resume A 10000 2 = 5 resumed turn 0 last 3 waiting - 3:Reserved { job: JobId(1) }
         ? list-tube-used 5 = u
         ? list-tubes-watched 5 = default t
         5#4/3 touch 1 = 5 TOUCHED
         5#5/4 delete 1 = 5 DELETED
         5#6/5 reserve = 5 RESERVED 2 b
         5#7/6 release 2 0 0 = 5 RELEASED
         ? stats current-connections total-connections = 2 2",
    );
}

#[test]
fn what_was_answered_is_not_kept_and_the_rest_is_told_in_order() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 put 0 0 60 a = 1 INSERTED 1
         1#2 put 0 0 60 b = 1 INSERTED 2
         1#4/1 delete 2 = 1 DELETED
         1#6/1 touch 2 = 1 NOT_FOUND
         2 resume A 10000 2 = 2 resumed turn 0 last 6 waiting - 4:Deleted 6:NotFound, 1 detached
         2#7/6 kick 1 = 2 KICKED 0
         3 resume A 10000 6 = 3 resumed turn 0 last 7 waiting - 7:Kicked { count: 0 }, 2 detached",
    );
}

#[test]
fn what_the_former_connection_still_sends_is_not_applied() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 put 0 0 60 a = 1 INSERTED 1
         2 resume A 10000 1 = 2 resumed turn 0 last 1 waiting -, 1 detached
         1#2 put 0 0 60 b
         1 stop-waiting
         1 detach
         1 close
         2#2/1 reserve = 2 RESERVED 1 a
         ? stats total-jobs current-connections = 1 1",
    );
}

#[test]
fn an_op_is_applied_once_and_one_without_a_number_not_at_all() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#2 put 0 0 60 a = 1 INSERTED 1
         1#2 put 0 0 60 a
         1#1 put 0 0 60 a
         1 put 0 0 60 a
         2#1 put 0 0 60 a
         ? stats total-jobs current-connections = 1 1",
    );
}

#[test]
fn a_wait_keeps_its_place_but_gets_nothing_without_a_connection() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 reserve = 1 waits
         2 reserve = 2 waits
         1 detach
         3 put 0 0 60 a = 3 INSERTED 1, 2 RESERVED 1 a
         2 delete 1 = 2 DELETED
         2 reserve = 2 waits
         ! member 2
         1 resume A 10000 0 = 1 resumed turn 1 last 1 waiting 1
         ! member 1
         3 put 0 0 60 b = 3 INSERTED 2, 1 RESERVED 2 b
         ! member 2
         1#2/1 bury 2 0 = 1 BURIED",
    );
}

#[test]
fn a_job_that_became_ready_meanwhile_is_handed_over_at_once() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 reserve = 1 waits
         1 detach
         3 put 0 0 60 a = 3 INSERTED 1
         2 resume A 10000 0 = 2 resumed turn 1 last 1 waiting 1, 2 RESERVED 1 a
         2 detach
         4 resume A 10000 0 = 4 resumed turn 1 last 1 waiting - 1:Reserved { job: JobId(1) }
         4#2/1 delete 1 = 4 DELETED",
    );
}

#[test]
fn a_wait_that_ends_without_a_connection_is_told_later() {
    play(
        "1 open A 60000 = 1 opened turn 0 last 0 waiting -
         1#1 reserve-with-timeout 3 = 1 waits
         1 detach
         +3000
         2 resume A 60000 0 = 2 resumed turn 1 last 1 waiting - 1:TimedOut
         ? stats current-waiting = 0",
    );
}

#[test]
fn a_job_whose_time_to_run_was_over_is_gone() {
    play(
        "1 put 0 0 2 a = 1 INSERTED 1
         2 open A 60000 = 2 opened turn 0 last 0 waiting -
         2#1 reserve = 2 RESERVED 1 a
         2 detach
         +2000
         1 reserve = 1 RESERVED 1 a
         3 resume A 60000 0 = 3 resumed turn 0 last 1 waiting - 1:Gone
         3#2/1 delete 1 = 3 NOT_FOUND",
    );
}

#[test]
fn a_lease_that_is_over_ends_the_session() {
    play(
        "1 put 0 0 600 a = 1 INSERTED 1
         2 open A 10000 = 2 opened turn 0 last 0 waiting -
         2#1 use gone = 2 USING gone
         2#2 reserve = 2 RESERVED 1 a
         3 reserve = 3 waits
         2 detach
         ? deadline = 10000
         +9999
         +1 = 3 RESERVED 1 a
         ? list-tubes = default
         4 resume A 10000 0 = 4 NOT_FOUND
         4 open A 10000 = 4 opened turn 0 last 0 waiting -
         4 close = 4 closed
         5 resume A 10000 0 = 5 NOT_FOUND
         ? limits sessions = 2",
    );
}

#[test]
fn who_ends_a_session_is_told_before_those_who_get_what_it_held() {
    play(
        "1 put 0 0 600 a = 1 INSERTED 1
         2 open A 10000 = 2 opened turn 0 last 0 waiting -
         2#1 reserve = 2 RESERVED 1 a
         3 reserve = 3 waits
         2 close = 2 closed, 3 RESERVED 1 a
         2 close
         2#2 put 0 0 60 a
         3 close
         ? stats current-connections current-jobs-ready = 1 1",
    );
}

#[test]
fn a_lease_does_not_run_while_a_connection_is_there_and_begins_anew_each_time() {
    play(
        "1 open A 1000 = 1 opened turn 0 last 0 waiting -
         +500000
         1 detach
         +900
         2 resume A 1000 0 = 2 resumed turn 0 last 0 waiting -
         2 detach
         +900
         3 resume A 1000 0 = 3 resumed turn 0 last 0 waiting -
         ? deadline = none",
    );
}

#[test]
fn a_lease_begins_anew_when_the_cluster_was_away() {
    for away in [1_000, 9_000, 11_000, 60_000] {
        play(&format!(
            "1 open A 10000 = 1 opened turn 0 last 0 waiting -
             1 detach
             +500
             ! away {away}
             +9999
             2 resume A 10000 0 = 2 resumed turn 0 last 0 waiting -
             2 detach
             +9999
             3 resume A 10000 0 = 3 resumed turn 0 last 0 waiting -
             3 detach
             +10000
             4 resume A 10000 0 = 4 NOT_FOUND"
        ));
    }
}

#[test]
fn a_lease_begins_anew_once_for_each_time_that_the_cluster_was_away() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1 detach
         ! away 60000
         +60000
         2 resume A 10000 0 = 2 NOT_FOUND",
    );
}

#[test]
fn a_life_that_ends_leaves_leased_sessions_their_lease() {
    for event in ["! end", "! open", "! open 2000"] {
        let mut player = play(
            "1 open A 10000 = 1 opened turn 0 last 0 waiting -
             1#1 put 0 0 60 a = 1 INSERTED 1
             1#2 reserve = 1 RESERVED 1 a
             1#3 watch t = 1 WATCHING 2
             1#4 ignore default = 1 WATCHING 1
             1#5 reserve-with-timeout 30 = 1 waits",
        );
        player.play(event);
        player.play(
            "! member 2
             ? stats current-connections current-waiting = 0 0
             7 resume A 10000 4 = 7 resumed turn 1 last 5 waiting 5
             ? stats current-connections current-waiting = 1 1
             +9000
             7#6/5 put 0 0 60 b = 7 deferred
             +21000 = 7 TIMED_OUT
             7#6/5 delete 1 = 7 DELETED",
        );
    }
}

#[test]
fn many_sessions_of_a_life_are_detached_in_slices() {
    let mut player = Player::new();
    for session in 1..=20 {
        player.play(&format!(
            "{session} open {session} 10000 = {session} opened turn 0 last 0 waiting -"
        ));
    }
    let (member, incarnation) = (player.member, player.incarnation);
    player.apply_with_quota(6, Part::EndLife { member, incarnation });
    player.queue.check_invariants();
    assert!(player.queue.work_pending());
    // One of those that are still to be detached is taken over in between.
    player.play(
        "! member 2
         1 resume 20 10000 0 = 1 resumed turn 0 last 0 waiting -
         ? pending = false
         ? limits sessions = 20
         ? stats current-connections = 1
         +10000
         ? limits sessions = 1",
    );
}

#[test]
fn no_more_sessions_are_leased_than_half_of_all() {
    play(
        "! limit sessions 4
         1 open A 10000 = 1 opened turn 0 last 0 waiting -
         2 open B 10000 = 2 opened turn 0 last 0 waiting -
         3 open C 10000 = 3 OUT_OF_MEMORY
         3#1 put 0 0 60 a
         4 put 0 0 60 a = 4 INSERTED 1
         5 put 0 0 60 a = 5 INSERTED 2
         6 put 0 0 60 a = 6 OUT_OF_MEMORY
         2 close = 2 closed
         7 open C 10000 = 7 opened turn 0 last 0 waiting -
         8 resume A 10000 0 = 8 resumed turn 0 last 0 waiting -, 1 detached",
    );
}

#[test]
fn opening_twice_with_one_token_is_one_session() {
    play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#1 put 0 0 60 a = 1 INSERTED 1
         2 open A 10000 = 2 resumed turn 0 last 1 waiting - 1:Inserted { job: JobId(1) }, 1 detached
         2 open B 10000 = 2 opened turn 0 last 0 waiting -
         ? stats current-connections = 1
         ? limits sessions = 2
         3 put 0 0 60 a = 3 INSERTED 2
         3 open B 10000 = 3 NOT_FOUND",
    );
}

#[test]
fn no_more_outcomes_are_kept_than_the_bound() {
    let mut player = play("1 open A 10000 = 1 opened turn 0 last 0 waiting -");
    for number in 1..=KEPT_OUTCOMES_MAX + 3 {
        player.play(&format!("1#{number} touch 9 = 1 NOT_FOUND"));
    }
    let told = player.line("2 resume A 10000 0");
    assert_eq!(told.matches("NotFound").count(), KEPT_OUTCOMES_MAX);
    assert!(told.contains(&format!("last {} waiting - 4:NotFound", KEPT_OUTCOMES_MAX + 3)));
}

#[test]
fn a_token_is_not_printed() {
    let token = TokenHash([0xab; 32]);
    assert_eq!(format!("{token:?}"), "TokenHash(abab..)");
}
