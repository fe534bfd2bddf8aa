//! Many delayed jobs whose deadlines are spread evenly: how late they reach waiting consumers.
//!
//! A job's body says when it is due: the moment before its put was sent, plus its delay. So
//! lateness holds the put's own latency too, and a job that comes earlier than its body says was
//! fired too early.

use std::{
    error::Error,
    io::Write,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    common::{
        client::Client,
        clock,
        section::{Section, mebibytes},
        server::{Server, ServerKind},
        wire::Reply,
    },
    consumers::Consumers,
};

/// Puts sent together at most.
const BATCH_MAX: u32 = 128;
const BODY_BYTES: u64 = 64;
const PUT_PAUSE: Duration = Duration::from_millis(1);
const LATENESS_P99_MAX: Duration = Duration::from_millis(20);

/// How many jobs, and how they are spread over time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// Jobs in all.
    pub(crate) jobs: u32,
    /// They are put, evenly, during this time.
    pub(crate) put_seconds: u32,
    /// Their deadlines lie, evenly, in this time after the puts.
    pub(crate) due_seconds: u32,
}

/// Puts the jobs, waits for all of them, and reports how late they were.
///
/// # Errors
/// When a reply is wrong, a job comes twice, or jobs stay away.
pub(crate) fn run(kind: ServerKind, spread: Spread) -> Result<Section, Box<dyn Error>> {
    let server = Server::start(kind)?;
    let resident_before = server.resident_bytes()?;
    let mut consumers = Consumers::open(server.address(), spread.jobs)?;
    let (cpu_before, own_before) = (server.cpu()?, clock::own_cpu());
    let origin = clock::now();
    let address = server.address();
    let putter = thread::spawn(move || put_all(address, spread, origin).map_err(|e| e.to_string()));
    let mut resident_full = resident_before;
    let consumed = consumers.run(origin, || {
        resident_full = resident_full.max(server.resident_bytes().unwrap_or_default());
    });
    // What stopped the puts explains why jobs stayed away, so it is told first.
    let putting = if consumed.is_ok() || putter.is_finished() {
        putter.join().map_err(|_| "the putter panicked")??
    } else {
        Duration::ZERO
    };
    let lateness = consumed?;
    let elapsed = clock::now() - origin;
    server.check_kept(u64::from(spread.jobs) * BODY_BYTES)?;
    let left = Client::connect(address)?.default_tube_stat("current-jobs-delayed")?;

    let mut section = Section::new(format!("{} delayed jobs, {}", spread.jobs, kind.label()));
    section.figure("put over", format!("{:.1} s", putting.as_secs_f64()));
    section.figure("all fired after", format!("{:.1} s", elapsed.as_secs_f64()));
    section.figure("most resident", mebibytes(resident_full));
    let each = resident_full.saturating_sub(resident_before) / u64::from(spread.jobs);
    section.figure("resident per job, 64 B body", format!("{each} B"));
    let share = |used: Duration| format!("{:.0}%", used.div_duration_f64(elapsed) * 100.0);
    section.figure("server's processor share", share(server.cpu()? - cpu_before));
    section.figure("bench's processor share", share(clock::own_cpu() - own_before));
    section.judged("jobs left delayed", left, "none", left == 0);
    section.judged("fired too early", consumers.early(), "none", consumers.early() == 0);
    let at = |quantile| Duration::from_nanos(lateness.value_at_quantile(quantile));
    section.figure("lateness p50", milliseconds(at(0.5)));
    let p99 = at(0.99);
    section.judged("lateness p99", milliseconds(p99), "below 20 ms", p99 < LATENESS_P99_MAX);
    section.figure("lateness p99.9", milliseconds(at(0.999)));
    section.figure("lateness most", milliseconds(Duration::from_nanos(lateness.max())));
    Ok(section)
}

/// The body of job `number`: the number and the due time in nanoseconds after the origin.
fn write_put(
    commands: &mut Vec<u8>,
    number: u32,
    sent: Duration,
    delay_seconds: u32,
) -> std::io::Result<()> {
    let due = sent + Duration::from_secs(u64::from(delay_seconds));
    write!(
        commands,
        "put 0 {delay_seconds} 600 {BODY_BYTES}\r\n{number:031} {:032}\r\n",
        due.as_nanos()
    )
}

/// Puts all jobs at an even pace; how long it took.
fn put_all(
    address: SocketAddr,
    spread: Spread,
    origin: Instant,
) -> Result<Duration, Box<dyn Error>> {
    let mut client = Client::connect(address)?;
    let mut random = 0x9E37_79B9_7F4A_7C15;
    let mut sent_jobs = 0;
    let mut commands = Vec::new();
    while sent_jobs < spread.jobs {
        let sent = clock::now() - origin;
        let share = (sent.as_secs_f64() / f64::from(spread.put_seconds)).min(1.0);
        let batch = ((f64::from(spread.jobs) * share) as u32 - sent_jobs).min(BATCH_MAX);
        if batch == 0 {
            thread::sleep(PUT_PAUSE);
            continue;
        }
        commands.clear();
        for number in sent_jobs..sent_jobs + batch {
            let delay = delay_seconds(spread, sent, next_random(&mut random));
            write_put(&mut commands, number, sent, delay)?;
        }
        client.send(&commands)?;
        for _ in 0..batch {
            let reply = client.receive()?;
            if !matches!(reply, Reply::Inserted(_)) {
                return Err(format!("put was answered with {reply:?}").into());
            }
        }
        sent_jobs += batch;
    }
    Ok(clock::now() - origin)
}

/// The whole seconds that bring a job, sent now, nearest before a random moment of the due time.
fn delay_seconds(spread: Spread, sent: Duration, random: f64) -> u32 {
    let due = f64::from(spread.put_seconds) + random * f64::from(spread.due_seconds);
    ((due - sent.as_secs_f64()).max(1.0)) as u32
}

/// Xorshift, from 0 to below 1: the same jobs in each run.
fn next_random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as f64 / 4_294_967_296.0
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
