//! The client against members that are killed, frozen and out of room.

mod fake;
mod slow;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::fake::{Member, State};
use super::{Client, ClientError, Command, End, Options, OptionsError, Request, Session, TubeName};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(30);

struct Cluster {
    state: Arc<Mutex<State>>,
    members: Vec<Member>,
}

impl Cluster {
    async fn start(count: usize) -> Self {
        let state = Arc::default();
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(Member::start(&state).await);
        }
        Self { state, members }
    }

    fn client(&self) -> Client {
        client_of(self.members.iter().map(|member| member.address), Duration::from_millis(100))
    }
}

fn client_of(members: impl Iterator<Item = SocketAddr>, ping_limit: Duration) -> Client {
    let options = Options { ping_limit, ..Options::default() };
    let addresses = members.map(|address| address.to_string());
    Client::connect(addresses, options).expect("the options are good")
}

#[tokio::test]
async fn commands_bring_what_the_member_says() {
    let cluster = Cluster::start(1).await;
    let session = cluster.client().session().await.expect("a member is there");
    let tube = TubeName::new(b"mail").expect("it is a name");
    session.use_tube(&tube).await.expect("it can be used");
    assert_eq!(session.watch(&tube).await.expect("it can be watched"), 2);
    let id = session.put(0, 0, 60, "hello").await.expect("it can be put");
    let job = session.reserve().await.expect("a job is there");
    assert_eq!((job.id, &job.body[..]), (id, &b"hello"[..]));
    assert_eq!(session.peek(id).await.expect("it is there"), job);
    session.delete(id).await.expect("it is held");
    assert!(matches!(session.delete(id).await, Err(ClientError::NotFound)));
    assert_eq!(session.reserve_with_timeout(0).await.expect("it is answered"), None);
    let too_big = vec![0; fake::SIZE_MAX as usize + 1];
    assert!(matches!(session.put(0, 0, 1, too_big).await, Err(ClientError::JobTooBig)));
    let odd = session.reserve_job(id).await;
    assert!(matches!(odd, Err(ClientError::UnexpectedReply { .. })), "{odd:?}");
}

#[tokio::test]
async fn requests_are_pipelined_and_answered_in_order() {
    let cluster = Cluster::start(1).await;
    let session = cluster.client().session().await.expect("a member is there");
    cluster.state.lock().put_off = 3;
    let mut pending = Vec::new();
    for number in 0..200 {
        let body = Bytes::from(vec![b'x'; 10 * number]);
        let put = Command::Put { priority: 0, delay: 0, ttr: 1, body };
        pending.push(session.request(Request::Command(put)).await.expect("there is room"));
    }
    for (number, reply) in (1..).zip(pending) {
        assert_eq!(reply.await.expect("it is answered"), format!("INSERTED {number}\r\n"));
    }
    let quit = session.request(Request::Command(Command::Quit)).await;
    assert!(matches!(quit, Err(ClientError::Quit)));
}

#[tokio::test]
async fn many_sessions_send_more_than_there_is_room_for() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let session = client.session().await.expect("a member is there");
        tasks.spawn(async move {
            for _ in 0..3 {
                session.put(0, 0, 1, vec![b'x'; 900_000]).await.expect("it can be put");
            }
        });
    }
    timeout(LONG, tasks.join_all()).await.expect("nobody is forgotten");
    assert_eq!(cluster.state.lock().bodies.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_or_doubled_when_members_are_killed_and_frozen() {
    const JOBS: usize = 300;
    const PRODUCERS: usize = 10;
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let mut producers = JoinSet::new();
    let mut workers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let session = client.session().await.expect("a member is there");
        producers.spawn(async move {
            for job in 0..JOBS / PRODUCERS {
                let body = format!("{producer} {job}");
                session.put(0, 0, 60, body).await.expect("it can be put");
            }
        });
        let session = client.session().await.expect("a member is there");
        workers.spawn(work(session));
    }
    for round in 0..12 {
        let member = &mut cluster.members[round % 3];
        if round % 2 == 0 {
            member.kill().await;
            sleep(Duration::from_millis(20)).await;
            member.restart().await;
        } else {
            member.freeze(true);
            sleep(Duration::from_millis(150)).await;
            member.freeze(false);
        }
        let others = client.clone();
        let reached = async move {
            while others.sessions().contains(&None) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, reached).await.expect("it is reached again");
    }
    timeout(LONG, producers.join_all()).await.expect("all is put");
    let deleted = async {
        while cluster.state.lock().deleted.len() < JOBS {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, deleted).await.expect("all is worked off");
    workers.abort_all();
    let state = cluster.state.lock();
    let bodies: BTreeSet<_> = state.bodies.values().collect();
    assert_eq!((bodies.len(), state.bodies.len()), (JOBS, JOBS));
    assert!(state.resumed > 20, "only {} sessions moved", state.resumed);
}

async fn work(session: Session) {
    loop {
        let job = session.reserve().await.expect("the session goes on");
        session.delete(job.id).await.expect("the job is held");
    }
}

#[tokio::test]
async fn a_frozen_member_is_left_and_a_wait_goes_on_elsewhere() {
    let cluster = Cluster::start(2).await;
    let client = cluster.client();
    while client.sessions().contains(&None) {
        sleep(Duration::from_millis(1)).await;
    }
    let session = client.session().await.expect("a member is there");
    let at = client.sessions().iter().position(|count| *count == Some(1)).expect("it is somewhere");
    let pending = session.request(Request::Command(Command::Reserve)).await;
    cluster.members[at].freeze(true);
    let other = client.session().await.expect("a member is there");
    other.put(0, 0, 1, "hello").await.expect("it can be put");
    let reply = timeout(LONG, pending.expect("there is room")).await.expect("it is answered");
    assert_eq!(reply.expect("the session goes on"), "RESERVED 1 5\r\nhello\r\n");
    assert_eq!(client.sessions()[at], None);
}

#[tokio::test]
async fn a_member_is_not_left_while_something_large_is_on_its_way() {
    let cluster = Cluster::start(2).await;
    let ways = cluster.members.iter().map(|member| slow::way_to(member.address));
    // What kernels hold on the way is through in a fourth of this, all of it in three times as much.
    let client = client_of(ways, Duration::from_millis(300));
    while client.sessions().contains(&None) {
        sleep(Duration::from_millis(1)).await;
    }
    let body = Bytes::from(vec![b'x'; fake::SIZE_MAX as usize]);
    let mut puts = JoinSet::new();
    for _ in 0..14 {
        let session = client.session().await.expect("a member is there");
        let body = body.clone();
        puts.spawn(async move { session.put(0, 0, 1, body).await });
    }
    for put in puts.join_all().await {
        put.expect("it can be put");
    }
    assert_eq!(cluster.state.lock().resumed, 0);
}

#[tokio::test]
async fn who_alone_is_silent_is_not_left_at_once() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let session = client.session().await.expect("a member is there");
    cluster.members[0].freeze(true);
    let pending = session.request(Request::Command(Command::Delete(1))).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(client.sessions(), [Some(1)]);
    cluster.members[0].freeze(false);
    let reply = pending.expect("there is room").await.expect("the session goes on");
    assert_eq!(reply, "NOT_FOUND\r\n");
    assert_eq!(cluster.state.lock().resumed, 0);
}

#[tokio::test]
async fn a_session_whose_lease_has_run_out_ends() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client();
    let session = client.session().await.expect("a member is there");
    let pending = session.request(Request::Command(Command::Reserve)).await;
    cluster.members[0].kill().await;
    cluster.state.lock().forget_sessions();
    cluster.members[0].restart().await;
    let reply = timeout(LONG, pending.expect("there is room")).await.expect("it ends");
    assert!(matches!(reply, Err(ClientError::Ended(End::Lapsed))), "{reply:?}");
    let later = session.put(0, 0, 1, "hello").await;
    assert!(matches!(later, Err(ClientError::Ended(End::Lapsed))), "{later:?}");
    assert_eq!(cluster.state.lock().sessions(), 0);
}

#[tokio::test]
async fn a_session_that_is_dropped_or_closed_ends_at_the_member() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let (first, second) = (client.session().await, client.session().await);
    let (first, second) = (first.expect("it begins"), second.expect("it begins"));
    assert_eq!(cluster.state.lock().sessions(), 2);
    first.close().await;
    assert_eq!(cluster.state.lock().sessions(), 1);
    drop(second);
    let ended = async {
        while cluster.state.lock().sessions() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, ended).await.expect("it ends");
}

#[tokio::test]
async fn the_end_of_input_ends_a_wait() {
    let cluster = Cluster::start(1).await;
    let session = cluster.client().session().await.expect("a member is there");
    let pending = session.request(Request::Command(Command::Reserve)).await;
    let pending = pending.expect("there is room").take().expect_err("there is no job");
    session.end_input();
    assert_eq!(pending.await.expect("it is answered"), "TIMED_OUT\r\n");
    let delete = session.request(Request::Command(Command::Delete(1))).await;
    let mut delete = delete.expect("there is room");
    let reply = loop {
        match delete.take() {
            Ok(reply) => break reply,
            Err(pending) => delete = pending,
        }
        sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(reply.expect("it is answered"), "NOT_FOUND\r\n");
}

#[tokio::test]
async fn a_member_without_room_is_asked_again() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    cluster.state.lock().is_full = true;
    let begins = tokio::spawn(async move { client.session().await.map(drop) });
    sleep(Duration::from_millis(300)).await;
    assert!(!begins.is_finished());
    cluster.state.lock().is_full = false;
    let begun = timeout(LONG, begins).await.expect("it is asked again").expect("it does not panic");
    begun.expect("there is room now");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_unavailable() {
    let options = Options { patience: Duration::from_secs(1), ..Options::default() };
    let mut cluster = Cluster::start(1).await;
    cluster.members[0].kill().await;
    let address = cluster.members[0].address.to_string();
    let client = Client::connect([address], options).expect("the options are good");
    let session = timeout(LONG, client.session()).await.expect("it gives up");
    let error = session.expect_err("there is no member");
    assert!(matches!(error, ClientError::Ended(End::Unavailable)), "{error:?}");
    assert_eq!(client.sessions(), [None]);
}

#[tokio::test]
async fn sessions_are_spread_and_return_to_a_member_that_returns() {
    let mut cluster = Cluster::start(2).await;
    let client = cluster.client();
    while client.sessions().contains(&None) {
        sleep(Duration::from_millis(1)).await;
    }
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(client.session().await.expect("a member is there"));
    }
    assert_eq!(client.sessions(), [Some(10), Some(10)]);
    let pending = sessions[0].request(Request::Command(Command::Reserve)).await;
    cluster.members[0].kill().await;
    for session in &sessions[1..] {
        assert!(matches!(session.delete(1).await, Err(ClientError::NotFound)));
    }
    assert_eq!(client.sessions(), [None, Some(20)]);
    cluster.members[0].restart().await;
    let returned = async {
        while client.sessions() != [Some(10), Some(10)] {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, returned).await.expect("some return");
    sessions[1].put(0, 0, 1, "hello").await.expect("it can be put");
    let reply = pending.expect("there is room").await.expect("the session goes on");
    assert_eq!(reply, "RESERVED 1 5\r\nhello\r\n");
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_nothing_waiting() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let session = client.session().await.expect("a member is there");
    let pending = session.request(Request::Command(Command::Reserve)).await;
    drop(session);
    drop(client);
    let reply = pending.expect("there was room").await;
    assert!(matches!(reply, Err(ClientError::Ended(End::Closed))), "{reply:?}");
}

#[tokio::test]
async fn bad_options_are_refused_with_both_numbers() {
    let refused = |count: usize, options: Options| {
        let addresses = (0..count).map(|at| format!("127.0.0.1:{at}"));
        Client::connect(addresses, options).expect_err("they are bad")
    };
    let good = Options::default();
    assert_eq!(refused(0, good.clone()), OptionsError::Members { count: 0 });
    assert_eq!(refused(17, good.clone()), OptionsError::Members { count: 17 });
    let lease = Duration::from_millis(999);
    let error = refused(1, Options { lease, ..good.clone() });
    assert_eq!(error.to_string(), "a lease of 999ms, but it is 1000 to 60000 ms");
    let error = refused(1, Options { patience: lease, ..good.clone() });
    assert_eq!(error.to_string(), "patience is 999ms, but at least 1s");
    let error = refused(1, Options { ping_limit: Duration::ZERO, ..good.clone() });
    assert!(matches!(error, OptionsError::TooShort { name: "ping_limit", .. }));
    let error = refused(1, Options { dial_timeout: Duration::ZERO, ..good });
    assert!(matches!(error, OptionsError::TooShort { name: "dial_timeout", .. }));
}
