//! The fence around the folders of the house: who may import whom, and who may name what.
//!
//! Reads the sources as text. Comments and strings do not count, and neither do tests where a rule
//! is about product code.

mod rules;
mod source;

use std::fs;
use std::path::Path;

use self::rules::RULES;
use self::source::Source;

/// Where product code is.
const FOLDERS: [&str; 3] = ["src", "protocol", "chaos"];
/// A file that is longer is to be split by duty.
const FILE_LINES_MAX: usize = 600;

#[test]
fn every_folder_stays_inside_its_fence() {
    let breaches: Vec<_> = sources().iter().flat_map(rules::breaches).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_file_is_over_its_length() {
    let sources = sources();
    let too_long = sources.iter().filter(|source| source.lines > FILE_LINES_MAX);
    let named: Vec<_> = too_long.map(|source| (&source.path, source.lines)).collect();
    assert!(named.is_empty(), "over {FILE_LINES_MAX} lines: {named:?}");
}

#[test]
fn each_rule_is_about_something_that_is_there() {
    let sources = sources();
    for rule in RULES {
        let is_used = sources.iter().any(|source| rule.names_what_it_may(source));
        assert!(is_used, "nothing that `{}` allows is there: is it about other names?", rule.says);
    }
}

#[test]
fn a_breach_of_each_rule_is_noticed() {
    let breaches = [
        ("src/queue/job.rs", "use crate::storage::wal::Wal;"),
        ("src/queue/job.rs", "use crate::{clock, storage};"),
        ("src/queue/job.rs", "fn f() { super::super::raft::start() }"),
        ("src/queue/job.rs", "use beanpole_protocol::TubeName;\nuse crate::\n    server::run;"),
        ("src/storage/wal/mod.rs", "use crate::queue::Batch;"),
        (
            "src/storage/wal/mod.rs",
            "pub use crate::{\n    clock::Clock,\n    raft::{Node, Outbox},\n};",
        ),
        ("src/storage/wal/tests.rs", "use crate::server::run;"),
        ("src/queue/job.rs", "use crate::link::Frame;"),
        ("src/link/stream.rs", "use crate::raft::Node;"),
        ("src/link/tests/mod.rs", "use crate::storage::disk::Disk;"),
        ("src/raft/node.rs", "use crate::server::Address;"),
        ("src/config/mod.rs", "use crate::admin::ask;"),
        ("src/demo/watch.rs", "use crate::raft::Node;"),
        ("src/client/trunk.rs", "use crate::link::Link;"),
        ("src/agent/listener.rs", "use crate::server::run;"),
        ("src/server/run.rs", "use crate::client::Client;"),
        ("protocol/src/line.rs", "use beanpole::queue::JobId;"),
        ("src/server/run.rs", "use openraft::Raft;"),
        ("src/storage/disk.rs", "fn f() { sled::open(\"x\") }"),
        ("src/storage/wal/mod.rs", "use std::fs::File;"),
        ("src/storage/wal/mod.rs", "use std::{\n    fs::{self, File},\n    io,\n};"),
        ("src/server/run.rs", "async fn f() { tokio::fs::read(\"x\").await }"),
        ("src/queue/job.rs", "use std::time::{Duration, Instant};"),
        ("src/server/run.rs", "fn f() { tokio::time::Instant::now() }"),
        ("src/server/run.rs", "use rustix::time::clock_gettime;"),
        ("src/server/run.rs", "fn f() -> std::time::SystemTime { todo() }"),
    ];
    for (path, text) in breaches {
        let found = rules::breaches(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
    let unnoticed: Vec<_> = RULES
        .iter()
        .filter(|rule| {
            !breaches.iter().any(|(path, text)| rule.is_broken_by(&Source::new(path, text)))
        })
        .map(|rule| rule.says)
        .collect();
    assert!(unnoticed.is_empty(), "rules without a case: {unnoticed:?}");
    assert_eq!(Source::new("src/long.rs", &"\n".repeat(601)).lines, 601);
}

#[test]
fn what_is_allowed_is_not_taken_for_a_breach() {
    let allowed = [
        ("src/queue/job.rs", "// Not crate::storage.\nuse std::time::Duration;"),
        ("src/queue/job.rs", "/* crate::raft */ const NAME: &str = \"crate::server openraft\";"),
        ("src/storage/wal/mod.rs", "mod queue;\nuse self::queue::Op;\nuse super::disk::Disk;"),
        ("src/storage/wal/mod.rs", "#[cfg(test)]\nmod tests {\n    use std::fs::File;\n}\n"),
        ("src/storage/mod.rs", "#[cfg(test)]\npub(crate) mod tests {\n use std::fs::File;\n}\n"),
        ("src/storage/wal/tests/crash.rs", "use std::fs::File;"),
        ("src/raft/node.rs", "use crate::{queue::Batch, storage::wal::Wal};\nuse openraft::Raft;"),
        ("src/raft/transport.rs", "use crate::link::dial;"),
        ("src/link/refusals.rs", "use crate::clock::Clock;"),
        ("src/client/pace.rs", "use crate::random;"),
        ("src/server/listener.rs", "fn f() { rustix::fs::unlink(path) }"),
        ("src/server/run.rs", "fn f<'a>(x: &'a str) -> char { '\"' } // openraft"),
    ];
    for (path, text) in allowed {
        let found = rules::breaches(&Source::new(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}

/// All sources of product code.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in FOLDERS {
        read_folder(root, &root.join(folder), &mut sources);
    }
    assert!(sources.len() > 50, "only {} sources found", sources.len());
    sources
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                read_folder(root, &path, sources);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source can be read");
            let name = path.strip_prefix(root).expect("it was found below the root");
            sources.push(Source::new(&name.to_string_lossy(), &text));
        }
    }
}
