//! The whole way of a backlog in one tube: in, SIGKILL, a restart, and out again, each job once and
//! in order. With priorities or delays at random if asked for; killed again and again while it
//! starts if asked for.

use std::{thread, time::Duration};

use super::{
    base,
    fill::{Filled, fill},
    jobs::{Jobs, Variety},
    judge::Judge,
    options::Options,
    progress::Progress,
    report::{self, Aims},
    take::Taker,
};
use crate::common::{Fallible, confined::Member, section::Section, support::Random};

/// A start is killed after a time from nothing to this.
const LIFE_MAX_MILLISECONDS: u64 = 3000;

/// All of it, with jobs of this variety.
///
/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run(
    options: &Options,
    variety: Variety,
    member: &mut Member,
    section: &mut Section,
) -> Fallible<()> {
    let aims = if matches!(variety, Variety::Plain) { Aims::Judged } else { Aims::Told };
    let base = base::measure(options, member, section)?;
    let jobs = Jobs::new(options.jobs, options.size, variety);
    put_all(options, &jobs, (base.puts, aims), member, section)?;
    member.kill()?;
    report::restart(section, &member.start_again()?);
    take_all(options, jobs, (base.takes, aims), member, section)
}

/// Killed while it starts, as often as asked for, between filling and emptying.
///
/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run_recovery(
    options: &Options,
    member: &mut Member,
    section: &mut Section,
) -> Fallible<()> {
    let seed = options.seed.unwrap_or_else(Random::fresh_seed);
    section.figure("seed", seed);
    let mut random = Random::new(seed);
    let base = base::measure(options, member, section)?;
    let jobs = Jobs::new(options.jobs, options.size, Variety::Plain);
    put_all(options, &jobs, (base.puts, Aims::Told), member, section)?;
    member.kill()?;
    let mut was_ready = 0;
    for number in 1..=options.kills {
        member.launch()?;
        let life = Duration::from_millis(random.within(0..LIFE_MAX_MILLISECONDS + 1));
        thread::sleep(life);
        let is_ready = member.has_said_ready();
        was_ready += u32::from(is_ready);
        eprintln!("recovery: kill {number} after {life:?}, ready: {is_ready}");
        member.kill()?;
    }
    section.figure("kills while it started", options.kills - was_ready);
    section.figure("kills when it was ready", was_ready);
    report::restart(section, &member.start_again()?);
    take_all(options, jobs, (base.takes, Aims::Told), member, section)
}

/// Fills the server, and tells how that went.
///
/// # Errors
/// When a reply is wrong or the server has gone.
pub(crate) fn put_all(
    options: &Options,
    jobs: &Jobs,
    (base, aims): (f64, Aims),
    member: &Member,
    section: &mut Section,
) -> Fallible<Filled> {
    let progress = Progress::begin("put", jobs.count, member.watch());
    let filled = fill(base::load(options, member), jobs, &progress);
    section.figure("jobs put", progress.count());
    let filled = filled?;
    section.figure("puts a second, mean", format!("{:.0}", progress.mean_rate()));
    report::puts(section, &progress, base, aims);
    section.figure("puts refused and sent again", filled.refused);
    report::disk(section, member.watch().peaks(), jobs.data_bytes(), aims);
    Ok(filled)
}

fn take_all(
    options: &Options,
    jobs: Jobs,
    (base, aims): (f64, Aims),
    member: &Member,
    section: &mut Section,
) -> Fallible<()> {
    let mut taker = Taker::connect(member.address(), Judge::new(jobs), jobs, options.depth)?;
    let progress = Progress::begin("take", jobs.count, member.watch());
    let taken = taker.take(jobs.count, &progress).and_then(|()| taker.settle());
    section.figure("jobs taken", progress.count());
    taken?;
    section.figure("jobs taken a second, mean", format!("{:.0}", progress.mean_rate()));
    report::takes(section, &progress, base, aims);
    if matches!(jobs.variety(), Variety::Delays(_)) {
        let (lateness, disorder) = taker.judge().delays();
        let at = |quantile| Duration::from_nanos(lateness.value_at_quantile(quantile));
        section.figure("lateness p50, consumer included", format!("{:.1?}", at(0.5)));
        section.figure("lateness p99, consumer included", format!("{:.1?}", at(0.99)));
        section.figure("furthest out of the order of due times", format!("{disorder:.1?}"));
    }
    taker.check_all_came()?;
    section.figure("each job once, as it was put, in order", "yes");
    Ok(())
}
