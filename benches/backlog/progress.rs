//! How far a part of the run has come: rates and memory at some points of it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::common::{
    clock,
    section::mebibytes,
    watch::{Memory, Watch},
};

/// Points at which rates are taken, in hundredths of all jobs: of ten million jobs they are at 0,
/// 1, 5 and 10 million.
const POINTS: [u64; 4] = [0, 10, 50, 100];
/// A rate is that over a fiftieth of all jobs around its point.
const WINDOW_SHARE: u64 = 50;
const TENTHS: u64 = 10;

/// Counts jobs, from any thread.
pub(crate) struct Progress<'a> {
    what: Option<&'static str>,
    total: u64,
    watch: &'a Watch,
    count: AtomicU64,
    begin: Instant,
    edges: Vec<Edge>,
}

/// A count that is passed, once.
struct Edge {
    at: u64,
    passed: OnceLock<(u64, Instant, Memory)>,
}

/// What was measured around a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Jobs done at this point.
    pub(crate) done: u64,
    /// Jobs a second.
    pub(crate) rate: f64,
    /// Of the server, when the window ended.
    pub(crate) memory: Memory,
}

impl<'a> Progress<'a> {
    /// Begins now. Each tenth of `total` is told on stderr as `what`.
    pub(crate) fn begin(what: &'static str, total: u64, watch: &'a Watch) -> Self {
        Self::new(Some(what), total, watch)
    }

    /// Begins now and tells nobody.
    pub(crate) fn quiet(total: u64, watch: &'a Watch) -> Self {
        Self::new(None, total, watch)
    }

    /// So many more are done.
    pub(crate) fn add(&self, jobs: u64) {
        let before = self.count.fetch_add(jobs, Ordering::Relaxed);
        let after = before + jobs;
        for edge in self.edges.iter().filter(|edge| before < edge.at && edge.at <= after) {
            edge.passed.get_or_init(|| (after, clock::now(), self.watch.memory_now()));
        }
        let tenth = |count: u64| count * TENTHS / self.total;
        if let Some(what) = self.what
            && tenth(before) < tenth(after)
        {
            let high_water = mebibytes(self.watch.memory_now().high_water);
            let rate = after as f64 / self.elapsed().as_secs_f64();
            eprintln!("{what}: {after}, {rate:.0}/s so far, high-water mark {high_water}");
        }
    }

    /// How many are done.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        clock::now() - self.begin
    }

    /// Jobs a second, over all.
    pub(crate) fn mean_rate(&self) -> f64 {
        self.count() as f64 / self.elapsed().as_secs_f64()
    }

    /// The points that were passed, in order.
    pub(crate) fn points(&self) -> Vec<Point> {
        let windows = POINTS.iter().zip(self.edges.chunks(2));
        windows
            .filter_map(|(hundredths, window)| {
                let [start, end] = window else { unreachable!("edges come in pairs") };
                let (done_before, began, _) = start.passed.get()?;
                let (done_after, ended, memory) = end.passed.get()?;
                let seconds = (*ended - *began).as_secs_f64();
                let rate = (done_after - done_before) as f64 / seconds;
                Some(Point { done: self.total * hundredths / 100, rate, memory: *memory })
            })
            .collect()
    }

    fn new(what: Option<&'static str>, total: u64, watch: &'a Watch) -> Self {
        let width = (total / WINDOW_SHARE).max(1);
        let edge = |at| Edge { at, passed: OnceLock::new() };
        let starts = POINTS.map(|hundredths| {
            let middle = total * hundredths / 100;
            middle.saturating_sub(width / 2).min(total.saturating_sub(width))
        });
        let edges: Vec<_> =
            starts.iter().flat_map(|&start| [edge(start), edge(start + width)]).collect();
        let progress =
            Self { what, total, watch, count: AtomicU64::new(0), begin: clock::now(), edges };
        let at_zero = (0, progress.begin, watch.memory_now());
        for edge in progress.edges.iter().filter(|edge| edge.at == 0) {
            edge.passed.get_or_init(|| at_zero);
        }
        progress
    }
}
