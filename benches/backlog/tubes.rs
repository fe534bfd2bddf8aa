//! Jobs over many tubes, put in turns and taken tube by tube.

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
use crate::common::{Fallible, confined::Member, section::Section};

/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run(options: &Options, member: &mut Member, section: &mut Section) -> Fallible<()> {
    let tubes = options.tubes();
    section.figure("tubes", tubes);
    let base = base::measure(options, member, section)?;
    let jobs = Jobs::new(options.jobs, options.size, Variety::Tubes(tubes));
    whole::put_all(options, &jobs, (base.puts, Aims::Told), member, section)?;
    member.kill()?;
    report::restart(section, &member.start_again()?);

    let mut taker = Taker::connect(member.address(), Judge::new(jobs), jobs, options.depth)?;
    let progress = Progress::begin("take", jobs.count, member.watch());
    for tube in 0..tubes {
        taker.enter_tube(tube)?;
        taker.take(jobs.count / tubes, &progress)?;
    }
    taker.check_all_came()?;
    section.figure("jobs taken a second, mean", format!("{:.0}", progress.mean_rate()));
    report::takes(section, &progress, base.takes, Aims::Told);
    section.figure("each job once, as it was put, in order of its tube", "yes");
    Ok(())
}
