//! `beanpole cluster`, where no member is.

use std::process::Command;

use crate::support::{Ended, Target, run_to_end};

#[test]
fn bad_usage_ends_with_5() {
    for line in ["", "sing", "remove one", "status --data-dir a --config b", "status"] {
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
    for command in ["init", "status", "add a:1", "remove 1", "replace 1 a:1", "transfer", "check"] {
        let ended = cluster(&format!("{command} --data-dir {}", scratch.path().display()));
        assert_eq!(ended.code, Some(69), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("admin.sock"), "{}", ended.stderr);
    }
}

fn cluster(line: &str) -> Ended {
    let mut command = Command::new(Target::Beanpole.program().expect("it was built"));
    command.arg("cluster").args(line.split_whitespace()).env_remove("BEANPOLE_DATA_DIR");
    run_to_end(&mut command).expect("it ends")
}
