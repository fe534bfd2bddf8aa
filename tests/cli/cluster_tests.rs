//! `beanpole cluster`, where no member is.

use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::{Ended, Server, ServerOptions, Target, run_to_end};

#[test]
fn bad_usage_ends_with_5() {
    for line in ["", "sing", "remove one", "limits --held -1", "status"] {
        let ended = cluster(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{line}: {}", ended.stderr);
    }
    assert!(cluster("status").stderr.contains("BEANPOLE_DATA_DIR"));
}

#[test]
fn help_goes_to_stdout() {
    let ended = cluster("--help");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("Usage: beanpole cluster"), "{}", ended.stdout);
}

#[test]
fn a_member_that_is_not_there_ends_with_69() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let commands =
        ["init", "status", "add a:1", "remove 1", "replace 1 a:1", "transfer", "check", "limits"];
    for command in commands {
        let ended = cluster(&format!("{command} --data-dir {}", scratch.path().display()));
        assert_eq!(ended.code, Some(69), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("admin.sock"), "{}", ended.stderr);
    }
}

#[test]
fn a_server_without_the_table_says_what_to_do() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let data = scratch.path().join("data");
    let options = ServerOptions { data: Some(data.clone()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    drop(server.connect());
    for command in ["init", "add 127.0.0.1:1", "remove 1", "replace 1 127.0.0.1:1", "transfer"] {
        let ended = cluster(&format!("{command} --data-dir {}", data.display()));
        assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stdout.contains("[cluster] table"), "{command}: {}", ended.stdout);
        assert!(ended.stdout.contains("restart it"), "{command}: {}", ended.stdout);
    }
    let ended = cluster(&format!("check --data-dir {}", data.display()));
    assert_eq!(ended.stdout, "cannot be stopped: it is the only voter\n");
}

#[test]
fn limits_of_a_single_server_are_shown_and_set_and_kept() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let data = scratch.path().join("data");
    let options = ServerOptions { data: Some(data.clone()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    let limits = |set: &str| {
        let ended = cluster(&format!("limits {set} --data-dir {}", data.display()));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let cells = ended.stdout.lines().skip(1).flat_map(str::split_whitespace);
        cells.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let mut client = server.connect();
    assert_eq!(client.ask("watch a").expect("it serves"), "WATCHING 2");
    let used = "tubes 100000 1 watches 500000 1 held 100000 0 sessions 100000 1";
    assert_eq!(limits(""), used);
    let used = "tubes 1 1 watches 1 1 held 0 0 sessions 100000 1";
    assert_eq!(limits("--tubes 1 --watches 1 --held 0"), used);
    for (command, reply) in [
        ("use b", "OUT_OF_MEMORY"),
        ("watch b", "OUT_OF_MEMORY"),
        ("use a", "USING a"),
        ("reserve-with-timeout 0", "TIMED_OUT"),
    ] {
        assert_eq!(client.ask(command).expect("it serves"), reply, "{command}");
    }
    assert_eq!(client.put("0 0 9", b"x").expect("it serves"), "INSERTED 1");
    assert_eq!(client.ask("reserve-job 1").expect("it serves"), "OUT_OF_MEMORY");
    drop(client);
    server.restart();
    let mut client = server.connect();
    assert_eq!(limits("--sessions 0"), "tubes 1 1 watches 1 0 held 0 0 sessions 0 0");
    assert_eq!(client.ask("use a").expect("it serves"), "OUT_OF_MEMORY");
    client.send(b"stats\r\n").expect("it serves");
    let stats = client.reply(std::time::Duration::from_secs(9)).expect("it serves");
    let stats = String::from_utf8_lossy(&stats);
    assert!(stats.contains("\ncurrent-connections: 1\n"), "{stats}");
}

#[test]
fn a_frozen_member_is_told_from_one_that_is_not_there() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    // Nobody accepts.
    let socket = UnixListener::bind(scratch.path().join("admin.sock")).expect("a short path");
    let ended = cluster(&format!("status --data-dir {}", scratch.path().display()));
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("frozen or hangs"), "{}", ended.stderr);
    drop(socket);
}

fn cluster(line: &str) -> Ended {
    let mut command = Command::new(Target::Beanpole.program().expect("it was built"));
    command.arg("cluster").args(line.split_whitespace()).env_remove("BEANPOLE_DATA_DIR");
    run_to_end(&mut command).expect("it ends")
}
