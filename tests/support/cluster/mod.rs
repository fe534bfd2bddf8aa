//! Clusters of real processes: started, formed, hurt and healed; ended when the test ends.
//!
//! Members are named by their place, from 0. Their ids in the cluster count from 1 and go on when
//! a member is replaced.

mod admin;
mod hang;
mod member;
mod network;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, MemoryGroup, PATIENCE, Target, now};
use hang::Hang;
use member::Member;
use network::Network;

use admin::{MemberView, Status};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a cluster may take to come together; debug builds share few cores.
const TOGETHER_WITHIN: Duration = Duration::from_secs(30);
/// Entries that a member may be behind and count as in step, under load.
const LAG_ENTRIES_MAX: u64 = 64;
/// Bytes of a segment in tests.
const SEGMENT_SIZE: u32 = 2 * 1024 * 1024;
const SECRET: &str = "a secret of the tests, not of anybody";

/// How a cluster is started.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// How many members.
    pub(crate) members: u8,
    /// Flags of each process, beyond the configuration file.
    pub(crate) flags: Vec<String>,
    /// Lines of the table `[cluster]`.
    pub(crate) settings: Vec<String>,
    /// Bytes of a segment of the log, if not the server's default: tests write little, and what is
    /// zero-filled ahead of need keeps the disk busy.
    pub(crate) segment_size: Option<u32>,
    /// Where the directories are made; the system's place for temporary files if unset.
    pub(crate) place: Option<PathBuf>,
    /// A member whose data directory lies elsewhere, on a disk of its own.
    pub(crate) apart: Option<(usize, PathBuf)>,
    /// Whether the ways between members can be cut.
    pub(crate) has_cables: bool,
    /// Bytes of the memory control group that each member gets, one of its own, where this machine
    /// can have any.
    pub(crate) memory_limit: Option<u64>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            members: 3,
            flags: Vec::new(),
            settings: Vec::new(),
            segment_size: Some(SEGMENT_SIZE),
            place: None,
            apart: None,
            has_cables: false,
            memory_limit: None,
        }
    }
}

/// A cluster. All its processes are ended with SIGKILL when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: ClusterOptions,
    // Before the network: the processes end first.
    members: Vec<Member>,
    network: Network,
    home: TempDir,
}

impl Cluster {
    /// Starts so many members on this machine and waits until they serve together.
    ///
    /// # Panics
    ///
    /// When they do not, with what they wrote to stderr.
    pub(crate) fn start(members: u8) -> Self {
        let options = ClusterOptions { members, ..Default::default() };
        Self::start_with(options).expect("nothing special is asked for")
    }

    /// Starts members, makes them one cluster and waits until they serve together.
    ///
    /// # Errors
    ///
    /// What the machine lacks for the cables.
    ///
    /// # Panics
    ///
    /// When they do not come together.
    pub(crate) fn start_with(options: ClusterOptions) -> Result<Self, String> {
        let count = options.members;
        let mut cluster = Self::waiting(options)?;
        cluster.init(0).unwrap_or_else(|why| panic!("init: {why}"));
        cluster.wait_serving(0);
        for member in 1..usize::from(count) {
            cluster.add(0, member).unwrap_or_else(|why| panic!("add of {member}: {why}"));
        }
        cluster.wait_in_step();
        Ok(cluster)
    }

    /// Starts processes that wait to be made a cluster.
    ///
    /// # Errors
    ///
    /// What the machine lacks for the cables.
    pub(crate) fn waiting(options: ClusterOptions) -> Result<Self, String> {
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
        let mut cluster = Self { options, members: Vec::new(), network, home };
        for _ in 0..count {
            cluster.new_member(SECRET);
        }
        Ok(cluster)
    }

    /// Starts one more process that waits to be taken in, and returns its place.
    pub(crate) fn newcomer(&mut self) -> usize {
        self.new_member(SECRET)
    }

    /// The same with another secret.
    pub(crate) fn stranger(&mut self) -> usize {
        self.new_member("not the secret of the others at all")
    }

    fn new_member(&mut self, secret: &str) -> usize {
        let place = self.members.len();
        let home = self.home.path().join((place + 1).to_string());
        if let Some((_, elsewhere)) = self.options.apart.as_ref().filter(|(it, _)| *it == place) {
            member::lay_data_elsewhere(&home, elsewhere);
        }
        let address = self.network.address(number(place));
        let segments = self.options.segment_size.map(|bytes| format!("segment_size_max = {bytes}"));
        let settings = [segments.as_slice(), &["[cluster]".to_owned()], &self.options.settings];
        let mut member = Member::new(home, address, secret, &settings.concat());
        if let Some(bytes) = self.options.memory_limit {
            member.limit_memory(bytes);
        }
        self.members.push(member);
        self.spawn(place);
        let data = self.members[place].data();
        self.wait_for("the administration socket of a new member", TOGETHER_WITHIN, |_| {
            admin::status(&data).is_ok()
        });
        place
    }

    /// How many processes there were, running or not.
    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Where clients of a member connect.
    pub(crate) fn address(&self, member: usize) -> SocketAddr {
        self.members[member].client_address()
    }

    /// Where clients of all members but one connect.
    pub(crate) fn addresses_without(&self, member: usize) -> Vec<SocketAddr> {
        let others = (0..self.members.len()).filter(|&other| other != member);
        others.map(|other| self.address(other)).collect()
    }

    /// The data directory of a member.
    pub(crate) fn data(&self, member: usize) -> PathBuf {
        self.members[member].data()
    }

    /// The id of a member's process.
    pub(crate) fn pid(&self, member: usize) -> u32 {
        self.members[member].pid()
    }

    /// The group that limits a member's memory.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn memory_group(&self, member: usize) -> Result<&MemoryGroup, &str> {
        self.members[member].memory_group()
    }

    /// All that a member has written to stderr.
    pub(crate) fn log(&self, member: usize) -> String {
        self.members[member].log()
    }

    /// The ends of all logs, for a message.
    pub(crate) fn logs(&self) -> String {
        self.members.iter().map(Member::log_tail).collect::<Vec<_>>().join("\n")
    }

    // ---- Clients

    /// A connection to a member that serves, or soon will.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn client(&self, member: usize) -> Client {
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
    pub(crate) fn try_client(&self, member: usize) -> io::Result<Client> {
        Client::to(self.address(member))
    }

    /// Whether a member's port for clients refuses connections.
    pub(crate) fn refuses(&self, member: usize) -> bool {
        let attempt = self.try_client(member);
        attempt.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    // ---- Processes

    /// Starts the process of a member and waits for nothing.
    pub(crate) fn spawn(&mut self, member: usize) {
        let program = Target::Beanpole.program().expect("the tests have built it");
        let command = self.network.command(number(member), &program);
        let flags = self.options.flags.clone();
        self.members[member].start(command, &flags);
    }

    /// Starts the process of a member and waits until it serves.
    pub(crate) fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.wait_serving(member);
    }

    /// Ends a member with SIGKILL.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Stops a member where it is, with all its threads.
    pub(crate) fn freeze(&mut self, member: usize) {
        self.members[member].signal(Signal::STOP);
        self.members[member].is_frozen = true;
    }

    /// Lets a frozen member go on.
    pub(crate) fn thaw(&mut self, member: usize) {
        self.members[member].signal(Signal::CONT);
        self.members[member].is_frozen = false;
    }

    /// Asks a member to end and waits until it has.
    ///
    /// # Panics
    ///
    /// When it goes on.
    pub(crate) fn terminate(&mut self, member: usize) -> ExitStatus {
        self.members[member].signal(Signal::TERM);
        let ended = self.wait_for_end(member, PATIENCE);
        ended.unwrap_or_else(|| panic!("it does not end\n{}", self.members[member].log_tail()))
    }

    /// Sends a signal to a member.
    pub(crate) fn signal(&self, member: usize, signal: Signal) {
        self.members[member].signal(signal);
    }

    /// Waits for a member to end by itself; `None` when it has not after `limit`.
    pub(crate) fn wait_for_end(&mut self, member: usize, limit: Duration) -> Option<ExitStatus> {
        self.members[member].wait_for_end(limit)
    }

    /// Whether the process of a member is there, frozen or not.
    pub(crate) fn is_running(&mut self, member: usize) -> bool {
        self.members[member].is_running()
    }

    /// Lets the syncs of a member's log hang until [`heal`](Self::heal) or the end of its process.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(crate) fn hang(&mut self, member: usize) -> Result<(), String> {
        let hang = Hang::begin(self.pid(member))?;
        self.members[member].hang = Some(hang);
        Ok(())
    }

    /// Drops all that goes from one member to another.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(number(from), number(to));
    }

    /// Cuts a member off from all others, both ways.
    pub(crate) fn isolate(&mut self, member: usize) {
        for other in (0..self.members.len()).filter(|&other| other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// Takes back all cuts and lets go of all disks.
    pub(crate) fn heal(&mut self) {
        self.network.heal();
        for member in &mut self.members {
            member.hang = None;
        }
    }

    /// Takes all that a member has kept: a new disk in its place.
    pub(crate) fn lose_disk(&mut self, member: usize) {
        assert!(!self.is_running(member), "a disk is lost under a running member");
        self.members[member].lose_disk();
    }

    // ---- Administration

    /// How a member sees the cluster.
    ///
    /// # Errors
    ///
    /// When it does not say so soon.
    pub(crate) fn status(&self, member: usize) -> Result<Status, String> {
        admin::status(&self.members[member].data())
    }

    /// Asks a member for something, in words of the administration socket.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub(crate) fn change(&self, member: usize, request: &Value) -> Result<(), String> {
        admin::change(&self.members[member].data(), request)
    }

    /// Begins a cluster of one.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub(crate) fn init(&self, member: usize) -> Result<(), String> {
        self.change(member, &json!({"do": "init"}))
    }

    /// Takes a process that waits into the cluster of `via`.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub(crate) fn add(&self, via: usize, newcomer: usize) -> Result<(), String> {
        let address = self.members[newcomer].member_address().to_string();
        self.change(via, &json!({"do": "add", "address": address}))
    }

    /// Puts a process that waits in the place of the member with the id `gone`.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub(crate) fn replace(&self, via: usize, gone: u64, newcomer: usize) -> Result<(), String> {
        let address = self.members[newcomer].member_address().to_string();
        self.change(via, &json!({"do": "replace", "member": gone, "address": address}))
    }

    /// The id of a member.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub(crate) fn id(&self, member: usize) -> u64 {
        let status = self.status(member);
        status.unwrap_or_else(|why| panic!("member {member}: {why}\n{}", self.logs())).this_member
    }

    /// Whether `member` can be stopped, as it says itself.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub(crate) fn can_stop(&self, member: usize) -> Result<bool, String> {
        let data = self.members[member].data();
        let reply = admin::exchange(&data, r#"{"do":"check"}"#, PATIENCE)?;
        reply["can_stop"].as_bool().ok_or_else(|| reply.to_string())
    }

    /// The place of the leader, as soon as a majority of the processes that run agrees.
    ///
    /// # Panics
    ///
    /// When there is none for long.
    pub(crate) fn leader(&mut self) -> usize {
        let mut found = None;
        self.wait_for("a leader", TOGETHER_WITHIN, |cluster| {
            found = cluster.leader_now();
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// A place that does not lead, and is not `other` either.
    pub(crate) fn follower_beside(&mut self, other: usize) -> usize {
        let leader = self.leader();
        let mut places = (0..self.members.len()).rev();
        places
            .find(|&place| place != leader && place != other && self.members[place].is_running())
            .expect("a cluster has more than two members that run")
    }

    /// The leader that the member with the greatest term names, if that one agrees.
    pub(crate) fn leader_now(&mut self) -> Option<usize> {
        let views: Vec<(usize, Status)> = self.views();
        let newest = views.iter().map(|(_, view)| view.term).max()?;
        let leader = views.iter().find(|(_, view)| {
            view.term == newest && view.leader == Some(view.this_member) && view.this_member > 0
        });
        leader.map(|&(place, _)| place)
    }

    /// Waits until all members are voters, heard by the leader, in step with it and serving.
    ///
    /// # Panics
    ///
    /// When that does not come about.
    pub(crate) fn wait_in_step(&mut self) {
        let all = self.members.len();
        self.wait_for("all members in step", TOGETHER_WITHIN, |cluster| cluster.in_step(all));
    }

    /// Waits until so many members are in step and serve.
    pub(crate) fn wait_in_step_of(&mut self, count: usize) {
        self.wait_for("members in step", TOGETHER_WITHIN, |cluster| cluster.in_step(count));
    }

    /// Whether so many members are voters, heard by the leader, in step with it and serving.
    pub(crate) fn in_step(&mut self, count: usize) -> bool {
        let Some(leader) = self.leader_now() else { return false };
        let Ok(view) = self.status(leader) else { return false };
        let is_in_step = |member: &&MemberView| {
            member.role != "learner"
                && ["here", "heard"].contains(&member.contact.as_str())
                && member.lag_entries.unwrap_or_default() <= LAG_ENTRIES_MAX
        };
        let serving = self.views().into_iter().filter(|(place, view)| {
            let is_listening = self.members[*place].is_listening();
            view.phase == "serving" && view.leader.is_some() && is_listening
        });
        view.members.iter().filter(is_in_step).count() >= count && serving.count() >= count
    }

    /// Waits until a member says that it serves, and does.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub(crate) fn wait_serving(&mut self, member: usize) {
        self.wait_for(&format!("member {member} to serve"), TOGETHER_WITHIN, |cluster| {
            cluster.status(member).is_ok_and(|view| view.phase == "serving")
                && cluster.members[member].is_listening()
        });
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) {
        let deadline = now() + limit;
        while !condition(self) {
            assert!(now() < deadline, "not within {limit:?}: {what}");
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// How all members that can answer see the cluster.
    fn views(&mut self) -> Vec<(usize, Status)> {
        let places = 0..self.members.len();
        places
            .filter_map(|place| {
                let member = &mut self.members[place];
                let can_answer = member.is_running() && !member.is_frozen;
                let view = can_answer.then(|| admin::status(&member.data()).ok())??;
                Some((place, view))
            })
            .collect()
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

/// A program of the project, run on the data directory of a member.
pub(crate) fn cluster_command(data: &Path, arguments: &[&str]) -> std::process::Command {
    let program = Target::Beanpole.program().expect("the tests have built it");
    let mut command = std::process::Command::new(program);
    command.arg("cluster").args(arguments).arg("--data-dir").arg(data);
    command
}

fn number(place: usize) -> u8 {
    u8::try_from(place).expect("a cluster has few members")
}
