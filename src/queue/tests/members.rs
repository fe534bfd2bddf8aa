//! How members come and go, and what becomes of what they held (DESIGN D2, D15).

use super::play;
use super::script::{Player, action};
use crate::queue::*;

fn life(player: &Player) -> Life {
    player.queue.life(player.member).expect("the member is known")
}

fn hold_many(player: &mut Player, count: u64) {
    for _ in 0..count {
        player.ask(1, action("put 0 0 9999 a"));
        player.ask(2, action("reserve"));
    }
}

#[test]
fn newcomer_has_no_life_until_it_opens_one() {
    let mut queue = Queue::new();
    assert_eq!((queue.next_member(), queue.life(MemberId(1))), (MemberId(1), None));
    let apply = |queue: &mut Queue, part| {
        queue.apply(&Batch { now: LogicalTime(1), parts: vec![part] }, &mut Nobody);
    };
    apply(&mut queue, Part::Enrol { member: MemberId(1) });
    let enrolled = Life {
        incarnation: Incarnation(0),
        last: OpNumber(0),
        is_over: true,
        is_heard: true,
        is_removed: false,
    };
    assert_eq!((queue.next_member(), queue.life(MemberId(1))), (MemberId(2), Some(enrolled)));
    let (member, incarnation) = (MemberId(1), Incarnation(0));
    let put = Op::plain(ConnectionNumber(1), Turn(0), action("put 0 0 9 a"));
    let ops = [put].into();
    apply(&mut queue, Part::Ops { member, incarnation, first: OpNumber(1), ops });
    assert_eq!(queue.life(member), Some(enrolled));
    let incarnation = Incarnation(1);
    apply(&mut queue, Part::Open { member, incarnation, grace_millis: 2000 });
    let opened = Life { incarnation, is_over: false, ..enrolled };
    assert_eq!(queue.life(member), Some(opened));
    apply(&mut queue, Part::Enrol { member });
    assert_eq!(queue.life(member), Some(opened));
    assert_eq!(queue.next_deadline(), None, "there was nothing to leave a grace to");
    queue.check_invariants();
}

struct Nobody;

impl Observer for Nobody {
    fn before_op(&mut self, _queue: &Queue, session: SessionId) {
        panic!("{session:?} is not open");
    }

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        panic!("{session:?} got {outcome:?}");
    }
}

#[test]
fn removed_member_never_comes_back_and_leaves_its_number_taken() {
    let mut player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         ! member 2
         2 reserve = 2 waits
         ! member 1
         ! remove = 2 RESERVED 1 a
         1 put 0 0 60 b
         ? stats total-jobs current-connections = 1 1
         ! open
         1 put 0 0 60 b
         ? stats total-jobs current-connections = 1 1
         ! remove",
    );
    let removed = life(&player);
    assert!(removed.is_over && removed.is_removed);
    assert_eq!(removed.incarnation, Incarnation(1), "the second one was not opened");
    player.apply(vec![Part::Remove { member: MemberId(7) }]);
    assert_eq!(player.queue.next_member(), MemberId(8));
    player.play(
        "! member 7
         3 put 0 0 60 c
         ? stats total-jobs = 1",
    );
}

#[test]
fn life_that_is_over_gives_back_what_it_held_and_is_not_listened_to() {
    let mut player = play(
        "1 use x = 1 USING x
         1 put 0 0 60 a = 1 INSERTED 1
         2 watch x = 2 WATCHING 2
         2 reserve = 2 RESERVED 1 a
         2 reserve-with-timeout 9 = 2 waits
         3 watch x = 3 WATCHING 2
         3 reserve = 3 waits
         ! member 2
         4 watch x = 4 WATCHING 2
         4 reserve = 4 waits
         ! member 1
         ! end = 4 RESERVED 1 a
         2 put 0 0 60 late
         3 close
         9 put 0 0 60 late
         ? stats total-jobs current-connections current-waiting current-producers = 1 1 0 0
         ? deadline = 60000",
    );
    assert_eq!(life(&player).last, OpNumber(7));
    assert!(life(&player).is_over);
    player.play(
        "! end
         ! open
         1 put 0 0 60 b = 1 INSERTED 2
         ? stats current-connections = 2",
    );
}

#[test]
fn only_the_present_life_can_be_ended() {
    let mut player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a",
    );
    for (member, incarnation) in [(1, 0), (1, 2), (2, 1)] {
        let (member, incarnation) = (MemberId(member), Incarnation(incarnation));
        player.apply(vec![Part::EndLife { member, incarnation }]);
    }
    assert!(!life(&player).is_over);
    assert_eq!(player.queue.life(MemberId(2)), None);
    player.play("1 delete 1 = 1 DELETED");
}

#[test]
fn grace_gives_back_at_its_time_and_not_before() {
    play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 put 1 0 60 b = 1 INSERTED 2
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 RESERVED 2 b
         ! open 2000
         ? deadline = 2000
         ? stats current-connections current-jobs-reserved = 0 2
         5 delete 1 = 5 NOT_FOUND
         5 reserve = 5 waits
         +1999
         ? stats current-jobs-reserved = 2
         +1 = 5 RESERVED 1 a
         ? stats-job 1 timeouts reserves = 0 2
         ? stats-job 2 state timeouts reserves = ready 0 1
         ? pending = false
         5 delete 1 = 5 DELETED
         +9000
         ? stats current-jobs-ready current-jobs-reserved = 1 0",
    );
}

#[test]
fn waits_end_with_their_life_whatever_grace_it_has() {
    play(
        "1 reserve = 1 waits
         2 reserve-with-timeout 1 = 2 waits
         ! open 2000
         ? stats current-waiting = 0
         ? stats-tube default current-waiting = 0
         3 put 0 0 60 a = 3 INSERTED 1
         4 reserve = 4 RESERVED 1 a
         +1000
         +1000
         ? deadline = 58000",
    );
}

#[test]
fn time_to_run_ends_during_grace() {
    play(
        "1 put 0 0 1 a = 1 INSERTED 1
         2 reserve = 2 RESERVED 1 a
         2 reserve = 2 DEADLINE_SOON
         ! open 2000
         3 reserve = 3 waits
         +1000 = 3 RESERVED 1 a
         3 touch 1 = 3 TOUCHED
         +500
         3 touch 1 = 3 TOUCHED
         +500
         ? stats-job 1 state timeouts = reserved 1
         3 delete 1 = 3 DELETED",
    );
}

#[test]
fn next_life_makes_the_grace_longer_and_never_shorter() {
    play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         ! open 2000
         +1500
         2 put 1 0 60 b = 2 INSERTED 2
         2 reserve = 2 RESERVED 2 b
         ! open 2000
         ? deadline = 2000
         +500
         ! open 1000
         ? deadline = 1500
         +1499
         ? stats current-jobs-reserved = 2
         +1
         ? stats current-jobs-reserved current-jobs-ready = 0 2
         ? deadline = none",
    );
}

#[test]
fn opening_without_grace_ends_a_grace() {
    play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         ! open 2000
         ! open
         ? stats current-jobs-ready = 1
         ? deadline = none",
    );
}

#[test]
fn end_and_removal_end_the_grace_of_earlier_lives() {
    for event in ["end", "remove"] {
        play(&format!(
            "1 put 0 0 60 a = 1 INSERTED 1
             1 reserve = 1 RESERVED 1 a
             ! open 2000
             ! {event}
             ? stats current-jobs-ready = 1
             ? deadline = none"
        ));
    }
}

#[test]
fn grace_survives_a_restore() {
    let mut player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 a
         ! open 2000",
    );
    player.queue = Queue::restore(player.queue.records(), Box::new(ColdInMemory::default()))
        .expect("the state is sound");
    player.play(
        "? deadline = 2000
         +1999
         ? stats current-jobs-ready = 0
         +1
         ? stats current-jobs-ready = 1",
    );
}

#[test]
fn lives_that_still_end_leave_a_later_one_its_grace() {
    let many = u64::from(WORK_QUOTA_JOBS) + 100;
    let mut player = Player::new();
    hold_many(&mut player, many);
    let open = |incarnation, grace_millis| Part::Open {
        member: MemberId(1),
        incarnation: Incarnation(incarnation),
        grace_millis,
    };
    let op = |command| Op::plain(ConnectionNumber(1), Turn(0), action(command));
    player.incarnation = Incarnation(2);
    let second_life = player.run(OpNumber(1), vec![op("put 0 0 60 b"), op("reserve-job 1125")]);
    let words = player.apply(vec![open(2, 0), second_life, open(3, 2000)]);
    assert_eq!(words, "1 INSERTED 1125, 1 RESERVED 1125 b");
    player.play(
        "? pending = true
         +1999
         ? pending = false
         ? stats current-jobs-ready = 1124
         ? stats-job 1125 state = reserved
         +1
         ? stats-job 1125 state = ready",
    );
}

#[test]
fn hundred_thousand_held_jobs_come_back_in_slices() {
    const HELD: u64 = 100_000;
    let mut player = Player::new();
    hold_many(&mut player, HELD);
    player.line("! open 2000");
    player.now.0 += 2_000_000_000;
    let (mut ready, mut entries) = (0, 0);
    while ready < HELD {
        player.apply(vec![]);
        let now_ready = player.queue.counters().current_jobs_ready;
        assert!(now_ready - ready <= u64::from(WORK_QUOTA_JOBS) + 1);
        ready = now_ready;
        entries += 1;
        assert_eq!(player.queue.work_pending(), ready < HELD);
    }
    assert_eq!(entries, HELD.div_ceil(u64::from(WORK_QUOTA_JOBS)));
    player.play("? deadline = none");
}
