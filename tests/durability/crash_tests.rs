//! Crashes, with what each server promises, and proofs that the audit would notice.

use std::fs;
use std::path::Path;

use super::disk::Disk;
use super::rounds::{Course, Crash, Kill, run};
use crate::support::{Random, Server, Target, alone, left_out, number_from_environment};

const ROUNDS: usize = 10;
const WORKERS: u64 = 16;

#[test]
fn beanpole_keeps_its_word_when_killed() {
    expect_kept(&course(Target::Beanpole, &[]), &mut kill());
}

#[test]
fn beanstalkd_keeps_its_word_when_killed() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of the crash test: beanstalkd is not installed");
    }
    expect_kept(&Course { rounds: 5, ..course(Target::Beanstalkd, &["-f0"]) }, &mut kill());
}

#[test]
fn beanpole_keeps_its_word_when_the_file_system_goes_down() {
    match Disk::mount(Target::Beanpole) {
        Ok(mut disk) => expect_kept(&course(Target::Beanpole, &[]), &mut disk),
        Err(why) => left_out(&format!("the file system going down under beanpole: {why}")),
    }
}

#[test]
fn a_file_system_that_goes_down_takes_what_was_not_synced() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of the file system going down: beanstalkd is not installed");
    }
    match Disk::mount(Target::Beanstalkd) {
        Ok(mut disk) => expect_broken(&course(Target::Beanstalkd, &["-F"]), &mut disk, "is gone"),
        Err(why) => left_out(&format!("the check of the file system going down: {why}")),
    }
}

#[test]
fn a_lost_directory_is_noticed() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of the audit: beanstalkd is not installed");
    }
    let mut forgetful = Forgetful(kill());
    expect_broken(&course(Target::Beanstalkd, &["-f0"]), &mut forgetful, "is gone");
}

#[test]
fn an_old_copy_of_the_directory_is_noticed() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of the audit: beanstalkd is not installed");
    }
    let mut rewinding = Rewinding { kill: kill(), saved: tempfile::tempdir().unwrap() };
    // New jobs are gone and deleted ones are back; whichever comes first is reported.
    expect_broken(&course(Target::Beanstalkd, &["-f0"]), &mut rewinding, "job");
}

fn kill() -> Kill {
    Kill(tempfile::tempdir().expect("a temporary directory can be made"))
}

fn course(target: Target, flags: &[&str]) -> Course {
    Course {
        target,
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        rounds: number_from_environment("BEANPOLE_ROUNDS").unwrap_or(ROUNDS),
        workers: WORKERS,
        seed: number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed),
    }
}

fn expect_kept(course: &Course, crash: &mut dyn Crash) {
    let _alone = alone();
    if let Err(broken) = run(course, crash) {
        panic!("seed {}: {broken}", course.seed);
    }
}

fn expect_broken(course: &Course, crash: &mut dyn Crash, complaint: &str) {
    let _alone = alone();
    let broken = run(course, crash).expect_err("the audit did not notice");
    assert!(broken.contains(complaint), "noticed something else: {broken}");
}

/// A crash that takes the data directory with it.
struct Forgetful(Kill);

impl Crash for Forgetful {
    fn data(&self) -> &Path {
        self.0.data()
    }

    fn crash(&mut self, server: &mut Server) -> Result<(), String> {
        self.0.crash(server)?;
        fs::remove_dir_all(self.data().join("data")).map_err(|error| error.to_string())
    }
}

/// A crash after which the directory is as it was at the crash before.
struct Rewinding {
    kill: Kill,
    saved: tempfile::TempDir,
}

impl Crash for Rewinding {
    fn data(&self) -> &Path {
        self.kill.data()
    }

    fn crash(&mut self, server: &mut Server) -> Result<(), String> {
        self.kill.crash(server)?;
        let data = self.data().join("data");
        let now = tempfile::tempdir().map_err(|error| error.to_string())?;
        copy_files(&data, now.path())?;
        if fs::read_dir(self.saved.path()).is_ok_and(|mut files| files.next().is_some()) {
            fs::remove_dir_all(&data).map_err(|error| error.to_string())?;
            fs::create_dir(&data).map_err(|error| error.to_string())?;
            copy_files(self.saved.path(), &data)?;
        }
        self.saved = now;
        Ok(())
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<(), String> {
    for entry in fs::read_dir(from).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        fs::copy(entry.path(), to.join(entry.file_name())).map_err(|error| error.to_string())?;
    }
    Ok(())
}
