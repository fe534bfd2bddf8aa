//! What an operator can do to a cluster while it serves.
//!
//! Whoever is asked passes the question on to the leader. One change is made at a time, each through
//! the log; a newcomer is a learner until it has caught up, so that it never weakens the majority.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};

use super::lease::ticks;
use super::messages::{self, WelcomeMessage, kind};
use super::{Cluster, contact};
use crate::admin::{Administrator, Contact, LimitsRequest, REQUEST_LIMIT, Reply, Request};
use crate::link::{self, Caller, Purpose};
use crate::queue::{LimitsChange, MemberId, Part};

/// How long a newcomer may take to answer.
const JOIN_LIMIT: Duration = Duration::from_secs(3);

/// How long a newcomer may take to catch up. It goes on as a learner after that.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(45);

/// How long one entry, or a change of leader, may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// How long the leader may take to tell how the cluster is.
const STATUS_LIMIT: Duration = Duration::from_secs(1);

/// How often a request is repeated while nobody leads: for two seconds.
const ASKED_AGAIN_MAX: u32 = 200;

/// How long a member that begins to lead may take to hear the others.
const LEADER_LIMIT: Duration = Duration::from_secs(2);

/// How often to look whether something has happened.
const POLL: Duration = Duration::from_millis(10);

/// Why nothing, or not all, was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("nobody leads at this moment: is a majority of the members up?")]
    NoLeader,
    #[error("member {0} led, and hears no majority of the members: bring another one back first")]
    NoMajority(u64),
    #[error(
        "this server has no [cluster] table, so that it has no others: give it one (listen, \
         secret_file) and restart it"
    )]
    NoTable,
    #[error("the leader, member {0}, does not answer")]
    LeaderSilent(u64),
    #[error("another member leads now")]
    Moved,
    #[error("another change is under way")]
    Busy,
    #[error("there is no member {0}")]
    Unknown(u64),
    #[error("{0} is a member already, as number {1}")]
    AlreadyThere(String, u64),
    #[error("{0} is no address: HOST:PORT is wanted")]
    NoAddress(String),
    #[error("{address} does not let itself be taken in: {source}")]
    Join { address: String, source: link::DialError },
    #[error("{address} did not take its number: {source}")]
    Welcome { address: String, source: link::LinkError },
    #[error("member {0} is the only voter: the cluster would be gone")]
    LastVoter(u64),
    #[error(
        "member {member} is the only voter, and nobody else could lead meanwhile: `add {address}` \
         first, and then `remove {member}`"
    )]
    ReplacesLastVoter { member: u64, address: String },
    #[error("there is no other voter that could lead, or none is heard")]
    NoSuccessor,
    #[error(
        "only {up} of the {voters} voters that would be left are heard: the majority would be lost"
    )]
    Majority { up: usize, voters: usize },
    #[error("member {0} is not heard")]
    NotHeard(u64),
    #[error("{0} did not happen in time; it may yet")]
    TimedOut(&'static str),
    #[error("the log refused: {0}")]
    Log(String),
}

/// The commands of an operator, as this member carries them out.
pub struct Administration {
    pub(in super::super) cluster: Arc<Cluster>,
}

impl Administrator for Administration {
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move { self.cluster.administer(request).await })
    }
}

impl Cluster {
    async fn administer(&self, request: Request) -> Reply {
        let reply = match request {
            Request::Init => return Reply::Refused { reason: self.init_refusal().to_owned() },
            Request::Status => return Reply::Status(self.status().await),
            Request::Check => return self.check().await,
            Request::Memory => return self.memory_status(),
            Request::Limits(change) if change.is_empty() => return self.limits_status(),
            // A member that is alone has limits too.
            Request::Limits(_) => self.ask_until_led(&request).await,
            _ if !self.meets_others() => Err(Refusal::NoTable),
            other => self.ask_until_led(&other).await,
        };
        reply.unwrap_or_else(|refusal| Reply::Refused { reason: refusal.to_string() })
    }

    fn init_refusal(&self) -> &'static str {
        match self.meets_others() {
            true => "this member is part of a cluster already",
            false => {
                "this server has begun already: give it a [cluster] table (listen, secret_file), \
                 restart it, and `add` the others"
            }
        }
    }

    /// Asks whoever leads. Right after a start, or when the leader has handed over, there is none for a
    /// moment, and nothing has been done.
    async fn ask_until_led(&self, request: &Request) -> Result<Reply, Refusal> {
        let mut answered = self.ask_leader(request).await;
        for _ in 0..ASKED_AGAIN_MAX {
            if !matches!(answered, Err(Refusal::Moved | Refusal::NoLeader)) {
                break;
            }
            tokio::time::sleep(POLL).await;
            answered = self.ask_leader(request).await;
        }
        answered
    }

    async fn ask_leader(&self, request: &Request) -> Result<Reply, Refusal> {
        match self.leads() {
            true => self.change(request).await,
            false => self.pass_on(request).await,
        }
    }

    /// Serves another member that passes its operator's request on. `None` when another has to be asked,
    /// or it cannot be read.
    pub(super) async fn serve_admin(&self, body: &[u8]) -> Option<Vec<u8>> {
        let reply = match serde_json::from_slice(body).ok()? {
            Request::Status => Reply::Status(self.own_status()),
            other => match self.leads() {
                true => match self.change(&other).await {
                    Err(Refusal::Moved) => return None,
                    done => done,
                },
                // One hop at most.
                false => return None,
            }
            .unwrap_or_else(|refusal| Reply::Refused { reason: refusal.to_string() }),
        };
        serde_json::to_vec(&reply).ok()
    }

    pub(super) async fn pass_on(&self, request: &Request) -> Result<Reply, Refusal> {
        let known = self.other_leader().filter(|_| self.leadership.is_somebody());
        let (leader, address) = known.ok_or(Refusal::NoLeader)?;
        let silent = || Refusal::LeaderSilent(leader);
        let body = serde_json::to_vec(request).map_err(|_| silent())?;
        let limit = match request {
            Request::Status => STATUS_LIMIT,
            _ => REQUEST_LIMIT,
        };
        let answer = contact::ask_frame(self, (leader, &address), kind::ADMIN, &body, limit).await;
        let answer = answer.ok_or_else(silent)?;
        if answer.kind != kind::ADMIN {
            return Err(Refusal::Moved);
        }
        serde_json::from_slice(&answer.body).map_err(|_| silent())
    }

    async fn change(&self, request: &Request) -> Result<Reply, Refusal> {
        let Ok(_one_at_a_time) = self.changing.try_lock() else { return Err(Refusal::Busy) };
        // A member that has just begun to lead may not have heard the others yet.
        until(LEADER_LIMIT, || !self.leads() || self.leads_a_majority()).await;
        if !self.leads_a_majority() {
            return Err(match self.leads() {
                true => Refusal::NoMajority(self.member()),
                false => Refusal::Moved,
            });
        }
        let text = match request {
            Request::Add { address } => self.add(address).await?,
            Request::Remove { member } | Request::Replace { member, .. }
                if *member == self.member() =>
            {
                self.give_up_lead_to_go(request).await?;
                return Err(Refusal::Moved);
            }
            Request::Remove { member } => self.remove(*member).await?,
            Request::Replace { member, address } => self.replace(*member, address).await?,
            Request::Transfer { to } => self.hand_over(*to).await?,
            Request::Limits(limits) => {
                self.set_limits(change_of(*limits)).await?;
                return Ok(self.limits_status());
            }
            Request::Init | Request::Status | Request::Check | Request::Memory => {
                unreachable!("these change nothing and are answered before")
            }
        };
        tracing::info!(target: "beanpole", "{text}");
        Ok(Reply::Done { text })
    }

    /// A leader that is to go lets another lead first, which then removes or replaces it.
    async fn give_up_lead_to_go(&self, request: &Request) -> Result<(), Refusal> {
        let member = self.member();
        if self.voters_without(member).is_empty() {
            return Err(match request {
                Request::Replace { address, .. } => {
                    Refusal::ReplacesLastVoter { member, address: address.clone() }
                }
                _ => Refusal::LastVoter(member),
            });
        }
        until(LEADER_LIMIT, || self.furthest_follower().is_some()).await;
        self.hand_over(None).await?;
        Ok(())
    }

    async fn add(&self, address: &str) -> Result<String, Refusal> {
        let member = self.take_in(address, None).await?;
        let voters = ChangeMembers::AddVoterIds(BTreeSet::from([member]));
        self.change_members(voters, true).await?;
        Ok(format!("{address} is member {member}, and votes"))
    }

    async fn remove(&self, member: u64) -> Result<String, Refusal> {
        if !self.is_member(member) {
            return Err(Refusal::Unknown(member));
        }
        let change = match self.voters().contains(&member) {
            true => {
                self.require_majority(&self.voters_without(member), member).await?;
                ChangeMembers::RemoveVoters(BTreeSet::from([member]))
            }
            false => ChangeMembers::RemoveNodes(BTreeSet::from([member])),
        };
        self.let_go(member, change).await?;
        Ok(format!("member {member} is removed for good"))
    }

    async fn replace(&self, member: u64, address: &str) -> Result<String, Refusal> {
        if !self.voters().contains(&member) {
            return Err(Refusal::Unknown(member));
        }
        let left = self.voters_without(member);
        self.require_majority(&left, member).await?;
        let newcomer = self.take_in(address, Some(member)).await?;
        let wanted = left.into_iter().chain([newcomer]).collect();
        self.let_go(member, ChangeMembers::ReplaceAllVoters(wanted)).await?;
        Ok(format!("{address} is member {newcomer}, in the place of member {member}"))
    }

    /// Makes a change that leaves `member` out. Its clients are closed first: what they hold goes to
    /// others with the change. The pulse sees to the word on it in the log.
    async fn let_go(
        &self,
        member: u64,
        change: ChangeMembers<u64, BasicNode>,
    ) -> Result<(), Refusal> {
        self.presence.set_leaving(member, true);
        let lease_ticks = ticks(self.timing.lease);
        let serves_nobody = || self.presence.serves_nobody(member, self.lease.tick(), lease_ticks);
        let gone = until(self.timing.lease * 2, serves_nobody).await;
        let changed = match gone {
            true => self.change_members(change, false).await,
            false => Err(Refusal::TimedOut("the end of its clients' connections")),
        };
        self.presence.set_leaving(member, false);
        changed?;
        let is_out = || {
            self.replica.with_state(|state| {
                let life = state.queue.life(MemberId(member));
                life.is_none_or(|life| life.is_removed || life.incarnation.0 == 0)
            })
        };
        match until(CHANGE_LIMIT, is_out).await {
            true => Ok(()),
            false => Err(Refusal::TimedOut("the end of its sessions")),
        }
    }

    fn voters_without(&self, member: u64) -> Vec<u64> {
        self.voters().into_iter().filter(|voter| *voter != member).collect()
    }

    /// Lets another voter lead: `to`, or the one that has come farthest.
    pub(in super::super) async fn hand_over_any(&self) -> bool {
        self.hand_over(None).await.is_ok()
    }

    async fn hand_over(&self, to: Option<u64>) -> Result<String, Refusal> {
        let to = match to {
            Some(to) if !self.voters().contains(&to) => return Err(Refusal::Unknown(to)),
            Some(to) if to == self.member() => return Ok(format!("member {to} leads already")),
            Some(to) => {
                // A member that has just begun to lead may not have heard it yet.
                let is_heard = || self.contact(to) == Contact::Heard;
                until(LEADER_LIMIT, || !self.leads() || is_heard()).await;
                if !self.leads() {
                    return Err(Refusal::Moved);
                }
                if !is_heard() {
                    return Err(Refusal::NotHeard(to));
                }
                to
            }
            None => {
                let (furthest, _) = self.furthest_follower().ok_or(Refusal::NoSuccessor)?;
                furthest
            }
        };
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|fatal| Refusal::Log(fatal.to_string()))?;
        let led = until(CHANGE_LIMIT, || self.other_leader().is_some()).await;
        if !led {
            return Err(Refusal::TimedOut("the change of leader"));
        }
        let leader = self.other_leader().map_or(to, |(leader, _)| leader);
        Ok(format!("member {leader} leads"))
    }

    /// Gives a waiting process a number and brings it up to date as a learner. It may be where
    /// `replaced` was, whose disk is lost.
    async fn take_in(&self, address: &str, replaced: Option<u64>) -> Result<u64, Refusal> {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(Refusal::NoAddress(address.to_owned()));
        }
        let mut others = self.others().into_iter().filter(|(member, _)| Some(*member) != replaced);
        if let Some((member, _)) = others.find(|(_, there)| there == address) {
            // One that did not catch up in time is a learner still, and may be asked for again.
            return match self.voters().contains(&member) {
                true => Err(Refusal::AlreadyThere(address.to_owned(), member)),
                false => self.wait_for_learner(member, address).await,
            };
        }
        let dialled = link::dial(&self.us, 0, address, Purpose::Join, JOIN_LIMIT).await;
        let link =
            dialled.map_err(|source| Refusal::Join { address: address.to_owned(), source })?;
        let member = self.next_member();
        self.log_says(Part::Enrol { member }, "its number", || {
            self.replica.with_state(|state| state.queue.life(member).is_some())
        })
        .await?;
        let welcome = messages::bytes(&WelcomeMessage { member: member.0 });
        Caller::new(link)
            .call(kind::WELCOME, &welcome, JOIN_LIMIT)
            .await
            .map_err(|source| Refusal::Welcome { address: address.to_owned(), source })?;
        tracing::info!(target: "beanpole", member = member.0, address, "a member joins");
        self.wait_for_learner(member.0, address).await
    }

    /// Makes a member a learner, and waits until it has caught up.
    async fn wait_for_learner(&self, member: u64, address: &str) -> Result<u64, Refusal> {
        let added = self.raft.add_learner(member, BasicNode::new(address), true);
        match tokio::time::timeout(CATCH_UP_LIMIT, added).await {
            Ok(Ok(_)) => Ok(member),
            Ok(Err(error)) => Err(Refusal::Log(error.to_string())),
            Err(_) => Err(Refusal::TimedOut("its catching up (ask again later)")),
        }
    }

    /// A number that no member has had. The state may not know yet of all that the membership knows.
    fn next_member(&self) -> MemberId {
        let unused = self.replica.with_state(|state| state.queue.next_member());
        let greatest =
            self.look(|metrics| metrics.membership_config.nodes().map(|(member, _)| *member).max());
        unused.max(MemberId(greatest.map_or(self.member(), |greatest| greatest + 1)))
    }

    async fn change_members(
        &self,
        change: ChangeMembers<u64, BasicNode>,
        retain: bool,
    ) -> Result<(), Refusal> {
        let changed = self.raft.change_membership(change, retain);
        match tokio::time::timeout(CHANGE_LIMIT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Refusal::Log(error.to_string())),
            Err(_) => Err(Refusal::TimedOut("the change of the membership")),
        }
    }

    /// Puts a word of the leader's own into the log and waits for what it does.
    pub(super) async fn log_says(
        &self,
        part: Part,
        what: &'static str,
        is_done: impl Fn() -> bool,
    ) -> Result<(), Refusal> {
        // A member that has just begun to lead may not have taken over yet.
        if !until(LEADER_LIMIT, || self.lanes.push_own(part.clone())).await {
            return Err(Refusal::TimedOut(what));
        }
        self.outbox.wake();
        match until(CHANGE_LIMIT, is_done).await {
            true => Ok(()),
            false => Err(Refusal::TimedOut(what)),
        }
    }

    async fn require_majority(&self, left: &[u64], without: u64) -> Result<(), Refusal> {
        if left.is_empty() {
            return Err(Refusal::LastVoter(without));
        }
        let is_up =
            |member: &&u64| matches!(self.contact(**member), Contact::Here | Contact::Heard);
        let up = || left.iter().filter(is_up).count();
        let voters = left.len();
        // A member that has just begun to lead may not have heard the others yet.
        match until(LEADER_LIMIT, || up() > voters / 2).await {
            true => Ok(()),
            false => Err(Refusal::Majority { up: up(), voters }),
        }
    }

    fn voters(&self) -> Vec<u64> {
        self.look(|metrics| metrics.membership_config.voter_ids().collect())
    }

    pub(super) fn is_member(&self, member: u64) -> bool {
        self.look(|metrics| metrics.membership_config.nodes().any(|(id, _)| *id == member))
    }
}

fn change_of(request: LimitsRequest) -> LimitsChange {
    let LimitsRequest { tubes, watches, held, sessions } = request;
    LimitsChange { tubes, watches, held_jobs: held, sessions }
}

/// Waits for something to become so. Returns whether it did.
async fn until(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(limit, wait).await.is_ok()
}
