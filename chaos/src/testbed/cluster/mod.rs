//! Clusters of real processes: started, formed, hurt and healed; ended when the test ends.
//!
//! Members are named by their place, from 0. Their ids in the cluster count from 1 and go on when
//! a member is replaced.

mod admin;
mod asking;
mod clocks;
mod member;
mod network;
mod options;
mod sample;
mod switch;
mod syncs;
mod trouble;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::clock::now;
use crate::testbed::{Client, LoopDisk, MemoryGroup, PATIENCE};
use member::Member;
use network::Network;

pub use admin::{AppliedView, MemberView, Status};
pub use clocks::can_have_clocks;
pub use network::{can_have_cables, can_worsen};
pub use options::ClusterOptions;
pub use sample::Watch;
pub use switch::Way;
pub use syncs::SyncFault;

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a cluster may take to come together; debug builds share few cores.
const TOGETHER_WITHIN: Duration = Duration::from_secs(30);
/// How a member says that it does not lead any more.
const NOT_THE_LEADER: &str = "has to forward request";
/// How often it is asked, and the pause between.
const TAKE_IN_ATTEMPTS: u32 = 5;
const TAKE_IN_PAUSE: Duration = Duration::from_millis(500);
/// Entries that a member may be behind and count as in step, under load.
const LAG_ENTRIES_MAX: u64 = 64;
const SECRET: &str = "a secret of the tests, not of anybody";

/// A cluster. All its processes are ended with SIGKILL when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    // Before the network: the processes end first.
    members: Vec<Member>,
    network: Network,
    home: TempDir,
    watch: Watch,
}

impl Cluster {
    /// Starts members, makes them one cluster and waits until they serve together.
    ///
    /// # Errors
    ///
    /// What the machine lacks for what is asked for.
    ///
    /// # Panics
    ///
    /// When they do not come together, with what they wrote to stderr.
    pub fn start_with(options: ClusterOptions) -> Result<Self, String> {
        let count = usize::from(options.members);
        let mut cluster = Self::waiting(options)?;
        cluster.come_together(count).unwrap_or_else(|why| panic!("{why}"));
        Ok(cluster)
    }

    /// The same, for who goes on without them.
    ///
    /// # Errors
    ///
    /// What the machine lacks for what is asked for, or that they do not come together, with what
    /// they wrote to stderr.
    pub fn try_start(options: ClusterOptions) -> Result<Self, String> {
        let count = usize::from(options.members);
        let mut cluster = Self::waiting(options)?;
        match cluster.come_together(count) {
            Ok(()) => Ok(cluster),
            Err(why) => Err(format!("{why}\n{}", cluster.logs())),
        }
    }

    fn come_together(&mut self, count: usize) -> Result<(), String> {
        self.init(0).map_err(|why| format!("init: {why}"))?;
        self.wait_until("the first member to serve", TOGETHER_WITHIN, |it| it.serves(0))?;
        for member in 1..count {
            self.take_in(member).map_err(|why| format!("add of {member}: {why}"))?;
        }
        self.wait_until("all members in step", TOGETHER_WITHIN, |it| it.in_step(count))
    }

    /// Takes a process into the cluster. On a busy machine the member that is asked may have lost
    /// the lead in this moment.
    fn take_in(&mut self, member: usize) -> Result<(), String> {
        let mut attempts = TAKE_IN_ATTEMPTS;
        loop {
            let leader = self.leader_now().unwrap_or(0);
            attempts -= 1;
            match self.add(leader, member) {
                Err(why) if attempts > 0 && why.contains(NOT_THE_LEADER) => {
                    thread::sleep(TAKE_IN_PAUSE)
                }
                taken => return taken,
            }
        }
    }

    /// Starts processes that wait to be made a cluster.
    ///
    /// # Errors
    ///
    /// What the machine lacks for the cables.
    pub fn waiting(options: ClusterOptions) -> Result<Self, String> {
        let network = if options.has_cables {
            Network::cables(options.members)?
        } else {
            Network::loopback()
        };
        // A short name: the path of a Unix socket has 107 bytes.
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("bp-");
        let home = match &options.place {
            Some(place) => builder.tempdir_in(place),
            None => builder.tempdir(),
        };
        let home = home.map_err(|error| error.to_string())?;
        let count = options.members;
        let mut cluster =
            Self { options, members: Vec::new(), network, home, watch: Watch::default() };
        for _ in 0..count {
            cluster.new_member(SECRET)?;
        }
        Ok(cluster)
    }

    /// Starts one more process that waits to be taken in, and returns its place.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn newcomer(&mut self) -> usize {
        self.try_newcomer().expect("one more member can be had")
    }

    /// The same, where it is not sure that there can be one more.
    ///
    /// # Errors
    ///
    /// What the machine lacks, or that it does not come up.
    pub fn try_newcomer(&mut self) -> Result<usize, String> {
        self.new_member(SECRET)
    }

    /// The same with another secret.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn stranger(&mut self) -> usize {
        let stranger = self.new_member("not the secret of the others at all");
        stranger.expect("one more member can be had")
    }

    fn new_member(&mut self, secret: &str) -> Result<usize, String> {
        let place = self.members.len();
        let home = self.home.path().join((place + 1).to_string());
        if let Some((_, elsewhere)) = self.options.apart.as_ref().filter(|(it, _)| *it == place) {
            member::lay_data_elsewhere(&home, elsewhere);
        }
        let disk = self.options.disk_size.map(LoopDisk::mount).transpose()?;
        if let Some(disk) = &disk {
            member::lay_data_elsewhere(&home, &disk.path().join("data"));
        }
        self.network.connect(number(place))?;
        let address = self.network.address(number(place));
        let segments = self.options.segment_size.map(|bytes| format!("segment_size_max = {bytes}"));
        let settings = [segments.as_slice(), &["[cluster]".to_owned()], &self.options.settings];
        let mut member = Member::new(home, address, secret, &settings.concat());
        member.disk = disk;
        if let Some(bytes) = self.options.memory_limit {
            member.limit_memory(bytes);
        }
        self.watch.add(member.watched());
        self.members.push(member);
        self.spawn(place);
        self.wait_until_it_answers(place)?;
        Ok(place)
    }

    /// How many processes there were, running or not.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Where clients of a member connect.
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].client_address()
    }

    /// Where clients of the member at a place connect, or will when there is one.
    pub fn address_at(&self, place: usize) -> SocketAddr {
        member::client_address(self.network.address(number(place)))
    }

    /// Where clients of all members but one connect.
    pub fn addresses_without(&self, member: usize) -> Vec<SocketAddr> {
        let others = (0..self.members.len()).filter(|&other| other != member);
        others.map(|other| self.address(other)).collect()
    }

    /// The data directory of a member.
    pub fn data(&self, member: usize) -> PathBuf {
        self.members[member].data()
    }

    /// The id of a member's process.
    pub fn pid(&self, member: usize) -> u32 {
        self.members[member].pid()
    }

    /// The group that limits a member's memory.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn memory_group(&self, member: usize) -> Result<&MemoryGroup, &str> {
        self.members[member].memory_group()
    }

    /// All that a member has written to stderr.
    pub fn log(&self, member: usize) -> String {
        self.members[member].log()
    }

    /// The ends of all logs, for a message.
    pub fn logs(&self) -> String {
        self.members.iter().map(Member::log_tail).collect::<Vec<_>>().join("\n")
    }

    // ---- Clients

    /// A connection to a member that serves, or soon will.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn client(&self, member: usize) -> Client {
        let deadline = now() + PATIENCE;
        loop {
            match self.try_client(member) {
                Ok(client) => return client,
                Err(error) => {
                    let logs = || self.members[member].log_tail();
                    assert!(now() < deadline, "member {member}: {error}\n{}", logs());
                    thread::sleep(POLL_INTERVAL);
                }
            }
        }
    }

    /// One attempt to connect to a member.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn try_client(&self, member: usize) -> io::Result<Client> {
        Client::to(self.address(member))
    }

    /// Whether a member's port for clients refuses connections.
    pub fn refuses(&self, member: usize) -> bool {
        let attempt = self.try_client(member);
        attempt.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    // ---- Processes

    /// Starts the process of a member and waits for nothing.
    pub fn spawn(&mut self, member: usize) {
        let command = self.network.command(number(member), &self.options.program);
        let clock_file = self.members[member].clock_file();
        let clock = self.options.has_clocks.then(|| clocks::environment(&clock_file));
        let environment = [self.options.environment.clone(), clock.unwrap_or_default()].concat();
        self.members[member].start(command, &self.options.flags, &environment);
    }

    /// Starts the process of a member and waits until it serves.
    pub fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.wait_serving(member);
    }

    /// Ends a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Stops a member where it is, with all its threads.
    pub fn freeze(&mut self, member: usize) {
        self.members[member].signal(Signal::STOP);
        self.members[member].is_frozen = true;
    }

    /// Lets a frozen member go on.
    pub fn thaw(&mut self, member: usize) {
        self.members[member].signal(Signal::CONT);
        self.members[member].is_frozen = false;
    }

    /// Lets a member go on if it is frozen, and is there.
    pub fn thaw_if_frozen(&mut self, member: usize) {
        if self.members[member].is_frozen && self.is_running(member) {
            self.thaw(member);
        }
    }

    /// Asks a member to end and waits until it has.
    ///
    /// # Panics
    ///
    /// When it goes on.
    pub fn terminate(&mut self, member: usize) -> ExitStatus {
        self.members[member].signal(Signal::TERM);
        let ended = self.wait_for_end(member, PATIENCE);
        ended.unwrap_or_else(|| panic!("it does not end\n{}", self.members[member].log_tail()))
    }

    /// Sends a signal to a member.
    pub fn signal(&self, member: usize, signal: Signal) {
        self.members[member].signal(signal);
    }

    /// Waits for a member to end by itself; `None` when it has not after `limit`.
    pub fn wait_for_end(&mut self, member: usize, limit: Duration) -> Option<ExitStatus> {
        self.members[member].wait_for_end(limit)
    }

    /// Whether a member runs, and neither it nor its disk is held by anything that was done to it.
    pub fn is_at_work(&mut self, member: usize) -> bool {
        self.is_running(member) && !self.members[member].is_frozen && !self.spoils_syncs(member)
    }

    /// Whether the process of a member is there, frozen or not.
    pub fn is_running(&mut self, member: usize) -> bool {
        self.members[member].is_running()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            // What a test prints is shown when it fails.
            eprintln!("{}", self.logs());
        }
    }
}

fn number(place: usize) -> u8 {
    u8::try_from(place).expect("a cluster has few members")
}
