//! Commands that are under way while the leader changes: each is done once and answered in order.
//!
//! One connection is all the traffic, so that what it is told does not depend on time: a single
//! server that gets the same commands must give the same answers.

use std::time::Duration;

use super::scene::lead;
use crate::support::{
    Client, Cluster, PATIENCE, Random, Server, ServerOptions, Target, alone, cluster_of,
    number_from_environment,
};

/// How many commands of one connection are taken on at once.
const UNDER_WAY: usize = 256;
/// More than a transfer takes.
const BATCHES_MAX: usize = 1000;
/// After which no answer comes that was one too many.
const QUIET: Duration = Duration::from_millis(50);
const TRANSFERS: usize = 9;
const KILLS: usize = 3;
/// Of statistics, what depends on time, and on the files of the server.
const CHANGING: [&str; 3] = ["age: ", "time-left: ", "file: "];

#[test]
fn commands_under_way_are_answered_as_by_one_server_when_the_leader_changes() {
    let _alone = alone();
    let seed = number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed);
    let mut script = Script { random: Random::new(seed), jobs: 0 };
    let mut cluster = cluster_of(3);
    let mut client = cluster.client(0);
    let mut batches = Vec::new();
    let mut answers = Vec::new();
    for transfer in 1..=TRANSFERS {
        // At the leader's own client too.
        let to = (cluster.leader() + 1) % 3;
        let done = std::thread::scope(|scope| {
            let transferring = scope.spawn(|| lead(&mut cluster, to));
            for _ in 0..BATCHES_MAX {
                let batch = script.batch();
                client.send(&batch).expect("the member serves");
                batches.push(batch);
                answers.push(replies(&mut client));
                if transferring.is_finished() {
                    break;
                }
            }
            transferring.join()
        });
        assert!(done.is_ok(), "seed {seed}: transfer {transfer}");
    }
    for kill in 1..=KILLS {
        let leader = 1 + kill % 2;
        lead(&mut cluster, leader);
        let batch = script.batch();
        client.send(&batch).expect("the member serves");
        cluster.kill(leader);
        batches.push(batch);
        answers.push(replies(&mut client));
        cluster.restart(leader);
        cluster.wait_in_step();
    }
    assert!(client.is_silent_for(QUIET), "seed {seed}: {:?}", client.unread());
    compare(seed, &batches, &answers, &cluster);
}

/// What commands come, and which jobs there may be.
struct Script {
    random: Random,
    jobs: u64,
}

impl Script {
    /// As many commands as may be under way.
    fn batch(&mut self) -> Vec<u8> {
        (0..UNDER_WAY).flat_map(|_| self.command().into_bytes()).collect()
    }

    fn command(&mut self) -> String {
        // Not all have been put, and many are deleted: `NOT_FOUND` belongs to the answers.
        let job = self.random.within(self.jobs.saturating_sub(60)..self.jobs + 3);
        match self.random.within(0..8) {
            0..3 => {
                self.jobs += 1;
                let body = self.random.within(10..100_000).to_string();
                let priority = self.random.within(0..5);
                format!("put {priority} 0 1000 {}\r\n{body}\r\n", body.len())
            }
            3..5 => "reserve-with-timeout 0\r\n".to_owned(),
            5 => format!("stats-job {job}\r\n"),
            _ => format!("delete {job}\r\n"),
        }
    }
}

/// The answers to one batch, without what depends on time; fewer if the connection ends.
fn replies(client: &mut Client) -> Vec<String> {
    (0..UNDER_WAY).map_while(|_| client.reply(PATIENCE)).map(|reply| constant(&reply)).collect()
}

fn constant(reply: &[u8]) -> String {
    let reply = String::from_utf8_lossy(reply);
    let Some((_, statistics)) = reply.split_once("\r\n---\n") else {
        return reply.into_owned();
    };
    let lines = statistics.lines();
    let lines = lines.filter(|line| !CHANGING.iter().any(|name| line.starts_with(name)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Asks a single server the same.
fn compare(seed: u64, batches: &[Vec<u8>], answers: &[Vec<String>], cluster: &Cluster) {
    let mut server = Server::start(Target::Beanpole, ServerOptions::default());
    let mut client = server.connect();
    for (number, (batch, came)) in batches.iter().zip(answers).enumerate() {
        client.send(batch).expect("the server serves");
        let wanted = replies(&mut client);
        assert_eq!(wanted.len(), UNDER_WAY, "a single server answers all");
        let differs = wanted.iter().zip(came).position(|(wanted, came)| wanted != came);
        let differs = differs.or_else(|| (came.len() < UNDER_WAY).then_some(came.len()));
        if let Some(at) = differs {
            let (batch, logs) = (String::from_utf8_lossy(batch), cluster.logs());
            panic!(
                "seed {seed}: batch {number}, answer {at}: {:?} instead of {:?}\n{batch}\n{logs}",
                came.get(at),
                wanted[at],
            );
        }
    }
    assert!(client.is_silent_for(QUIET), "a single server answers once");
}
