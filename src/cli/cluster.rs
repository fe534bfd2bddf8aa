//! The words of `beanpole cluster`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// `beanpole cluster ..`: which member is asked, through the socket in its data directory, and what.
#[derive(Debug, Parser)]
#[command(
    name = "beanpole cluster",
    bin_name = "beanpole cluster",
    about = "Begin a cluster, look at it, change its members",
    long_about = None,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 done; 1 refused, or `check` says that the member is needed; \
                  5 bad usage; 69 no member answers."
)]
pub struct ClusterArguments {
    /// The member whose data directory this configuration file names
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "data_dir")]
    pub config: Option<PathBuf>,

    /// The member with this data directory (default: BEANPOLE_DATA_DIR)
    #[arg(long, short = 'b', value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,

    /// Print the answer as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What to ask of it.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What can be asked of a member.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ClusterCommand {
    /// Begin a new cluster at a process that waits; then add the others that are named
    Init {
        /// Member addresses (HOST:PORT) of other processes that wait
        #[arg(value_name = "ADDRESS")]
        addresses: Vec<String>,
    },
    /// Show the members, who leads, and how far each has come
    Status,
    /// Take in the process that waits behind a member address
    Add {
        /// Its member address, HOST:PORT
        #[arg(value_name = "ADDRESS")]
        address: String,
    },
    /// Take a member out for good
    Remove {
        /// Its id
        #[arg(value_name = "ID")]
        member: u64,
    },
    /// Take in the process that waits behind a member address, in the place of a member
    Replace {
        /// The id of the one that goes
        #[arg(value_name = "ID")]
        member: u64,
        /// The member address of the one that comes, HOST:PORT
        #[arg(value_name = "ADDRESS")]
        address: String,
    },
    /// Let another member lead
    Transfer {
        /// Its id (default: the one that has come farthest)
        #[arg(value_name = "ID")]
        to: Option<u64>,
    },
    /// Tell by exit status whether this member can be stopped without losing the majority
    Check,
    /// Show what this member has in memory, by share, and what it may have
    Memory,
    /// Show the limits of tubes, watches, held jobs and sessions, after setting those that are named
    Limits {
        /// Tubes there may be beside `default`
        #[arg(long, value_name = "N")]
        tubes: Option<u64>,
        /// Pairs of a session and a tube other than `default` that it watches
        #[arg(long, value_name = "N")]
        watches: Option<u64>,
        /// Jobs that may be reserved at a time
        #[arg(long, value_name = "N")]
        held: Option<u64>,
        /// Connections that have sent a command which changes something
        #[arg(long, value_name = "N")]
        sessions: Option<u64>,
    },
}
