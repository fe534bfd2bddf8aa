//! Rounds of load, crash and audit.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::audit::audit;
use super::worker::Worker;
use crate::support::{Client, PATIENCE, Random, Server, ServerOptions, Target};

/// Rounds whose ids are all looked at again, besides the jobs that should be there. The last
/// audit looks at all ids.
const ROUNDS_LOOKED_AT: usize = 3;
/// How long the load may last before the crash, in milliseconds.
const LOAD_MILLISECONDS: std::ops::Range<u64> = 20..250;

/// The course of a test.
pub(super) struct Course {
    pub(super) target: Target,
    pub(super) flags: Vec<String>,
    pub(super) rounds: usize,
    pub(super) workers: u64,
    pub(super) seed: u64,
}

/// Ends a server and prepares its directory for the next start.
pub(super) trait Crash {
    /// The data directory.
    fn data(&self) -> &Path;
    /// Lets it happen; the server has ended when this returns.
    ///
    /// # Errors
    ///
    /// When the server does what it must not in such a case.
    fn crash(&mut self, server: &mut Server) -> Result<(), String>;
    /// Whether the server may refuse commands before it ends.
    fn may_refuse(&self) -> bool {
        false
    }
}

/// SIGKILL: what was written is kept by the kernel, synced or not.
pub(super) struct Kill(pub(super) tempfile::TempDir);

impl Crash for Kill {
    fn data(&self) -> &Path {
        self.0.path()
    }

    fn crash(&mut self, server: &mut Server) -> Result<(), String> {
        server.kill();
        Ok(())
    }
}

/// Runs a course.
///
/// # Errors
///
/// The promise that was broken, and in which round.
pub(super) fn run(course: &Course, crash: &mut dyn Crash) -> Result<(), String> {
    let mut random = Random::new(course.seed);
    let mut workers: Vec<_> =
        (1..=course.workers).map(|n| Worker::new(course.target, n, course.seed)).collect();
    let mut ids_at_start = vec![1];
    let mut server = start(course, crash)?;
    for round in 0..course.rounds {
        let load = Duration::from_millis(random.within(LOAD_MILLISECONDS));
        let mut clients: Vec<Client> = workers.iter().map(|_| server.connect()).collect();
        thread::scope(|scope| {
            let work = |(worker, client): (&mut Worker, &mut Client)| worker.work(client);
            let threads: Vec<_> = workers
                .iter_mut()
                .zip(&mut clients)
                .map(|pair| scope.spawn(move || work(pair)))
                .collect();
            thread::sleep(load);
            let crashed = crash.crash(&mut server);
            // The workers end with the server, also with one that should have ended by itself.
            server.kill();
            crashed?;
            let ends = threads.into_iter().map(|thread| thread.join().expect("no worker panics"));
            // All threads are waited for before any is judged.
            for end in ends.collect::<Vec<_>>() {
                if end.kind() == ErrorKind::Other && !crash.may_refuse() {
                    return Err(end.to_string());
                }
            }
            Ok(())
        })
        .map_err(|what| format!("round {round}: {what}"))?;
        drop(server);

        server = start(course, crash)?;
        let is_last = round + 1 == course.rounds;
        let looked_at = if is_last { ids_at_start.len() } else { ROUNDS_LOOKED_AT };
        let first_id = ids_at_start[ids_at_start.len().saturating_sub(looked_at)];
        let next_id = audit(&mut server.connect(), &mut workers, first_id)
            .map_err(|what| format!("round {round}: {what}\n{}", server.log()))?;
        ids_at_start.push(next_id);
    }
    let put = ids_at_start.last().copied().unwrap_or_default();
    if put < course.rounds as u64 {
        return Err(format!("no load: {put} jobs in {} rounds", course.rounds));
    }
    Ok(())
}

fn start(course: &Course, crash: &dyn Crash) -> Result<Server, String> {
    let data = crash.data().join("data");
    fs::create_dir_all(&data).map_err(|error| error.to_string())?;
    let flags = course.flags.clone();
    let options = ServerOptions { flags, data: Some(data), ..Default::default() };
    let mut server = Server::start(course.target, options);
    // The first answer comes when what was there before has been read.
    let mut client = server.connect();
    client.send(b"list-tube-used\r\n").map_err(|error| error.to_string())?;
    client.reply(PATIENCE).ok_or_else(|| format!("no answer; {}", server.log()))?;
    Ok(server)
}
