//! Cold jobs: what they must not change, and a store to show it with.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::script::Player;
use crate::queue::*;

/// A store that keeps all bodies, so that every job comes back without its own. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ColdModel(Arc<Mutex<Model>>);

#[derive(Debug, Default)]
struct Model {
    jobs: ColdInMemory,
    /// `None` for those that were let go.
    bodies: Vec<Option<Bytes>>,
    /// How many of them came from held jobs.
    held: u64,
}

impl ColdModel {
    /// Another store with the same jobs.
    pub(super) fn copy(&self) -> Self {
        let model = self.0.lock();
        let mut jobs = ColdInMemory::default();
        jobs.store(model.jobs.all());
        let (bodies, held) = (model.bodies.clone(), model.held);
        Self(Arc::new(Mutex::new(Model { jobs, bodies, held })))
    }

    /// How many bodies there ever were.
    pub(super) fn bodies(&self) -> usize {
        self.0.lock().bodies.len()
    }

    /// How many of them came from held jobs.
    pub(super) fn held_bodies(&self) -> u64 {
        self.0.lock().held
    }

    /// The number of its only file.
    pub(super) const FILE: u128 = 7;

    /// All jobs in it.
    pub(super) fn ids(&self) -> Vec<JobId> {
        self.0.lock().jobs.all().into_iter().map(|(id, _)| id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().jobs.all().len()
    }
}

impl Model {
    fn keep(&mut self, body: Bytes) -> ColdBody {
        let length = u32::try_from(body.len()).expect("a small body");
        let offset = self.bodies.len() as u64;
        self.bodies.push(Some(body));
        ColdBody { file: ColdModel::FILE, offset, length, crc: 0 }
    }
}

impl ColdJobs for ColdModel {
    fn store(&mut self, mut jobs: Vec<(JobId, Job)>) {
        let mut model = self.0.lock();
        for (_, job) in &mut jobs {
            if let Body::Here(bytes) = &job.body {
                job.body = Body::Cold(model.keep(bytes.clone()));
            }
        }
        model.jobs.store(jobs);
    }

    fn first(&self, shelf: Shelf) -> Option<Place> {
        self.0.lock().jobs.first(shelf)
    }

    fn find(&self, id: JobId) -> Option<Job> {
        self.0.lock().jobs.find(id)
    }

    fn take(&mut self, id: JobId) -> Option<Job> {
        self.0.lock().jobs.take(id)
    }

    fn keep(&mut self, bodies: Vec<(JobId, Bytes)>) -> Vec<ColdBody> {
        let mut model = self.0.lock();
        model.held += bodies.len() as u64;
        bodies.into_iter().map(|(_, body)| model.keep(body)).collect()
    }

    fn body(&self, at: ColdBody) -> Bytes {
        let index = usize::try_from(at.offset).expect("a place in a list");
        self.0.lock().bodies[index].clone().expect("it was not let go")
    }

    fn let_go(&mut self, at: ColdBody) {
        let index = usize::try_from(at.offset).expect("a place in a list");
        let body = self.0.lock().bodies[index].take();
        assert!(body.is_some(), "{at:?} is let go twice");
    }

    fn all(&self) -> Vec<(JobId, Job)> {
        self.0.lock().jobs.all()
    }
}

/// A player whose jobs are all made cold after each line.
fn cold_player() -> (Player, ColdModel) {
    let mut player = Player::new();
    let model = ColdModel::default();
    player.queue.cold = Box::new(model.clone());
    (player, model)
}

fn play_cold(transcript: &str) -> (Player, ColdModel) {
    let (mut player, model) = cold_player();
    for line in transcript.lines() {
        player.play(line);
        player.queue.cool(u64::MAX, 0);
        player.queue.cool(u64::MAX, 0);
        player.queue.check_invariants();
    }
    (player, model)
}

#[test]
fn ready_jobs_come_by_priority_and_id_whether_hot_or_cold() {
    play_cold(
        "1 put 5 0 60 a = 1 INSERTED 1
         1 put 4 0 60 b = 1 INSERTED 2
         1 put 4 0 60 c = 1 INSERTED 3
         1 put 9 0 60 d = 1 INSERTED 4
         ? peek-ready 1 = FOUND 2 b
         ? stats-tube default current-jobs-ready current-jobs-urgent = 4 4
         2 reserve = 2 RESERVED 2 b
         2 reserve = 2 RESERVED 3 c
         2 delete 4 = 2 DELETED
         2 reserve = 2 RESERVED 1 a
         ? stats-tube default current-jobs-ready current-jobs-reserved = 0 3",
    );
}

#[test]
fn cold_delayed_jobs_become_ready_in_their_order_and_time() {
    play_cold(
        "1 put 5 2 60 a = 1 INSERTED 1
         1 put 5 1 60 b = 1 INSERTED 2
         1 put 5 2 60 c = 1 INSERTED 3
         ? peek-delayed 1 = FOUND 2 b
         2 reserve = 2 waits
         3 reserve = 3 waits
         4 reserve = 4 waits
         +999
         +1 = 2 RESERVED 2 b
         +1000 = 3 RESERVED 1 a, 4 RESERVED 3 c",
    );
}

#[test]
fn cold_buried_jobs_are_kicked_in_the_order_of_burying() {
    play_cold(
        "1 put 5 0 60 a = 1 INSERTED 1
         1 put 5 0 60 b = 1 INSERTED 2
         1 put 5 0 60 c = 1 INSERTED 3
         1 reserve-job 3 = 1 RESERVED 3 c
         1 bury 3 8 = 1 BURIED
         1 reserve-job 1 = 1 RESERVED 1 a
         1 bury 1 8 = 1 BURIED
         ? peek-buried 1 = FOUND 3 c
         2 kick 1 = 2 KICKED 1
         ? peek-buried 1 = FOUND 1 a
         2 kick-job 1 = 2 KICKED
         ? stats-job 1 state kicks buries = ready 1 1",
    );
}

#[test]
fn cooling_chooses_what_is_needed_last_and_frees_what_it_says() {
    let (mut player, model) = cold_player();
    for _ in 0..100 {
        player.line("1 put 7 0 60 body");
    }
    let before = player.queue.job_counts.hot_bytes;
    let freed = player.queue.cool(before / 4, 0);
    assert!(freed >= before / 4 && freed < before / 2, "{freed} of {before}");
    let hottest = model.0.lock().jobs.all().iter().map(|(id, _)| id.0).min();
    assert!(hottest > Some(50), "job {hottest:?} was made cold");
    player.queue.check_invariants();
}

#[test]
fn a_reserved_job_is_never_made_cold() {
    let (mut player, model) = cold_player();
    player.play(
        "1 put 7 0 60 body = 1 INSERTED 1
         1 reserve = 1 RESERVED 1 body",
    );
    player.queue.cool(u64::MAX, 0);
    assert_eq!(model.len(), 0);
}

/// As long as is worth it.
const BODY: &str = "0123456789012345678901234567890123456789012345678901234567890123";

#[test]
fn a_held_jobs_body_is_cold_and_comes_back_with_the_job() {
    let short = &BODY[1..];
    let (player, model) = play_cold(&format!(
        "1 put 5 0 1 {BODY} = 1 INSERTED 1
         1 put 5 0 60 {short} = 1 INSERTED 2
         2 reserve = 2 RESERVED 1 {BODY}
         2 reserve = 2 RESERVED 2 {short}
         ? peek 1 = FOUND 1 {BODY}
         3 reserve = 3 waits
         2 touch 1 = 2 TOUCHED
         2 release 1 5 0 = 2 RELEASED, 3 RESERVED 1 {BODY}
         3 bury 1 5 = 3 BURIED
         ? peek-buried 3 = FOUND 1 {BODY}
         3 kick 1 = 3 KICKED 1
         3 reserve = 3 RESERVED 1 {BODY}
         +1000
         3 reserve = 3 RESERVED 1 {BODY}
         3 delete 1 = 3 DELETED
         2 delete 2 = 2 DELETED"
    ));
    assert_eq!(player.queue.hot_bytes(), 0);
    let model = model.0.lock();
    assert!(!model.bodies.is_empty(), "none was made cold");
    assert!(model.bodies.iter().all(Option::is_none), "a body stays that nobody needs");
}

#[test]
fn jobs_and_bodies_can_be_called_back_from_a_store_that_cannot_keep_them() {
    let (mut player, model) = cold_player();
    for _ in 0..4 {
        player.line(&format!("1 put 5 0 60 {BODY}"));
    }
    player.line("1 reserve");
    let before = player.queue.hot_bytes();
    player.queue.cool(u64::MAX, 0);
    player.queue.cool(u64::MAX, 0);
    assert_eq!((model.len(), model.bodies()), (3, 4));
    let ids = model.ids();
    player.queue.recall(ids.iter().copied().chain([JobId(1), JobId(99)]));
    assert_eq!(model.len(), 0);
    player.queue.recall_bodies(&[ColdModel::FILE].into());
    assert_eq!(player.queue.hot_bytes(), before);
    assert!(model.0.lock().bodies.iter().all(Option::is_none), "a body stays that nobody needs");
    player.queue.check_invariants();
}

#[test]
fn bodies_of_held_jobs_go_when_nothing_else_is_left_and_each_once() {
    let (mut player, model) = cold_player();
    for _ in 0..4 {
        player.line(&format!("1 put 5 0 60 {BODY}"));
    }
    player.line("1 reserve");
    player.line("2 reserve");
    assert!(player.queue.cool(1, 0) > 0);
    assert_eq!((model.len(), model.bodies()), (1, 1));
    player.queue.cool(u64::MAX, 0);
    assert_eq!((model.len(), model.bodies()), (2, 4));
    let left = player.queue.hot_bytes();
    assert_eq!(player.queue.cool(u64::MAX, 0), 0);
    assert_eq!(player.queue.hot_bytes(), left);
    player.queue.check_invariants();
}

#[test]
fn what_is_too_little_for_a_file_stays_hot() {
    let (mut player, model) = cold_player();
    (0..10).for_each(|_| drop(player.line("1 put 5 0 60 body")));
    let coolable = player.queue.coolable_bytes();
    assert_eq!(coolable, player.queue.hot_bytes());
    assert_eq!(player.queue.cool(u64::MAX, coolable + 1), 0);
    assert_eq!(model.len(), 0);
    assert!(player.queue.cool(u64::MAX, coolable) > 0);
    assert_eq!(model.len(), 5);
}

#[test]
fn few_ready_jobs_make_no_file_beside_that_of_many_held_bodies() {
    let (mut player, model) = cold_player();
    for _ in 0..200 {
        player.line(&format!("1 put 5 0 60 {BODY}"));
        player.line("2 reserve");
    }
    (0..3).for_each(|_| drop(player.line("1 put 5 0 60 body")));
    assert!(player.queue.coolable_bytes() < player.queue.hot_bytes() / 4);
    player.queue.cool(10_000, 2000);
    assert_eq!(model.len(), 0);
    assert!(model.held_bodies() > 100);
    player.queue.check_invariants();
}

#[test]
fn no_more_jobs_become_cold_in_one_go_than_may() {
    let (mut player, model) = cold_player();
    let most = cold::COOLED_JOBS_MAX;
    player.line(&format!("1 put 5 0 60 {BODY}"));
    player.line("2 reserve");
    (0..2 * most + 10).for_each(|_| drop(player.line("1 put 5 0 60 body")));
    player.queue.cool(u64::MAX, 0);
    // Nor does the body of the held one, as long as there are others.
    assert_eq!((model.len(), model.held_bodies()), (most, 0));
}

#[test]
fn the_one_job_among_thousands_of_tubes_is_found_in_one_go() {
    let (mut player, model) = cold_player();
    for tube in 0..3000 {
        player.line(&format!("1 watch tube-{tube}"));
    }
    player.line("1 use tube-2222");
    player.line("1 put 5 0 60 body");
    assert_eq!(player.queue.hot_tubes.len(), 1);
    assert!(player.queue.cool(1, 0) > 0);
    assert_eq!((model.len(), player.queue.hot_tubes.len()), (1, 0));
    player.line("1 reserve-job 1");
    assert_eq!((player.queue.hot_tubes.len(), player.queue.coolable_bytes()), (0, 0));
    player.line("1 release 1 5 0");
    assert_eq!(player.queue.hot_tubes.len(), 1);
}
