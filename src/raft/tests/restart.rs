//! What a restart gives back: from checkpoints and log together, from the log alone, after a crash
//! at any moment, and for how long the log is kept.

use std::collections::BTreeSet;

use super::*;
use crate::queue::{Body, Wait};
use crate::storage::sim::Crash;

/// Ops that are asked for at once.
const AT_ONCE: usize = 50;

/// So little that most jobs become cold.
pub(super) const HOT_BYTES_MAX: u64 = 32 << 10;

/// A checkpoint whenever there is something new.
const ALWAYS: CheckpointLimits = CheckpointLimits { log_bytes_min: 1, replay_ops_max: 1 };

/// What was asked for and answered.
#[derive(Clone, Debug, Default)]
struct Ledger {
    put: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    /// A delete was asked for and is not answered.
    unsure: BTreeSet<u64>,
}

impl Ledger {
    /// Holds the jobs of a member that was started again against what had been answered.
    fn audit(&self, view: &View, at: &str) {
        let there: BTreeSet<u64> = view.jobs.iter().map(|stats| stats.id.0).collect();
        let back: Vec<_> = self.deleted.intersection(&there).collect();
        assert!(back.is_empty(), "{at}: deleted jobs are back: {back:?}");
        let gone: Vec<_> = self
            .put
            .iter()
            .filter(|job| !self.unsure.contains(job) && !there.contains(job))
            .collect();
        assert!(gone.is_empty(), "{at}: jobs are gone: {gone:?}");
    }
}

/// Does `rounds` rounds of puts, and of everything else to the jobs put before.
async fn work(member: &Member, random: &mut Random, ledger: &mut Ledger, rounds: usize) {
    for _ in 0..rounds {
        for _ in 0..AT_ONCE {
            let delay = if random.below(4) == 0 { 10_000 } else { 0 };
            let body = vec![b'x'; random.below(300) as usize];
            member.ask(put(delay, body));
        }
        for _ in 0..AT_ONCE {
            ledger.put.insert(inserted(&member.outcome().await).0);
        }
        let known: Vec<u64> = ledger.put.iter().copied().collect();
        let mut deletes = Vec::new();
        for _ in 0..AT_ONCE {
            let job = JobId(known[random.below(known.len() as u64) as usize]);
            let action = change(random, job);
            if matches!(action, Action::Delete { .. }) {
                ledger.unsure.insert(job.0);
                deletes.push(Some(job.0));
            } else {
                deletes.push(None);
            }
            member.ask(action);
        }
        for delete in deletes {
            let outcome = member.outcome().await;
            let Some(job) = delete else { continue };
            ledger.unsure.remove(&job);
            if outcome == Outcome::Deleted {
                ledger.put.remove(&job);
                ledger.deleted.insert(job);
            }
        }
    }
}

fn change(random: &mut Random, job: JobId) -> Action {
    let priority = random.below(100) as u32;
    match random.below(8) {
        0 | 1 => Action::Reserve { wait: Wait::Seconds(0), half_closed: false },
        2 => Action::ReserveJob { job },
        3 => Action::Release { job, priority, delay: random.below(2) as u32 * 5000 },
        4 => Action::Bury { job, priority },
        5 => Action::KickJob { job },
        6 => Action::Touch { job },
        _ => Action::Delete { job },
    }
}

/// What a member shows that is started on a copy of `disk`, at a moment that is always the same.
pub(super) async fn shown_by(disk: &SimDisk) -> View {
    let clock = TestClock::standing(Duration::from_secs(5000), Duration::from_secs(1_005_000), 1);
    // The pace of the background writer stands still with this clock: nothing is made cold.
    let options = options(&disk.kill(), clock, NO_CHECKPOINTS);
    let member = Member::start(OpenOptions { hot_bytes_max: None, ..options }).await.unwrap();
    let view = member.settled_view().await;
    member.stop().await;
    view
}

/// A disk with two checkpoints and more log behind them; the log before the older one is gone.
pub(super) async fn disk_with_two_checkpoints(hot_bytes_max: Option<u64>) -> SimDisk {
    let disk = SimDisk::new();
    let limits = CheckpointLimits { log_bytes_min: u64::MAX, replay_ops_max: 1000 };
    let options = options(&disk, TestClock::ticking(), limits);
    let member = Member::start(OpenOptions { hot_bytes_max, ..options }).await.unwrap();
    let (mut random, mut ledger) = (Random(3), Ledger::default());
    for wanted in [1, 2] {
        while checkpoints(&disk).len() < wanted {
            work(&member, &mut random, &mut ledger, 3).await;
        }
    }
    work(&member, &mut random, &mut ledger, 4).await;
    let wal = data().join("wal");
    until("the log is cut", || !disk.list(&wal).unwrap().contains(&"log-1".to_owned())).await;
    let copy = disk.kill();
    member.stop().await;
    copy
}

#[tokio::test]
async fn a_checkpoint_and_the_log_behind_it_give_what_the_log_alone_gives() {
    let disk = SimDisk::new();
    let limits = CheckpointLimits { log_bytes_min: u64::MAX, replay_ops_max: 1500 };
    let member = Member::start_on(&disk, TestClock::ticking(), limits).await;
    let (mut random, mut ledger) = (Random(1), Ledger::default());
    work(&member, &mut random, &mut ledger, 20).await;
    until("a checkpoint", || checkpoints(&disk).len() == 1).await;
    work(&member, &mut random, &mut ledger, 3).await;
    let with = disk.kill();
    member.stop().await;
    let without = with.kill();
    checkpoints(&without).iter().for_each(|path| without.remove(path).unwrap());
    let (one, other) = (shown_by(&with).await, shown_by(&without).await);
    assert_eq!(one, other);
    ledger.audit(&one, "after the restart");
    assert!(one.jobs.len() > 500, "only {} jobs to compare", one.jobs.len());
}

#[tokio::test]
async fn cold_jobs_come_back_as_hot_ones_do() {
    let disk = SimDisk::new();
    let limits = CheckpointLimits { log_bytes_min: u64::MAX, replay_ops_max: 1500 };
    let options = options(&disk, TestClock::ticking(), limits);
    let options = OpenOptions { hot_bytes_max: Some(HOT_BYTES_MAX), ..options };
    let member = Member::start(options).await.unwrap();
    let (mut random, mut ledger) = (Random(5), Ledger::default());
    while checkpoints(&disk).len() < 2 {
        work(&member, &mut random, &mut ledger, 5).await;
    }
    work(&member, &mut random, &mut ledger, 3).await;
    let (crashed, killed) = (disk.crash(Crash::LoseAll), disk.kill());
    member.stop().await;
    let runs = killed.list(&data().join("runs")).unwrap();
    assert!(!runs.is_empty(), "nothing became cold");
    for disk in [killed, crashed] {
        let view = shown_by(&disk).await;
        ledger.audit(&view, "after the restart");
        assert!(view.jobs.len() > 300, "only {} jobs to compare", view.jobs.len());
    }
}

#[tokio::test]
async fn bodies_of_held_jobs_are_on_the_disk_and_come_back() {
    const JOBS: u64 = 100;
    let disk = SimDisk::new();
    let cold = |disk: &SimDisk| {
        let limits = CheckpointLimits { log_bytes_min: u64::MAX, replay_ops_max: 30 };
        let options = options(disk, TestClock::ticking(), limits);
        OpenOptions { hot_bytes_max: Some(HOT_BYTES_MAX), ..options }
    };
    let body = |job: u64| vec![job as u8; 2000];
    let member = Member::start(cold(&disk)).await.unwrap();
    for job in 1..=JOBS {
        member.act(put(0, body(job))).await;
        let held = member.act(Action::ReserveJob { job: JobId(job) }).await;
        assert!(matches!(held, Outcome::Reserved { .. }), "{held:?}");
    }
    // The first one may have begun in the middle.
    while checkpoints(&disk).len() < 2 {
        member.act(Action::Touch { job: JobId(1) }).await;
    }
    let runs = disk.list(&data().join("runs")).unwrap();
    assert!(!runs.is_empty(), "no body became cold");
    let (crashed, killed) = (disk.crash(Crash::LoseAll), disk.kill());
    member.stop().await;
    for disk in [killed, crashed] {
        let member = Member::start(cold(&disk)).await.unwrap();
        for job in 1..=JOBS {
            let taken = member.act(Action::ReserveJob { job: JobId(job) }).await;
            let there = Body::Here(body(job).into());
            assert_eq!(taken, Outcome::Reserved { job: JobId(job), body: there });
        }
        member.stop().await;
    }
}

#[tokio::test]
async fn a_damaged_newest_checkpoint_is_passed_over_and_nothing_is_lost() {
    let disk = disk_with_two_checkpoints(None).await;
    let whole = shown_by(&disk).await;
    let newest = checkpoints(&disk).pop().unwrap();
    let damaged = disk.kill();
    damaged.edit(&newest, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_eq!(shown_by(&damaged).await, whole);
    let missing = disk.kill();
    missing.remove(&newest).unwrap();
    assert_eq!(shown_by(&missing).await, whole);
}

#[tokio::test]
async fn power_failures_at_any_moment_under_checkpoints_lose_nothing_acknowledged() {
    let disk = SimDisk::new();
    let member = Member::start_on(&disk, TestClock::ticking(), ALWAYS).await;
    let (mut random, mut ledger) = (Random(2), Ledger::default());
    let mut with_checkpoint = 0;
    for seed in 0..40 {
        work(&member, &mut random, &mut ledger, 1).await;
        tokio::time::sleep(Duration::from_millis(random.below(15))).await;
        // Of the disk, a moment after the ledger: what is answered is on it.
        let after = match seed % 4 {
            0 => disk.kill(),
            1 => disk.crash(Crash::LoseAll),
            _ => disk.crash(Crash::Random { seed }),
        };
        with_checkpoint += u64::from(!checkpoints(&after).is_empty());
        ledger.audit(&shown_by(&after).await, &format!("seed {seed}"));
    }
    member.stop().await;
    assert!(with_checkpoint > 10, "only {with_checkpoint} of 40 had a checkpoint");
}

#[tokio::test]
async fn many_lives_one_after_the_other_lose_nothing_acknowledged() {
    let (mut disk, mut random, mut ledger) = (SimDisk::new(), Random(4), Ledger::default());
    let clock = TestClock::ticking();
    let mut incarnation = 0;
    for seed in 0..20 {
        let member = Member::start_on(&disk, clock.clone(), ALWAYS).await;
        assert!(member.signature.incarnation.0 > incarnation);
        incarnation = member.signature.incarnation.0;
        ledger.audit(&member.view().await, &format!("seed {seed}"));
        work(&member, &mut random, &mut ledger, 3).await;
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
        let after = disk.crash(Crash::Random { seed });
        member.stop().await;
        disk = after;
    }
}

#[tokio::test]
async fn the_log_is_recycled_and_the_disk_stays_bounded() {
    const CHECKPOINT_EVERY: u64 = 512 << 10;
    let disk = SimDisk::new();
    let limits = CheckpointLimits { log_bytes_min: CHECKPOINT_EVERY, replay_ops_max: u64::MAX };
    let member = Member::start_on(&disk, TestClock::ticking(), limits).await;
    let (mut used_max, mut made) = (0, BTreeSet::new());
    let mut written = 0;
    while made.len() < 6 {
        for _ in 0..20 {
            let job = inserted(&member.act(put(0, vec![7; 2000])).await);
            assert_eq!(member.act(Action::Delete { job }).await, Outcome::Deleted);
            written += 2000;
        }
        made.extend(checkpoints(&disk));
        used_max = used_max.max(disk.used_bytes());
    }
    // Two stretches of log that checkpoints need, what was written while one was made, spares,
    // and the reserves.
    assert!(written > 5 * CHECKPOINT_EVERY, "{written} bytes written");
    assert!(used_max < 8 << 20, "{used_max} bytes used for an empty queue");
    let oldest = disk.list(&data().join("wal")).unwrap();
    assert!(!oldest.contains(&"log-1".to_owned()), "the first segment is still there: {oldest:?}");
    // A third one is there between its making and the removal of the oldest.
    until("two are kept", || checkpoints(&disk).len() == 2).await;
    member.stop().await;
    assert_eq!(shown_by(&disk).await.jobs, []);
}
