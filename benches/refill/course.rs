//! The course of a run: three members, one is lost, a backlog, and an empty member that takes the
//! place of the lost one. What paced clients see meanwhile is kept by the phase.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    account,
    fill::{Filled, fill},
    jobs::{Jobs, Variety},
    judge::Judge,
    options::Options,
    paced::Paced,
    phase::{Phase, Phases},
    progress::Progress,
};
use crate::common::{
    Fallible, clock,
    confined::Footprint,
    section::mebibytes,
    server::bench_dir,
    support::{Cluster, ClusterOptions, cluster_options},
    watch::{Watch, bytes_below},
};

const MEMBERS: usize = 3;
const STEP_POLL: Duration = Duration::from_millis(50);
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// What a member logs that was not filled from the log alone.
const TAKEN_OVER: &str = "checkpoint taken over";

/// Members, what is known of them, and what was put.
pub(crate) struct Course<'a> {
    options: &'a Options,
    cluster: Cluster,
    watches: BTreeMap<usize, Watch>,
    /// The id in the cluster of the one that is lost.
    gone: u64,
    /// What was acknowledged to those that fill the backlog.
    backlog: Backlog,
}

/// What was put and must be there in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    pub(crate) acknowledged: u64,
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
}

impl<'a> Course<'a> {
    /// Three members in step, one of which is then lost, with all it has.
    ///
    /// # Errors
    /// When there is no cluster, or no directory on a disk.
    pub(crate) fn begin(options: &'a Options, judge: &mut Judge) -> Fallible<Self> {
        let bounds = options.bounds();
        let options_of_cluster = ClusterOptions {
            flags: vec!["--memory".to_owned(), bounds.memory_bytes.to_string()],
            segment_size: None,
            place: Some(bench_dir()?),
            memory_limit: Some(bounds.limit_bytes),
            ..cluster_options()
        };
        let mut cluster = Cluster::start_with(options_of_cluster)?;
        let leader = leader(&mut cluster)?;
        let lost = (leader + 1) % MEMBERS;
        if let Err(why) = cluster.memory_group(leader) {
            eprintln!("no memory control groups ({why}): only the high-water marks are checked");
        }
        let gone = cluster.id(lost);
        cluster.kill(lost);
        cluster.lose_disk(lost);
        judge
            .section
            .figure("lost, with its disk, before the backlog is put", format!("member {gone}"));
        let backlog = Backlog { acknowledged: 0, first_id: u64::MAX, last_id: 0 };
        let mut course = Self { options, cluster, watches: BTreeMap::new(), gone, backlog };
        for place in (0..MEMBERS).filter(|&place| place != lost) {
            course.watch(place);
        }
        Ok(course)
    }

    /// All phases; what the paced clients saw is there also when one of them could not be ended.
    pub(crate) fn run(&mut self, judge: &mut Judge) -> (Phases, Fallible<()>) {
        let paced = Paced::start(self.addresses(), self.options.offered(), Phase::Fill);
        let gone_through = self.go_through(&paced, judge);
        (paced.finish(), gone_through)
    }

    /// Whether what was acknowledged is there, on each member.
    ///
    /// # Errors
    /// When a member does not answer.
    pub(crate) fn check(&mut self, judge: &mut Judge) -> Fallible<()> {
        let places: Vec<usize> = self.watches.keys().copied().collect();
        for &place in &places {
            let counts = account::of_backlog(self.cluster.address(place))?;
            judge.counts(&name(place), self.backlog.acknowledged, &counts);
            let can_stop = self.cluster.can_stop(place)?;
            let name = format!("{}: `cluster check`", name(place));
            let value = if can_stop { "can be stopped" } else { "is needed" };
            judge.promise(&name, value, "can be stopped: all three are in step", can_stop);
        }
        let totals = places.iter().map(|&place| account::of_all(self.cluster.address(place)));
        judge.agree(&totals.collect::<Fallible<Vec<_>>>()?);
        let filled = places.last().copied().ok_or("no member is left")?;
        let leader = leader(&mut self.cluster)?;
        let jobs = Jobs::new(
            self.options.jobs.max(self.writing_jobs()),
            self.options.size,
            Variety::Plain,
        );
        let members = [filled, leader].map(|place| self.cluster.address(place));
        let seed = self.options.seed();
        judge.section.figure("seed", seed);
        judge.looked(account::look(members, self.backlog, jobs, seed)?);
        Ok(())
    }

    /// The memory of each member that lives, and the ends of those that should.
    pub(crate) fn report_memory(&mut self, judge: &mut Judge) {
        let limit_bytes = self.options.bounds().limit_bytes;
        for (&place, watch) in &self.watches {
            let whose = format!("{}: ", name(place));
            let group = self.cluster.memory_group(place);
            let peaks = watch.peaks();
            let footprint = Footprint { whose: &whose, peaks: peaks.memory, limit_bytes, group };
            footprint.report(&mut judge.section, &mut judge.broken);
            judge.section.figure(&format!("{whose}most disk used"), mebibytes(peaks.disk_bytes));
        }
        // It may be what the course has ended with.
        if let Err(ended) = self.check_run().map_err(|error| error.to_string())
            && !judge.broken.contains(&ended)
        {
            judge.broken.push(ended);
        }
    }

    /// The ends of the logs of all members.
    pub(crate) fn logs(&self) -> String {
        self.cluster.logs()
    }

    fn go_through(&mut self, paced: &Paced, judge: &mut Judge) -> Fallible<()> {
        let first_term = self.term()?;
        self.fill(self.options.jobs, None, ("backlog", judge))?;
        eprintln!("base line");
        paced.enter(Phase::BaseLine)?;
        thread::sleep(self.options.duration());
        eprintln!("beside a moderate producer");
        paced.enter(Phase::Writing)?;
        let pace = self.options.fill_rate;
        self.fill(self.writing_jobs(), Some(pace), ("moderate producer", judge))?;
        let term = self.term()?;
        let changes = term.saturating_sub(first_term);
        judge.section.figure("changes of leader until the refill", changes);
        eprintln!("refill");
        paced.enter(Phase::Refill)?;
        self.refill(judge)?;
        judge.leaders(term, self.term()?);
        paced.settle()
    }

    /// Puts jobs through both members. With a pace, so many of them in a second.
    fn fill(
        &mut self,
        count: u64,
        pace: Option<u64>,
        (what, judge): (&'static str, &mut Judge),
    ) -> Fallible<()> {
        let addresses = self.addresses();
        let share = count.div_ceil(addresses.len() as u64);
        let watch = self.watches.values().next().ok_or("nobody is watched")?;
        let progress = Progress::begin(what, share * addresses.len() as u64, watch);
        let pace = pace.map(|pace| pace.div_ceil(addresses.len() as u64));
        let jobs = Jobs::new(share, self.options.size, Variety::Plain);
        let fill_through = |address| {
            let load = self.options.flood(address);
            fill(super::fill::Load { pace, ..load }, &jobs, &progress)
        };
        let filled: Vec<Fallible<Filled>> = thread::scope(|scope| {
            let fillers: Vec<_> = addresses
                .iter()
                .map(|&address| scope.spawn(move || fill_through(address)))
                .collect();
            let join = |filler: thread::ScopedJoinHandle<'_, _>| {
                filler.join().expect("a panic here is a bug of the bench")
            };
            fillers.into_iter().map(join).collect()
        });
        let rate = format!("{:.0}", progress.mean_rate());
        judge.section.figure(&format!("{what}: jobs acknowledged"), progress.count());
        judge.section.figure(&format!("{what}: puts a second, mean"), rate);
        self.backlog.acknowledged += progress.count();
        let mut refused = 0;
        for filled in filled {
            let filled = filled?;
            refused += filled.refused;
            self.backlog.first_id = self.backlog.first_id.min(filled.first_id);
            self.backlog.last_id = self.backlog.last_id.max(filled.last_id);
        }
        judge.section.figure(&format!("{what}: puts refused and sent again"), refused);
        Ok(())
    }

    /// An empty member takes the place of the lost one; until all three are in step.
    fn refill(&mut self, judge: &mut Judge) -> Fallible<()> {
        let leader = leader(&mut self.cluster)?;
        let began = clock::now();
        let newcomer = self.cluster.newcomer();
        self.watch(newcomer);
        judge.section.figure("the sender, which leads", name(leader));
        judge.section.figure("the receiver", name(newcomer));
        let in_step = self.replace(newcomer, began);
        let took = format!("{:.1?}", clock::now() - began);
        for (whose, place) in [("sender", leader), ("receiver", newcomer)] {
            let bytes = mebibytes(bytes_below(&self.cluster.data(place)));
            judge.section.figure(&format!("refill: data directory of the {whose}"), bytes);
        }
        in_step?;
        judge.section.figure("refill: from the start of its process until it is in step", took);
        let by_snapshot = self.cluster.log(newcomer).contains(TAKEN_OVER);
        let how = if by_snapshot { "by a snapshot" } else { "from the log alone" };
        judge.section.judged("refill: it was filled", how, "by a snapshot", by_snapshot);
        Ok(())
    }

    /// Asks for the newcomer to be taken in, again when that was not done in the time of one
    /// request, until all three are in step.
    fn replace(&mut self, newcomer: usize, began: Instant) -> Fallible<()> {
        let within = self.options.refilled_within();
        let mut answer = Err(String::from("nobody was asked"));
        while !self.cluster.in_step(MEMBERS) {
            self.check_run()?;
            if clock::now() - began > within {
                let answer = answer.err().unwrap_or_else(|| String::from("taken in"));
                return Err(format!("not in step within {within:?}: {answer}").into());
            }
            if answer.is_err()
                && let Some(leader) = self.cluster.leader_now()
            {
                answer = self.cluster.replace(leader, self.gone, newcomer);
                if let Err(why) = &answer {
                    let come = mebibytes(bytes_below(&self.cluster.data(newcomer)));
                    eprintln!("replace: {why}; {come} have come");
                }
            }
            thread::sleep(STEP_POLL);
        }
        Ok(())
    }

    /// # Errors
    /// When a member that should live has ended.
    fn check_run(&mut self) -> Fallible<()> {
        for &place in self.watches.keys() {
            if !self.cluster.is_running(place) {
                return Err(format!("{} has ended by itself", name(place)).into());
            }
        }
        Ok(())
    }

    fn watch(&mut self, place: usize) {
        let watch = Watch::start(self.cluster.data(place));
        watch.follow(self.cluster.pid(place));
        self.watches.insert(place, watch);
    }

    /// The members that live.
    fn addresses(&self) -> Vec<SocketAddr> {
        self.watches.keys().map(|&place| self.cluster.address(place)).collect()
    }

    fn writing_jobs(&self) -> u64 {
        self.options.fill_rate * self.options.duration().as_secs()
    }

    fn term(&mut self) -> Fallible<u64> {
        let leader = leader(&mut self.cluster)?;
        Ok(self.cluster.status(leader)?.term)
    }
}

/// As the members are called in the report: by their ids, which count from 1 and are not used again.
fn name(place: usize) -> String {
    format!("member {}", place + 1)
}

/// Who leads. A member that has much to do can be late with its word on it.
fn leader(cluster: &mut Cluster) -> Fallible<usize> {
    let began = clock::now();
    loop {
        if let Some(leader) = cluster.leader_now() {
            return Ok(leader);
        }
        if clock::now() - began > LEADER_WITHIN {
            return Err(format!("nobody leads, for {LEADER_WITHIN:?}").into());
        }
        thread::sleep(STEP_POLL);
    }
}
