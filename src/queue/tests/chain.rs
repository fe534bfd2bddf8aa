//! The running hash over what came of all batches (DESIGN, on digests).

use std::collections::BTreeSet;

use beanpole_protocol::TubeName;
use bytes::Bytes;

use super::play;
use crate::queue::digest::Chain;
use crate::queue::*;

fn session(member: u64, incarnation: u64, connection: u64) -> SessionId {
    SessionId {
        member: MemberId(member),
        incarnation: Incarnation(incarnation),
        connection: ConnectionNumber(connection),
    }
}

fn outcomes() -> Vec<Outcome> {
    let body = Bytes::from_static(b"a");
    vec![
        Outcome::Inserted { job: JobId(1) },
        Outcome::Inserted { job: JobId(2) },
        Outcome::Using { tube: TubeName::default_tube() },
        Outcome::Watching { count: 1 },
        Outcome::Watching { count: 2 },
        Outcome::NotIgnored,
        Outcome::Reserved { job: JobId(1), body: Body::Here(body.clone()) },
        Outcome::Reserved { job: JobId(2), body: Body::Here(body) },
        Outcome::TimedOut,
        Outcome::DeadlineSoon,
        Outcome::Deleted,
        Outcome::Released,
        Outcome::Buried,
        Outcome::Touched,
        Outcome::Kicked { count: 1 },
        Outcome::Kicked { count: 2 },
        Outcome::JobKicked,
        Outcome::Paused,
        Outcome::NotFound,
        Outcome::Waiting,
        Outcome::Deferred,
        Outcome::OutOfMemory,
    ]
}

#[test]
fn each_outcome_and_each_session_makes_another_chain() {
    let sessions = [session(1, 1, 1), session(2, 1, 1), session(1, 2, 1), session(1, 1, 2)];
    let mut seen = BTreeSet::new();
    for session in sessions {
        for outcome in outcomes() {
            let mut chain = Chain::default();
            chain.add_outcome(session, &outcome);
            assert!(seen.insert(format!("{chain:?}")), "{outcome:?} of {session:?} is as another");
        }
    }
}

#[test]
fn order_of_outcomes_makes_another_chain() {
    let chain_of = |outcomes: [Outcome; 2]| {
        let mut chain = Chain::default();
        outcomes.iter().for_each(|outcome| chain.add_outcome(session(1, 1, 1), outcome));
        chain
    };
    assert_ne!(
        chain_of([Outcome::Deleted, Outcome::Buried]),
        chain_of([Outcome::Buried, Outcome::Deleted])
    );
}

/// What a member of this version says, another one must understand: a change of this number is a
/// change of what members tell each other.
#[test]
fn chain_is_the_same_on_every_platform() {
    let player = play(
        "1 put 0 0 60 a = 1 INSERTED 1
         2 watch x = 2 WATCHING 2
         2 reserve = 2 RESERVED 1 a
         2 reserve-with-timeout 1 = 2 waits
         +1000 = 2 TIMED_OUT
         2 delete 1 = 2 DELETED",
    );
    assert_eq!(player.queue.chain(), 5_773_813_623_174_930_134);
}

#[test]
fn difference_never_heals() {
    let one = |first: u32, second: u32, got: &str| {
        play(&format!(
            "1 put {first} 0 60 a = 1 INSERTED 1
             1 put {second} 0 60 b = 1 INSERTED 2
             1 reserve = 1 RESERVED {got}
             1 delete 1 = 1 DELETED
             1 delete 2 = 1 DELETED
             +1000
             +1000"
        ))
    };
    let (one, same, other) = (one(0, 1, "1 a"), one(0, 1, "1 a"), one(1, 0, "2 b"));
    assert_eq!(one.queue.chain(), same.queue.chain());
    assert_ne!(one.queue.chain(), other.queue.chain());
}

#[test]
fn chain_counts_time_and_survives_a_restore() {
    let mut player = play("1 put 0 0 60 a = 1 INSERTED 1");
    let mut restored = Queue::restore(player.queue.records(), Box::new(ColdInMemory::default()))
        .expect("the state is sound");
    assert_eq!(restored.chain(), player.queue.chain());
    std::mem::swap(&mut restored, &mut player.queue);
    let now = player.now;
    player.line("+1");
    std::mem::swap(&mut restored, &mut player.queue);
    player.now = now;
    player.line("+2");
    assert_ne!(restored.chain(), player.queue.chain());
}
