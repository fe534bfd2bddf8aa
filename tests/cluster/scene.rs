//! What the tests of clusters have in common: clients that keep something through a fault, and
//! load around one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::durability::{Worker, audit};
use crate::support::{
    Client, Cluster, ClusterOptions, History, Load, PATIENCE, Random, Target, Traffic,
    cluster_options, left_out, number_from_environment,
};

/// No job of a test that is not about TTR may expire.
pub(super) const TTR: Duration = Duration::from_secs(1000);
/// Writes before and after each fault: enough that all connections have had their turn.
const WRITES_AROUND: u64 = 200;
/// Within which a cluster that has lost one member must go on. The aim is below one second on a
/// quiet machine; a debug build among other tests gets more.
pub(super) const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// A cluster whose cables can be cut; `None`, with a line that says why, where there are none.
pub(super) fn cabled() -> Option<Cluster> {
    let options = ClusterOptions { has_cables: true, ..cluster_options() };
    match Cluster::start_with(options) {
        Ok(cluster) => Some(cluster),
        Err(why) => {
            left_out(&format!("members that are cut off from each other: {why}"));
            None
        }
    }
}

/// Lets `member` lead, whoever does now.
pub(super) fn lead(cluster: &mut Cluster, member: usize) {
    let leader = cluster.leader();
    if leader == member {
        return;
    }
    let id = cluster.id(member);
    let asked = cluster.change(leader, &json!({"do": "transfer", "to": id}));
    asked.unwrap_or_else(|why| panic!("transfer: {why}\n{}", cluster.logs()));
    cluster.wait_for("the member to lead", PATIENCE, |it| it.leader_now() == Some(member));
}

/// Clients that keep something through all that happens to other members: a reserve that waits, a
/// job that is held, and commands behind a reserve that waits.
pub(super) struct Keepers(Vec<Keeper>);

struct Keeper {
    name: String,
    parked: Client,
    holding: Client,
    held: u64,
}

impl Keepers {
    /// Takes up its place at these members.
    pub(super) fn at(cluster: &Cluster, members: &[usize]) -> Self {
        Self(members.iter().map(|&member| Keeper::at(cluster, member)).collect())
    }

    /// Everything is as it was: no reply has come, and now the right ones do. `member` puts what
    /// was waited for.
    pub(super) fn check(self, cluster: &Cluster, member: usize) {
        let mut putter = cluster.client(member);
        for keeper in self.0 {
            keeper.check(&mut putter);
        }
    }
}

impl Keeper {
    fn at(cluster: &Cluster, member: usize) -> Self {
        let name = format!("kept-{member}");
        let mut holding = cluster.client(member);
        expect(&mut holding, &format!("use held-{name}"), &format!("USING held-{name}"));
        let put = holding.put("5 0 1000", b"held").expect("the member serves");
        let held = put.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
        let held = held.unwrap_or_else(|| panic!("a put is answered {put}"));
        expect(&mut holding, &format!("reserve-job {held}"), &format!("RESERVED {held} 4\r\nheld"));
        let mut parked = cluster.client(member);
        expect(&mut parked, &format!("watch {name}"), "WATCHING 2");
        // Two commands behind the one that waits: they must be answered after it, in order.
        let commands = format!("reserve\r\nuse {name}\r\nlist-tube-used\r\n");
        parked.send(commands.as_bytes()).expect("the member serves");
        Self { name, parked, holding, held }
    }

    fn check(mut self, putter: &mut Client) {
        let name = &self.name;
        assert!(
            self.parked.is_silent_for(Duration::from_millis(50)),
            "{name}: a parked reserve was answered or closed: {:?}",
            String::from_utf8_lossy(self.parked.unread())
        );
        expect(putter, &format!("use {name}"), &format!("USING {name}"));
        let put = putter.put("0 0 1000", b"late").expect("the member serves");
        let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}"));
        let replies =
            [format!("RESERVED {id} 4\r\nlate"), format!("USING {name}"), format!("USING {name}")];
        for wanted in replies {
            let came = next(&mut self.parked);
            let silence = if self.parked.is_silent_for(Duration::ZERO) { "open" } else { "closed" };
            assert_eq!(came, wanted, "{name}, {silence}");
        }
        let held = self.held;
        expect(&mut self.holding, &format!("touch {held}"), "TOUCHED");
        expect(putter, &format!("delete {held}"), "NOT_FOUND");
        expect(&mut self.holding, &format!("delete {held}"), "DELETED");
        expect(&mut self.parked, &format!("delete {id}"), "DELETED");
    }
}

/// Asks and compares the whole reply.
pub(super) fn expect(client: &mut Client, command: &str, reply: &str) {
    let came = client.ask(command);
    assert_eq!(came.as_deref().ok(), Some(reply), "{command}: {came:?}");
}

/// The next reply, without its last line end.
pub(super) fn next(client: &mut Client) -> String {
    let reply = client.reply(PATIENCE).unwrap_or_default();
    String::from_utf8_lossy(&reply).trim_end_matches("\r\n").to_owned()
}

/// Runs `course` under load from clients of these members: it gets the load to measure by. The
/// load runs before and after it, and everything that was told must be true. Returns the history
/// for further questions.
pub(super) fn under_load(
    cluster: &mut Cluster,
    load: &Load,
    course: impl FnOnce(&mut Cluster, &Traffic),
) -> History {
    let traffic = Traffic::start(load);
    let before = traffic.wait_for_writes(WRITES_AROUND, PATIENCE);
    before.unwrap_or_else(|why| panic!("before: {why}"));
    course(cluster, &traffic);
    let after = traffic.wait_for_writes(WRITES_AROUND, RESUMES_WITHIN);
    after.unwrap_or_else(|why| panic!("after: {why}"));
    let serving = (0..cluster.member_count()).find(|&member| {
        load.addresses.contains(&cluster.address(member)) && cluster.try_client(member).is_ok()
    });
    let mut client = cluster.client(serving.expect("a member that was under load serves"));
    let history = traffic.finish(&mut client).unwrap_or_else(|why| panic!("at the end: {why}"));
    let verdict = history.judge(TTR);
    assert!(verdict.is_clean(), "{verdict:#?}");
    history
}

/// Workers that put, reserve, release, bury, kick and delete jobs of their own through these
/// members while `course` runs, and see no error; then all jobs are held against their ledger.
pub(super) fn with_workers(
    cluster: &mut Cluster,
    members: &[usize],
    course: impl FnOnce(&mut Cluster),
) {
    let seed = number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed);
    let mut workers: Vec<Worker> =
        (1..=6).map(|number| Worker::new(Target::Beanpole, number, seed)).collect();
    let mut clients: Vec<Client> =
        members.iter().cycle().take(workers.len()).map(|&member| cluster.client(member)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let pairs = workers.iter_mut().zip(&mut clients);
        let threads: Vec<_> = pairs
            .map(|(worker, client)| scope.spawn(move || worker.work_until(client, stop)))
            .collect();
        // Set also when the course panics, or the workers would go on for ever.
        let _stopper = Stopper(stop);
        course(cluster);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            let end = thread.join().expect("no worker panics");
            end.unwrap_or_else(|error| panic!("seed {seed}: a worker: {error}"));
        }
    });
    drop(clients);
    let mut client = cluster.client(members[0]);
    wait_until_nothing_is_held(&mut client);
    audit(&mut client, &mut workers, 1).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
}

struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until connections that have ended hold no job any more.
pub(super) fn wait_until_nothing_is_held(client: &mut Client) {
    let deadline = crate::support::now() + PATIENCE;
    loop {
        let stats = client.ask("stats").expect("the member serves");
        if stats.contains("\ncurrent-jobs-reserved: 0\n") {
            return;
        }
        assert!(crate::support::now() < deadline, "jobs stay reserved: {stats}");
        thread::sleep(Duration::from_millis(10));
    }
}
