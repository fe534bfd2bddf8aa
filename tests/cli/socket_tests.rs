//! Sockets: Unix sockets, and those that a service manager hands over.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{for_both, run};
use crate::support::{
    Client, PATIENCE, Server, ServerOptions, Target, Transport, left_out, now, run_to_end,
};

/// Hands sockets over as systemd does, and becomes the server.
const ACTIVATE: &str = "tests/cli/activate.py";

#[test]
fn a_unix_socket_serves_and_a_stale_one_is_replaced() {
    for_both("Unix sockets", |target| {
        let options = ServerOptions { transport: Transport::Unix, ..Default::default() };
        let mut server = Server::start(target, options);
        let put = server.connect().put("0 0 10", b"hello");
        assert_eq!(put.expect("the server answers"), "INSERTED 1");
        // SIGKILL leaves the socket behind.
        server.restart();
        let reply = server.connect().ask("peek 1");
        assert_eq!(reply.expect("the server answers"), "NOT_FOUND");
    });
}

#[test]
fn a_file_in_the_place_of_a_unix_socket_is_left_alone() {
    for_both("Unix sockets", |target| {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let path = scratch.path().join("file");
        fs::write(&path, "precious").expect("the directory is writable");
        let ended = run(target, &["-l", &format!("unix:{}", path.display())]);
        assert_eq!(ended.code, Some(111), "{}", ended.stderr);
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
    });
}

#[test]
fn a_path_too_long_for_a_unix_socket_ends_with_111() {
    for_both("Unix sockets", |target| {
        let ended = run(target, &["-l", &format!("unix:/tmp/{}", "x".repeat(103))]);
        assert_eq!(ended.code, Some(111), "{}", ended.stderr);
    });
}

#[test]
fn an_inherited_tcp_socket_is_used_and_the_flags_are_not() {
    for_both("socket activation", |target| {
        let Some(activated) = Activated::start(target, "tcp") else { return };
        let port = activated.note().parse().expect("the note is a port");
        activated.expect_service(|| Client::tcp(port));
    });
}

#[test]
fn an_inherited_unix_socket_is_used() {
    for_both("socket activation", |target| {
        let Some(activated) = Activated::start(target, "unix") else { return };
        let path = activated.note();
        activated.expect_service(|| Client::unix(Path::new(&path)));
    });
}

#[test]
fn of_several_inherited_sockets_the_first_is_used() {
    for_both("socket activation", |target| {
        let Some(activated) = Activated::start(target, "two") else { return };
        let port = activated.note().parse().expect("the note is a port");
        activated.expect_service(|| Client::tcp(port));
    });
}

#[test]
fn an_inherited_socket_of_another_kind_ends_with_111() {
    for_both("socket activation", |target| {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let Some(mut command) = activation(target, "datagram", scratch.path()) else { return };
        let ended = run_to_end(&mut command).expect("it ends");
        assert_eq!(ended.code, Some(111), "{}: {}", target.name(), ended.stderr);
    });
}

/// A server that was started with a socket. Ended when dropped.
struct Activated {
    child: Child,
    scratch: tempfile::TempDir,
}

impl Activated {
    fn start(target: Target, kind: &str) -> Option<Self> {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = activation(target, kind, scratch.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("python3 was there a moment ago");
        Some(Self { child, scratch })
    }

    /// The address of the socket, as soon as there is one.
    fn note(&self) -> String {
        let deadline = now() + PATIENCE;
        loop {
            // It is written beside its place and then renamed, so it is whole.
            if let Ok(note) = fs::read_to_string(self.scratch.path().join("note")) {
                return note;
            }
            assert!(now() < deadline, "no socket was made");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn expect_service(&self, connect: impl FnOnce() -> std::io::Result<Client>) {
        let mut client = connect().expect("the socket accepts from the start");
        assert_eq!(client.put("0 0 10", b"x").expect("the server answers"), "INSERTED 1");
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}

/// The command that starts a server with a socket, and flags that would be an error without it.
fn activation(target: Target, kind: &str, scratch: &Path) -> Option<Command> {
    if Command::new("python3").arg("--version").output().is_err() {
        left_out("socket activation: python3 is not installed");
        return None;
    }
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(ACTIVATE))
        .arg(kind)
        .arg(scratch)
        .arg(target.program().expect("the caller has checked that the program exists"))
        .args(["-l", "192.0.2.1", "-p", "1"]);
    Some(command)
}
