//! No backlog: jobs come and go, beside one that was buried at the start. Disk and memory must stay
//! as they are.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::{
    jobs::{Jobs, Variety},
    options::Options,
};
use crate::common::{
    Fallible,
    client::Client,
    clock,
    confined::Member,
    section::{Section, mebibytes},
    watch::Peaks,
    wire::Reply,
};

const TENTHS: u64 = 10;
/// The first tenths, in which memory and the log come to their size.
const WARM_UP: usize = 2;
/// How much more than before the last tenth may take.
const GROWTH_MAX: f64 = 1.5;
/// Of a small log, two segments more are not growth.
const DISK_SLACK_BYTES: u64 = 2 * 64 * 1024 * 1024;
const OLD_TUBE: &str = "old";

/// Runs the cycles; what was promised and not held goes to `broken`.
///
/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run(
    options: &Options,
    member: &mut Member,
    section: &mut Section,
    broken: &mut Vec<String>,
) -> Fallible<()> {
    let mut keeper = Client::connect(member.address())?;
    let old = bury_one(&mut keeper)?;
    let mut tenths = Vec::new();
    member.watch().take_peaks();
    let started = clock::now();
    for tenth in 1..=TENTHS {
        run_cycles(options, member.address(), options.cycles / TENTHS)?;
        let peaks = member.watch().take_peaks();
        let (disk, resident) = (peaks.disk_bytes, peaks.memory.resident);
        eprintln!("steady: {tenth}/10, resident {}, disk {}", mebibytes(resident), mebibytes(disk));
        tenths.push(peaks);
    }
    let rate = options.cycles as f64 / (clock::now() - started).as_secs_f64();
    section.figure("cycles of put, reserve and delete a second", format!("{rate:.0}"));
    judge_growth(section, broken, ("disk", DISK_SLACK_BYTES), &tenths, |peaks| peaks.disk_bytes);
    let resident = |peaks: &Peaks| peaks.memory.resident;
    judge_growth(section, broken, ("resident memory", 0), &tenths, resident);
    let files = member.run_files()?;
    section.judged("files of cold jobs, of which one could be read", files, "none", files == 0);
    if files > 0 {
        broken.push(format!("{files} files of cold jobs"));
    }
    keeper.send(format!("kick-job {old}\r\nwatch {OLD_TUBE}\r\nreserve\r\n").as_bytes())?;
    for awaited in ["KICKED", "WATCHING 2"] {
        let reply = keeper.receive()?;
        if reply != Reply::Line(awaited.as_bytes()) {
            return Err(format!("the buried job: {reply:?}, not {awaited}").into());
        }
    }
    match keeper.receive()? {
        Reply::Reserved { id, body: b"old" } if id == old => Ok(()),
        other => Err(format!("the buried job came as {other:?}").into()),
    }
}

/// The id of a job that is buried in a tube of its own.
fn bury_one(client: &mut Client) -> Fallible<u64> {
    client.send(format!("use {OLD_TUBE}\r\nput 0 0 1000000 3\r\nold\r\n").as_bytes())?;
    client.receive()?;
    let Reply::Inserted(id) = client.receive()? else {
        return Err("the job to be buried was not taken".into());
    };
    client.send(format!("watch {OLD_TUBE}\r\nreserve\r\nbury {id} 0\r\n").as_bytes())?;
    client.receive()?;
    client.receive()?;
    let reply = client.receive()?;
    if reply != Reply::Line(b"BURIED") {
        return Err(format!("the job was not buried: {reply:?}").into());
    }
    client.send(format!("ignore {OLD_TUBE}\r\n").as_bytes())?;
    client.receive()?;
    Ok(id)
}

fn run_cycles(options: &Options, address: SocketAddr, cycles: u64) -> Fallible<()> {
    let jobs = Jobs::new(cycles, options.size, Variety::Plain);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..options.producers)
            .map(|_| scope.spawn(|| run_client(&jobs, address, options.depth, &next)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client's panic is a bug of the bench"))
    })
}

/// Batches of puts, as many reserves and as many deletes, until all numbers are given out. What it
/// reserves can be another client's job, of which there are always enough.
fn run_client(jobs: &Jobs, address: SocketAddr, depth: u64, next: &AtomicU64) -> Fallible<()> {
    let mut client = Client::connect(address)?;
    let mut commands = Vec::new();
    let mut deletes = String::new();
    loop {
        let first = next.fetch_add(depth, Ordering::Relaxed).min(jobs.count);
        let batch = first..(first + depth).min(jobs.count);
        if batch.is_empty() {
            return Ok(());
        }
        commands.clear();
        for number in batch.clone() {
            jobs.write_put(number, None, &mut commands)?;
        }
        client.send(&commands)?;
        for _ in batch.clone() {
            let reply = client.receive()?;
            if !matches!(reply, Reply::Inserted(_)) {
                return Err(format!("a put was answered with {reply:?}").into());
            }
        }
        commands.clear();
        batch.clone().try_for_each(|_| write!(commands, "reserve\r\n"))?;
        client.send(&commands)?;
        deletes.clear();
        for _ in batch.clone() {
            match client.receive()? {
                Reply::Reserved { id, body } if jobs.recognise(body).is_some() => {
                    write!(deletes, "delete {id}\r\n")?;
                }
                other => return Err(format!("a reserve was answered with {other:?}").into()),
            }
        }
        client.send(deletes.as_bytes())?;
        for _ in batch {
            let reply = client.receive()?;
            if reply != Reply::Deleted {
                return Err(format!("a delete was answered with {reply:?}").into());
            }
        }
    }
}

/// The last tenth against the median of those before it and after the warm-up.
fn judge_growth(
    section: &mut Section,
    broken: &mut Vec<String>,
    (name, slack_bytes): (&str, u64),
    tenths: &[Peaks],
    of: impl Fn(&Peaks) -> u64,
) {
    let values: Vec<u64> = tenths.iter().map(of).collect();
    let told: Vec<String> = values.iter().map(|&value| mebibytes(value)).collect();
    section.figure(&format!("{name}, tenth by tenth"), told.join(", "));
    let Some((&last, earlier)) = values.split_last() else { return };
    let mut earlier = earlier[WARM_UP..].to_vec();
    earlier.sort_unstable();
    let median = earlier[earlier.len() / 2];
    let growth = last as f64 / median as f64;
    let is_flat = growth <= GROWTH_MAX || last <= median + slack_bytes;
    let row = format!("{name}: last tenth / median of the earlier");
    let slack = if slack_bytes > 0 { ", or two segments more" } else { "" };
    section.judged(&row, format!("{growth:.2}"), &format!("at most 1.5{slack}"), is_flat);
    if !is_flat {
        broken.push(format!("{name} grows: {growth:.2}"));
    }
}
