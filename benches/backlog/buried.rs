//! All jobs buried, then a kill, and kicked in slices: each slice must be the jobs that were buried
//! first.

use super::{
    base,
    jobs::{Jobs, Variety},
    judge::Judge,
    options::Options,
    progress::Progress,
    report::{self, Aims},
    take::Taker,
    whole,
};
use crate::common::{Fallible, clock, confined::Member, section::Section};

/// Jobs kicked by one command.
const SLICE: u64 = 10_000;

/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run(options: &Options, member: &mut Member, section: &mut Section) -> Fallible<()> {
    let base = base::measure(options, member, section)?;
    let jobs = Jobs::new(options.jobs, options.size, Variety::Plain);
    whole::put_all(options, &jobs, (base.puts, Aims::Told), member, section)?;
    let mut burier = connect(options, jobs, member)?;
    burier.bury();
    let progress = Progress::begin("bury", jobs.count, member.watch());
    burier.take(jobs.count, &progress)?;
    burier.settle()?;
    section.figure("jobs reserved and buried a second", format!("{:.0}", progress.mean_rate()));
    drop(burier);
    member.kill()?;
    report::restart(section, &member.start_again()?);

    let mut taker = connect(options, jobs, member)?;
    let progress = Progress::begin("kick and take", jobs.count, member.watch());
    let mut longest_kick = std::time::Duration::ZERO;
    let mut left = jobs.count;
    while left > 0 {
        let slice = left.min(SLICE);
        let asked = clock::now();
        let kicked = taker.kick(slice)?;
        longest_kick = longest_kick.max(clock::now() - asked);
        if kicked != slice {
            return Err(format!("{kicked} of {slice} jobs were kicked, {left} are buried").into());
        }
        taker.take(slice, &progress)?;
        left -= slice;
    }
    taker.check_all_came()?;
    section.figure("jobs kicked and taken a second", format!("{:.0}", progress.mean_rate()));
    section.figure(&format!("longest kick of {SLICE}"), format!("{longest_kick:.1?}"));
    section.figure("each job once, as it was put, in order", "yes");
    Ok(())
}

fn connect(options: &Options, jobs: Jobs, member: &Member) -> Fallible<Taker> {
    Taker::connect(member.address(), Judge::new(jobs), jobs, options.depth)
}
