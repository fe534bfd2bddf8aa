//! The adversaries. Each prepares what it needs, does its deed, and is looked at for a while. That
//! the server refuses it something is a result; only what it does to others is judged.

use std::{
    io::Write,
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{
    crowd::{Crowd, Manner},
    fill::{Load, fill},
    jobs::{Jobs, Variety},
    judge::Judge,
    options::{Adversary, Options},
    polite::Polite,
    progress::Progress,
    take::Taker,
};
use crate::common::{
    Fallible, client::Client, clock, confined::Member, section::Section, watch::Watch, wire::Reply,
};

const MILLION: u64 = 1_000_000;
const PRODUCERS: u32 = 4;
const DEPTH: u64 = 64;
/// Bytes of a body, where many jobs are wanted and not many bytes.
const SMALL_BODY: u32 = 64;
const LARGE_BODY: u32 = 65_535;
const RESERVES_OF_A_SLOW_READER: u64 = 20;
const SLOW_RECEIVE_BUFFER_BYTES: usize = 4096;
const PIPELINES: u64 = 16;
/// Jobs that are put in a second at least, so that all are there when they are due together.
const PUTS_A_SECOND_MIN: u64 = 20_000;
/// Delays are whole seconds, so that they are due within one.
const DUE_WITHIN: Duration = Duration::from_secs(1);
/// How often in a row a batch of puts is refused before the adversary gives up.
const REFUSED_BATCHES_MAX: u32 = 20;
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Where the attack is, and what is told about it.
pub(crate) struct Field<'a> {
    pub(crate) options: &'a Options,
    pub(crate) member: &'a Member,
    pub(crate) address: SocketAddr,
    pub(crate) watch: &'a Watch,
    pub(crate) polite: &'a Polite,
    pub(crate) section: &'a mut Section,
}

/// The whole attack.
///
/// # Errors
/// When one of the polite clients is harmed, or the server has gone.
pub(crate) fn run(adversary: Adversary, field: &mut Field<'_>) -> Fallible<()> {
    match adversary {
        Adversary::Tubes => field.tubes(),
        Adversary::Watchers => field.crowd(10_000, watcher(field.options.scaled(1000))),
        Adversary::Idle => field.crowd(10_000, idler()),
        Adversary::SlowReaders => field.slow_readers(),
        Adversary::Pipelines => field.pipelines(),
        Adversary::Reserves => field.crowd(10_000, waiter()),
        Adversary::Kick => field.kick(),
        Adversary::Delayed => field.delayed(),
        Adversary::Holder => field.holder(),
    }
}

/// Watches so many tubes, which all of its kind watch.
fn watcher(tubes: u64) -> Manner {
    let commands: String = (0..tubes).map(|tube| format!("watch w{tube}\r\n")).collect();
    Manner {
        commands: commands.into_bytes(),
        replies: tubes,
        hoped_for: "WATCHING ",
        receive_buffer_bytes: None,
    }
}

/// Asks once, so that it is known to be served.
fn idler() -> Manner {
    Manner {
        commands: b"list-tube-used\r\n".to_vec(),
        replies: 1,
        hoped_for: "USING ",
        receive_buffer_bytes: None,
    }
}

/// Sends a hundred reserves that nothing answers.
fn waiter() -> Manner {
    Manner {
        commands: b"reserve\r\n".repeat(100),
        replies: 0,
        hoped_for: "",
        receive_buffer_bytes: None,
    }
}

impl Field<'_> {
    /// Until here it was prepared.
    fn begins(&mut self) -> Fallible<()> {
        self.polite.report(self.section, "while it prepares", false)
    }

    /// A while later: how it was for the others since it began.
    fn goes_on(&mut self, has_aim: bool) -> Fallible<()> {
        thread::sleep(self.options.duration());
        self.polite.report(self.section, "during", has_aim)
    }

    fn crowd(&mut self, connections: u64, manner: Manner) -> Fallible<()> {
        let crowd = Crowd::gather(self.address, self.options.scaled(connections), &manner)?;
        crowd.report(self.section);
        self.goes_on(false)
    }

    fn tubes(&mut self) -> Fallible<()> {
        let wanted = self.options.scaled(MILLION);
        let mut client = Client::connect(self.address)?;
        let (mut next, mut made, mut refused_batches) = (0, 0, 0);
        let mut commands = Vec::new();
        while next < wanted && refused_batches < REFUSED_BATCHES_MAX {
            let batch = next..(next + DEPTH).min(wanted);
            commands.clear();
            for tube in batch.clone() {
                write!(commands, "use a{tube}\r\nput 0 0 1000 1\r\nx\r\n")?;
            }
            client.send(&commands)?;
            let mut taken = 0;
            for _ in batch.clone() {
                // Of a tube that is refused, the job goes to the one before.
                let is_used =
                    matches!(client.receive()?, Reply::Line(line) if line.starts_with(b"USING "));
                let is_put = matches!(client.receive()?, Reply::Inserted(_));
                taken += u64::from(is_used && is_put);
            }
            made += taken;
            next = batch.end;
            refused_batches = if taken == 0 { refused_batches + 1 } else { 0 };
            if taken == 0 {
                thread::sleep(REFUSED_PAUSE);
            }
        }
        self.section.figure("tubes with a job in them", made);
        self.goes_on(false)
    }

    fn slow_readers(&mut self) -> Fallible<()> {
        let readers = self.options.scaled(1000);
        self.put(1000 * RESERVES_OF_A_SLOW_READER, LARGE_BODY, Variety::Plain)?;
        self.begins()?;
        let reserves = usize::try_from(RESERVES_OF_A_SLOW_READER)?;
        let manner = Manner {
            commands: b"reserve\r\n".repeat(reserves),
            replies: 0,
            hoped_for: "",
            receive_buffer_bytes: Some(SLOW_RECEIVE_BUFFER_BYTES),
        };
        let crowd = Crowd::gather(self.address, readers, &manner)?;
        crowd.report(self.section);
        self.goes_on(false)
    }

    fn pipelines(&mut self) -> Fallible<()> {
        let commands = self.options.scaled(100_000);
        let streams: Vec<TcpStream> =
            (0..PIPELINES).map(|_| TcpStream::connect(self.address)).collect::<Result<_, _>>()?;
        let answered = thread::scope(|scope| {
            for stream in &streams {
                // What the server does not take waits here until its replies are read.
                scope.spawn(move || send_pipeline(stream, commands));
            }
            let looked_at = self.goes_on(false);
            let readers: Vec<_> = streams
                .iter()
                .map(|stream| scope.spawn(move || read_pipeline(stream, commands)))
                .collect();
            let read = |reader: thread::ScopedJoinHandle<'_, u64>| {
                reader.join().expect("a panic here is a bug of the bench")
            };
            let answered = readers.into_iter().map(read).sum::<u64>();
            // A sender of which the server takes nothing more would wait for ever.
            streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            looked_at.map(|()| answered)
        })?;
        let wanted = PIPELINES * commands;
        self.section.judged("its commands answered", answered, "all", answered == wanted);
        self.polite.report(self.section, "while it reads", false)
    }

    fn kick(&mut self) -> Fallible<()> {
        let jobs = self.put(MILLION, SMALL_BODY, Variety::Plain)?;
        let mut taker = Taker::connect(self.address, Judge::new(jobs), jobs, DEPTH)?;
        taker.bury();
        taker.take(jobs.count, &Progress::begin("bury", jobs.count, self.watch))?;
        taker.settle()?;
        self.begins()?;
        let asked = clock::now();
        let kicked = taker.kick(u32::MAX.into())?;
        self.section.figure("jobs kicked", kicked);
        self.section.figure("the kick took", format!("{:.1?}", clock::now() - asked));
        self.goes_on(true)?;
        let ready = Client::connect(self.address)?.default_tube_stat("current-jobs-ready")?;
        self.judge_all_ready(ready, jobs.count);
        Ok(())
    }

    fn delayed(&mut self) -> Fallible<()> {
        let moment = self.options.scaled(MILLION) / PUTS_A_SECOND_MIN + 5;
        let jobs = self.put(MILLION, SMALL_BODY, Variety::DueTogether(moment))?;
        let mut client = Client::connect(self.address)?;
        let early = client.default_tube_stat("current-jobs-ready")?;
        self.section.figure("jobs that were due before all were put", early);
        let first_due = jobs.last_due().saturating_sub(DUE_WITHIN);
        thread::sleep(first_due.saturating_sub(clock::now() - jobs.origin()));
        self.begins()?;
        self.goes_on(true)?;
        let left = client.default_tube_stat("current-jobs-delayed")?;
        self.section.judged("jobs still delayed at the end", left, "none", left == 0);
        Ok(())
    }

    fn holder(&mut self) -> Fallible<()> {
        let jobs = self.put(MILLION / 2, SMALL_BODY, Variety::Plain)?;
        self.member.administer(&["limits", "--held", &(2 * jobs.count).to_string()])?;
        let mut holder = Client::connect(self.address)?;
        let held = hold(&mut holder, jobs.count, self.section)?;
        self.section.figure("jobs held by one connection", held);
        self.begins()?;
        drop(holder);
        self.goes_on(true)?;
        let ready = Client::connect(self.address)?.default_tube_stat("current-jobs-ready")?;
        self.judge_all_ready(ready, jobs.count);
        Ok(())
    }

    fn judge_all_ready(&mut self, ready: u64, all: u64) {
        self.section.judged("jobs ready at the end", ready, "all", ready == all);
    }

    /// Puts jobs into the tube `default`.
    fn put(&mut self, count: u64, size_bytes: u32, variety: Variety) -> Fallible<Jobs> {
        let jobs = Jobs::new(self.options.scaled(count), size_bytes, variety);
        let load = Load { address: self.address, connections: PRODUCERS, depth: DEPTH, pace: None };
        let progress = Progress::begin("put", jobs.count, self.watch);
        let filled = fill(load, &jobs, &progress)?;
        self.section.figure("jobs put", jobs.count);
        self.section.figure("its puts refused and sent again", filled.refused);
        Ok(jobs)
    }
}

/// Reserves up to `count` jobs and keeps them; how many it got.
fn hold(holder: &mut Client, count: u64, section: &mut Section) -> Fallible<u64> {
    let mut held = 0;
    while held < count {
        let batch = DEPTH.min(count - held);
        holder.send(&b"reserve-with-timeout 0\r\n".repeat(usize::try_from(batch)?))?;
        let before = held;
        for _ in 0..batch {
            match holder.receive()? {
                Reply::Reserved { .. } => held += 1,
                Reply::Line(line) if held == before => {
                    let told = String::from_utf8_lossy(line).into_owned();
                    section.figure("it was told, and held no more", told);
                    return Ok(held);
                }
                Reply::Line(_) => {}
                other => return Err(format!("a reserve was answered with {other:?}").into()),
            }
        }
    }
    Ok(held)
}

fn send_pipeline(mut stream: &TcpStream, commands: u64) {
    let commands = usize::try_from(commands).expect("a pipeline fits into memory");
    // That the server hangs up is seen by the reader.
    drop(stream.write_all(&b"stats-tube default\r\n".repeat(commands)));
}

/// How many are answered with OK, of all or until the server hangs up.
fn read_pipeline(stream: &TcpStream, commands: u64) -> u64 {
    let Ok(mut client) = stream.try_clone().and_then(Client::over) else { return 0 };
    let mut answered = 0;
    for _ in 0..commands {
        match client.receive() {
            Ok(Reply::Ok(_)) => answered += 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    answered
}
