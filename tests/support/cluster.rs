//! Clusters of the server that was built with the tests.

use std::path::Path;
use std::process::Command;

use super::{Cluster, ClusterOptions, Target};

/// A cluster of the server under test, with nothing special.
pub(crate) fn cluster_options() -> ClusterOptions {
    ClusterOptions::of(Target::Beanpole.program().expect("the tests have built it"))
}

/// Starts so many members on this machine and waits until they serve together.
///
/// # Panics
///
/// When they do not, with what they wrote to stderr.
pub(crate) fn cluster_of(members: u8) -> Cluster {
    let options = ClusterOptions { members, ..cluster_options() };
    Cluster::start_with(options).expect("nothing special is asked for")
}

/// A program of the project, run on the data directory of a member.
pub(crate) fn cluster_command(data: &Path, arguments: &[&str]) -> Command {
    let program = Target::Beanpole.program().expect("the tests have built it");
    let mut command = Command::new(program);
    command.arg("cluster").args(arguments).arg("--data-dir").arg(data);
    command
}
