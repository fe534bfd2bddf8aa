//! Directories that a server must not touch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Server, ServerOptions, Target, run_to_end};

/// The exit status for a data directory that cannot be used.
const EXIT_DATA_DIR: i32 = 10;

/// A directory that a server has used, with one job in it.
fn used_directory() -> tempfile::TempDir {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let options = ServerOptions { data: Some(data.path().to_owned()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    assert_eq!(server.connect().put("0 0 60", b"kept").expect("the server answers"), "INSERTED 1");
    server.kill();
    data
}

/// What must not change: everything but the lock, the file that names the port, the socket, and what was begun
/// and not finished.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !["lock", "port", "admin.sock", "reserve.new"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            found.insert(path.clone(), fs::read(&path).expect("it can be read"));
        }
    }
    found
}

fn expect_refused(data: &Path, what: &str) {
    let before = files(data);
    let mut command = Command::new(Target::Beanpole.program().expect("it was built"));
    command.args(["-l", "127.0.0.1", "-p", "0", "-b"]).arg(data);
    let ended = run_to_end(&mut command).unwrap_or_else(|| panic!("{what}: it runs"));
    assert_eq!(ended.code, Some(EXIT_DATA_DIR), "{what}: {}", ended.stderr);
    assert!(ended.stderr.contains("ERROR"), "{what}: {}", ended.stderr);
    assert!(files(data) == before, "{what}: files were changed");
}

#[test]
fn a_directory_with_a_part_missing_is_refused() {
    for part in ["identity", "wal", "wal/hard", "checkpoints"] {
        let data = used_directory();
        let path = data.path().join(part);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("a server has made it");
        expect_refused(data.path(), part);
    }
}

#[test]
fn a_damaged_identity_and_a_damaged_log_are_refused() {
    for (part, place) in [("identity", 20), ("wal/log-1", 200)] {
        let data = used_directory();
        let path = data.path().join(part);
        let mut bytes = fs::read(&path).expect("a server has made it");
        bytes[place] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
        expect_refused(data.path(), part);
    }
}

#[test]
fn a_log_of_beanstalkd_is_refused() {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(data.path().join("binlog.1"), b"of beanstalkd").expect("it can be written");
    expect_refused(data.path(), "binlog.1");
}

#[test]
fn a_directory_of_another_member_is_refused() {
    let (one, other) = (used_directory(), used_directory());
    fs::remove_dir_all(one.path().join("wal")).expect("a server has made it");
    fs::rename(other.path().join("wal"), one.path().join("wal")).expect("both are there");
    expect_refused(one.path(), "the log of another");
}
