//! Serves the other members: each link by what it was opened for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::ReadPolicy;
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use tokio::sync::mpsc;

use super::super::encoding;
use super::super::lanes::Offer;
use super::super::snapshot::{self, Response};
use super::super::types::TypeConfig;
use super::Cluster;
use super::messages::{self, ClockMessage, Ping, Pong, ReadIndexMessage, RemovedMessage, kind};
use crate::link::{self, Frame, Link, LinkError, LinkReader, LinkWriter, Peer, Purpose};
use crate::planted::{self, Bug};
use crate::queue::{LogicalTime, MemberId, Part};
use crate::storage::wal::EntryId;

/// Requests of entries that may wait to be taken on. Each holds at most what one read of the log
/// takes.
const APPENDS_MAX: usize = 8;

/// How long a member that has just connected may have to wait until this one has begun to lead.
const LEAD_LIMIT: Duration = Duration::from_secs(1);

/// How long an answer that says the same as the one before, to a request that only brought news of
/// what is committed, waits for one that says more: it would wake the leader for nothing.
const NO_NEWS_HELD: Duration = Duration::from_millis(5);

type Append = openraft::raft::AppendEntriesRequest<TypeConfig>;

/// Serves a link until it ends.
pub(super) async fn serve(cluster: Arc<Cluster>, peer: Peer, link: Link) {
    let (member, purpose) = (peer.member, peer.purpose);
    tracing::debug!(member, ?purpose, "link opened");
    let ended = match purpose {
        Purpose::Append => serve_appends(&cluster, link).await,
        Purpose::Heartbeat => {
            link::serve(link, |frame| answer_vote(Arc::clone(&cluster), frame)).await
        }
        Purpose::Control => serve_control(&cluster, member, link).await,
        Purpose::Ops => serve_ops(&cluster, MemberId(member), link).await,
        Purpose::Snapshot => {
            link::serve(link, |frame| answer_snapshot(Arc::clone(&cluster), frame)).await
        }
        Purpose::Join => Ok(()),
    };
    match ended {
        Ok(()) => tracing::debug!(member, ?purpose, "link ended"),
        Err(error) => tracing::debug!(member, ?purpose, %error, "link broken"),
    }
}

/// Passes entries on to openraft as they come, and its answers back, in the same order.
async fn serve_appends(cluster: &Arc<Cluster>, link: Link) -> Result<(), LinkError> {
    let (reader, mut writer) = link.split();
    let (sender, requests) = mpsc::channel(APPENDS_MAX);
    let reading = read_appends(Arc::clone(cluster), reader, sender);
    let requests = futures_util::stream::unfold(requests, |mut requests| async move {
        let request: Append = requests.recv().await?;
        Some((request, requests))
    });
    let mut answers = std::pin::pin!(cluster.raft.stream_append(requests));
    let answering = async {
        let mut told = None;
        while let Some(answer) = next_answer(&mut writer, &mut answers).await? {
            writer.feed(kind::APPEND, 0, &messages::appended(&answer));
            let tells = answer.ok();
            if tells.is_none() || tells != told {
                writer.flush().await?;
            }
            told = tells;
        }
        writer.flush().await
    };
    tokio::select! {
        ended = reading => ended,
        ended = answering => ended,
    }
}

/// The next answer of openraft; `None` after the last. What has been fed before leaves by then or
/// after [`NO_NEWS_HELD`].
async fn next_answer<S>(
    writer: &mut LinkWriter,
    answers: &mut S,
) -> Result<Option<StreamAppendResult<TypeConfig>>, LinkError>
where
    S: Stream<Item = Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>> + Unpin,
{
    if writer.buffered() > 0 {
        match tokio::time::timeout(NO_NEWS_HELD, answers.next()).await {
            Ok(next) => return Ok(next.and_then(Result::ok)),
            Err(_) => writer.flush().await?,
        }
    }
    Ok(answers.next().await.and_then(Result::ok))
}

async fn read_appends(
    cluster: Arc<Cluster>,
    mut reader: LinkReader,
    requests: mpsc::Sender<Append>,
) -> Result<(), LinkError> {
    while let Some(frame) = reader.next().await? {
        let Ok((request, now)) = messages::read_append(&frame.body) else {
            tracing::error!("entries came that this version cannot read");
            return Ok(());
        };
        cluster.follow(&request, now);
        if requests.send(request).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer_vote(cluster: Arc<Cluster>, frame: Frame) -> (u8, Vec<u8>) {
    answered(frame.kind, vote(&cluster, &frame).await)
}

async fn vote(cluster: &Cluster, frame: &Frame) -> Result<Vec<u8>, String> {
    let raft = &cluster.raft;
    match frame.kind {
        kind::APPEND => heartbeat(cluster, frame).await,
        kind::VOTE => {
            let request = messages::read_ask_vote(&frame.body).map_err(text)?;
            Ok(messages::voted(&raft.vote(request).await.map_err(text)?))
        }
        kind::PRE_VOTE => {
            let request = messages::read_ask_vote(&frame.body).map_err(text)?;
            Ok(messages::voted(&raft.pre_vote(request).await.map_err(text)?))
        }
        kind::TRANSFER => {
            let request = messages::read_transfer(&frame.body).map_err(text)?;
            let answer = raft.handle_transfer_leader(request).await.map_err(text)?;
            Ok(messages::transferred(&answer))
        }
        other => Err(unknown(other)),
    }
}

/// The frame that answers a request of `kind`.
fn answered(kind: u8, answer: Result<Vec<u8>, String>) -> (u8, Vec<u8>) {
    match answer {
        Ok(body) => (kind, body),
        Err(reason) => (kind::REFUSED, reason.into_bytes()),
    }
}

fn unknown(kind: u8) -> String {
    format!("unknown request {kind}")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn heartbeat(cluster: &Cluster, frame: &Frame) -> Result<Vec<u8>, String> {
    let (request, now) = messages::read_append(&frame.body).map_err(text)?;
    cluster.follow(&request, now);
    let prev = request.prev_log_id;
    let answer = cluster.raft.append_entries(request).await.map_err(text)?;
    let answer = match answer {
        AppendEntriesResponse::Success => Ok(None),
        AppendEntriesResponse::PartialSuccess(at) => Ok(at),
        AppendEntriesResponse::Conflict => Err(StreamAppendError::Conflict(
            prev.unwrap_or_else(|| encoding::log_id(EntryId::default())),
        )),
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
    };
    Ok(messages::appended(&answer))
}

/// A piece of a snapshot. There is one receiver, whatever number of links there are.
async fn answer_snapshot(cluster: Arc<Cluster>, frame: Frame) -> (u8, Vec<u8>) {
    let mut receiver = cluster.receiver.lock().await;
    let Some(receiver) = receiver.as_mut() else {
        let why = "a member without a data directory takes no snapshot";
        return (kind::SNAPSHOT, snapshot::refused(&why));
    };
    let answer = match receiver.handle(frame.body).await {
        Response::Answer(answer) => answer,
        Response::Install(received) => {
            let snapshot = openraft::Snapshot { meta: received.meta, snapshot: received.data };
            match cluster.raft.install_full_snapshot(received.vote, snapshot).await {
                Ok(response) => snapshot::installed(&encoding::encode_vote(&response.vote)),
                Err(fatal) => snapshot::refused(&fatal),
            }
        }
    };
    (kind::SNAPSHOT, answer)
}

async fn serve_control(cluster: &Arc<Cluster>, member: u64, link: Link) -> Result<(), LinkError> {
    let presence = &cluster.presence;
    presence.connected(member);
    let served =
        link::serve(link, |frame| answer_control(Arc::clone(cluster), member, frame)).await;
    presence.disconnected(member);
    served
}

async fn answer_control(cluster: Arc<Cluster>, member: u64, frame: Frame) -> (u8, Vec<u8>) {
    answered(frame.kind, control(&cluster, member, &frame).await)
}

async fn control(cluster: &Cluster, member: u64, frame: &Frame) -> Result<Vec<u8>, String> {
    match frame.kind {
        kind::PING => {
            let ping = messages::read(&frame.body).map_err(text)?;
            Ok(messages::bytes(&cluster.answer_ping(member, &ping)))
        }
        kind::READ_INDEX => {
            let answer = cluster.own_read_index().await.ok_or("this member does not lead")?;
            Ok(messages::bytes(&answer))
        }
        kind::CLOCK => {
            let is_running = cluster.clock.is_running();
            let now = if is_running { cluster.clock.told() } else { cluster.clock.now() };
            Ok(messages::bytes(&ClockMessage { now, is_running }))
        }
        kind::HELLO => {
            let about = messages::read(&frame.body).map_err(text)?;
            cluster.presence.introduced(member, about);
            Ok(Vec::new())
        }
        kind::REMOVED => {
            let is_removed = cluster.is_removed(MemberId(member));
            Ok(messages::bytes(&RemovedMessage { is_removed }))
        }
        kind::GOODBYE => {
            cluster.presence.goodbye(member);
            Ok(Vec::new())
        }
        kind::ADMIN => {
            let reply = cluster.serve_admin(&frame.body).await;
            Ok(reply.ok_or("a request that this version does not know")?)
        }
        other => Err(unknown(other)),
    }
}

impl Cluster {
    /// Takes over the clock of a leader, unless it has been deposed and does not know yet: its time ran
    /// on while there was no leader.
    fn follow(&self, request: &Append, now: LogicalTime) {
        let term = self.look(|metrics| metrics.current_term);
        if request.vote.leader_id.term >= term && !self.leads() {
            self.clock.follow(now);
        }
    }

    /// As the leader: a member lives. Its answer grants the member a lease only while this member
    /// leads a majority.
    fn answer_ping(&self, member: u64, ping: &Ping) -> Pong {
        let majority = self.leads_a_majority();
        let removed = majority && (self.presence.is_leaving(member) || !self.is_member(member));
        let leads = majority && !removed;
        if leads && !ping.steps_out {
            self.presence.heard(member, self.lease.tick());
        }
        self.presence.digest(member, ping.applied, ping.chain);
        // One that does not serve yet, or not any more, can fall behind without harm.
        let presses = ping.is_overfull && leads && !ping.steps_out && self.is_open(member);
        self.presence.presses(member, presses);
        let slows =
            self.replica.memory().is_overfull() || self.presence.is_pressed(self.lease.tick());
        let differs = leads && self.is_odd_one_out(member);
        Pong { sent: ping.sent, now: self.clock.told(), leads, slows, differs, removed }
    }

    /// Whether the present life of a member has been opened by the log.
    fn is_open(&self, member: u64) -> bool {
        self.replica.with_state(|state| {
            state.queue.life(MemberId(member)).is_some_and(|life| !life.is_over)
        })
    }

    /// As the leader: what everything committed up to now means for a reader.
    pub(super) async fn own_read_index(&self) -> Option<ReadIndexMessage> {
        if planted::is(Bug::LeaseIgnored) {
            let index = self.replica.applied_index();
            return self.leads().then(|| ReadIndexMessage { index, now: self.clock.told() });
        }
        let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        let index = confirmed.read_log_id().index();
        Some(ReadIndexMessage { index, now: self.clock.told() })
    }
}

/// Takes on the ops of a member, as long as this one leads.
async fn serve_ops(cluster: &Cluster, member: MemberId, link: Link) -> Result<(), LinkError> {
    let (mut reader, mut writer) = link.split();
    let Ok(Some(mut round)) = tokio::time::timeout(LEAD_LIMIT, lane(cluster, member)).await else {
        return Ok(());
    };
    start(&mut writer, round).await?;
    loop {
        let changed = cluster.lanes.changed();
        match cluster.lanes.round(member) {
            None => return Ok(()),
            Some(now) if now != round => {
                round = now;
                start(&mut writer, round).await?;
            }
            Some(_) => {}
        }
        let frame = tokio::select! {
            frame = reader.next() => frame?,
            () = changed => continue,
        };
        let Some(frame) = frame else { return Ok(()) };
        let Ok(part) = messages::read::<Part>(&frame.body) else {
            tracing::error!(member = member.0, "ops came that this version cannot read");
            return Ok(());
        };
        if is_of(&part, member) && !take_on(cluster, member, frame.id, &part).await {
            return Ok(());
        }
    }
}

/// A new round with the member, as soon as this one leads; `None` when it does not.
async fn lane(cluster: &Cluster, member: MemberId) -> Option<u64> {
    loop {
        let changed = cluster.lanes.changed();
        let round = cluster.replica.with_state(|state| cluster.lanes.connect(member, &state.queue));
        if round.is_some() {
            return round;
        }
        changed.await;
    }
}

/// Offers a part until there is room for it. Returns false when this member leads no more.
async fn take_on(cluster: &Cluster, member: MemberId, round: u64, part: &Part) -> bool {
    loop {
        let changed = cluster.lanes.changed();
        match cluster.lanes.offer(member, round, part) {
            Offer::Taken | Offer::Restart(_) => {
                cluster.outbox.wake();
                return true;
            }
            Offer::Full => changed.await,
            Offer::Closed => return false,
        }
    }
}

async fn start(writer: &mut LinkWriter, round: u64) -> Result<(), LinkError> {
    writer.feed(kind::START, round, &[]);
    writer.flush().await
}

/// A member may speak of itself alone.
fn is_of(part: &Part, sender: MemberId) -> bool {
    match part {
        Part::Open { member, .. } | Part::Ops { member, .. } => *member == sender,
        _ => false,
    }
}
