//! Each library at an agent, for as long as it takes to lose one member after the other: it sees no
//! error, and every job comes once. The scripts do not know how to connect again.

use std::thread;
use std::time::Duration;

use super::account::Findings;
use super::crew::Crew;
use super::library::{BEANEATER, GREENSTALK, JACKD, Library, PHEANSTALK};
use crate::support::{Cluster, agent_before, alone, cluster_of, now, number_from_environment};

/// The longest that one producer may wait for one put.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);
/// How long a member is away.
const AWAY: Duration = Duration::from_secs(2);
/// How many puts must succeed before the next member is lost.
const PUTS_BETWEEN: u64 = 100;
const MEMBERS: usize = 3;

/// What happens to a member, and is taken back.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Kill,
    Freeze,
    Terminate,
}

const LOSSES: [Loss; 3] = [Loss::Kill, Loss::Freeze, Loss::Terminate];

impl Loss {
    fn begin(self, cluster: &mut Cluster, member: usize) {
        match self {
            Self::Kill => cluster.kill(member),
            Self::Freeze => cluster.freeze(member),
            Self::Terminate => drop(cluster.terminate(member)),
        }
    }

    fn end(self, cluster: &mut Cluster, member: usize) {
        match self {
            Self::Kill | Self::Terminate => cluster.restart(member),
            Self::Freeze => cluster.thaw(member),
        }
    }
}

#[test]
fn greenstalk_sees_no_error_while_members_are_lost() {
    lasts(&GREENSTALK);
}

#[test]
fn pheanstalk_sees_no_error_while_members_are_lost() {
    lasts(&PHEANSTALK);
}

#[test]
fn beaneater_sees_no_error_while_members_are_lost() {
    lasts(&BEANEATER);
}

#[test]
fn jackd_sees_no_error_while_members_are_lost() {
    lasts(&JACKD);
}

/// Each member is lost once a pass, and in three passes in each way.
fn lasts(library: &Library) {
    if !library.is_there_for("a long run through an agent") {
        return;
    }
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let agent = agent_before(&cluster);
    let port = agent.address().port().to_string();
    let mut crew = Crew::start(|role| {
        let mut script = library.script("lasting");
        script.args([role, &port]);
        script
    });
    crew.wait_for_puts(PUTS_BETWEEN);
    let passes: usize = number_from_environment("BEANPOLE_PASSES").unwrap_or(1);
    let mut spans = Vec::new();
    for turn in 0..MEMBERS * passes {
        let (member, loss) = (turn % MEMBERS, LOSSES[(turn + turn / MEMBERS) % LOSSES.len()]);
        let from = now();
        loss.begin(&mut cluster, member);
        thread::sleep(AWAY);
        loss.end(&mut cluster, member);
        cluster.wait_in_step();
        crew.wait_for_puts(PUTS_BETWEEN);
        spans.push((loss, member, from, now()));
    }
    let account = crew.finish(&mut agent.client());
    let pauses = spans.into_iter().map(|(loss, member, from, to)| {
        let pause = account.longest_pause(from, to);
        eprintln!("{}: {loss:?} of member {member}: a pause of {pause:?}", library.name);
        pause
    });
    let longest = pauses.max().unwrap_or_default();
    eprintln!("{}: {} jobs", library.name, account.put_count());
    assert_eq!(account.findings(), Findings::default(), "{}", cluster.logs());
    assert!(longest < PAUSE_MAX, "a pause of {longest:?}\n{}", cluster.logs());
}
