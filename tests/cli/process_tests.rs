//! The process: how it ends, and whom it shares its directory with.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{for_both, run};
use crate::support::{PATIENCE, Server, ServerOptions, Target};

#[test]
fn beanpole_ends_cleanly_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::with_flags(Target::Beanpole, &[]);
        let mut client = server.connect();
        assert_eq!(client.put("0 0 10", b"x").expect("the server answers"), "INSERTED 1");
        let mut waiting = server.connect();
        waiting.ask("watch other").expect("the server answers");
        waiting.ask("ignore default").expect("the server answers");
        waiting.send(b"reserve\r\n").expect("the server reads");

        server.signal(signal).expect("the server runs");
        let status = server.wait_for_end(PATIENCE).expect("the server ends");
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", server.log());
        assert!(client.is_closed_within(PATIENCE));
        assert!(waiting.is_closed_within(PATIENCE));
    }
}

#[test]
fn only_beanstalkd_dies_of_a_signal() {
    for_both("signals", |target| {
        let mut server = Server::with_flags(target, &[]);
        server.connect().ask("stats").expect("the server answers");
        server.signal(Signal::TERM).expect("the server runs");
        let status = server.wait_for_end(PATIENCE).expect("the server ends");
        let expected = (target == Target::Beanstalkd).then_some(15);
        assert_eq!(status.signal(), expected, "{}", target.name());
    });
}

#[test]
fn a_missing_data_directory_ends_beanstalkd_with_10_and_is_made_by_beanpole() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let missing = scratch.path().join("missing");
    if Target::Beanstalkd.program().is_some() {
        let socket = format!("unix:{}", scratch.path().join("socket").display());
        let directory = missing.display().to_string();
        let ended = run(Target::Beanstalkd, &["-l", &socket, "-b", &directory]);
        assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    }
    let options = ServerOptions { data: Some(missing.clone()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    server.connect().ask("stats").expect("the server answers");
    assert!(missing.is_dir());
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    for_both("-b", |target| {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let options = ServerOptions { data: Some(data.path().to_path_buf()), ..Default::default() };
        let mut server = Server::start(target, options);
        server.connect().ask("stats").expect("the server answers");

        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = format!("unix:{}", scratch.path().join("socket").display());
        let ended = run(target, &["-l", &socket, "-b", &data.path().display().to_string()]);
        assert_eq!(ended.code, Some(10), "{}: {}", target.name(), ended.stderr);
        server.connect().ask("stats").expect("the first server serves on");
    });
}

#[test]
fn beanpole_names_its_port_in_its_data_directory() {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let options = ServerOptions { data: Some(data.path().to_path_buf()), ..Default::default() };
    let server = Server::start(Target::Beanpole, options);
    let named = fs::read_to_string(data.path().join("port")).expect("the file is there");
    assert_eq!(named.trim().parse(), Ok(server.port().expect("it listens on TCP")));
}

#[test]
fn beanpole_refuses_the_directory_of_beanstalkd() {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(data.path().join("binlog.1"), [7, 0, 0, 0]).expect("the directory is writable");
    let directory = data.path().display().to_string();
    let ended = run(Target::Beanpole, &["-l", "127.0.0.1", "-p", "0", "-b", &directory]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert!(ended.stderr.contains("import"), "no word on importing: {}", ended.stderr);
}

#[test]
fn beanpole_refuses_an_empty_directory_that_must_exist() {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let directory = data.path().display().to_string();
    let flags = ["-l", "127.0.0.1", "-p", "0", "--must-exist", "-b", &directory];
    let ended = run(Target::Beanpole, &flags);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
}

#[test]
fn beanpole_ends_with_its_parent_when_told_to() {
    let program = Target::Beanpole.program().expect("it was built");
    // The parent cannot clean up: it is killed.
    let script = "\"$0\" -l 127.0.0.1 -p 0 --end-with-parent $$ & wait";
    let mut parent = Command::new("sh");
    parent.arg("-c").arg(script).arg(program).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut parent = parent.spawn().expect("there is a shell");
    let mut log = BufReader::new(parent.stderr.take().expect("it is piped")).lines();
    let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("ready"));
    assert!(log.any(is_ready), "the server does not get ready");
    parent.kill().expect("it runs");
    parent.wait().expect("a child can be waited for");
    // The server holds the other end: it is closed when it has ended.
    assert_eq!(log.count(), 0);
}

#[test]
fn beanpole_does_not_start_when_its_parent_has_ended() {
    let ended = run(Target::Beanpole, &["-p", "0", "--end-with-parent", "2147483647"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("has ended"), "{}", ended.stderr);
}
