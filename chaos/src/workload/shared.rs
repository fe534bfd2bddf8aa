//! What all clients of a run share: where the members are, how fast to go, which jobs are about.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::clock::Moment;
use crate::history::{Command, Reply};

use super::WorkloadOptions;
use super::keyed::KeyedPut;
use super::tally::Recorder;
use crate::testbed::Random;

/// Ids of one kind that are remembered.
const NOTES_MAX: usize = 1024;
/// Puts with a key that are remembered: few, so that what is sent again was put not long ago.
const KEYED_MAX: usize = 64;
/// How long a tube is full or nearly empty, in seconds.
const TIDE_SECONDS: u64 = 8;
/// Of so many tides one is high.
const TIDES: u64 = 3;
/// Jobs of a tube at low tide: workers mostly wait for the next put.
const BACKLOG_LOW: u32 = 4;
/// The longest sleep without a look whether the run is over.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// A job that a client has heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: u64,
    /// The place of its tube.
    pub(super) tube: usize,
}

/// Shared by all clients of a run.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: WorkloadOptions,
    pub(super) recorder: Arc<Recorder>,
    addresses: Mutex<Vec<SocketAddr>>,
    is_stopping: AtomicBool,
    /// When the next command may be sent, in nanoseconds of the run.
    next_slot: AtomicU64,
    /// About how many jobs each tube has.
    backlogs: Vec<AtomicI64>,
    notes: Mutex<Notes>,
}

/// Jobs that clients tell each other of. They may be gone.
#[derive(Debug, Default)]
struct Notes {
    put: VecDeque<Job>,
    buried: VecDeque<Job>,
    keyed: VecDeque<KeyedPut>,
}

impl Shared {
    pub(super) fn new(options: WorkloadOptions, recorder: Arc<Recorder>) -> Self {
        Self {
            addresses: Mutex::new(options.addresses.clone()),
            is_stopping: AtomicBool::new(false),
            next_slot: AtomicU64::new(0),
            backlogs: options.tubes.iter().map(|_| AtomicI64::new(0)).collect(),
            notes: Mutex::default(),
            options,
            recorder,
        }
    }

    /// The address of a member and how many there are.
    pub(super) fn address(&self, place: usize) -> (SocketAddr, usize) {
        let addresses = self.addresses();
        (addresses[place % addresses.len()], addresses.len())
    }

    pub(super) fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        *self.addresses() = addresses;
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Clients are to finish what they have.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed) || self.recorder.is_gone()
    }

    /// Sleeps, less when the run is over.
    pub(super) fn sleep(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() && !self.is_stopping() {
            let nap = left.min(SLEEP_MAX);
            thread::sleep(nap);
            left -= nap;
        }
    }

    /// Waits until one more command may be sent.
    pub(super) fn wait_for_slot(&self) {
        let interval = 1_000_000_000 / u64::from(self.options.commands_per_second_max.max(1));
        let now = self.recorder.now();
        // Slots that nobody took are lost: no burst follows a pause.
        let slot_after = |next: u64| next.max(now.0) + interval;
        let next = self
            .next_slot
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(slot_after(next)))
            .expect("there is always a next slot");
        thread::sleep(Moment(next).since(now));
    }

    /// Whether a tube has as many jobs as it may at the time. Tubes take turns at being full, so
    /// that there is order to keep in one and there are workers waiting at another.
    pub(super) fn is_full(&self, tube: usize) -> bool {
        let turn = self.recorder.now().0 / 1_000_000_000 / TIDE_SECONDS + tube as u64;
        let is_high = turn.is_multiple_of(TIDES);
        let most = if is_high { self.options.backlog_max } else { BACKLOG_LOW };
        self.backlogs[tube].load(Ordering::Relaxed) >= i64::from(most)
    }

    pub(super) fn backlog(&self) -> u64 {
        let counts = self.backlogs.iter().map(|count| count.load(Ordering::Relaxed));
        counts.map(|count| u64::try_from(count).unwrap_or_default()).sum()
    }

    /// Takes note of what an answer tells about jobs.
    pub(super) fn learn(&self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (
                Command::Put { tube, .. },
                Reply::Inserted { id } | Reply::Buried { id: Some(id) },
            ) => {
                if let Some(tube) = self.place_of(tube) {
                    self.backlogs[tube].fetch_add(1, Ordering::Relaxed);
                    remember(&mut self.notes().put, NOTES_MAX, Job { id: *id, tube });
                }
            }
            // Counts drift with what was never answered; a look at the tube puts them right.
            (Command::StatsTube { tube }, Reply::Stats { values }) => {
                let count = |state: &&str| -> Option<i64> {
                    values.get(&format!("current-jobs-{state}"))?.parse().ok()
                };
                let states = ["ready", "reserved", "delayed", "buried"];
                let jobs = states.iter().filter_map(count).sum();
                if let Some(tube) = self.place_of(tube) {
                    self.backlogs[tube].store(jobs, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    /// A job was deleted.
    pub(super) fn learn_deleted(&self, job: Job) {
        self.backlogs[job.tube].fetch_sub(1, Ordering::Relaxed);
    }

    /// A job was buried.
    pub(super) fn learn_buried(&self, job: Job) {
        remember(&mut self.notes().buried, NOTES_MAX, job);
    }

    /// A job that was buried not long ago.
    pub(super) fn take_buried(&self) -> Option<Job> {
        self.notes().buried.pop_front()
    }

    /// Any job that was put not long ago.
    pub(super) fn pick_put(&self, random: &mut Random) -> Option<Job> {
        let notes = self.notes();
        let length = notes.put.len();
        if length == 0 { None } else { notes.put.get(random.index(length)).copied() }
    }

    /// A put with a key was answered.
    pub(super) fn learn_keyed(&self, put: KeyedPut) {
        remember(&mut self.notes().keyed, KEYED_MAX, put);
    }

    /// Any put with a key that was answered not long ago.
    pub(super) fn pick_keyed(&self, random: &mut Random) -> Option<KeyedPut> {
        let notes = self.notes();
        let length = notes.keyed.len();
        if length == 0 { None } else { notes.keyed.get(random.index(length)).cloned() }
    }

    fn place_of(&self, tube: &str) -> Option<usize> {
        self.options.tubes.iter().position(|name| name == tube)
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.addresses.lock().expect("nobody panics with the addresses")
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics with the notes")
    }
}

/// Keeps the newest.
fn remember<T>(notes: &mut VecDeque<T>, most: usize, note: T) {
    if notes.len() == most {
        notes.pop_front();
    }
    notes.push_back(note);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::clock::Clock;

    fn shared(commands_per_second_max: u32) -> Shared {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let options =
            WorkloadOptions { commands_per_second_max, ..WorkloadOptions::on(vec![address], 0) };
        // Nothing is written.
        let lines = sync_channel(0).0;
        Shared::new(options, Arc::new(Recorder::new(Clock::start(), lines)))
    }

    #[test]
    fn commands_of_all_clients_keep_to_their_rate() {
        let shared = shared(1_000);
        let began = shared.recorder.now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..25).for_each(|_| shared.wait_for_slot()));
            }
        });
        let took = shared.recorder.now().since(began);
        assert!(took >= Duration::from_millis(99), "100 commands within {took:?}");
    }

    #[test]
    fn look_at_a_tube_puts_its_count_right() {
        let shared = shared(1);
        let tube = || shared.options.tubes[1].clone();
        let body = crate::history::Body { key: 1, bytes: 16, is_intact: true };
        let put = Command::Put { tube: tube(), priority: 0, delay: 0, ttr: 1, body, under: None };
        shared.learn(&put, &Reply::Inserted { id: 7 });
        assert_eq!(shared.backlog(), 1);
        let job = shared.pick_put(&mut Random::new(0)).unwrap();
        assert_eq!(job, Job { id: 7, tube: 1 });
        shared.learn_deleted(job);
        assert_eq!(shared.backlog(), 0);
        let values = [("current-jobs-ready", "4"), ("current-jobs-buried", "5"), ("pause", "9")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        shared.learn(&Command::StatsTube { tube: tube() }, &Reply::Stats { values });
        assert_eq!(shared.backlog(), 9);
    }

    #[test]
    fn notes_are_bounded() {
        let shared = shared(1);
        for id in 0..5_000 {
            shared.learn_buried(Job { id, tube: 0 });
        }
        let taken = std::iter::from_fn(|| shared.take_buried()).count();
        assert_eq!(taken, NOTES_MAX);
    }
}
