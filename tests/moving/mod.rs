//! The client of this project with members that are killed, frozen and restarted: its sessions
//! move, and whoever uses them notices a pause at most.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beanpole::client::{
    Client, ClientError, NewJob, Options, Pending, PutKey, Request, Session, TubeName,
};
use beanpole_protocol::Command;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::support::{Cluster, PATIENCE, alone, cluster_of, now};

/// Longer than any move takes, also on a machine that is busy with other tests.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is done to a member, before it is as it was.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill,
    Freeze,
    Terminate,
}

/// What producers and workers have seen.
#[derive(Default)]
struct Seen {
    /// The jobs that were put, by their bodies.
    put: BTreeMap<String, u64>,
    /// How often each was deleted.
    deleted: BTreeMap<String, usize>,
    longest_put: Duration,
}

impl Seen {
    fn is_worked_off(&self) -> bool {
        self.deleted.len() >= self.put.len()
    }
}

#[test]
fn jobs_are_put_and_worked_off_once_while_each_member_is_hurt_in_turn() {
    const PRODUCERS: usize = 8;
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let runtime = Runtime::new().expect("a runtime can be had");
    let _context = runtime.enter();
    let client = client_of(&cluster);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut producers = JoinSet::new();
    let mut workers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let session = begin(&runtime, &client);
        producers.spawn(produce(session, producer, Arc::clone(&seen), stopped.clone()));
        workers.spawn(work(begin(&runtime, &client), Arc::clone(&seen)));
    }
    for (round, harm) in [Harm::Kill, Harm::Freeze, Harm::Terminate, Harm::Kill, Harm::Freeze]
        .into_iter()
        .enumerate()
    {
        let leader = cluster.leader();
        let member = if round % 2 == 0 { leader } else { cluster.follower_beside(leader) };
        let before = seen.lock().put.len();
        hurt(&mut cluster, member, harm);
        wait_until("jobs are put meanwhile", || seen.lock().put.len() > before + 50);
        heal(&mut cluster, member, harm);
        cluster.wait_in_step();
        wait_until("it is reached again", || client.sessions().iter().all(Option::is_some));
    }
    stop.send_replace(true);
    runtime.block_on(producers.join_all());
    wait_until("all is worked off", || seen.lock().is_worked_off());
    workers.abort_all();
    let seen = seen.lock();
    assert!(seen.longest_put < LONGEST_PAUSE, "a put took {:?}", seen.longest_put);
    assert!(seen.put.keys().eq(seen.deleted.keys()), "what was put is not what was worked off");
    let twice: Vec<_> = seen.deleted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
}

#[test]
fn a_session_keeps_its_tubes_its_jobs_and_its_wait() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let runtime = Runtime::new().expect("a runtime can be had");
    let _context = runtime.enter();
    let client = client_of(&cluster);
    let tube = TubeName::new(b"mail").expect("it is a name");
    let holder = begin(&runtime, &client);
    let jobs = runtime.block_on(async {
        holder.use_tube(&tube).await?;
        holder.watch(&tube).await?;
        let mut jobs = Vec::new();
        for body in ["a", "b", "c", "d"] {
            let id = holder.put(0, 0, 60, body).await?;
            assert_eq!(holder.reserve().await?.id, id);
            jobs.push(id);
        }
        Ok::<_, ClientError>(jobs)
    });
    let jobs = jobs.expect("the members serve");
    let wait = request(&runtime, &holder, Command::Reserve);
    let behind = request(&runtime, &holder, Command::ListTubeUsed);
    move_on(&mut cluster, &client);

    let putter = begin(&runtime, &client);
    let result = runtime.block_on(async {
        putter.use_tube(&tube).await?;
        let id = putter.put(0, 0, 60, "for the wait").await?;
        let expected = format!("RESERVED {id} 12\r\nfor the wait\r\n");
        assert_eq!(wait.await?, expected);
        assert_eq!(behind.await?, "USING mail\r\n");
        holder.touch(jobs[0]).await?;
        holder.release(jobs[1], 0, 0).await?;
        holder.bury(jobs[2], 0).await?;
        holder.delete(jobs[3]).await?;
        assert_eq!(putter.peek_ready().await?.id, jobs[1]);
        assert_eq!(putter.peek_buried().await?.id, jobs[2]);
        assert!(matches!(putter.delete(jobs[0]).await, Err(ClientError::NotFound)));
        let keyed = || NewJob { priority: 0, delay: 0, ttr: 1, body: "once".into() };
        let key = PutKey::new(b"once").expect("it is a key");
        let once = holder.put_with_key(&key, keyed()).await?;
        assert_eq!(putter.put_with_key(&key, keyed()).await?, once);
        let other = NewJob { body: "twice".into(), ..keyed() };
        let in_use = putter.put_with_key(&key, other).await;
        assert!(matches!(in_use, Err(ClientError::KeyInUse)), "{in_use:?}");
        holder.close().await;
        // What it held is ready at once.
        putter.delete(jobs[0]).await
    });
    result.expect("the session goes on");
}

#[test]
fn a_session_outlives_all_members() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let runtime = Runtime::new().expect("a runtime can be had");
    let _context = runtime.enter();
    let client = client_of(&cluster);
    let session = begin(&runtime, &client);
    let id = runtime.block_on(session.put(0, 0, 60, "a")).expect("the members serve");
    assert_eq!(runtime.block_on(session.reserve()).expect("it is ready").id, id);
    (0..3).for_each(|member| cluster.kill(member));
    let put = Command::Put { priority: 0, delay: 0, ttr: 1, body: "b".into() };
    let pending = request(&runtime, &session, put);
    (0..3).for_each(|member| cluster.spawn(member));
    (0..3).for_each(|member| cluster.wait_serving(member));
    let reply = runtime.block_on(pending).expect("the session goes on");
    assert_eq!(reply, format!("INSERTED {}\r\n", id + 1));
    runtime.block_on(session.delete(id)).expect("it is held");
}

async fn produce(
    session: Session,
    producer: usize,
    seen: Arc<Mutex<Seen>>,
    stopped: tokio::sync::watch::Receiver<bool>,
) {
    for job in 0.. {
        if *stopped.borrow() {
            return;
        }
        let body = format!("{producer} {job}");
        let begun = now();
        let id = session.put(0, 0, 60, body.clone()).await.expect("it can be put");
        let mut seen = seen.lock();
        seen.longest_put = seen.longest_put.max(now() - begun);
        assert!(seen.put.insert(body, id).is_none());
    }
}

async fn work(session: Session, seen: Arc<Mutex<Seen>>) {
    loop {
        let job = session.reserve().await.expect("the session goes on");
        session.delete(job.id).await.expect("the job is held");
        let body = String::from_utf8(job.body.to_vec()).expect("it is text");
        *seen.lock().deleted.entry(body).or_default() += 1;
    }
}

fn client_of(cluster: &Cluster) -> Client {
    let addresses = (0..cluster.member_count()).map(|member| cluster.address(member).to_string());
    Client::connect(addresses, Options::default()).expect("the options are good")
}

fn begin(runtime: &Runtime, client: &Client) -> Session {
    runtime.block_on(client.session()).expect("the members serve")
}

fn request(runtime: &Runtime, session: &Session, command: Command) -> Pending {
    runtime.block_on(session.request(Request::Command(command))).expect("there is room")
}

/// Kills the member that carries the first session, which is the only one.
fn move_on(cluster: &mut Cluster, client: &Client) {
    let carries = client.sessions().iter().position(|count| *count == Some(1));
    cluster.kill(carries.expect("some member carries it"));
    wait_until("another carries it", || client.sessions().contains(&Some(1)));
}

fn hurt(cluster: &mut Cluster, member: usize, harm: Harm) {
    match harm {
        Harm::Kill => cluster.kill(member),
        Harm::Freeze => cluster.freeze(member),
        Harm::Terminate => assert!(cluster.terminate(member).success()),
    }
}

fn heal(cluster: &mut Cluster, member: usize, harm: Harm) {
    match harm {
        Harm::Kill | Harm::Terminate => {
            cluster.spawn(member);
            cluster.wait_serving(member);
        }
        Harm::Freeze => cluster.thaw(member),
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = now() + 4 * PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "it does not come to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
