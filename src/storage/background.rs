//! The one thread that does all bulk writing.
//!
//! Unpaced bulk writes raise the latency of the log's syncs a hundredfold. So zero-filling, refills
//! and checkpoints all go through this thread, in pieces of at most [`PIECE_BYTES_MAX`], each synced
//! and dropped from the page cache, at a bounded rate. Work for the log, other work and merges take
//! turns: while producers are fast, there is always more to zero-fill, and jobs have to get out of
//! memory; and a merge is long.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Now;
use super::disk::{Disk, DiskFile};

/// The most that is written between two syncs, and between two looks at the queue.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// How many jobs may wait in one lane.
pub const JOBS_MAX: usize = 64;

/// How fast the background writer may write, bytes per second.
///
/// Measured beside a log that syncs 4 KiB at a time (storage-review): at 100 MB/s the log does not
/// notice, at 400 MB/s it keeps 70 to 80 percent of its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nobody waits for it: 100 MB/s.
    Calm,
    /// It lags behind those who put jobs in: 400 MB/s.
    Brisk,
    /// They wait for it: 800 MB/s.
    Hurried,
}

/// How the background writer starts.
#[derive(Clone)]
pub struct BackgroundOptions {
    /// Bytes per second, at least 1, until another [`Pace`] is set. By default that of
    /// [`Pace::Calm`].
    pub rate_bytes_per_second: u64,
    /// The clock for the pace.
    pub now: Now,
}

impl BackgroundOptions {
    /// The defaults, with this clock.
    pub fn new(now: Now) -> Self {
        Self { rate_bytes_per_second: Pace::Calm.bytes_per_second(), now }
    }
}

/// Bulk work, a piece at a time.
pub trait Job: Send {
    /// Writes at most [`PIECE_BYTES_MAX`] bytes and syncs them.
    fn step(&mut self) -> Step;
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It wrote so many bytes, and there is more to do.
    More {
        /// Bytes written by this step.
        bytes: u64,
    },
    /// It wrote so many bytes, and the job is over.
    Finished {
        /// Bytes written by this step.
        bytes: u64,
    },
}

/// Who waits for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The log.
    Log,
    /// Everything else that somebody waits for: checkpoints, what arrives, jobs that become cold.
    Bulk,
    /// Merges of runs, for which nobody waits.
    Merge,
}

/// Owns the thread: dropping it ends the thread after its current step, and drops what waits.
pub struct Background {
    handle: BackgroundHandle,
    thread: Option<JoinHandle<()>>,
}

/// Hands over jobs. Clones share the thread.
#[derive(Clone)]
pub struct BackgroundHandle {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    rate_bytes_per_second: AtomicU64,
}

#[derive(Default)]
struct Queue {
    log: VecDeque<Box<dyn Job>>,
    bulk: VecDeque<Box<dyn Job>>,
    merge: VecDeque<Box<dyn Job>>,
    /// Which lane had the last turn.
    last: Option<Lane>,
    stopped: bool,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(options: BackgroundOptions) -> io::Result<Self> {
        assert!(options.rate_bytes_per_second > 0, "the rate is at least one byte per second");
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            rate_bytes_per_second: AtomicU64::new(options.rate_bytes_per_second),
        });
        let handle = BackgroundHandle { shared: shared.clone() };
        let thread = thread::Builder::new()
            .name("background".to_owned())
            .spawn(move || run(&shared, &options.now))?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// A handle for handing over jobs.
    pub fn handle(&self) -> BackgroundHandle {
        self.handle.clone()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.handle.shared.queue.lock().stopped = true;
        self.handle.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Pace {
    fn bytes_per_second(self) -> u64 {
        match self {
            Self::Calm => 100_000_000,
            Self::Brisk => 400_000_000,
            Self::Hurried => 800_000_000,
        }
    }
}

impl BackgroundHandle {
    /// Sets how fast it writes from the next piece on.
    pub fn set_pace(&self, pace: Pace) {
        self.shared.rate_bytes_per_second.store(pace.bytes_per_second(), Ordering::Relaxed);
    }

    /// Puts a job at the end of its lane. Never waits.
    ///
    /// # Errors
    /// Gives the job back when the lane is full or the thread has ended.
    pub fn try_submit(&self, lane: Lane, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        let mut queue = self.shared.queue.lock();
        if queue.stopped {
            return Err(job);
        }
        let waiting = queue.lane(lane);
        if waiting.len() >= JOBS_MAX {
            return Err(job);
        }
        waiting.push_back(job);
        drop(queue);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether the thread ends or has ended: what was not done will not be.
    pub fn has_ended(&self) -> bool {
        self.shared.queue.lock().stopped
    }
}

impl Queue {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Box<dyn Job>> {
        match lane {
            Lane::Log => &mut self.log,
            Lane::Bulk => &mut self.bulk,
            Lane::Merge => &mut self.merge,
        }
    }

    fn take(&mut self) -> Option<(Lane, Box<dyn Job>)> {
        let lanes = match self.last {
            Some(Lane::Log) => [Lane::Bulk, Lane::Merge, Lane::Log],
            Some(Lane::Bulk) => [Lane::Merge, Lane::Log, Lane::Bulk],
            Some(Lane::Merge) | None => [Lane::Log, Lane::Bulk, Lane::Merge],
        };
        let lane = lanes.into_iter().find(|lane| !self.lane(*lane).is_empty())?;
        self.last = Some(lane);
        self.lane(lane).pop_front().map(|job| (lane, job))
    }
}

fn run(shared: &Shared, now: &Now) {
    let mut not_before = Duration::ZERO;
    while let Some((lane, mut job)) = next_job(shared, now, not_before) {
        let (bytes, rest) = match job.step() {
            Step::More { bytes } => (bytes, Some(job)),
            Step::Finished { bytes } => (bytes, None),
        };
        not_before = not_before.max(now()) + shared.time_for(bytes);
        if let Some(job) = rest {
            // Back to the front: a lane's jobs are done in order.
            shared.queue.lock().lane(lane).push_front(job);
        }
    }
}

/// Waits for a job, and for its turn. `None` when the thread is to end.
fn next_job(shared: &Shared, now: &Now, not_before: Duration) -> Option<(Lane, Box<dyn Job>)> {
    let mut queue = shared.queue.lock();
    loop {
        if queue.stopped {
            for lane in [Lane::Log, Lane::Bulk, Lane::Merge] {
                queue.lane(lane).clear();
            }
            return None;
        }
        let early = not_before.saturating_sub(now());
        if !early.is_zero() {
            shared.changed.wait_for(&mut queue, early);
        } else if let Some(job) = queue.take() {
            return Some(job);
        } else {
            shared.changed.wait(&mut queue);
        }
    }
}

impl Shared {
    fn time_for(&self, bytes: u64) -> Duration {
        let rate = self.rate_bytes_per_second.load(Ordering::Relaxed);
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// Told how zero-filling ended: the open file, durable under its name, or why not.
pub type Filled = Box<dyn FnOnce(io::Result<Arc<dyn DiskFile>>) + Send>;

/// Writes a new file full of zeros. A file of that name is removed first; one that could not be
/// finished is removed.
pub struct ZeroFill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    length: u64,
    written: u64,
    file: Option<Arc<dyn DiskFile>>,
    filled: Option<Filled>,
}

impl ZeroFill {
    /// A job that makes `path` a file of `length` zeros and then calls `filled`, on the background
    /// thread. Not called when the thread ends before.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, length: u64, filled: Filled) -> Self {
        Self { disk, path, length, written: 0, file: None, filled: Some(filled) }
    }

    /// Does all steps at once, on this thread, without calling `filled`.
    ///
    /// # Errors
    /// What the disk says; then the file is removed.
    pub fn run_now(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        length: u64,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut job = Self::new(disk.clone(), path, length, Box::new(|_| {}));
        while job.written < length {
            if let Err(error) = job.write_piece() {
                job.give_up();
                return Err(error);
            }
        }
        job.publish()
    }

    fn write_piece(&mut self) -> io::Result<u64> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = self.file.insert(create_anew(&*self.disk, &self.path)?).clone();
                // On a disk that is too full this fails before anything is written.
                file.allocate(self.length)?;
                file
            }
        };
        let bytes = (self.length - self.written).min(PIECE_BYTES_MAX as u64);
        write_zeros(&*file, self.written, bytes)?;
        file.sync_data()?;
        file.forget_cached(self.written..self.written + bytes);
        self.written += bytes;
        Ok(bytes)
    }

    fn publish(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => create_anew(&*self.disk, &self.path)?,
        };
        file.sync_all()?;
        self.disk.sync_dir(self.path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        Ok(file)
    }

    fn give_up(&mut self) {
        if self.file.take().is_some() {
            // On failure the leftover is removed at the next start.
            let _ = self.disk.remove(&self.path);
        }
    }

    fn finish(&mut self, result: io::Result<Arc<dyn DiskFile>>) {
        if result.is_err() {
            self.give_up();
        }
        if let Some(filled) = self.filled.take() {
            filled(result);
        }
    }
}

impl Job for ZeroFill {
    fn step(&mut self) -> Step {
        match self.write_piece() {
            Ok(bytes) if self.written < self.length => Step::More { bytes },
            Ok(bytes) => {
                let result = self.publish();
                self.finish(result);
                Step::Finished { bytes }
            }
            Err(error) => {
                self.finish(Err(error));
                Step::Finished { bytes: 0 }
            }
        }
    }
}

static ZEROS: [u8; PIECE_BYTES_MAX] = [0; PIECE_BYTES_MAX];

/// Writes zeros, without syncing them.
pub(super) fn write_zeros(file: &dyn DiskFile, mut offset: u64, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let count = bytes.min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..count as usize], offset)?;
        offset += count;
        bytes -= count;
    }
    Ok(())
}

fn create_anew(disk: &dyn Disk, path: &std::path::Path) -> io::Result<Arc<dyn DiskFile>> {
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => disk.create(path),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::storage::sim::SimDisk;
    use crate::storage::tests::test_now;

    struct Steps {
        name: &'static str,
        left: u32,
        told: mpsc::Sender<&'static str>,
    }

    impl Job for Steps {
        fn step(&mut self) -> Step {
            self.told.send(self.name).unwrap();
            self.left -= 1;
            if self.left == 0 { Step::Finished { bytes: 1 } } else { Step::More { bytes: 1 } }
        }
    }

    #[test]
    fn the_lanes_take_turns_and_each_keeps_its_order() {
        let background = Background::start(BackgroundOptions::new(test_now())).unwrap();
        let (told, heard) = mpsc::channel();
        let job = |name, left| Box::new(Steps { name, left, told: told.clone() });
        {
            // Holding the queue, the thread cannot start before all are there.
            let mut queue = background.handle.shared.queue.lock();
            queue.merge.push_back(job("merge", 3));
            queue.bulk.push_back(job("bulk one", 2));
            queue.bulk.push_back(job("bulk two", 1));
            queue.log.push_back(job("log", 2));
        }
        background.handle.shared.changed.notify_all();
        let order: Vec<_> = heard.iter().take(8).collect();
        let turns = [["log", "bulk one", "merge"], ["log", "bulk one", "merge"]].concat();
        assert_eq!(order, [&turns[..], &["bulk two", "merge"]].concat());
    }

    #[test]
    fn a_full_lane_gives_the_job_back() {
        let background = Background::start(BackgroundOptions {
            rate_bytes_per_second: 1,
            ..BackgroundOptions::new(test_now())
        })
        .unwrap();
        let (told, heard) = mpsc::channel();
        let job = || Box::new(Steps { name: "job", left: 1, told: told.clone() });
        background.handle().try_submit(Lane::Bulk, job()).map_err(|_| "full").unwrap();
        heard.recv().unwrap();
        // The next one has to wait for a second: the lane fills.
        for _ in 0..JOBS_MAX {
            background.handle().try_submit(Lane::Bulk, job()).map_err(|_| "full").unwrap();
        }
        assert!(background.handle().try_submit(Lane::Bulk, job()).is_err());
        assert!(background.handle().try_submit(Lane::Log, job()).is_ok());
    }

    #[test]
    fn zero_filled_file_is_durable_when_it_is_reported() {
        let disk = SimDisk::new();
        let path = Path::new("/spare").to_path_buf();
        let background = Background::start(BackgroundOptions::new(test_now())).unwrap();
        let (told, heard) = mpsc::channel();
        let filled: Filled = Box::new(move |result| told.send(result.is_ok()).unwrap());
        let length = PIECE_BYTES_MAX as u64 + 10;
        let job = ZeroFill::new(Arc::new(disk.clone()), path.clone(), length, filled);
        background.handle().try_submit(Lane::Log, Box::new(job)).map_err(|_| "full").unwrap();
        assert!(heard.recv().unwrap());
        let after = disk.crash(crate::storage::sim::Crash::LoseAll);
        assert_eq!(after.bytes(&path).unwrap().len() as u64, length);
    }

    #[test]
    fn a_file_that_does_not_fit_is_removed() {
        let disk = SimDisk::new();
        disk.set_capacity(Some(PIECE_BYTES_MAX as u64 * 2));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let length = PIECE_BYTES_MAX as u64 * 3;
        let error = ZeroFill::run_now(&shared, "/spare".into(), length).err().expect("no room");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(disk.used_bytes(), 0);
    }
}
