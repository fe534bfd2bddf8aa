//! The clockwork of a member: what it does at every tick.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use super::leadership::Leader;
use super::lease::{TICK, ticks};
use super::presence::{Contact, Verdict};
use super::{Cluster, REMOVED};
use crate::planted::{self, Bug};
use crate::queue::{MemberId, Part};

/// A leader whose own log has not got anything onto its disk for so long, while another member has,
/// hands over.
const HUNG_DISK: std::time::Duration = std::time::Duration::from_millis(300);

/// A member whose log has not got anything onto its disk for so long does not keep up: what its
/// clients ask for waits, wherever the leader is.
const HELD_UP: std::time::Duration = std::time::Duration::from_millis(600);

/// How long the process goes on after its member was removed.
const LEAVE_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// How often digests are compared, ticks.
const DIGEST_TICKS: u64 = 50;

/// Runs for as long as it is polled.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let disk = Disk::default();
    let mut pulse =
        Pulse { cluster, led: false, disk, synced: 0, unsynced_ticks: 0, told_digest: false };
    loop {
        interval.tick().await;
        pulse.beat().await;
    }
}

/// Catches up after a moment of absence, whenever it is asked to.
pub(super) async fn catch_up(cluster: Arc<Cluster>) {
    let read_index = cluster.read_index();
    loop {
        cluster.want_catch_up.notified().await;
        let asked = cluster.lease.tick();
        let index = super::super::reads::confirmed(&read_index).await;
        cluster.replica.applied_to(index).await;
        cluster.lease.caught_up(asked);
        cluster.owner.speak_again();
    }
}

/// Ends the process some time after the member was told to leave, if it is still wanted then.
pub(super) async fn leave(cluster: Arc<Cluster>) {
    loop {
        cluster.leaving.notified().await;
        tokio::time::sleep(LEAVE_AFTER).await;
        if cluster.lease.standing() == super::Standing::Cut {
            cluster.fail(REMOVED);
        }
    }
}

struct Pulse {
    cluster: Arc<Cluster>,
    led: bool,
    disk: Disk,
    /// Up to where the log was on disk at the last beat.
    synced: u64,
    /// For how many ticks it has not got on although there was something to write.
    unsynced_ticks: u64,
    told_digest: bool,
}

/// How a member's disk gets on, whether it leads or not.
#[derive(Debug, Default)]
struct Disk {
    synced: u64,
    /// For how many ticks nothing was synced although there was something to write.
    stuck_ticks: u64,
}

impl Disk {
    /// Looks at a tick up to where the log is on disk, and up to where it should be.
    fn is_held_up(&mut self, synced: u64, last: u64) -> bool {
        let gets_on = synced != self.synced || synced >= last;
        self.stuck_ticks = if gets_on { 0 } else { self.stuck_ticks + 1 };
        self.synced = synced;
        self.stuck_ticks >= ticks(HELD_UP)
    }
}

impl Pulse {
    async fn beat(&mut self) {
        let cluster = Arc::clone(&self.cluster);
        cluster.lease.advance();
        let tick = cluster.lease.tick();
        let (synced, last) = (cluster.log.synced_index(), cluster.log.last_index());
        cluster.lease.hold_up(self.disk.is_held_up(synced, last));
        cluster.peers.tick(tick);
        let leads = cluster.leads();
        if leads && !self.led {
            cluster.presence.begin(tick);
            cluster.peers.begin();
        }
        self.led = leads;
        if cluster.meets_others() {
            cluster.leadership.observe(tick, cluster.heard_leader(tick));
        }
        match leads {
            true => self.lead(tick).await,
            false => self.follow(tick).await,
        }
    }

    async fn lead(&mut self, tick: u64) {
        let cluster = &self.cluster;
        // The time before it has taken over, and without a majority, is not counted (DESIGN D5).
        if !cluster.leads_a_majority() || !cluster.lanes.is_open() {
            return;
        }
        cluster.clock.pause();
        if cluster.lease.heard(tick) {
            cluster.want_catch_up.notify_one();
        }
        cluster.replica.memory().set_pressed(cluster.presence.is_pressed(tick));
        let words = cluster.words(tick);
        if !words.is_empty() {
            for word in words {
                // What is not taken is said again when it is looked at the next time.
                cluster.lanes.push_own(word);
            }
            cluster.outbox.wake();
        }
        if tick.is_multiple_of(DIGEST_TICKS) {
            self.compare_digests();
            let cluster = Arc::clone(&self.cluster);
            drop(tokio::spawn(async move { cluster.correct_address().await }));
        }
        self.watch_disk().await;
    }

    async fn follow(&mut self, tick: u64) {
        self.unsynced_ticks = 0;
        let cluster = &self.cluster;
        if cluster.is_removed(cluster.life.member()) {
            cluster.fail(REMOVED);
        }
        let (term, leader, votes) = cluster.look(|metrics| {
            let votes = metrics.membership_config.voter_ids().any(|id| id == cluster.member());
            (metrics.current_term, metrics.current_leader, votes)
        });
        let asks = votes && !planted::is(Bug::NoElections);
        if asks && cluster.elections.is_due(tick, term, leader) {
            // An error means that openraft has ended, which others notice.
            cluster.raft.trigger().elect(true).await.ok();
        }
    }

    /// Hands over when the disk hangs: the others go on without it, but what comes from here piles up.
    async fn watch_disk(&mut self) {
        let cluster = &self.cluster;
        let (synced, last) = (cluster.log.synced_index(), cluster.log.last_index());
        match synced > self.synced || synced >= last {
            true => self.unsynced_ticks = 0,
            false => self.unsynced_ticks += 1,
        }
        self.synced = synced;
        if self.unsynced_ticks < ticks(HUNG_DISK) {
            return;
        }
        if let Some((further, matched)) = cluster.furthest_follower()
            && matched > synced
        {
            self.unsynced_ticks = 0;
            tracing::error!(
                target: "beanpole",
                to = further,
                "this member's disk hangs: handing over the lead"
            );
            cluster.raft.trigger().transfer_leader(further).await.ok();
        }
    }

    /// Holds what the members say of their states against each other. A member that differs from two
    /// others is told so when it pings; this one looks after itself.
    fn compare_digests(&mut self) {
        let cluster = &self.cluster;
        let own = |index| cluster.replica.digest_at(index);
        let verdicts = cluster.presence.verdicts(own);
        let differing: Vec<u64> =
            verdicts.iter().filter(|it| !it.agrees).map(|it| it.member).collect();
        if differing.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.told_digest, true) {
            tracing::error!(target: "beanpole", ?differing, "the states of members differ");
        }
        if cluster.presence.agreeing_against(&differing, own) >= cluster.agreement_needed() {
            cluster.fail("this member's state differs from that of two others, which agree");
        }
    }
}

impl Cluster {
    /// Who leads and is heard at `tick`: this member while it leads a majority, or another.
    fn heard_leader(&self, tick: u64) -> Option<Leader> {
        let (leader, term) = self.look(|metrics| (metrics.current_leader, metrics.current_term));
        let member = leader?;
        let is_heard = match member == self.member() {
            true => self.leads_a_majority(),
            false => self.elections.is_heard(tick),
        };
        is_heard.then_some(Leader { member, term })
    }

    /// What the log should say of the members and does not say yet.
    fn words(&self, tick: u64) -> Vec<Part> {
        let members_now: Vec<u64> = self.look(|metrics| {
            let committed = metrics.committed_membership_config.nodes();
            let effective = metrics.membership_config.nodes();
            committed.chain(effective).map(|(id, _)| *id).collect()
        });
        self.presence.heard(self.member(), tick);
        self.replica.with_state(|state| {
            let word = |member: MemberId| {
                let contact = match member.0 == self.member() {
                    true => Contact::Heard,
                    false => self.presence.contact(member.0, &self.peers, tick),
                };
                self.presence.word_on(member, &state.queue, contact, &members_now, tick)
            };
            state.queue.members().filter_map(word).collect()
        })
    }

    /// The voter that is heard and has most of the log, and up to where.
    pub(super) fn furthest_follower(&self) -> Option<(u64, u64)> {
        let tick = self.lease.tick();
        let is_heard =
            |member: u64| self.presence.contact(member, &self.peers, tick) == Contact::Heard;
        self.look(|metrics| {
            let replication = metrics.replication.as_ref()?;
            let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
            let others = replication.iter().filter(|(member, _)| {
                **member != self.member() && voters.contains(member) && is_heard(**member)
            });
            others
                .filter_map(|(member, at)| Some((*member, at.as_ref()?.index)))
                .max_by_key(|(_, index)| *index)
        })
    }

    /// A member that was alone so far may have got an address, or another one: others will dial it.
    async fn correct_address(&self) {
        let Some(address) = &self.address else { return };
        let is_wrong = self.look(|metrics| {
            let mut nodes = metrics.membership_config.nodes();
            let first = nodes.next();
            nodes.next().is_none()
                && first.is_some_and(|(id, node)| *id == self.member() && node.addr != *address)
        });
        if !is_wrong {
            return;
        }
        let node = openraft::BasicNode::new(address);
        let change = openraft::ChangeMembers::SetNodes([(self.member(), node)].into());
        if let Err(error) = self.raft.change_membership(change, true).await {
            tracing::warn!(%error, "the address of this member could not be changed yet");
        }
    }

    /// How many must agree for a member that differs from them to be the odd one: a majority, and
    /// never one alone.
    fn agreement_needed(&self) -> usize {
        let voters = self.look(|metrics| metrics.membership_config.voter_ids().count());
        (voters / 2 + 1).max(2)
    }

    /// As the leader: whether `member` differs from this member and others, which agree. They must have
    /// got as far: before, they may have agreed with everybody.
    pub(super) fn is_odd_one_out(&self, member: u64) -> bool {
        let own = |index| self.replica.digest_at(index);
        let Some(odd) = self.presence.verdict(member, own).filter(|it| !it.agrees) else {
            return false;
        };
        let tick = self.lease.tick();
        let is_heard =
            |other: u64| self.presence.contact(other, &self.peers, tick) == Contact::Heard;
        let verdicts = self.presence.verdicts(own);
        let confirms = |it: &&Verdict| it.agrees && it.index >= odd.index && is_heard(it.member);
        1 + verdicts.iter().filter(confirms).count() >= self.agreement_needed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_syncs_nothing_for_a_while_holds_its_member_up() {
        let mut disk = Disk::default();
        let mut held_up_after = |synced, last| {
            (0..1_000).find(|_| disk.is_held_up(synced, last)).map(|before| before + 1)
        };
        assert_eq!(held_up_after(7, 7), None, "nothing is to be written");
        assert_eq!(held_up_after(7, 8), Some(ticks(HELD_UP)));
        assert_eq!(held_up_after(8, 9), Some(ticks(HELD_UP) + 1), "one got on");
        assert_eq!(held_up_after(9, 9), None);
    }
}
