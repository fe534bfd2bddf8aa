//! Facts about the queue.

use beanpole_protocol::TubeName;
use bytes::Bytes;

use super::*;

/// Keeps all outcomes.
#[derive(Default)]
struct Seen(Vec<(u64, Outcome)>);

impl Observer for Seen {
    fn before_op(&mut self, _queue: &Queue, _session: SessionId) {}

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        self.0.push((session.connection.0, outcome));
    }
}

#[test]
fn put_reserve_delete() {
    let mut queue = Queue::new();
    let member = MemberId(1);
    let incarnation = Incarnation(1);
    let op =
        |connection, action| Op { connection: ConnectionNumber(connection), turn: Turn(0), action };
    let body = Bytes::from_static(b"x");
    let ops = vec![
        op(1, Action::Reserve { wait: Wait::Forever, half_closed: false }),
        op(2, Action::Put { priority: 1, delay: 0, ttr: 1, body: body.clone() }),
        op(1, Action::Delete { job: JobId(1) }),
        op(2, Action::Watch { tube: TubeName::new(b"t").expect("a name") }),
    ];
    let parts = vec![
        Part::Open { member, incarnation },
        Part::Ops { member, incarnation, first: OpNumber(1), ops },
    ];
    let mut seen = Seen::default();
    queue.apply(&Batch { now: LogicalTime(1), parts }, &mut seen);
    queue.check_invariants();
    let reserved = Outcome::Reserved { job: JobId(1), body };
    assert_eq!(
        seen.0,
        [
            (1, Outcome::Waiting),
            (2, Outcome::Inserted { job: JobId(1) }),
            (1, reserved),
            (1, Outcome::Deferred),
            (2, Outcome::Watching { count: 2 }),
        ]
    );
}
