//! What is done to members beside ending them: to their ways, disks, clocks and memory. What is
//! done is undone when the cluster is dropped, at the latest.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::syncs::{SyncFault, Tracer};
use super::{Cluster, Way, clocks, number};
use crate::testbed::{Glutton, LoopDisk, run};

impl Cluster {
    // ---- Ways

    /// Whether the ways between members can be cut.
    pub fn has_cables(&self) -> bool {
        self.options.has_cables
    }

    /// Drops all that goes from one member to another.
    ///
    /// # Panics
    ///
    /// Without cables, or when the rule is refused.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.try_cut(from, to).expect("a rule can be added");
    }

    /// The same, where it is not sure that there are cables. Says whether it was not cut before.
    ///
    /// # Errors
    ///
    /// That there are none, or why the rule is refused.
    pub fn try_cut(&mut self, from: usize, to: usize) -> Result<bool, String> {
        self.network.cut(number(from), number(to))
    }

    /// Takes back one cut, if it is there.
    ///
    /// # Errors
    ///
    /// That there are no cables, or why the rule cannot be taken back.
    pub fn join(&mut self, from: usize, to: usize) -> Result<(), String> {
        self.network.join(number(from), number(to))
    }

    /// Cuts a member off from all others, both ways.
    ///
    /// # Panics
    ///
    /// As [`cut`](Self::cut).
    pub fn isolate(&mut self, member: usize) {
        for other in (0..self.members.len()).filter(|&other| other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// Lets what goes from one member to another come late, or not at all, until
    /// [`better`](Self::better). All such ways of a cluster at one time are alike.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub fn worsen(&mut self, ways: &[(usize, usize)], way: Way) -> Result<(), String> {
        let ways: Vec<_> = ways.iter().map(|&(from, to)| (number(from), number(to))).collect();
        self.network.worsen(&ways, way)
    }

    /// Whether [`worsen`](Self::worsen) was done and not taken back.
    pub fn is_worsened(&self) -> bool {
        self.network.is_worsened()
    }

    /// Takes back what [`worsen`](Self::worsen) did.
    ///
    /// # Errors
    ///
    /// When a rule cannot be taken back.
    pub fn better(&mut self) -> Result<(), String> {
        self.network.better()
    }

    /// Takes back all cuts, and what [`worsen`](Self::worsen) did.
    ///
    /// # Errors
    ///
    /// When a rule cannot be taken back.
    pub fn mend(&mut self) -> Result<(), String> {
        self.network.mend()
    }

    /// Resets all connections that a member has, of clients and of members.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub fn reset(&mut self, member: usize) -> Result<(), String> {
        self.network.reset(number(member))
    }

    /// Takes back all cuts and lets go of all disks.
    ///
    /// # Panics
    ///
    /// As [`mend`](Self::mend).
    pub fn heal(&mut self) {
        self.mend().expect("a rule that was added can be taken back");
        for member in &mut self.members {
            member.tracer = None;
        }
    }

    // ---- Disks

    /// Ends all members and copies what they have kept, logs and data, to a directory, to be looked
    /// at when the cluster is gone.
    ///
    /// # Errors
    ///
    /// What cannot be copied.
    pub fn save(&mut self, to: &Path) -> Result<(), String> {
        for member in &mut self.members {
            member.kill();
        }
        fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
        // Their data may lie on disks of their own.
        run(Command::new("cp").arg("-aL").arg(self.home.path().join(".")).arg(to))
    }

    /// Lets the syncs of a member's log hang until [`heal`](Self::heal) or the end of its process.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub fn hang(&mut self, member: usize) -> Result<(), String> {
        self.spoil_syncs(member, SyncFault::Hangs)
    }

    /// Lets something come of the syncs of a member's log until
    /// [`release_syncs`](Self::release_syncs) or the end of its process.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub fn spoil_syncs(&mut self, member: usize, fault: SyncFault) -> Result<(), String> {
        let tracer = Tracer::begin(self.pid(member), fault)?;
        self.members[member].tracer = Some(tracer);
        Ok(())
    }

    /// Whether something has come of a sync of a member's log, and that has returned, since
    /// [`spoil_syncs`](Self::spoil_syncs).
    pub fn has_spoilt_a_sync(&self, member: usize) -> bool {
        self.members[member].tracer.as_ref().is_some_and(Tracer::has_struck)
    }

    /// Whether something may come of the syncs of a member's log at present.
    pub fn spoils_syncs(&self, member: usize) -> bool {
        self.members[member].tracer.is_some()
    }

    /// Lets the syncs of a member's log be what they are again.
    pub fn release_syncs(&mut self, member: usize) {
        self.members[member].tracer = None;
    }

    /// The disk of a member's own.
    ///
    /// # Errors
    ///
    /// That it has none.
    pub fn disk(&self, member: usize) -> Result<&LoopDisk, String> {
        self.members[member]
            .disk
            .as_ref()
            .ok_or_else(|| "members have no disks of their own".into())
    }

    /// Takes all that a member has kept: a new disk in its place.
    ///
    /// # Panics
    ///
    /// When its process is there, or the disk cannot be emptied.
    pub fn lose_disk(&mut self, member: usize) {
        self.try_lose_disk(member).expect("the directory of a member can be emptied");
    }

    /// The same, where something may be wrong with the disk.
    ///
    /// # Errors
    ///
    /// As the system says.
    ///
    /// # Panics
    ///
    /// When its process is there.
    pub fn try_lose_disk(&mut self, member: usize) -> Result<(), String> {
        assert!(!self.is_running(member), "a disk is lost under a running member");
        self.members[member].lose_disk().map_err(|error| format!("cannot empty a disk: {error}"))
    }

    /// Ends a member, takes all that it has kept, and starts it: it waits to be taken in, under
    /// another id, where it was before.
    ///
    /// # Errors
    ///
    /// That it does not come up, or what is wrong with its disk.
    pub fn begin_anew(&mut self, member: usize) -> Result<(), String> {
        self.kill(member);
        self.try_lose_disk(member)?;
        self.spawn(member);
        self.wait_until_it_answers(member)
    }

    // ---- Memory

    /// Takes up the memory of a member's group, and lets the kernel choose the member first when it
    /// kills for want of it. Until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// That the member has no group, or what the machine lacks.
    pub fn exhaust_memory(&mut self, member: usize) -> Result<Glutton, String> {
        let score = format!("/proc/{}/oom_score_adj", self.pid(member));
        let group = self.memory_group(member)?;
        fs::write(&score, "1000").map_err(|error| format!("{score}: {error}"))?;
        Glutton::start(group)
    }

    // ---- Clocks

    /// Whether each member has a wall clock of its own.
    pub fn has_clocks(&self) -> bool {
        self.options.has_clocks
    }

    /// Sets a member's wall clock: so many seconds off from that of this machine.
    ///
    /// # Errors
    ///
    /// That members have no clocks of their own.
    pub fn set_clock(&mut self, member: usize, seconds: i64) -> Result<(), String> {
        if !self.options.has_clocks {
            return Err("members have no clocks of their own".to_owned());
        }
        clocks::set(&self.members[member].clock_file(), seconds)
    }
}
