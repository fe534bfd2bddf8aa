//! How a cluster is started.

use std::path::PathBuf;

/// Bytes of a segment in tests.
const SEGMENT_SIZE: u32 = 2 * 1024 * 1024;

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The server.
    pub program: PathBuf,
    /// How many members.
    pub members: u8,
    /// Flags of each process, beyond the configuration file.
    pub flags: Vec<String>,
    /// What each process finds in its environment, beyond that of this one.
    pub environment: Vec<(String, String)>,
    /// Lines of the table `[cluster]`.
    pub settings: Vec<String>,
    /// Bytes of a segment of the log, if not the server's default: tests write little, and what is
    /// zero-filled ahead of need keeps the disk busy.
    pub segment_size: Option<u32>,
    /// Where the directories are made; the system's place for temporary files if unset.
    pub place: Option<PathBuf>,
    /// A member whose data directory lies elsewhere, on a disk of its own.
    pub apart: Option<(usize, PathBuf)>,
    /// Bytes of the disk that each member gets for its data, one of its own, which can lose power
    /// and be filled. Its file is sparse; the images lie where temporary files do.
    pub disk_size: Option<u64>,
    /// Whether the ways between members can be cut.
    pub has_cables: bool,
    /// Whether each member has a wall clock of its own, which can be set.
    pub has_clocks: bool,
    /// Bytes of the memory control group that each member gets, one of its own, where this machine
    /// can have any.
    pub memory_limit: Option<u64>,
}

impl ClusterOptions {
    /// Three members of this program, with nothing special.
    pub fn of(program: PathBuf) -> Self {
        Self {
            program,
            members: 3,
            flags: Vec::new(),
            environment: Vec::new(),
            settings: Vec::new(),
            segment_size: Some(SEGMENT_SIZE),
            place: None,
            apart: None,
            disk_size: None,
            has_cables: false,
            has_clocks: false,
            memory_limit: None,
        }
    }
}
