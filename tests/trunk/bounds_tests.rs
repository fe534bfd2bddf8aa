//! What one trunk can take up, and for how long.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Trunk;
use super::figures::{figure, wait_for};
use super::frames::token;
use crate::support::{Agent, Client, Server, ServerOptions, Target, Transport, now};

/// The longest that a trunk may be silent, and one of its ticks.
const SILENCE_MAX: Duration = Duration::from_millis(5_500);

/// Of a job, bytes; and how many of them there are, more than a server of little memory sends at once.
const BODY_BYTES: usize = 60_000;
const JOBS: u32 = 150;

fn server(flags: &[&str]) -> Server {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let options = ServerOptions { transport: Transport::Tcp, flags, ..Default::default() };
    Server::start(Target::Beanpole, options)
}

fn open(trunk: &mut Trunk, channel: u32, lease_millis: u32) {
    trunk.send(&format!("open {channel} {} {lease_millis}\r\n", token(channel)));
    assert_eq!(trunk.frame(), format!("opened {channel}"));
}

fn open_all(trunk: &mut Trunk) {
    for channel in 1..=JOBS {
        open(trunk, channel, 60_000);
    }
}

fn put_all(producer: &mut Client) {
    for job in 1..=JOBS {
        let reply = producer.put("0 0 600", &[b'x'; BODY_BYTES]).expect("a reply");
        assert_eq!(reply, format!("INSERTED {job}"));
    }
}

fn reserved(client: &mut Client) -> u32 {
    let count = figure(client, "stats", "current-jobs-reserved");
    count.try_into().expect("there are no more jobs than that")
}

#[test]
fn a_client_that_is_silent_loses_its_trunk_and_then_its_sessions() {
    let mut server = server(&[]);
    let mut silent = Trunk::to(&mut server);
    open(&mut silent, 1, 1_000);
    open(&mut silent, 2, 1_000);
    silent.put(1, 1, "0 0 600", "held");
    assert_eq!(silent.frame(), "re 1 1 INSERTED 1|");
    silent.expect((1, 2), "reserve", "RESERVED 1 4|held");
    silent.ask(2, 1, "reserve");
    let began = now();
    let mut other = server.connect();
    wait_for(&mut other, "current-waiting", 1);
    assert_eq!(other.ask("reserve-with-timeout 12").expect("a reply"), "RESERVED 1 4\r\nheld");
    let after = now() - began;
    // The lease begins when the trunk ends.
    assert!(after > Duration::from_secs(5), "after {after:?}");
    assert!(after < SILENCE_MAX + Duration::from_secs(3), "after {after:?}");
    assert_eq!(other.put("0 0 600", b"next").expect("a reply"), "INSERTED 2");
    assert_eq!(other.ask("reserve-with-timeout 0").expect("a reply"), "RESERVED 2 4\r\nnext");
    assert!(silent.is_closed());
}

#[test]
fn an_agent_that_is_frozen_loses_its_sessions() {
    let mut server = server(&[]);
    let port = server.port().expect("it listens on TCP");
    let program = Target::Beanpole.program().expect("the tests have built it");
    let agent = Agent::before(&program, &[([127, 0, 0, 1], port).into()]).expect("it starts");
    let mut worker = agent.client();
    assert_eq!(worker.put("0 0 600", b"held").expect("a reply"), "INSERTED 1");
    assert_eq!(worker.ask("reserve").expect("a reply"), "RESERVED 1 4\r\nheld");
    let mut waiter = agent.client();
    waiter.send(b"reserve\r\n").expect("it reads");
    let mut other = server.connect();
    wait_for(&mut other, "current-waiting", 1);
    let pid = Pid::from_raw(agent.pid().try_into().expect("a small number")).expect("not 0");
    kill_process(pid, Signal::STOP).expect("it runs");
    // The lease of an agent is 10 s if nothing else is said.
    other.send(b"reserve-with-timeout 20\r\n").expect("the server reads");
    let reply = other.reply(Duration::from_secs(25)).expect("a reply");
    assert_eq!(reply, b"RESERVED 1 4\r\nheld\r\n");
    assert_eq!(other.put("0 0 600", b"next").expect("a reply"), "INSERTED 2");
    assert_eq!(other.ask("reserve-with-timeout 0").expect("a reply"), "RESERVED 2 4\r\nnext");
}

#[test]
fn a_client_that_says_something_now_and_then_keeps_its_trunk() {
    let mut server = server(&[]);
    let mut trunk = Trunk::to(&mut server);
    open(&mut trunk, 1, 1_000);
    for ping in 1..=4 {
        thread::sleep(Duration::from_secs(2));
        trunk.send(&format!("ping {ping}\r\n"));
        assert_eq!(trunk.frame(), format!("pong {ping}"));
    }
    trunk.expect((1, 1), "use still", "USING still");
}

#[test]
fn reads_in_one_piece_are_all_answered() {
    let mut server = server(&[]);
    let mut trunk = Trunk::to(&mut server);
    open(&mut trunk, 1, 10_000);
    let read = |number| format!("do 1 {number} 0 16\r\nlist-tube-used\r\n");
    trunk.send(&(1..=4).map(read).collect::<String>());
    for number in 1..=4 {
        assert_eq!(trunk.frame(), format!("re 1 {number} USING default|"));
    }
}

#[test]
fn bodies_that_a_client_does_not_take_are_not_handed_out() {
    let mut server = server(&["--memory", "96M"]);
    let mut producer = server.connect();
    put_all(&mut producer);
    let mut trunk = Trunk::to(&mut server);
    open_all(&mut trunk);
    let reserve = |channel| format!("do {channel} 1 0 9\r\nreserve\r\n");
    trunk.send(&(1..=JOBS).map(reserve).collect::<String>());
    // It is not read for a while.
    thread::sleep(Duration::from_secs(1));
    let taken = reserved(&mut producer);
    assert!((1..100).contains(&taken), "{taken} of {JOBS} jobs are on their way");
    // When it is, all is had in the end.
    let mut missing = JOBS;
    while missing > 0 {
        let frame = trunk.frame();
        let words: Vec<&str> = frame.split(' ').take(4).collect();
        match words.as_slice() {
            ["re", _, "1", "RESERVED"] => missing -= 1,
            ["later", channel, "1", _] => trunk.ask(channel.parse().expect("one"), 1, "reserve"),
            other => panic!("{other:?} is no answer"),
        }
    }
    assert_eq!(reserved(&mut producer), JOBS);
}

#[test]
fn a_trunk_whose_workers_are_given_more_than_it_takes_is_closed_and_nothing_is_lost() {
    let mut server = server(&["--memory", "96M"]);
    let mut trunk = Trunk::to(&mut server);
    open_all(&mut trunk);
    let mut producer = server.connect();
    // More at once would be put off, until it is known that they wait.
    for channel in 1..=JOBS {
        trunk.ask(channel, 1, "reserve");
        if channel % 10 == 0 {
            wait_for(&mut producer, "current-waiting", channel.into());
        }
    }
    put_all(&mut producer);
    let taken = reserved(&mut producer);
    assert!((1..140).contains(&taken), "{taken} of {JOBS} jobs are on their way");
    assert!(trunk.is_closed_in_the_end());
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("resume 1 {} 60000 0\r\n", token(1)));
    assert_eq!(trunk.frame(), "resumed 1 1 0 1, 1 RESERVED 1");
    trunk.ask(1, 2, "peek 1");
    assert!(trunk.frame().starts_with("re 1 2 FOUND 1 60000|xxx"));
}

#[test]
fn puts_that_are_not_whole_are_refused_when_memory_is_short() {
    let mut server = server(&["--memory", "96M"]);
    let mut halves = Vec::new();
    let line = format!("put 0 0 600 {BODY_BYTES}\r\n");
    let payload_bytes = line.len() + BODY_BYTES + 2;
    let (first, second) = ("x".repeat(50_000), "x".repeat(5_000));
    let _refused = loop {
        assert!(halves.len() < 2 * JOBS as usize, "they are not counted");
        let mut trunk = Trunk::to(&mut server);
        trunk.send(&format!("open 1 {} 10000\r\n", token(halves.len() as u32)));
        if trunk.frame() == "refused 1" {
            break trunk;
        }
        trunk.send(&format!("do 1 1 0 {payload_bytes}\r\n{line}{first}"));
        halves.push(trunk);
    };
    let mut trunk = halves.pop().expect("there is room for one");
    trunk.send(&second);
    assert_eq!(trunk.frame(), "re 1 1 OUT_OF_MEMORY|");
    trunk.send(&format!("{second}\r\n"));
    trunk.expect((1, 2), "use a", "USING a");
}
