//! A backlog: jobs that are there before clients begin, more than members keep in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use crate::clock::Clock;
use crate::history::{Body, Command, Line, Reply};

use super::body::new_key;
use super::connection::{Connection, Ended, Place};
use super::drain::next_client;
use super::tally::Recorder;
use super::{REPLY_LIMIT, kinds};
use crate::testbed::Random;

/// Connections that put at the same time.
const CONNECTIONS: u32 = 8;
/// Times to run: some are over before a slow worker is, which then has to touch its job; none is so
/// long that a job does not come back before the end of a run.
const TTR_SECONDS: [u32; 4] = [1, 2, 3, 20];

/// What is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The tube, and its place among those of the run.
    pub tube: (usize, String),
    /// How many jobs.
    pub jobs: u32,
    /// The length of each.
    pub bytes: u32,
    /// Where the priorities come from.
    pub seed: u64,
}

/// Puts the jobs of a backlog, with any priorities, all as records. Returns how many were taken: fewer
/// when a member has no room or a connection ends.
pub fn fill(
    backlog: &Backlog,
    addresses: &[SocketAddr],
    clock: Clock,
    lines: &SyncSender<Line>,
) -> u32 {
    thread::scope(|scope| {
        let share = |part: u32| {
            let member = usize::try_from(part).expect("a few") % addresses.len();
            let recorder = Arc::new(Recorder::new(clock, lines.clone()));
            let jobs = backlog.jobs / CONNECTIONS + u32::from(part < backlog.jobs % CONNECTIONS);
            let address = addresses[member];
            scope.spawn(move || {
                let mut taken = 0;
                let place = Place {
                    client: next_client(),
                    connection: 1,
                    member: u32::try_from(member).expect("few members"),
                };
                match put_all(backlog, jobs, place, address, &recorder, &mut taken) {
                    // A connection that ends leaves the rest out.
                    Ok(()) | Err(Ended) => taken,
                }
            })
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(share).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

fn put_all(
    backlog: &Backlog,
    jobs: u32,
    place: Place,
    address: SocketAddr,
    recorder: &Arc<Recorder>,
    taken: &mut u32,
) -> Result<(), Ended> {
    let (client, (tube, name)) = (place.client, &backlog.tube);
    let mut random = Random::new(backlog.seed ^ u64::from(client));
    let mut connection = Connection::open(place, address, REPLY_LIMIT, recorder)?;
    connection.ask(Command::Use { tube: name.clone() })?;
    for count in 1..=jobs {
        let key = new_key(client, *tube, count);
        let reply = connection.ask(Command::Put {
            tube: name.clone(),
            priority: kinds::any_priority(&mut random),
            delay: 0,
            ttr: random.pick(&TTR_SECONDS),
            body: Body { key, bytes: backlog.bytes, is_intact: true },
            under: None,
        })?;
        *taken += u32::from(matches!(reply, Reply::Inserted { .. }));
    }
    connection.close();
    Ok(())
}
