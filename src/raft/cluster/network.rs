//! openraft's way to the other members: a link of its own for entries, for votes and heartbeats, and
//! for snapshots, each dialled when it is needed and closed when an answer is late.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::super::encoding;
use super::super::log_store::LogStore;
use super::super::snapshot::{self, Call, CallError, SnapshotData};
use super::super::types::{SnapshotOf, TypeConfig, Vote};
use super::DIAL_LIMIT;
use super::messages::{self, kind};
use super::pace::Pace;
use super::peers::Peers;
use crate::clock::LogicalClock;
use crate::link::{self, Caller, DialError, Frame, LinkError, LinkReader, LinkWriter, Purpose, Us};

/// Requests of entries under way to one member (openraft's own receiver takes 64).
const APPENDS_MAX: usize = 16;

/// With so much under way to a member, bytes, it is sent no more: with the last request, which is no
/// larger, that is what it may have to hold at once.
const APPENDS_BYTES_MAX: usize = 2 << 20;

/// How long a member may take to answer entries. It answers when they are on its disk.
const APPEND_LIMIT: Duration = Duration::from_secs(2);

/// Requests in a row without an answer after which a link is given up.
const UNANSWERED_MAX: u64 = 16;

/// How long to wait before a member that could not be dialled is dialled again for entries.
const DIAL_PAUSE: Duration = Duration::from_millis(50);

/// Makes a way to a member for each purpose.
#[derive(Clone)]
pub(in super::super) struct Network {
    us: Arc<Us>,
    peers: Arc<Peers>,
    clock: Arc<LogicalClock>,
    log: LogStore,
}

/// A way to one member for one purpose.
pub(in super::super) struct Way {
    network: Network,
    target: u64,
    address: String,
    purpose: Purpose,
    asking: Option<Asking>,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl Network {
    pub(in super::super) fn new(
        us: &Arc<Us>,
        peers: &Arc<Peers>,
        clock: &Arc<LogicalClock>,
        log: &LogStore,
    ) -> Self {
        Self { us: us.clone(), peers: peers.clone(), clock: clock.clone(), log: log.clone() }
    }

    fn way(&self, target: u64, node: &openraft::BasicNode, purpose: Purpose) -> Way {
        let (network, address) = (self.clone(), node.addr.clone());
        Way { network, target, address, purpose, asking: None }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &openraft::BasicNode) -> Way {
        self.way(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &openraft::BasicNode) -> Way {
        self.way(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &openraft::BasicNode) -> Way {
        self.way(target, node, Purpose::Snapshot)
    }
}

impl Way {
    async fn dial(&self, purpose: Purpose) -> Result<link::Link, DialError> {
        let Network { us, peers, .. } = &self.network;
        let dialled = link::dial(us, self.target, &self.address, purpose, DIAL_LIMIT).await;
        match &dialled {
            Ok(_) => peers.reached(self.target),
            Err(DialError::Refused) => peers.refused(self.target),
            Err(_) => peers.unclear(self.target),
        }
        dialled
    }

    /// One request and its answer. A link that fails is closed: the next request dials anew.
    async fn call(&mut self, kind: u8, body: &[u8], limit: Duration) -> Rpc<Frame> {
        if self.asking.is_none() {
            // Votes have no client of their own in openraft; they go where heartbeats go.
            let purpose = match self.purpose {
                Purpose::Append => Purpose::Heartbeat,
                other => other,
            };
            let link = self.dial(purpose).await.map_err(|error| unreachable(&error))?;
            self.asking = Some(Asking::new(link));
        }
        let asking = self.asking.as_mut().expect("it is there now");
        let answered = asking.ask(kind, body, limit).await;
        if answered.is_err() && !asking.is_usable() {
            self.asking = None;
        }
        answered.map_err(|error| failed(&error))
    }
}

/// Asks over a link that outlives answers that are late: openraft gives up a heartbeat after its
/// interval, while a member with a slow disk answers later, and a link dialled anew for each would
/// help nobody.
struct Asking {
    reader: LinkReader,
    writer: LinkWriter,
    /// Of the last request.
    id: u64,
    /// Of the last one answered.
    answered: u64,
    is_broken: bool,
}

impl Asking {
    fn new(link: link::Link) -> Self {
        let (reader, writer) = link.split();
        Self { reader, writer, id: 0, answered: 0, is_broken: false }
    }

    fn is_usable(&self) -> bool {
        !self.is_broken && self.id - self.answered < UNANSWERED_MAX
    }

    async fn ask(&mut self, kind: u8, body: &[u8], limit: Duration) -> Result<Frame, LinkError> {
        self.id += 1;
        self.writer.feed(kind, self.id, body);
        let exchange = async {
            self.writer.flush().await?;
            loop {
                let frame = self.reader.next().await?.ok_or(LinkError::Closed)?;
                self.answered = frame.id;
                // What is older was asked for in vain.
                if frame.id == self.id {
                    return Ok(frame);
                }
            }
        };
        let answered = tokio::time::timeout(limit, exchange).await;
        let answered = answered.unwrap_or(Err(LinkError::TimedOut));
        self.is_broken |= !matches!(answered, Ok(_) | Err(LinkError::TimedOut));
        answered
    }
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let mut body = Vec::new();
        messages::append(&request, self.network.clock.told(), &mut body);
        let limit = match self.purpose {
            Purpose::Heartbeat => option.hard_ttl(),
            _ => APPEND_LIMIT,
        };
        let answer = self.call(kind::APPEND, &body, limit).await?;
        Ok(match messages::read_appended(&answer.body).map_err(|error| failed(&error))? {
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        // Heartbeats come one at a time and must not cost a connection each.
        if self.purpose == Purpose::Heartbeat {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let link = match self.dial(Purpose::Append).await {
                Ok(link) => link,
                Err(error) => {
                    // openraft asks again at once, whatever its setting says.
                    tokio::time::sleep(DIAL_PAUSE).await;
                    return Err(unreachable(&error));
                }
            };
            let (reader, writer) = link.split();
            let clock = Arc::clone(&self.network.clock);
            let appends = Appends {
                input,
                reader,
                writer,
                clock,
                pace: Pace::new(self.network.log.clone()),
                under_way: UnderWay::default(),
                is_input_over: false,
                is_over: false,
            };
            let stream: BoxStream<'s, _> =
                Box::pin(futures_util::stream::unfold(appends, Appends::next));
            Ok(stream)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let body = messages::ask_vote(&request);
        let answer = self.call(kind::VOTE, &body, option.hard_ttl()).await?;
        messages::read_voted(&answer.body).map_err(|error| failed(&error))
    }

    // The default grants every pre-vote, which would turn the precaution off.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let body = messages::ask_vote(&request);
        let answer = self.call(kind::PRE_VOTE, &body, option.hard_ttl()).await?;
        messages::read_voted(&answer.body).map_err(|error| failed(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Own(source) = snapshot.snapshot else {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            tracing::warn!(member = self.target, %error, "a snapshot did not get through");
            StreamingError::Unreachable(Unreachable::new(&io::Error::other(error.to_string())))
        };
        // That a member is away is told by others, once.
        let link = match self.dial(Purpose::Snapshot).await {
            Ok(link) => link,
            Err(error) => {
                tokio::time::sleep(DIAL_PAUSE).await;
                return Err(StreamingError::Unreachable(Unreachable::new(&error)));
            }
        };
        tracing::info!(member = self.target, "sending a snapshot");
        let vote = encoding::encode_vote(&vote).into();
        let pace = Pace::new(self.network.log.clone());
        let mut link = SnapshotLink { caller: Caller::new(link), pace };
        let answer = snapshot::send(&source, vote, &mut link, cancel).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        let vote = encoding::decode_vote(&answer).map_err(|error| unreachable(&error))?;
        tracing::info!(member = self.target, "the snapshot is installed");
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let body = messages::transfer(&request);
        let answer = self.call(kind::TRANSFER, &body, option.hard_ttl()).await?;
        messages::read_transferred(&answer.body).map_err(|error| failed(&error))
    }
}

/// A link as the sender of a snapshot uses it.
struct SnapshotLink {
    caller: Caller,
    pace: Pace,
}

impl Call for SnapshotLink {
    async fn call(&mut self, request: Vec<u8>, limit: Duration) -> Result<Bytes, CallError> {
        let answer = self.caller.call(kind::SNAPSHOT, &request, limit).await;
        self.pace.rest(request.len()).await;
        Ok(answer.map_err(io::Error::other)?.body)
    }
}

/// A stream of entries to one member and of its answers, in the same order.
struct Appends<S> {
    input: S,
    reader: LinkReader,
    writer: LinkWriter,
    clock: Arc<LogicalClock>,
    pace: Pace,
    under_way: UnderWay,
    is_input_over: bool,
    is_over: bool,
}

/// Requests that are not answered.
#[derive(Debug, Default)]
struct UnderWay {
    /// How large each is, in order.
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.sizes.len() >= APPENDS_MAX || self.bytes >= APPENDS_BYTES_MAX
    }

    fn sent(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// The first is answered.
    fn answered(&mut self) {
        // What was not asked for is no business of this list.
        self.bytes -= self.sizes.pop_front().unwrap_or_default();
    }
}

enum Event {
    Request(AppendEntriesRequest<TypeConfig>),
    InputOver,
    Answer(Result<Option<Frame>, LinkError>),
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Appends<S> {
    /// The next answer. Ends with the requests, or after an error.
    async fn next(mut self) -> Option<(Rpc<StreamAppendResult<TypeConfig>>, Self)> {
        loop {
            if self.is_over {
                return None;
            }
            match self.event().await? {
                Event::Request(request) => {
                    if let Err(error) = self.send(&request).await {
                        return Some(self.end(failed(&error)));
                    }
                }
                Event::InputOver => self.is_input_over = true,
                Event::Answer(Ok(Some(frame))) => {
                    self.under_way.answered();
                    return Some(match messages::read_appended(&frame.body) {
                        // The other side ends its stream with a refusal.
                        Ok(Err(refusal)) => {
                            self.is_over = true;
                            (Ok(Err(refusal)), self)
                        }
                        Ok(result) => (Ok(result), self),
                        Err(error) => self.end(failed(&error)),
                    });
                }
                Event::Answer(Ok(None)) => return Some(self.end(failed(&LinkError::Closed))),
                Event::Answer(Err(error)) => return Some(self.end(failed(&error))),
            }
        }
    }

    /// What happens next. After the last request, the answers to those under way.
    async fn event(&mut self) -> Option<Event> {
        let takes_more = !self.is_input_over && !self.under_way.is_full();
        if self.under_way.is_empty() {
            return match takes_more {
                true => self.input.next().await.map(Event::Request),
                false => None,
            };
        }
        let answer = self.reader.next_within(APPEND_LIMIT);
        if !takes_more {
            return Some(Event::Answer(answer.await));
        }
        tokio::select! {
            biased;
            answer = answer => Some(Event::Answer(answer)),
            request = self.input.next() => Some(match request {
                Some(request) => Event::Request(request),
                None => Event::InputOver,
            }),
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), LinkError> {
        let now = self.clock.told();
        self.writer.feed_with(kind::APPEND, 0, |out| messages::append(request, now, out));
        let bytes = self.writer.buffered();
        self.under_way.sent(bytes);
        self.writer.flush().await?;
        if request.entries.first().is_some_and(|entry| self.pace.is_for(entry.log_id.index)) {
            self.pace.rest(bytes).await;
        }
        Ok(())
    }

    fn end(mut self, error: RPCError<TypeConfig>) -> (Rpc<StreamAppendResult<TypeConfig>>, Self) {
        self.is_over = true;
        tracing::debug!(%error, "a stream of entries broke off");
        (Err(error), self)
    }
}

fn unreachable(error: &DialError) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn failed<E: std::error::Error + 'static>(error: &E) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_to_a_member_is_bounded_by_number_and_by_bytes() {
        let mut small = UnderWay::default();
        for _ in 0..APPENDS_MAX {
            assert!(!small.is_full());
            small.sent(100);
        }
        assert!(small.is_full());
        small.answered();
        assert!(!small.is_full());
        let mut large = UnderWay::default();
        large.sent(APPENDS_BYTES_MAX - 1);
        assert!(!large.is_full());
        large.sent(APPENDS_BYTES_MAX);
        assert!(large.is_full());
        large.answered();
        assert!(large.is_full());
        large.answered();
        assert!(large.is_empty() && !large.is_full());
    }
}
