//! Checkpoints, restores, and the checker itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cold::ColdModel;
use super::play;
use super::script::Player;
use crate::queue::hearing::Hearing;
use crate::queue::*;

/// A state that has some of everything.
fn rich() -> Player {
    let mut player = play(
        "1 use x = 1 USING x
         1 put 5 0 60 a = 1 INSERTED 1
         1 put 4 9 60 b = 1 INSERTED 2
         1 put 3 0 60 c = 1 INSERTED 3
         1 put 2 0 60 d = 1 INSERTED 4
         1 put 1 0 60 e = 1 INSERTED 5
         2 reserve-job 3 = 2 RESERVED 3 c
         2 bury 3 0 = 2 BURIED
         2 reserve-job 4 = 2 RESERVED 4 d
         2 watch y = 2 WATCHING 2
         1 pause-tube x 50 = 1 PAUSED
         3 watch x = 3 WATCHING 2
         3 reserve-with-timeout 20 = 3 waits
         2 reserve = 2 waits
         4 put 0 30 9 f = 4 INSERTED 6
         4 put 0 31 9 g = 4 INSERTED 7
         4 put 0 32 9 h = 4 INSERTED 8
         4 put 0 33 9 i = 4 INSERTED 9
         5 watch x = 5 WATCHING 2
         5 reserve-job 6 = 5 RESERVED 6 f
         5 reserve-job 7 = 5 RESERVED 7 g
         5 reserve-job 8 = 5 RESERVED 8 h
         6 use x = 6 USING x",
    );
    player.play(
        "! member 2
         7 use w = 7 USING w
         7 watch w = 7 WATCHING 2
         7 put 9 0 60 j = 7 INSERTED 10
         7 reserve = 7 RESERVED 10 j
         ! open 2000
         7 watch w = 7 WATCHING 2
         7 reserve = 7 waits
         8 watch w = 8 WATCHING 2
         8 reserve = 8 waits
         ! silent
         9 use w = 9 USING w
         9 put 0 0 60 k = 9 INSERTED 11
         9 put 0 0 60 l = 9 INSERTED 12
         ! member 3
         10 use w = 10 USING w
         10 put 9 0 60 m = 10 INSERTED 13
         ! remove
         ! member 1",
    );
    player.ask_with_quota(0, 4, "kick 2");
    player.ask_with_quota(0, 5, "close");
    player.apply_with_quota(
        0,
        Part::Hearing { member: MemberId(2), incarnation: Incarnation(2), is_heard: true },
    );
    player.queue.check_invariants();
    player
}

fn records(queue: &mut Queue) -> Vec<Record> {
    let mut records = Vec::new();
    queue.begin_checkpoint();
    assert!(queue.checkpoint_slice(usize::MAX, &mut records));
    records
}

#[test]
fn restored_state_is_the_state() {
    let mut player = rich();
    let digest = player.queue.digest();
    let records = records(&mut player.queue);
    let restored = Queue::restore(records.into_iter(), Box::new(ColdInMemory::default()))
        .expect("the records are whole");
    restored.check_invariants();
    assert_eq!(restored.digest(), digest);
    assert_eq!(restored.counters(), player.queue.counters());
    assert_eq!(restored.next_deadline(), player.queue.next_deadline());
}

#[test]
fn the_greatest_numbers_that_are_applied_can_be_restored() {
    let mut player = Player::new();
    player.play(
        "1 open A 10000 = 1 opened turn 0 last 0 waiting -
         1#4611686018427387904 watch a = 1 WATCHING 2
         1#4611686018427387905 watch b =
         1#18446744073709551615 watch b =",
    );
    let digest = player.queue.digest();
    let records = records(&mut player.queue).into_iter();
    let restored = Queue::restore(records, Box::new(ColdInMemory::default()));
    assert_eq!(restored.expect("what is applied can be restored").digest(), digest);
}

#[test]
fn checkpoint_is_the_state_at_its_beginning_whatever_happens_meanwhile() {
    for slice in [1, 2, 3, 5, 8] {
        let mut player = rich();
        let digest = player.queue.digest();
        let mut steps = [
            "4 delete 9",
            "+1000",
            "2 close",
            "1 put 0 0 60 x",
            "6 use z",
            "7 watch x",
            "+9000",
            "1 pause-tube x 0",
            "! open",
            "1 reserve",
            "1 put 0 0 60 z",
        ]
        .iter();
        let mut records = Vec::new();
        player.queue.begin_checkpoint();
        while !player.queue.checkpoint_slice(slice, &mut records) {
            if let Some(step) = steps.next() {
                player.line(step);
            }
        }
        let restored = Queue::restore(records.into_iter(), Box::new(ColdInMemory::default()))
            .expect("the records are whole");
        assert_eq!(restored.digest(), digest, "in slices of {slice}");
        assert_ne!(player.queue.digest(), digest);
    }
}

#[test]
fn abandoned_checkpoint_leaves_nothing_behind() {
    let mut player = rich();
    let digest = player.queue.digest();
    player.queue.abandon_checkpoint();
    player.queue.begin_checkpoint();
    player.queue.checkpoint_slice(3, &mut Vec::new());
    player.line("2 close");
    assert!(player.queue.checkpoint_copies_held() > 0);
    player.queue.abandon_checkpoint();
    assert_eq!(player.queue.checkpoint_copies_held(), 0);
    let records = records(&mut player.queue);
    let restored = Queue::restore(records.into_iter(), Box::new(ColdInMemory::default()))
        .expect("the records are whole");
    assert_eq!(restored.digest(), player.queue.digest());
    assert_ne!(restored.digest(), digest);
}

#[test]
#[should_panic(expected = "a checkpoint is under way already")]
fn only_one_checkpoint_is_under_way() {
    let mut queue = Queue::new();
    queue.begin_checkpoint();
    queue.begin_checkpoint();
}

#[test]
fn checkpoint_with_a_record_missing_or_twice_is_refused() {
    let mut player = rich();
    let whole = records(&mut player.queue);
    for place in 0..whole.len() {
        let mut missing = whole.clone();
        missing.remove(place);
        let error = Queue::restore(missing.into_iter(), Box::new(ColdInMemory::default()))
            .expect_err("a record is missing");
        let mut twice = whole.clone();
        twice.push(whole[place].clone());
        let error_of_two = Queue::restore(twice.into_iter(), Box::new(ColdInMemory::default()))
            .expect_err("a record is there twice");
        if place == 0 {
            assert_eq!(error, RestoreError::NoHeader);
            assert_eq!(error_of_two, RestoreError::SecondHeader);
        } else {
            assert!(matches!(error, RestoreError::Incomplete { .. }), "{error}");
        }
    }
}

#[test]
fn damaged_records_are_refused_or_make_a_sound_state() {
    let mut player = rich();
    let whole = records(&mut player.queue);
    let (mut refused, mut accepted) = (0, 0);
    for place in 0..whole.len() {
        let bytes = postcard::to_stdvec(&whole[place]).expect("a record has an encoding");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(record) = postcard::from_bytes::<Record>(&bytes) else {
                continue;
            };
            let mut records = whole.clone();
            records[place] = record;
            match Queue::restore(records.into_iter(), Box::new(ColdInMemory::default())) {
                Ok(queue) => {
                    queue.check_invariants();
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100 && accepted > 100, "{refused} refused, {accepted} accepted");
}

#[test]
fn checker_finds_what_is_planted() {
    type Plant = fn(&mut Queue);
    let plants: &[(&str, Plant)] = &[
        ("a count of jobs", |queue| queue.job_counts.ready += 1),
        ("a lost deadline", |queue| {
            let (at, timer) = queue.deadlines.first().expect("there is one");
            queue.deadlines.remove(at, timer);
        }),
        ("a ready job that is not indexed", |queue| {
            queue.tube_mut(TubeId(1)).ready.pop_first().expect("there is one");
        }),
        ("a waiter that is forgotten", |queue| {
            queue.tube_mut(TubeId(1)).waiters.pop_first().expect("there is one");
        }),
        ("an urgent count", |queue| queue.tube_mut(TubeId(1)).urgent += 1),
        ("a count of watchers", |queue| queue.tube_mut(TubeId(1)).watching += 1),
        ("a list of tubes", |queue| queue.tube_order.swap(0, 1)),
        ("a job in a tube that is not there", |queue| {
            queue.job_mut(JobId(1)).tube = TubeId(77);
        }),
        ("a next id that was given out", |queue| queue.next.job = 3),
        ("a job that its holder does not know", |queue| {
            let by = queue.session_holding(JobId(4));
            queue.session_mut(by).held.clear();
        }),
        ("a kick that nobody goes on with", |queue| {
            let (id, _) = queue.continuations.iter().next().expect("there is one");
            let id = *id;
            queue.continuations.remove(&id);
        }),
        ("a return that nobody goes on with", |queue| {
            queue.member_mut(MemberId(2)).facts.hearing = Hearing::Returning { from: 0, before: 0 };
            let is_return = |kept: &Continuation| matches!(kept, Continuation::Return { .. });
            let kept = queue.continuations.iter().find(|(_, kept)| is_return(kept));
            let id = *kept.expect("there is one").0;
            queue.continuations.remove(&id);
        }),
        ("a member that is heard and was not served", |queue| {
            queue.member_mut(MemberId(2)).facts.hearing = Hearing::Heard;
        }),
        ("a grace that never ends", |queue| {
            let member = queue.member_mut(MemberId(2));
            member.facts.grace_until = None;
        }),
        ("a waiter that its member forgot", |queue| {
            queue.member_mut(MemberId(2)).waiters.pop_first().expect("there is one");
        }),
        ("the end of a life that is not over", |queue| {
            let last = Incarnation(1);
            queue.add_continuation(Continuation::EndLives { member: MemberId(1), last });
        }),
        ("a member's count", |queue| {
            queue.member_mut(MemberId(1)).sessions += 1;
        }),
    ];
    for (planted, plant) in plants {
        let mut player = rich();
        plant(&mut player.queue);
        let checked = catch_unwind(AssertUnwindSafe(|| player.queue.check_invariants()));
        assert!(checked.is_err(), "{planted} was not found");
    }
}

impl Queue {
    fn session_holding(&self, id: JobId) -> SessionId {
        match self.job(id).state {
            job::JobState::Reserved { by, .. } => by,
            state => panic!("{id:?} is {state:?}"),
        }
    }
}

#[test]
fn a_state_that_is_too_large_to_be_hot_comes_back_partly_cold_and_is_the_same() {
    let mut player = rich();
    for (job, delay) in (0..300).map(|job| (job, job % 3 * 100)) {
        player.line(&format!("6 put {} {delay} 60 body", job % 7 * 200));
    }
    let digest = player.queue.digest();
    let hot_bytes = player.queue.hot_bytes();
    let records = records(&mut player.queue);
    for share in [1, 2, 5, 1000] {
        let model = ColdModel::default();
        let mut waits = 0;
        let limit = HotLimit {
            bytes_max: hot_bytes / share,
            cooled_bytes: hot_bytes / share / 4,
            before_cooling: &mut || {
                waits += 1;
                true
            },
        };
        let cold = Box::new(model.clone());
        let restored = Queue::restore_within(records.iter().cloned(), cold, limit).unwrap();
        restored.check_invariants();
        assert_eq!(restored.digest(), digest);
        assert_eq!(restored.counters(), player.queue.counters());
        assert_eq!(restored.next_deadline(), player.queue.next_deadline());
        assert_eq!((waits > 0, model.len() > 0), (share > 1, share > 1), "{share}");
        let held: Vec<_> = records.iter().filter(|record| is_held(record)).collect();
        let most = (hot_bytes / share).max(held.len() as u64 * 400) + 400;
        assert!(restored.hot_bytes() <= most, "{share}: {}", restored.hot_bytes());
    }
}

fn is_held(record: &Record) -> bool {
    matches!(record, Record::Job(id, job) if job.shelf(*id).is_none())
}

#[test]
fn a_job_that_comes_twice_is_noticed_also_when_it_was_made_cold() {
    let mut player = Player::new();
    (0..100).for_each(|_| drop(player.line("6 put 5 0 60 body")));
    let mut records = records(&mut player.queue);
    let last = records.last().unwrap().clone();
    records.insert(records.len() - 5, last);
    let limit = HotLimit { bytes_max: 9000, cooled_bytes: 4000, before_cooling: &mut || true };
    let error = Queue::restore_within(records.into_iter(), Box::new(ColdModel::default()), limit);
    let is_twice = |error: &RestoreError| {
        matches!(error, RestoreError::Contradiction { rule: "is recorded twice", .. })
    };
    assert!(error.as_ref().is_err_and(is_twice), "{:?}", error.map(drop));
}

#[test]
fn bodies_of_held_jobs_that_are_too_many_come_back_cold_and_in_few_goes() {
    const JOBS: u64 = 200;
    let mut player = Player::new();
    for _ in 0..JOBS {
        player.line(&format!("1 put 5 0 60 {}", "b".repeat(4000)));
        player.line("2 reserve");
    }
    let (digest, hot_bytes) = (player.queue.digest(), player.queue.hot_bytes());
    let records = records(&mut player.queue);
    let (model, mut goes) = (ColdModel::default(), 0);
    let bytes_max = hot_bytes / 4;
    let limit = HotLimit {
        bytes_max,
        cooled_bytes: bytes_max / 8,
        before_cooling: &mut || {
            goes += 1;
            true
        },
    };
    let restored = Queue::restore_within(records.into_iter(), Box::new(model.clone()), limit);
    let restored = restored.unwrap();
    restored.check_invariants();
    assert_eq!(restored.digest(), digest);
    assert!(model.held_bodies() > JOBS / 2, "{} of {JOBS} are cold", model.held_bodies());
    let most = bytes_max + bytes_max / 8 + 5000;
    assert!(restored.hot_bytes() <= most, "{} with {most}", restored.hot_bytes());
    assert!(goes < 40, "{goes} goes");
}

#[test]
fn a_state_comes_back_hot_when_the_store_can_take_nothing() {
    let mut player = Player::new();
    (0..300).for_each(|_| drop(player.line("6 put 5 0 60 body")));
    let (digest, hot_bytes) = (player.queue.digest(), player.queue.hot_bytes());
    let records = records(&mut player.queue);
    let (model, mut asked) = (ColdModel::default(), 0);
    let limit = HotLimit {
        bytes_max: hot_bytes / 4,
        cooled_bytes: hot_bytes / 32,
        before_cooling: &mut || {
            asked += 1;
            false
        },
    };
    let restored = Queue::restore_within(records.into_iter(), Box::new(model.clone()), limit);
    let restored = restored.unwrap();
    assert_eq!((restored.digest(), restored.hot_bytes(), model.len()), (digest, hot_bytes, 0));
    assert!((10..40).contains(&asked), "asked {asked} times");
}
