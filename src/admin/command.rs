//! `beanpole cluster`: asks a member what was typed, and shows its answers.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::client::{AskError, ask};
use super::{ClusterStatus, LimitsRequest, PHASE_SERVING, Reply, Request, table};
use crate::cli::{ClusterArguments, ClusterCommand};
use crate::config::{ConfigError, data_dir_of_server};

/// How often a new cluster is asked whether it serves, and the pause between: 30 s.
const SERVING_ASKED_MAX: u32 = 300;
const SERVING_PAUSE: Duration = Duration::from_millis(100);

/// The command came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration file does not tell where the member is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing tells where the member is.
    #[error("which member? Give --config FILE or --data-dir DIR, or set BEANPOLE_DATA_DIR")]
    NoDirectory,
    /// The member does not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The answer cannot be shown.
    #[error("cannot write the answer: {0}")]
    Show(#[from] io::Error),
}

/// Asks what `arguments` say and writes the answers to `out`. `data_dir` is what the environment
/// says of the data directory. Returns whether it was done, or may be.
///
/// # Errors
///
/// [`CommandError`]; what was asked for may be done in part.
pub fn run(
    arguments: &ClusterArguments,
    data_dir: Option<OsString>,
    out: &mut dyn Write,
) -> Result<bool, CommandError> {
    let dir = data_dir_of_server(arguments.data_dir.clone(), data_dir, arguments.config.clone())?
        .ok_or(CommandError::NoDirectory)?;
    let mut show = |reply: &Reply| show(reply, arguments.json, out);
    let ClusterCommand::Init { addresses } = &arguments.command else {
        return show(&ask(&dir, &request(&arguments.command))?);
    };
    let mut is_done = show(&ask(&dir, &Request::Init)?)?;
    for address in addresses {
        if !is_done {
            break;
        }
        wait_until_serving(&dir)?;
        is_done = show(&ask(&dir, &Request::Add { address: address.clone() })?)?;
    }
    Ok(is_done)
}

fn request(command: &ClusterCommand) -> Request {
    match command {
        ClusterCommand::Init { .. } => Request::Init,
        ClusterCommand::Status => Request::Status,
        ClusterCommand::Add { address } => Request::Add { address: address.clone() },
        ClusterCommand::Remove { member } => Request::Remove { member: *member },
        ClusterCommand::Replace { member, address } => {
            Request::Replace { member: *member, address: address.clone() }
        }
        ClusterCommand::Transfer { to } => Request::Transfer { to: *to },
        ClusterCommand::Check => Request::Check,
        ClusterCommand::Memory => Request::Memory,
        ClusterCommand::Limits { tubes, watches, held, sessions } => {
            let (tubes, watches, held, sessions) = (*tubes, *watches, *held, *sessions);
            Request::Limits(LimitsRequest { tubes, watches, held, sessions })
        }
    }
}

/// Waits for the first member of a new cluster; what it is asked while it does not serve yet would
/// be refused. Nobody answers while its socket passes from the process that waited to the member.
/// After 30 s it is asked all the same, and says why it cannot.
fn wait_until_serving(dir: &Path) -> Result<(), AskError> {
    for _ in 0..SERVING_ASKED_MAX {
        match ask(dir, &Request::Status) {
            Ok(Reply::Status(ClusterStatus { phase, .. })) if phase == PHASE_SERVING => break,
            Ok(_) | Err(AskError::Nobody { .. } | AskError::Broken { .. }) => {
                thread::sleep(SERVING_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn show(reply: &Reply, as_json: bool, out: &mut dyn Write) -> Result<bool, CommandError> {
    if as_json {
        writeln!(out, "{}", serde_json::to_string(reply).map_err(io::Error::from)?)?;
    } else {
        writeln!(out, "{}", table::text(reply))?;
    }
    Ok(match reply {
        Reply::Done { .. } | Reply::Status(_) | Reply::Limits(_) | Reply::Memory(_) => true,
        Reply::Check { can_stop, .. } => *can_stop,
        Reply::Refused { .. } => false,
    })
}
