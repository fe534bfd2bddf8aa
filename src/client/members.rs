//! Who is alive, and who carries which session.
//!
//! There is a connection to each member that can be reached, whether it carries sessions or not:
//! who has to move finds it there, and never waits for one that is dead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::carried::{Attached, Carried};
use super::error::End;
use super::options::Options;
use super::pace::{Backoff, jittered};
use super::trunk::{Trunk, dial};
use crate::random;

/// How many sessions ask one member at once to carry them.
const ASKING_MAX: usize = 256;

/// The time between two rounds of the watch.
const ROUND: Duration = Duration::from_secs(1);

/// For how many rounds a member is there before sessions move to it that have another.
const ROUNDS_BEFORE_MOVES: u32 = 3;

/// How many sessions move in one round to a member that has returned.
const MOVES_PER_ROUND_MAX: usize = 64;

/// The members of a cluster, as a client sees them.
#[derive(Debug)]
pub(super) struct Members {
    addresses: Vec<String>,
    options: Options,
    inner: Mutex<Inner>,
    /// The greatest body that the last member takes that was reached; 0 before the first.
    job_size_max: AtomicU32,
}

#[derive(Debug, Default)]
struct Inner {
    /// At most one for each member.
    trunks: Vec<Arc<Trunk>>,
    /// Sessions that nobody carries, those that have waited longest first.
    homeless: VecDeque<Homeless>,
    is_shut: bool,
}

#[derive(Debug)]
struct Homeless {
    session: Arc<Carried>,
    /// For how many rounds.
    rounds: u32,
}

impl Members {
    pub(super) fn new(addresses: Vec<String>, options: Options) -> Arc<Self> {
        let job_size_max = AtomicU32::new(0);
        Arc::new(Self { addresses, options, inner: Mutex::default(), job_size_max })
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn count(&self) -> usize {
        self.addresses.len()
    }

    pub(super) fn job_size_max(&self) -> u32 {
        self.job_size_max.load(Ordering::Relaxed)
    }

    /// How many sessions each member carries that can be reached, by its place in the list.
    pub(super) fn sessions(&self) -> Vec<Option<usize>> {
        let inner = self.inner.lock();
        let of = |member| inner.trunks.iter().find(|trunk| trunk.member() == member);
        (0..self.count()).map(|member| of(member).map(|trunk| trunk.sessions())).collect()
    }

    /// Whether some member answers in time.
    pub(super) fn has_answering(&self) -> bool {
        self.inner.lock().trunks.iter().any(|trunk| !trunk.is_silent())
    }

    /// Has a session carried by somebody, as soon as can be.
    pub(super) fn carry(&self, session: Arc<Carried>) {
        let mut inner = self.inner.lock();
        if inner.is_shut {
            drop(inner);
            return session.end(End::Closed);
        }
        inner.homeless.push_back(Homeless { session, rounds: 0 });
        drop(inner);
        self.settle();
    }

    /// Has sessions carried that nobody carries, as many as may ask at once.
    pub(super) fn settle(&self) {
        while let Some((homeless, trunk)) = self.next_to_settle() {
            match homeless.session.attach(&trunk) {
                Attached::Asked | Attached::NotWanted => {}
                Attached::NotHere => {
                    // Its task takes it off the list before long, and settles then.
                    self.inner.lock().homeless.push_front(homeless);
                    return;
                }
            }
        }
    }

    /// Keeps a connection to a member for as long as the client is there.
    pub(super) async fn keep(self: Arc<Self>, member: usize) {
        let address = &self.addresses[member];
        let mut backoff = Backoff::new();
        // One line for each time that it is away, not for each attempt.
        let mut is_said = false;
        loop {
            match dial(address, self.options.dial_timeout).await {
                Ok(dialled) => {
                    tracing::info!(%address, member = dialled.member, "a member is reached");
                    is_said = false;
                    backoff = Backoff::new();
                    self.job_size_max.store(dialled.job_size_max, Ordering::Relaxed);
                    let (reader, writer) = dialled.stream.into_split();
                    let trunk = Trunk::new(member, writer, dialled.job_size_max);
                    self.add(&trunk);
                    let end = trunk.serve(&self, reader, dialled.rest).await;
                    let sessions = trunk.sessions();
                    tracing::warn!(%address, sessions, "a member is left, its sessions move: {end}");
                    self.remove(&trunk);
                }
                Err(error) if is_said => {
                    tracing::debug!(%address, %error, "a member is still not reached");
                }
                Err(error) => {
                    is_said = true;
                    tracing::warn!(%address, %error, "a member is not reached, and is tried again");
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// Ends sessions that nobody carries for too long, and moves some to members that have few.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            sleep(jittered(ROUND)).await;
            for session in self.expired() {
                session.end(End::Unavailable);
            }
            self.settle();
            self.spread();
        }
    }

    /// Ends all that is there, without a word to the members.
    pub(super) fn shut(&self) {
        let mut inner = self.inner.lock();
        inner.is_shut = true;
        let trunks = std::mem::take(&mut inner.trunks);
        let homeless = std::mem::take(&mut inner.homeless);
        drop(inner);
        let carried = trunks.iter().flat_map(|trunk| trunk.close());
        for session in carried.chain(homeless.into_iter().map(|it| it.session)) {
            session.end(End::Closed);
        }
    }

    fn next_to_settle(&self) -> Option<(Homeless, Arc<Trunk>)> {
        let mut inner = self.inner.lock();
        if inner.homeless.is_empty() {
            return None;
        }
        let trunk = inner.least_laden(|trunk| trunk.asking() < ASKING_MAX)?;
        Some((inner.homeless.pop_front()?, trunk))
    }

    fn add(&self, trunk: &Arc<Trunk>) {
        self.inner.lock().trunks.push(Arc::clone(trunk));
        self.settle();
    }

    fn remove(&self, trunk: &Arc<Trunk>) {
        self.inner.lock().trunks.retain(|other| !Arc::ptr_eq(other, trunk));
        let orphans: Vec<_> =
            trunk.close().into_iter().filter(|session| session.lose(trunk)).collect();
        let homeless = orphans.into_iter().map(|session| Homeless { session, rounds: 0 });
        self.inner.lock().homeless.extend(homeless);
        self.settle();
    }

    /// Counts a round. Takes those off the list that have waited for too many, and those that
    /// nobody wants carried any more.
    fn expired(&self) -> Vec<Arc<Carried>> {
        let rounds_max = self.options.patience.as_secs();
        // Sessions are not asked under the lock that their connections take.
        let homeless = std::mem::take(&mut self.inner.lock().homeless);
        let (mut waiting, mut expired) = (VecDeque::new(), Vec::new());
        for mut homeless in homeless.into_iter().filter(|it| !it.session.has_ended()) {
            homeless.rounds += 1;
            match u64::from(homeless.rounds) > rounds_max {
                true => expired.push(homeless.session),
                false => waiting.push_back(homeless),
            }
        }
        let mut inner = self.inner.lock();
        waiting.append(&mut inner.homeless);
        inner.homeless = waiting;
        expired
    }

    /// Moves some sessions from the member that carries most to the one that carries fewest.
    fn spread(&self) {
        let mut settled = self.inner.lock().trunks.clone();
        settled.retain(|trunk| {
            let is_in_trouble = trunk.is_in_trouble();
            trunk.next_round() >= ROUNDS_BEFORE_MOVES && !is_in_trouble
        });
        let most = settled.iter().max_by_key(|trunk| trunk.sessions());
        let least = settled.iter().min_by_key(|trunk| trunk.sessions());
        let (Some(most), Some(least)) = (most, least) else { return };
        let surplus = most.sessions().saturating_sub(least.sessions()) / 2;
        for session in most.some_sessions(surplus.min(MOVES_PER_ROUND_MAX)) {
            if session.move_from(most) && session.attach(least) == Attached::NotHere {
                self.carry(session);
            }
        }
    }
}

impl Inner {
    /// Of the connections that will do, one that carries the fewest sessions. One to a member that
    /// does not answer in time, or has no room, will do only if there is no other.
    fn least_laden(&self, will_do: impl Fn(&Trunk) -> bool) -> Option<Arc<Trunk>> {
        // All clients of a cluster that has just begun would go to the first.
        let first = random::number() as usize % self.trunks.len().max(1);
        let (behind, from) = self.trunks.split_at(first);
        let all = || from.iter().chain(behind);
        let is_any_good = all().any(|trunk| !trunk.is_in_trouble());
        let is_good = |trunk: &&Arc<Trunk>| trunk.is_in_trouble() != is_any_good && will_do(trunk);
        all().filter(is_good).min_by_key(|trunk| trunk.sessions()).cloned()
    }
}
