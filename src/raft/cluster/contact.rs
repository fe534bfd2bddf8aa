//! Keeps in touch with whoever leads: to be heard, to hear its clock, and to notice its end.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::lease::ticks;
use super::messages::{self, ClockMessage, Ping, Pong, ReadIndexMessage, RemovedMessage, kind};
use super::{Cluster, REMOVED};
use crate::link::{Caller, DialError, Frame, LinkError, LinkReader, LinkWriter, Purpose};
use crate::queue::LogicalTime;

/// How often to ping.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long to wait for the answer before the link is given up.
const PONG_LIMIT: Duration = Duration::from_millis(400);

/// How long the log may wait for room before this member steps out (reliability 4.7).
const STALL_MAX: Duration = Duration::from_secs(1);

/// How long to wait before trying again.
const RETRY: Duration = Duration::from_millis(20);

/// How long the leader may take to confirm that it leads.
const READ_INDEX_LIMIT: Duration = Duration::from_millis(500);

/// How long others may take to tell their clocks.
const CLOCK_LIMIT: Duration = Duration::from_millis(300);

/// How often a member that hears no leader asks whether it was removed, and how long others may take
/// to answer.
const REMOVED_INTERVAL: Duration = Duration::from_secs(2);
const REMOVED_LIMIT: Duration = Duration::from_millis(300);

/// Runs for as long as it is polled.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut metrics = cluster.raft.server_metrics();
    let mut stall = Stall::default();
    loop {
        let Some((leader, address)) = cluster.other_leader() else {
            if metrics.changed().await.is_err() {
                return;
            }
            continue;
        };
        let ended = keep(&cluster, (leader, &address), &mut stall).await;
        cluster.replica.memory().set_pressed(false);
        if let Err(error) = &ended {
            tracing::debug!(leader, %error, "lost touch with the leader");
            if error.is_end_of_process() {
                cluster.elections.lost(leader);
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Finds out that this member was removed while it was away: no entry comes to it any more, and the
/// leader that it knew may lead no more. Every member that has applied its removal knows. Runs for as
/// long as it is polled.
pub(super) async fn notice_removal(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(REMOVED_INTERVAL).await;
        if !cluster.leadership.is_somebody() && is_removed(&cluster).await {
            cluster.fail(REMOVED);
        }
    }
}

/// Whether one of the others says that this member was removed.
async fn is_removed(cluster: &Cluster) -> bool {
    let asked = cluster.others().into_iter().map(|(member, address)| async move {
        let answer = ask(cluster, (member, &address), kind::REMOVED, &[], REMOVED_LIMIT).await?;
        messages::read::<RemovedMessage>(&answer).ok()
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().any(|answer| answer.is_removed)
}

#[derive(Debug, thiserror::Error)]
enum ContactError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("its answer makes no sense")]
    Malformed,
}

impl ContactError {
    /// Whether the process at the other end is gone, as far as its kernel says.
    fn is_end_of_process(&self) -> bool {
        matches!(self, Self::Dial(DialError::Refused) | Self::Link(LinkError::Closed))
    }
}

/// Pings one leader until it leads no more, or the link ends.
async fn keep(
    cluster: &Cluster,
    (leader, address): (u64, &str),
    stall: &mut Stall,
) -> Result<(), ContactError> {
    let link = cluster.dial(leader, address, Purpose::Control).await?;
    cluster.peers.reached(leader);
    let (mut reader, mut writer) = link.split();
    writer.feed(kind::HELLO, 0, &messages::bytes(&cluster.about));
    writer.flush().await?;
    reader.next_within(PONG_LIMIT).await?.ok_or(LinkError::Closed)?;
    let (mut leaves, mut stood_at) = (false, 0);
    while cluster.other_leader().is_some_and(|(now, _)| now == leader) {
        let steps_out = stall.is_long(cluster);
        let told = (stood_at, steps_out);
        let pong = ping(cluster, told, &mut reader, &mut writer).await?;
        stood_at = cluster.replica.applied_index();
        if pong.removed && !std::mem::replace(&mut leaves, true) {
            leave(cluster, &mut reader, &mut writer).await?;
        }
        leaves &= pong.removed;
        cluster.replica.memory().set_pressed(pong.leads && pong.slows);
        if pong.leads {
            cluster.clock.follow(pong.now);
            cluster.elections.heard(cluster.lease.tick());
            if !steps_out && cluster.lease.heard(pong.sent) {
                cluster.want_catch_up.notify_one();
            }
        }
        if pong.differs {
            cluster.fail("this member's state differs from that of two others, which agree");
        }
        // Nothing is expected now but the end of the link.
        match tokio::time::timeout(INTERVAL, reader.next()).await {
            Err(_) => {}
            Ok(Ok(Some(_))) => return Err(ContactError::Malformed),
            Ok(Ok(None)) => return Err(LinkError::Closed.into()),
            Ok(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Since which tick the log waits for room.
#[derive(Default)]
struct Stall {
    since: Option<u64>,
    is_long: bool,
}

impl Stall {
    /// Looks, and tells whether it has waited for so long that this member should serve nobody: what
    /// its clients ask for would wait too, and they can be served elsewhere.
    fn is_long(&mut self, cluster: &Cluster) -> bool {
        let tick = cluster.lease.tick();
        if !cluster.log.waits_for_room() {
            *self = Self::default();
            return false;
        }
        let is_long = tick - *self.since.get_or_insert(tick) >= ticks(STALL_MAX);
        if is_long && !std::mem::replace(&mut self.is_long, true) {
            tracing::warn!(
                target: "beanpole",
                "the log has waited for room for too long: this member serves nobody until it goes on"
            );
        }
        is_long
    }
}

/// This member is being removed: its clients are closed before the leader goes on. The process ends
/// a little later, so that an operator who asked here gets the answer.
async fn leave(
    cluster: &Cluster,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<(), ContactError> {
    tracing::warn!(target: "beanpole", "this member is being removed: its clients are closed");
    cluster.lease.revoke();
    cluster.owner.close_all();
    tokio::task::yield_now().await;
    writer.feed(kind::GOODBYE, 0, &[]);
    writer.flush().await?;
    reader.next_within(PONG_LIMIT).await?.ok_or(LinkError::Closed)?;
    cluster.leaving.notify_one();
    Ok(())
}

async fn ping(
    cluster: &Cluster,
    (stood_at, steps_out): (u64, bool),
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<Pong, ContactError> {
    let (applied, chain) = cluster.replica.digest_to_tell(stood_at);
    let incarnation = cluster.life.signature().incarnation;
    let is_overfull = cluster.replica.memory().is_overfull();
    let sent = cluster.lease.tick();
    let ping = Ping { sent, incarnation, applied, chain, steps_out, is_overfull };
    writer.feed(kind::PING, 0, &messages::bytes(&ping));
    writer.flush().await?;
    let answer = reader.next_within(PONG_LIMIT).await?.ok_or(LinkError::Closed)?;
    messages::read(&answer.body).map_err(|_| ContactError::Malformed)
}

/// The leader's word on how far a reader must have applied. One link is kept for it.
#[derive(Default)]
pub(super) struct ReadLink {
    link: tokio::sync::Mutex<Option<(u64, Caller)>>,
}

impl ReadLink {
    /// Asks whoever leads; `None` when nobody answers.
    pub(super) async fn read_index(&self, cluster: &Cluster) -> Option<u64> {
        let Some((leader, address)) = cluster.other_leader() else {
            return cluster.own_read_index().await.map(|answer| answer.index);
        };
        let mut kept = self.link.lock().await;
        if kept.as_ref().is_none_or(|(to, _)| *to != leader) {
            let dialled = cluster.dial(leader, &address, Purpose::Control).await;
            *kept = Some((leader, Caller::new(dialled.ok()?)));
        }
        let (_, caller) = kept.as_mut()?;
        let answer = tokio::select! {
            answer = caller.call(kind::READ_INDEX, &[], READ_INDEX_LIMIT) => answer,
            () = cluster.leader_changed(leader) => Err(LinkError::TimedOut),
        };
        let Ok(frame) = answer else {
            *kept = None;
            return None;
        };
        if frame.kind != kind::READ_INDEX {
            return None;
        }
        let answer: ReadIndexMessage = messages::read(&frame.body).ok()?;
        cluster.clock.follow(answer.now);
        Some(answer.index)
    }
}

/// What the others know of the cluster's time: the greatest that runs, else the least estimate, this
/// member's included (DESIGN D5).
pub(super) async fn estimate(cluster: Arc<Cluster>) -> Option<LogicalTime> {
    let asked = cluster.others().into_iter().map(|(member, address)| {
        let cluster = Arc::clone(&cluster);
        async move { ask_clock(&cluster, member, &address).await }
    });
    let answers: Vec<ClockMessage> =
        futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    let running = answers.iter().filter(|clock| clock.is_running).map(|clock| clock.now).max();
    running.or_else(|| answers.iter().map(|clock| clock.now).chain([cluster.clock.now()]).min())
}

async fn ask_clock(cluster: &Cluster, member: u64, address: &str) -> Option<ClockMessage> {
    let answer = ask(cluster, (member, address), kind::CLOCK, &[], CLOCK_LIMIT).await?;
    messages::read(&answer).ok()
}

/// One question over a link of its own. `None` when it fails or is refused.
pub(super) async fn ask(
    cluster: &Cluster,
    (member, address): (u64, &str),
    kind: u8,
    body: &[u8],
    limit: Duration,
) -> Option<bytes::Bytes> {
    let answer = ask_frame(cluster, (member, address), kind, body, limit).await?;
    (answer.kind == kind).then_some(answer.body)
}

/// As [`ask`], with a refusal as it came.
pub(super) async fn ask_frame(
    cluster: &Cluster,
    (member, address): (u64, &str),
    kind: u8,
    body: &[u8],
    limit: Duration,
) -> Option<Frame> {
    let dialled = cluster.dial(member, address, Purpose::Control).await;
    Caller::new(dialled.ok()?).call(kind, body, limit).await.ok()
}
