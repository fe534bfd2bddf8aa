//! Many libraries behind one agent, and each of three members killed in turn: how long they wait,
//! and whether a client of a member that lives notices that the others come to it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    common::{
        Fallible, clock,
        section::{Section, mebibytes},
        server::{bench_dir, cpu_of},
        support::{Agent, Cluster, ClusterOptions, agent_before, cluster_options},
        watch::Memory,
    },
    crowd::{self, Account, Crowd},
};

/// How long all may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(120);
/// How long they work before a member is killed, and how long it is away.
const CALM: Duration = Duration::from_secs(8);
const AWAY: Duration = Duration::from_secs(5);
/// The pause of the client of a member that lives, between two commands.
const NEIGHBOUR_PAUSE: Duration = Duration::from_millis(2);
const PAUSE_AIM: Duration = Duration::from_millis(1_500);
/// Few are enough to see what is wrong.
const ERRORS_SHOWN: usize = 5;

/// A time in which something was done.
struct Span {
    from: Instant,
    to: Instant,
    /// Of the agent, processor time in it.
    cpu: Duration,
    /// What the client of a member that lives waited, nanoseconds.
    neighbour: Histogram<u64>,
}

/// Runs it.
///
/// # Errors
/// When something does not start, or a library saw an error.
pub(crate) fn run(connections: u32) -> Fallible<Section> {
    crowd::make_room_for(connections)?;
    let options =
        ClusterOptions { place: Some(bench_dir()?), segment_size: None, ..cluster_options() };
    let mut cluster = Cluster::start_with(options)?;
    let agent = agent_before(&cluster);
    let crowd = Crowd::start(agent.address(), connections);
    let began = clock::now();
    while crowd.ready() < connections {
        if clock::now() - began > CONNECT_MAX {
            return Err(format!("{} are connected", crowd.ready()).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let connecting = clock::now() - began;
    thread::sleep(CALM);
    let calm = watch_span(&cluster, &agent, 1, CALM)?;
    let (mut spans, mut own_sockets) = (Vec::new(), 0);
    for member in 0..cluster.member_count() {
        cluster.kill(member);
        spans.push(watch_span(&cluster, &agent, (member + 1) % cluster.member_count(), AWAY)?);
        own_sockets = own_sockets.max(sockets(&agent)?.saturating_sub(connections as usize));
        cluster.restart(member);
        cluster.wait_in_step();
        thread::sleep(CALM);
    }
    let memory = Memory::of(agent.pid()).ok_or("the agent has gone")?;
    let account = crowd.finish();
    let mut section =
        Section::new(format!("{connections} connections through one agent, each member killed"));
    section.figure(
        "connected, per second",
        format!("{:.0}", f64::from(connections) / connecting.as_secs_f64()),
    );
    section.figure("sockets of the agent that are no library's, at most", own_sockets);
    section.figure("resident, at most", mebibytes(memory.high_water));
    report(&mut section, &account, &calm, &spans)?;
    if account.errors.is_empty() {
        return Ok(section);
    }
    let shown = account.errors.len().min(ERRORS_SHOWN);
    let errors = account.errors[..shown].join("; ");
    Err(format!("{section}\n{} libraries saw an error: {errors}", account.errors.len()).into())
}

/// Lets time go by, with a client of one member that puts and deletes.
fn watch_span(cluster: &Cluster, agent: &Agent, alive: usize, time: Duration) -> Fallible<Span> {
    let mut client = cluster.try_client(alive)?;
    let mut neighbour = Histogram::new(3)?;
    let (from, cpu) = (clock::now(), cpu_of(agent.pid())?);
    while clock::now() - from < time {
        let at = clock::now();
        let said = client.put("0 0 60", b"body").map_err(|error| format!("{error:?}"))?;
        neighbour.record(u64::try_from((clock::now() - at).as_nanos())?)?;
        let id = said.strip_prefix("INSERTED ").ok_or_else(|| said.clone())?;
        client.ask(&format!("delete {id}")).map_err(|error| format!("{error:?}"))?;
        thread::sleep(NEIGHBOUR_PAUSE);
    }
    Ok(Span { from, to: clock::now(), cpu: cpu_of(agent.pid())? - cpu, neighbour })
}

fn report(section: &mut Section, account: &Account, calm: &Span, spans: &[Span]) -> Fallible<()> {
    section.judged(
        "libraries that saw an error",
        account.errors.len(),
        "none",
        account.errors.is_empty(),
    );
    let all: Vec<(String, &Span)> = std::iter::once(("nothing happens".to_owned(), calm))
        .chain(spans.iter().zip(1..).map(|(span, id)| (format!("member {id} is killed"), span)))
        .collect();
    for (name, span) in all {
        let mut times = Histogram::<u64>::new(3)?;
        let of_span =
            account.asked.iter().filter(|it| it.at <= span.to && it.at + it.took >= span.from);
        for asked in of_span {
            times.record(u64::try_from(asked.took.as_micros())?)?;
        }
        let longest = Duration::from_micros(times.max());
        section.figure(
            &format!("{name}: commands of libraries, p50 / p99"),
            format!(
                "{} / {} us of {}",
                times.value_at_quantile(0.5),
                times.value_at_quantile(0.99),
                times.len()
            ),
        );
        let met = longest < PAUSE_AIM;
        section.judged(
            &format!("{name}: the longest"),
            format!("{longest:.0?}"),
            "below 1.5 s",
            met,
        );
        let micros = |quantile| span.neighbour.value_at_quantile(quantile) / 1000;
        section.figure(
            &format!("{name}: a client of a member that lives, p50 / p99 / longest"),
            format!("{} / {} / {} us", micros(0.5), micros(0.99), span.neighbour.max() / 1000),
        );
        let share = span.cpu.div_duration_f64(span.to - span.from);
        section.figure(
            &format!("{name}: processor share of the agent"),
            format!("{:.0}%", share * 100.0),
        );
    }
    Ok(())
}

/// How many sockets it has open.
fn sockets(agent: &Agent) -> Fallible<usize> {
    let files = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?;
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}
