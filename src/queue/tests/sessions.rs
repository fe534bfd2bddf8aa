//! Sessions, turns, sequences and lives (DESIGN D2, D4).

use super::play;
use super::script::{Player, action};
use crate::queue::*;

/// The present life of a member and the last op of it that was applied.
fn last_applied(player: &Player, member: MemberId) -> Option<(Incarnation, OpNumber)> {
    player.queue.life(member).map(|life| (life.incarnation, life.last))
}

#[test]
fn closing_makes_held_jobs_ready_and_counts_nothing() {
    play(
        "1 put 4 0 60 a = 1 INSERTED 1
         1 put 5 0 60 b = 1 INSERTED 2
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 RESERVED 2 b
         3 reserve = 3 waits
         2 close = 3 RESERVED 1 a
         ? stats-job 2 state timeouts releases = ready 0 0
         ? stats current-connections total-connections current-workers = 2 3 1",
    );
}

#[test]
fn closed_waiter_gets_nothing() {
    play(
        "1 reserve-with-timeout 5 = 1 waits
         2 reserve = 2 waits
         1 close
         3 put 0 0 60 a = 3 INSERTED 1, 2 RESERVED 1 a
         ? deadline = 60000
         1 close",
    );
}

#[test]
fn ops_behind_a_wait_are_deferred_and_change_nothing() {
    let mut player = play("1 reserve = 1 waits");
    let (old, new) = (Turn(0), Turn(1));
    assert_eq!(player.turn(1), new);
    let put = || action("put 0 0 60 a");
    assert_eq!(player.ask_in_turn(1, old, put()), "1 deferred");
    assert_eq!(player.ask_in_turn(1, new, put()), "1 deferred");
    player.play("2 put 0 0 60 b = 2 INSERTED 1, 1 RESERVED 1 b");
    assert_eq!(player.ask_in_turn(1, old, put()), "1 deferred");
    player.play("? stats cmd-put total-jobs = 1 1");
    assert_eq!(player.ask_in_turn(1, new, put()), "1 INSERTED 2");
}

#[test]
fn reserve_that_finds_a_job_keeps_the_turn() {
    let player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a",
    );
    assert_eq!(player.turn(1), Turn(0));
}

#[test]
fn close_and_stop_waiting_act_in_any_turn() {
    let mut player = play("1 reserve = 1 waits");
    assert_eq!(player.ask_in_turn(1, Turn(0), Action::StopWaiting), "1 TIMED_OUT");
    assert_eq!(player.ask_in_turn(1, Turn(0), Action::Close), "");
    player.play("? stats current-connections = 0");
}

#[test]
fn unknown_session_out_of_turn_is_not_opened() {
    let mut player = play("");
    assert_eq!(player.ask_in_turn(4, Turn(3), action("put 0 0 60 a")), "4 deferred");
    player.play("? stats total-connections = 0");
}

fn put_op(connection: u64) -> Op {
    let action = action("put 0 0 60 a");
    Op::plain(ConnectionNumber(connection), Turn(0), action)
}

#[test]
fn repeats_and_gaps_in_a_sequence_are_ignored() {
    let mut player = Player::new();
    let ops = || vec![put_op(1), put_op(1), put_op(1)];
    let two = vec![put_op(1), put_op(1)];
    let table = [
        (2, ops(), ""),
        (0, vec![put_op(1)], ""),
        (1, two, "1 INSERTED 1, 1 INSERTED 2"),
        (1, ops(), "1 INSERTED 3"),
        (1, ops(), ""),
        (3, ops(), "1 INSERTED 4, 1 INSERTED 5"),
        (7, ops(), ""),
        (u64::MAX, ops(), ""),
    ];
    for (first, ops, expected) in table {
        let part = player.run(OpNumber(first), ops);
        assert_eq!(player.apply(vec![part]), expected, "from {first}");
    }
    assert_eq!(last_applied(&player, MemberId(1)), Some((Incarnation(1), OpNumber(5))));
}

#[test]
fn ops_of_other_lives_and_unknown_members_are_ignored() {
    let mut player = Player::new();
    for (member, incarnation) in [(1, 0), (1, 2), (2, 1)] {
        let (member, incarnation) = (MemberId(member), Incarnation(incarnation));
        let part = Part::Ops { member, incarnation, first: OpNumber(1), ops: [put_op(1)].into() };
        assert_eq!(player.apply(vec![part]), "");
    }
    assert_eq!(last_applied(&player, MemberId(2)), None);
}

#[test]
fn new_life_ends_the_sessions_of_the_old_one() {
    play(
        "1 use x = 1 USING x
         1 put 0 0 60 a = 1 INSERTED 1
         2 watch x = 2 WATCHING 2
         2 reserve = 2 RESERVED 1 a
         2 reserve-with-timeout 5 = 2 waits
         3 watch y = 3 WATCHING 2
         3 reserve = 3 waits
         ! open
         ? stats-job 1 state timeouts releases = ready 0 0
         ? stats current-connections current-waiting current-workers = 0 0 0
         ? stats total-connections current-producers = 3 0
         ? list-tubes = default x
         ? deadline = none
         1 put 0 0 60 b = 1 INSERTED 2
         1 watch x = 1 WATCHING 2
         1 reserve = 1 RESERVED 1 a",
    );
}

#[test]
fn life_is_opened_only_if_it_is_greater() {
    let mut player = play("1 put 0 0 60 a = 1 INSERTED 1");
    for incarnation in [0, 1] {
        let (member, incarnation) = (MemberId(1), Incarnation(incarnation));
        player.apply(vec![Part::Open { member, incarnation, grace_millis: 0 }]);
    }
    player.play("? stats current-connections = 1");
    assert_eq!(last_applied(&player, MemberId(1)), Some((Incarnation(1), OpNumber(1))));
}
