//! The client of these tests says that a connection has ended when it has, and only then.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::support::{Client, PATIENCE, now};

/// How often the wait for one reply is interrupted.
const SIGNALS: usize = 20;

/// A client, and the other end of its connection.
fn connected() -> (Client, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let client = Client::to(address).expect("somebody listens");
    (client, listener.accept().expect("there is one").0)
}

/// Waits until a thread of this process sleeps in the kernel.
fn wait_until_asleep(thread: Pid) {
    let status = format!("/proc/self/task/{}/status", thread.as_raw_nonzero());
    let deadline = now() + PATIENCE;
    while !fs::read_to_string(&status).expect("it waits still").contains("State:\tS") {
        assert!(now() < deadline, "the thread does not wait for anything");
        thread::yield_now();
    }
}

/// What interrupted the clients of the failover bench was SIGCHLD: the kernel gives it to any thread
/// while the one that starts a process has it blocked.
#[test]
fn a_signal_is_not_the_end_of_a_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there are descriptors left");
    let _entered = runtime.enter();
    // A signal without a handler would end the process, or not be noticed.
    let _handled = signal(SignalKind::user_defined2()).expect("it can be handled");
    let (mut client, mut server) = connected();
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::spawn(move || {
        sender.send(rustix::thread::gettid()).expect("the test waits for it");
        client.reply_line()
    });
    let thread = receiver.recv().expect("it says so first");
    for _ in 0..SIGNALS {
        wait_until_asleep(thread);
        // Linux takes the id of a thread too, and then gives the signal to this one first.
        kill_process(thread, Signal::USR2).expect("it waits still");
    }
    wait_until_asleep(thread);
    server.write_all(b"DELETED\r\n").expect("the client listens");
    let reply = waiting.join().expect("it does not panic");
    assert_eq!(reply.expect("nobody has closed"), "DELETED");
}

#[test]
fn a_connection_that_the_server_closed_has_ended() {
    let (mut client, server) = connected();
    drop(server);
    let ended = client.reply_line().expect_err("nobody has answered");
    assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
}
