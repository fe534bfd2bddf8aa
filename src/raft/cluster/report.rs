//! What an operator is told: how the cluster is, whether a member can be stopped, what is in memory.

use std::collections::BTreeSet;

use openraft::BasicNode;

use super::lease::ticks;
use super::limits::LimitsFit;
use super::{Cluster, Standing, presence};
use crate::admin::{
    AppliedStatus, ClusterStatus, Contact, LimitStatus, LimitsMemory, LimitsStatus, MemberStatus,
    MemoryStatus, PHASE_NO_MAJORITY, PHASE_REPLAYING, PHASE_SERVING, Reply, Request, Role,
    ShareStatus,
};
use crate::memory::ShareFigures;
use crate::queue::Limits;

/// A member that is further behind does not count as one that could carry on.
const LAG_ENTRIES_MAX: u64 = 10_000;

impl Cluster {
    pub(super) fn contact(&self, member: u64) -> Contact {
        if member == self.member() {
            return Contact::Here;
        }
        if !self.leads() {
            let leads = self.other_leader().is_some_and(|(leader, _)| leader == member);
            return match leads && self.leadership.is_somebody() {
                true => Contact::Heard,
                false => Contact::Unknown,
            };
        }
        match self.presence.contact(member, &self.peers, self.lease.tick()) {
            presence::Contact::Heard => Contact::Heard,
            presence::Contact::Silent => Contact::Silent,
            presence::Contact::Dead => Contact::Dead,
        }
    }

    /// The leader's view if it answers, else this member's.
    pub(super) async fn status(&self) -> ClusterStatus {
        let own = self.own_status();
        match self.pass_on(&Request::Status).await {
            Ok(Reply::Status(status)) => {
                let ClusterStatus { this_member, phase, applied, .. } = own;
                ClusterStatus { this_member, phase, applied, ..status }
            }
            Ok(_) | Err(_) => own,
        }
    }

    pub(super) fn own_status(&self) -> ClusterStatus {
        let (jobs, applied, last) = self.replica.with_state(|state| {
            let counters = state.queue.counters();
            let jobs = counters.current_jobs_ready
                + counters.current_jobs_reserved
                + counters.current_jobs_delayed
                + counters.current_jobs_buried;
            let digest = format!("{:016x}", state.queue.chain());
            let applied = state.applied.map(|id| AppliedStatus { index: id.index, digest });
            (jobs, applied, state.applied.map_or(0, |id| id.index))
        });
        // Right after a start nobody can have heard it yet.
        let is_old = self.lease.tick() > ticks(self.timing.lease);
        let phase = match self.lease.standing() {
            Standing::Cut if self.replica.is_open() || is_old => PHASE_NO_MAJORITY,
            _ if self.replica.is_open() => PHASE_SERVING,
            _ => PHASE_REPLAYING,
        };
        // openraft names the last one until another asks for votes.
        let is_led = self.leadership.is_somebody() || !self.meets_others();
        let (leader, term, mut members) = self.look(|metrics| {
            let leader = metrics.current_leader.filter(|_| is_led);
            let membership = metrics.membership_config.membership();
            let voters: BTreeSet<u64> = membership.voter_ids().collect();
            let member = |(id, node): (&u64, &BasicNode)| MemberStatus {
                id: *id,
                address: node.addr.clone(),
                client_address: None,
                role: match () {
                    () if leader == Some(*id) => Role::Leader,
                    () if voters.contains(id) => Role::Follower,
                    () => Role::Learner,
                },
                contact: Contact::Unknown,
                matched: matched(metrics, *id),
                lag_entries: None,
                version: None,
            };
            let members: Vec<_> = membership.nodes().map(member).collect();
            (leader, metrics.current_term, members)
        });
        for member in &mut members {
            member.contact = self.contact(member.id);
            member.lag_entries = member.matched.map(|matched| last.saturating_sub(matched));
            let about = match member.id == self.member() {
                true => Some(self.about.clone()),
                false => self.presence.about(member.id),
            };
            if let Some(about) = about {
                member.client_address = Some(about.client_address);
                member.version = Some(about.version);
            }
        }
        ClusterStatus {
            cluster: format!("{:032x}", self.us.cluster),
            this_member: self.member(),
            leader,
            term,
            phase: phase.to_owned(),
            jobs: Some(jobs),
            applied,
            members,
        }
    }

    pub(super) fn limits_status(&self) -> Reply {
        let (limits, used) = self.limits();
        let LimitsFit { bytes_max, room, enough } = self.limits_fit();
        let status = |of: fn(&Limits) -> u64| LimitStatus { limit: of(&limits), used: of(&used) };
        Reply::Limits(LimitsStatus {
            tubes: status(|it| it.tubes),
            watches: status(|it| it.watches),
            held: status(|it| it.held_jobs),
            sessions: status(|it| it.sessions),
            memory: LimitsMemory { bytes_max, room, enough },
        })
    }

    /// What this member has in memory.
    pub(super) fn memory_status(&self) -> Reply {
        let memory = self.replica.memory();
        let coming = self.lanes.waiting_bytes() as u64;
        let status = |share: ShareFigures| ShareStatus {
            name: share.name.to_owned(),
            limit: share.limit,
            // What other members have sent to the leader is about to become entries.
            used: share.used + if share.name == memory.log.name { coming } else { 0 },
        };
        Reply::Memory(MemoryStatus {
            budget: memory.budget,
            resident: memory.measure(),
            shares: memory.figures().into_iter().map(status).collect(),
        })
    }

    /// Whether the others are a majority without this member.
    pub(super) async fn check(&self) -> Reply {
        let status = self.status().await;
        let voters: Vec<_> =
            status.members.iter().filter(|member| member.role != Role::Learner).collect();
        let others: Vec<_> = voters.iter().filter(|voter| voter.id != self.member()).collect();
        let up = others.iter().filter(|voter| {
            matches!(voter.contact, Contact::Here | Contact::Heard)
                && voter.lag_entries.is_none_or(|lag| lag < LAG_ENTRIES_MAX)
        });
        let (up, needed) = (up.count(), voters.len() / 2 + 1);
        let can_stop = status.leader.is_some() && up >= needed;
        let reason = match status.leader {
            None => "nobody leads at this moment".to_owned(),
            Some(_) if others.is_empty() => "it is the only voter".to_owned(),
            Some(_) => format!(
                "up to date are {up} of the other voters, of which there are {}; {needed} are needed",
                others.len()
            ),
        };
        Reply::Check { can_stop, reason }
    }
}

fn matched(metrics: &openraft::RaftMetrics<super::TypeConfig>, member: u64) -> Option<u64> {
    if metrics.current_leader == Some(member) && member == metrics.id {
        return metrics.last_log_index;
    }
    metrics.replication.as_ref()?.get(&member)?.as_ref().map(|id| id.index)
}
