//! Many libraries: each uses and watches a tube, some hold a job, all say something now and then.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    runtime::Builder,
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

use super::common::{Fallible, clock, support::Random};

/// The mean pause of one of them between two commands, milliseconds.
const PAUSE_MS: u64 = 2_000;
/// Of so many, one holds a job.
const HOLDER_EVERY: u32 = 10;
/// How many connect at once.
const CONNECTING_MAX: usize = 64;
/// Files that the bench needs beside the connections.
const SPARE_FILES: u64 = 64;

/// One command of one of them.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
}

/// What became of the crowd.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) asked: Vec<Asked>,
    /// What those said that saw an error; they ended with it.
    pub(crate) errors: Vec<String>,
}

/// Libraries at work, on a thread of their own.
pub(crate) struct Crowd {
    state: Arc<State>,
    thread: JoinHandle<Account>,
}

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    /// How many are connected, and hold what they are to hold.
    ready: AtomicU32,
}

/// Lets the bench, and what it starts, have so many connections open.
///
/// # Errors
/// When the hard limit of open files is below that.
pub(crate) fn make_room_for(connections: u32) -> Fallible<()> {
    let needed = u64::from(connections) + SPARE_FILES;
    let hard = getrlimit(Resource::Nofile).maximum;
    if hard.is_some_and(|hard| hard < needed) {
        return Err(format!("{needed} files needed, the hard limit is {hard:?}").into());
    }
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    Ok(())
}

impl Crowd {
    /// Starts so many of them.
    pub(crate) fn start(address: SocketAddr, connections: u32) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be started");
            runtime.block_on(work(address, connections, &shared))
        });
        Self { state, thread }
    }

    /// How many are at work.
    pub(crate) fn ready(&self) -> u32 {
        self.state.ready.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Account {
        self.state.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

async fn work(address: SocketAddr, connections: u32, state: &Arc<State>) -> Account {
    let mut account = Account::default();
    let mut at_work = JoinSet::new();
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    for number in 0..connections {
        let (state, connecting) = (Arc::clone(state), Arc::clone(&connecting));
        at_work.spawn(async move {
            let mut asked = Vec::new();
            let end = live(address, number, &state, &connecting, &mut asked).await;
            (asked, end)
        });
    }
    while let Some(ended) = at_work.join_next().await {
        let (asked, end) = ended.expect("it does not panic");
        account.asked.extend(asked);
        account.errors.extend(end.err().map(|error| error.to_string()));
    }
    account
}

/// The life of one.
async fn live(
    address: SocketAddr,
    number: u32,
    state: &State,
    connecting: &Semaphore,
    asked: &mut Vec<Asked>,
) -> io::Result<()> {
    let place = connecting.acquire().await.expect("nobody closes it");
    let mut library = Library::connect(address).await?;
    library.ask("use crowd\r\n", "USING crowd").await?;
    let held = if number.is_multiple_of(HOLDER_EVERY) { Some(library.hold().await?) } else { None };
    drop(place);
    state.ready.fetch_add(1, Ordering::Relaxed);
    let mut random = Random::new(u64::from(number) + 1);
    let (command, reply) = match held {
        Some(id) => (format!("touch {id}\r\n"), "TOUCHED"),
        None => ("list-tube-used\r\n".to_owned(), "USING crowd"),
    };
    while !state.is_over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(random.within(0..2 * PAUSE_MS))).await;
        let at = clock::now();
        library.ask(&command, reply).await?;
        asked.push(Asked { at, took: clock::now() - at });
    }
    Ok(())
}

struct Library {
    stream: BufStream<TcpStream>,
}

impl Library {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufStream::with_capacity(128, 128, stream) })
    }

    /// Asks for what has one reply.
    async fn ask(&mut self, command: &str, reply: &str) -> io::Result<()> {
        let said = self.converse(command).await?;
        if said == reply { Ok(()) } else { Err(wrong(command, &said)) }
    }

    /// Puts a job and takes one. Returns the id of what it holds.
    async fn hold(&mut self) -> io::Result<u64> {
        self.ask("watch crowd\r\n", "WATCHING 2").await?;
        let put = "put 0 0 600 4\r\nbody\r\n";
        let said = self.converse(put).await?;
        if !said.starts_with("INSERTED ") {
            return Err(wrong(put, &said));
        }
        let said = self.converse("reserve\r\n").await?;
        let id =
            said.strip_prefix("RESERVED ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        self.stream.read_exact(&mut [0; 6]).await?;
        id.ok_or_else(|| wrong("reserve", &said))
    }

    /// The line of the reply, without its end.
    async fn converse(&mut self, command: &str) -> io::Result<String> {
        self.stream.write_all(command.as_bytes()).await?;
        self.stream.flush().await?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

fn wrong(command: &str, reply: &str) -> io::Error {
    io::Error::other(format!("to {}: {reply}", command.trim_end()))
}
