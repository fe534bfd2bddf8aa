//! Reads at members that do not lead, under load and while the lead changes hands: none overtakes what
//! its own connection wrote before it, or what any connection was told before it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::scene::{expect, lead, next, under_load};
use crate::support::{Client, Cluster, Load, alone, cluster_of, now};

const PAIRS: usize = 6;
/// Over all pairs.
const TURNS: usize = 2000;
const LEAD_CHANGES_AFTER: Duration = Duration::from_secs(1);
/// Changes of leader that must have happened meanwhile.
const CHANGES_MIN: usize = 2;

/// Runs `turn` of `PAIRS` pairs of clients, at different members, each in a thread of its own, so
/// many times in all, under load and with a change of leader every second.
fn race(turn: impl Fn(&mut Pair) + Sync) {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let mut pairs: Vec<Pair> = (0..PAIRS).map(|number| Pair::at(&cluster, number)).collect();
    let mut load = Load::on((0..3).map(|member| cluster.address(member)).collect());
    load.connections = 4;
    under_load(&mut cluster, &load, |cluster, _| {
        let left = AtomicUsize::new(TURNS);
        let take_turns = |pair: &mut Pair| {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok() {
                turn(pair);
            }
        };
        let changes = thread::scope(|scope| {
            let take_turns = &take_turns;
            let pairs = pairs.iter_mut();
            let threads: Vec<_> = pairs.map(|pair| scope.spawn(move || take_turns(pair))).collect();
            let mut changes = 0;
            let mut changed = now();
            while threads.iter().any(|thread| !thread.is_finished()) {
                if now() - changed >= LEAD_CHANGES_AFTER {
                    let to = (cluster.leader() + 1) % 3;
                    lead(cluster, to);
                    changes += 1;
                    changed = now();
                }
                thread::sleep(Duration::from_millis(10));
            }
            changes
        });
        assert!(changes >= CHANGES_MIN, "the lead changed hands {changes} times only");
    });
}

fn take_one(left: usize) -> Option<usize> {
    left.checked_sub(1)
}

/// Two clients at different members, with a tube of their own.
struct Pair {
    tube: String,
    one: Client,
    other: Client,
}

impl Pair {
    fn at(cluster: &Cluster, number: usize) -> Self {
        let tube = format!("pair-{number}");
        let [mut one, mut other] =
            [number, number + 1 + number % 2].map(|place| cluster.client(place % 3));
        for client in [&mut one, &mut other] {
            expect(client, &format!("use {tube}"), &format!("USING {tube}"));
            expect(client, &format!("watch {tube}"), "WATCHING 2");
        }
        Self { tube, one, other }
    }
}

/// Takes the id out of the answer to a put.
fn inserted(reply: &str) -> &str {
    reply.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("a put is answered {reply}"))
}

#[test]
fn a_read_behind_a_write_of_its_own_connection_sees_it() {
    race(|pair| {
        let Pair { tube, one, .. } = pair;
        let put = "put 7 0 1000 4\r\nbody\r\n";
        let reads = format!("peek-ready\r\nstats-tube {tube}\r\n");
        one.send(format!("{put}{reads}reserve\r\npeek-ready\r\n").as_bytes()).expect("it serves");
        let reply = next(one);
        let id = inserted(&reply);
        assert_eq!(next(one), format!("FOUND {id} 4\r\nbody"), "behind its put");
        let stats = next(one);
        assert!(stats.contains("\ncurrent-jobs-ready: 1\n"), "behind its put: {stats}");
        assert_eq!(next(one), format!("RESERVED {id} 4\r\nbody"));
        assert_eq!(next(one), "NOT_FOUND", "behind its reserve");
        let reads = format!("stats-job {id}\r\npeek {id}\r\n");
        let commands =
            format!("{reads}bury {id} 9\r\n{reads}delete {id}\r\n{reads}peek-buried\r\n");
        one.send(commands.as_bytes()).expect("it serves");
        for state in ["reserved", "buried"] {
            let stats = next(one);
            assert!(stats.contains(&format!("\nstate: {state}\n")), "{state}: {stats}");
            assert_eq!(next(one), format!("FOUND {id} 4\r\nbody"), "{state}");
            let reply = if state == "reserved" { "BURIED" } else { "DELETED" };
            assert_eq!(next(one), reply);
        }
        for read in ["stats-job", "peek", "peek-buried"] {
            assert_eq!(next(one), "NOT_FOUND", "{read} behind its delete");
        }
    });
}

#[test]
fn a_client_of_another_member_sees_at_once_what_was_acknowledged() {
    race(|pair| {
        let Pair { one, other, .. } = pair;
        let reply = one.put("7 0 1000", b"body").expect("it serves");
        let id = inserted(&reply);
        expect(other, &format!("peek {id}"), &format!("FOUND {id} 4\r\nbody"));
        expect(other, &format!("delete {id}"), "DELETED");
        expect(one, &format!("peek {id}"), "NOT_FOUND");
    });
}
