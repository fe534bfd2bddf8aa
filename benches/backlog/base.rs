//! The rates of a server that holds a few jobs, all of them hot: what the others are held against.

use std::time::Duration;

use super::{
    fill::{Load, fill},
    jobs::{Jobs, Variety},
    judge::Judge,
    options::Options,
    progress::Progress,
    take::Taker,
};
use crate::common::{Fallible, clock, confined::Member, section::Section};

/// Jobs that the server holds at most.
const FEW: u64 = 5_000;
const MEASURED: Duration = Duration::from_secs(3);

/// Jobs a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) puts: f64,
    pub(crate) takes: f64,
}

/// Puts a few jobs and takes them, again and again.
///
/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn measure(options: &Options, member: &Member, section: &mut Section) -> Fallible<Base> {
    let load = load(options, member);
    let (mut putting, mut taking, mut done) = (Duration::ZERO, Duration::ZERO, 0.0);
    let started = clock::now();
    while clock::now() - started < MEASURED {
        let jobs = Jobs::new(FEW, options.size, Variety::Plain);
        let progress = Progress::quiet(FEW, member.watch());
        fill(load, &jobs, &progress)?;
        putting += progress.elapsed();
        let mut taker = Taker::connect(load.address, Judge::new(jobs), jobs, options.depth)?;
        let progress = Progress::quiet(FEW, member.watch());
        taker.take(FEW, &progress)?;
        taker.settle()?;
        taking += progress.elapsed();
        taker.check_all_came()?;
        done += FEW as f64;
    }
    let base = Base { puts: done / putting.as_secs_f64(), takes: done / taking.as_secs_f64() };
    section.figure("puts a second, few jobs", format!("{:.0}", base.puts));
    section.figure("jobs taken a second, few jobs", format!("{:.0}", base.takes));
    Ok(base)
}

/// The load as it was asked for.
pub(crate) fn load(options: &Options, member: &Member) -> Load {
    let address = member.address();
    Load { address, connections: options.producers, depth: options.depth, pace: None }
}
