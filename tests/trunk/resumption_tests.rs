//! Sessions, and keys of puts, that outlive what can become of members: the leader's death, a
//! snapshot in the place of the log, the end of all members at once.

use std::thread;
use std::time::Duration;

use super::Trunk;
use super::figures::figure;
use super::frames::token;
use crate::support::{
    Client, Cluster, ClusterOptions, PATIENCE, alone, cluster_of, cluster_options, now,
};

/// The session that holds, uses, watches and waits.
const KEEPER: u32 = 1;
/// The session with puts under way.
const PRODUCER: u32 = 2;
/// The session with a delete under way.
const DELETER: u32 = 3;
/// The session with a reserve under way.
const TAKER: u32 = 4;
/// How many puts are under way: as many as may be.
const UNDER_WAY: u64 = 32;
/// Fewer ops than a checkpoint is made for.
const OPS_MAX: &str = "1000";

fn expect(client: &mut Client, command: &str, reply: &str) {
    assert_eq!(client.ask(command).expect("a reply"), reply, "to {command}");
}

fn put_once(client: &mut Client, key: &str, body: &str) -> String {
    expect(client, &format!("key {key}"), "KEYED");
    client.put("0 0 600", body.as_bytes()).expect("a reply")
}

/// What there is before something becomes of members.
struct Before {
    /// The id of the job that [`KEEPER`] holds.
    held: u64,
    /// The number of its reserve that waits.
    waits: u64,
    /// The job that [`DELETER`] holds.
    doomed: u64,
    /// The job of the key.
    keyed: String,
}

impl Before {
    /// Sessions over a trunk, whose last commands are under way when this returns. The clients are
    /// others.
    fn begin(trunk: &mut Trunk, client: &mut Client) -> Self {
        let keyed = put_once(client, "order/1", "first");
        expect(client, &keyed.replace("INSERTED", "delete"), "DELETED");
        for session in [KEEPER, PRODUCER, DELETER, TAKER] {
            trunk.open(session, session);
        }
        trunk.expect((KEEPER, 1), "use kept", "USING kept");
        trunk.expect((KEEPER, 2), "watch kept", "WATCHING 2");
        trunk.expect((KEEPER, 3), "ignore default", "WATCHING 1");
        let held = put(trunk, KEEPER, 4, "held");
        trunk.expect((KEEPER, 5), "reserve", &format!("RESERVED {held} 4|held"));
        trunk.ask(KEEPER, 6, "reserve");
        trunk.expect((DELETER, 1), "use doomed", "USING doomed");
        let doomed = put(trunk, DELETER, 2, "doomed");
        let reserved = format!("RESERVED {doomed} 6|doomed");
        trunk.expect((DELETER, 3), &format!("reserve-job {doomed}"), &reserved);
        trunk.expect((TAKER, 1), "watch taken", "WATCHING 2");
        trunk.expect((TAKER, 2), "use taken", "USING taken");
        put(trunk, TAKER, 3, "taken");
        trunk.expect((PRODUCER, 1), "use produced", "USING produced");
        // The wait has to have begun: what is under way behind it is not what is looked at here.
        let deadline = now() + PATIENCE;
        while figure(client, "stats", "current-waiting") == 0 {
            assert!(now() < deadline, "nobody waits");
        }
        for number in 2..2 + UNDER_WAY {
            let body = number.to_string();
            let put = format!("put 0 0 600 {}\r\n{body}", body.len());
            trunk.ask_behind((PRODUCER, number), 1, &put);
        }
        trunk.ask(DELETER, 4, &format!("delete {doomed}"));
        trunk.ask(TAKER, 4, "reserve");
        Self { held, waits: 6, doomed, keyed }
    }

    /// Waits until what is under way is carried out, of which nobody who goes on has heard.
    fn wait_for_log(&self, client: &mut Client) {
        let deadline = now() + PATIENCE;
        let gone = format!("stats-job {}", self.doomed);
        while figure(client, "stats-tube produced", "total-jobs") < UNDER_WAY
            || client.ask(&gone).expect("a reply") != "NOT_FOUND"
            || figure(client, "stats-tube taken", "current-jobs-reserved") == 0
        {
            assert!(now() < deadline, "it is not carried out");
        }
    }

    /// All of that goes on over another trunk, and each command under way was carried out once.
    fn check(&self, trunk: &mut Trunk, client: &mut Client) {
        // All at once: their leases run.
        for (session, answered) in
            [(KEEPER, self.waits - 1), (PRODUCER, 1), (DELETER, 3), (TAKER, 3)]
        {
            trunk.send(&format!("resume {session} {} 10000 {answered}\r\n", token(session)));
        }
        let mut kept: Vec<Kept> = (0..4).map(|_| Kept::read(&trunk.frame())).collect();
        kept.sort_by_key(|kept| kept.session);
        let [keeper, producer, deleter, taker] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!(put_once(client, "order/1", "first"), self.keyed);
        assert_eq!(put_once(client, "order/1", "second"), "KEY_IN_USE");
        assert_eq!(put_once(client, "order/1", "first"), self.keyed);
        expect(client, &self.keyed.replace("INSERTED", "peek"), "NOT_FOUND");
        self.check_keeper(keeper, trunk, client);
        Self::check_producer(producer, trunk, client);
        self.check_deleter(deleter, trunk);
        Self::check_taker(taker, trunk, client);
    }

    fn check_keeper(&self, kept: &Kept, trunk: &mut Trunk, client: &mut Client) {
        let Self { held, waits, .. } = self;
        assert_eq!((kept.last, kept.waiting, kept.told.as_slice()), (*waits, *waits, &[][..]));
        expect(client, "use kept", "USING kept");
        let next = client.put("0 0 600", b"next").expect("a reply").replace("INSERTED ", "");
        let reply = format!("re {KEEPER} {waits} RESERVED {next} 4|next|");
        assert_eq!(trunk.frame(), reply);
        let mut number = *waits;
        let mut expect = |trunk: &mut Trunk, command: &str, reply: &str| {
            number += 1;
            trunk.expect((KEEPER, number), command, reply);
        };
        expect(trunk, "list-tube-used", "USING kept");
        expect(trunk, "list-tubes-watched", "OK 11|---\n- kept\n");
        expect(trunk, &format!("touch {held}"), "TOUCHED");
        expect(trunk, &format!("bury {next} 7"), "BURIED");
        expect(trunk, &format!("release {held} 7 0"), "RELEASED");
        expect(trunk, "reserve", &format!("RESERVED {held} 4|held"));
        expect(trunk, &format!("delete {held}"), "DELETED");
    }

    fn check_producer(kept: &Kept, trunk: &mut Trunk, client: &mut Client) {
        // What was carried out is a beginning of what was sent.
        for (at, (number, reply)) in (2..).zip(&kept.told) {
            assert_eq!(at, *number);
            assert!(reply.starts_with("INSERTED "), "{reply}");
        }
        assert_eq!(kept.last, 1 + kept.told.len() as u64);
        let mut number = 1 + UNDER_WAY;
        for body in kept.last + 1..2 + UNDER_WAY {
            number += 1;
            put_body(trunk, PRODUCER, number, &body.to_string());
        }
        eprintln!("{} of {UNDER_WAY} puts under way were carried out", kept.told.len());
        assert_eq!(figure(client, "stats-tube produced", "total-jobs"), UNDER_WAY);
        expect(client, "watch produced", "WATCHING 2");
        for body in 2..2 + UNDER_WAY {
            let reply = client.ask("reserve-with-timeout 0").expect("a reply");
            assert!(reply.ends_with(&format!("\r\n{body}")), "{reply} in the place of {body}");
        }
    }

    fn check_deleter(&self, kept: &Kept, trunk: &mut Trunk) {
        eprintln!("of the delete under way this is known: {:?}", kept.told);
        if kept.told.is_empty() {
            trunk.expect((DELETER, 5), &format!("delete {}", self.doomed), "DELETED");
        } else {
            assert_eq!(kept.told, [(4, "DELETED".to_owned())]);
        }
        trunk.expect((DELETER, 6), &format!("delete {}", self.doomed), "NOT_FOUND");
    }

    fn check_taker(kept: &Kept, trunk: &mut Trunk, client: &mut Client) {
        eprintln!("of the reserve under way this is known: {:?}", kept.told);
        let id = match kept.told.as_slice() {
            [] => {
                trunk.ask(TAKER, 5, "reserve");
                let reply = trunk.frame();
                let start = format!("re {TAKER} 5 RESERVED ");
                let id = reply.strip_prefix(&start).and_then(|it| it.strip_suffix(" 5|taken|"));
                id.unwrap_or_else(|| panic!("{reply}")).to_owned()
            }
            [(4, reply)] => {
                let id = reply.strip_prefix("RESERVED ").expect("a job").to_owned();
                trunk.expect((TAKER, 5), &format!("peek {id}"), &format!("FOUND {id} 5|taken"));
                id
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(figure(client, &format!("stats-job {id}"), "reserves"), 1);
        trunk.expect((TAKER, 6), &format!("delete {id}"), "DELETED");
    }
}

/// What is told of a session.
#[derive(Debug)]
struct Kept {
    session: u32,
    last: u64,
    waiting: u64,
    told: Vec<(u64, String)>,
}

impl Kept {
    /// Reads it as [`Trunk::frame`] gives it, of a session whose channel has its number.
    fn read(frame: &str) -> Self {
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{frame}"));
        let mut parts = frame.split(", ");
        let words: Vec<&str> = parts.next().unwrap_or_default().split(' ').collect();
        let ["resumed", session, last, waiting, _] = words.as_slice() else { panic!("{frame}") };
        let told = parts.map(|part| {
            let (place, reply) = part.split_once(' ').expect("a number and a line");
            (number(place), reply.to_owned())
        });
        let session = session.parse().expect("a channel");
        Self { session, last: number(last), waiting: number(waiting), told: told.collect() }
    }
}

/// Puts a job, and returns its id.
fn put(trunk: &mut Trunk, channel: u32, number: u64, body: &str) -> u64 {
    let reply = put_body(trunk, channel, number, body);
    reply.parse().unwrap_or_else(|_| panic!("{reply}"))
}

fn put_body(trunk: &mut Trunk, channel: u32, number: u64, body: &str) -> String {
    trunk.put(channel, number, "0 0 600", body);
    let frame = trunk.frame();
    let id = frame.strip_prefix(&format!("re {channel} {number} INSERTED "));
    id.unwrap_or_else(|| panic!("{frame}")).trim_end_matches('|').to_owned()
}

/// A trunk to a member that serves, or soon will.
fn trunk_to(cluster: &Cluster, member: usize) -> Trunk {
    Trunk::over(cluster.client(member))
}

#[test]
fn sessions_and_keys_go_on_when_the_leader_that_carried_them_is_killed() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let other = cluster.follower_beside(leader);
    let mut trunk = trunk_to(&cluster, leader);
    let before = Before::begin(&mut trunk, &mut cluster.client(leader));
    before.wait_for_log(&mut cluster.client(other));
    cluster.kill(leader);
    before.check(&mut trunk_to(&cluster, other), &mut cluster.client(other));
}

#[test]
fn sessions_and_keys_go_on_when_the_leader_was_killed_that_another_member_needed_for_them() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let carrier = cluster.follower_beside(leader);
    let other = 3 - leader - carrier;
    let mut trunk = trunk_to(&cluster, carrier);
    let before = Before::begin(&mut trunk, &mut cluster.client(carrier));
    cluster.kill(leader);
    // Their commands may still come into the log: whoever takes them over is told of those that did.
    before.check(&mut trunk_to(&cluster, other), &mut cluster.client(other));
}

#[test]
fn sessions_and_keys_go_on_when_all_members_were_killed_for_longer_than_the_lease() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let mut trunk = trunk_to(&cluster, 0);
    let before = Before::begin(&mut trunk, &mut cluster.client(1));
    before.wait_for_log(&mut cluster.client(2));
    (0..3).for_each(|member| cluster.kill(member));
    // Longer than the lease: nobody could have asked for the sessions meanwhile.
    thread::sleep(Duration::from_secs(12));
    for member in [2, 0, 1] {
        cluster.spawn(member);
        thread::sleep(Duration::from_millis(500));
    }
    cluster.wait_serving(2);
    before.check(&mut trunk_to(&cluster, 2), &mut cluster.client(2));
}

#[test]
fn sessions_and_keys_go_on_at_a_member_that_was_given_a_snapshot() {
    let _alone = alone();
    let flags = ["--checkpoint-ops-max", OPS_MAX].map(str::to_owned).to_vec();
    let options = ClusterOptions { flags, ..cluster_options() };
    let mut cluster = Cluster::start_with(options).expect("nothing special is asked for");
    let leader = cluster.leader();
    let away = cluster.follower_beside(leader);
    let carrier = 3 - leader - away;
    cluster.kill(away);
    let mut trunk = trunk_to(&cluster, carrier);
    let before = Before::begin(&mut trunk, &mut cluster.client(carrier));
    // Three checkpoints at the leader: the log from before the first is gone.
    let mut other = cluster.client(leader);
    let deadline = now() + PATIENCE * 2;
    while cluster.log(leader).matches(" checkpoint index=").count() < 3 {
        assert!(now() < deadline, "the leader makes no checkpoints");
        // A client that says nothing is taken for dead.
        trunk.send("ping 1\r\n");
        let puts = "put 0 0 60 1\r\nx\r\n".repeat(300);
        other.send(puts.as_bytes()).expect("it reads");
        for _ in 0..300 {
            let id = other.reply_line().expect("a reply").replace("INSERTED ", "");
            other.send(format!("delete {id}\r\n").as_bytes()).expect("it reads");
        }
        (0..300).for_each(|_| assert_eq!(other.reply_line().expect("a reply"), "DELETED"));
    }
    cluster.restart(away);
    cluster.wait_in_step();
    let log = cluster.log(away);
    assert!(log.contains("a snapshot is offered"), "there was none\n{log}");
    // Those who wrote the log are gone, or do not lead any more.
    cluster.kill(leader);
    before.check(&mut trunk_to(&cluster, away), &mut cluster.client(away));
}

#[test]
fn a_lease_that_ended_at_a_new_leader_leaves_the_job_to_another() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let other = cluster.follower_beside(leader);
    let mut trunk = trunk_to(&cluster, leader);
    trunk.send(&format!("open 1 {} 1000\r\n", token(1)));
    assert_eq!(trunk.frame(), "opened 1");
    let job = put(&mut trunk, 1, 1, "job");
    trunk.expect((1, 2), "reserve", &format!("RESERVED {job} 3|job"));
    cluster.kill(leader);
    let mut next = cluster.client(other);
    // Two seconds until the member is known to be dead, one of the lease, and the election.
    next.send(b"reserve\r\n").expect("it reads");
    let reply = next.reply(PATIENCE * 3).expect("the lease ends");
    assert_eq!(reply, format!("RESERVED {job} 3\r\njob\r\n").into_bytes());
    let mut trunk = trunk_to(&cluster, other);
    trunk.send(&format!("resume 1 {} 1000 2\r\n", token(1)));
    assert_eq!(trunk.frame(), "lapsed 1");
    // Nothing that is said to the session that was, or in another with its token, is about the job.
    trunk.ask(1, 3, &format!("delete {job}"));
    trunk.open(1, 1);
    trunk.expect((1, 1), &format!("touch {job}"), "NOT_FOUND");
    trunk.expect((1, 2), &format!("delete {job}"), "NOT_FOUND");
    trunk.expect((1, 3), &format!("release {job} 0 0"), "NOT_FOUND");
    expect(&mut next, &format!("touch {job}"), "TOUCHED");
    expect(&mut next, &format!("delete {job}"), "DELETED");
}

#[test]
fn what_a_frozen_member_was_told_for_a_session_is_nothing_when_another_has_taken_it_over() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let frozen = cluster.follower_beside(leader);
    let mut trunk = trunk_to(&cluster, frozen);
    trunk.open(1, 1);
    let job = put(&mut trunk, 1, 1, "job");
    trunk.expect((1, 2), "reserve", &format!("RESERVED {job} 3|job"));
    cluster.freeze(frozen);
    // It will read this when it wakes.
    trunk.ask(1, 3, &format!("delete {job}"));
    trunk.put(1, 4, "0 0 600", "late");
    let mut there = trunk_to(&cluster, leader);
    there.send(&format!("resume 1 {} 10000 2\r\n", token(1)));
    assert_eq!(there.frame(), "resumed 1 2 0 0");
    there.expect((1, 5), &format!("release {job} 0 0"), "RELEASED");
    let mut next = cluster.client(leader);
    expect(&mut next, "reserve-with-timeout 1", &format!("RESERVED {job} 3\r\njob"));
    cluster.thaw(frozen);
    assert_eq!(trunk.frame(), "moved 1");
    assert_eq!(figure(&mut next, "stats", "total-jobs"), 1);
    expect(&mut next, &format!("touch {job}"), "TOUCHED");
    expect(&mut next, &format!("delete {job}"), "DELETED");
}

#[test]
fn a_session_is_not_said_to_have_ended_before_others_know() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    let mut trunk = trunk_to(&cluster, leader);
    trunk.open(1, 1);
    let job = put(&mut trunk, 1, 1, "job");
    trunk.expect((1, 2), "reserve", &format!("RESERVED {job} 3|job"));
    followers.iter().for_each(|follower| cluster.freeze(*follower));
    trunk.send("close 1\r\n");
    // Not as long as the leader's lease: it could speak, if it knew.
    let has_spoken = trunk.client.receive(Duration::from_millis(150));
    followers.iter().for_each(|follower| cluster.thaw(*follower));
    assert!(!has_spoken, "nobody else could know of it");
    assert_eq!(trunk.frame(), "closed 1");
    cluster.kill(leader);
    let mut next = cluster.client(followers[0]);
    // Before any lease could have ended.
    expect(&mut next, "reserve-with-timeout 2", &format!("RESERVED {job} 3\r\njob"));
}
