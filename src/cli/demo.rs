//! The words of `beanpole demo`.

use std::path::PathBuf;

use clap::Parser;

/// `beanpole demo ..`
#[derive(Debug, Parser)]
#[command(
    name = "beanpole demo",
    bin_name = "beanpole demo",
    about = "Start three members on this machine, and tell who leads; Ctrl-C ends them"
)]
pub struct DemoArguments {
    /// Where the members keep their jobs; one that was used before goes on
    #[arg(long, value_name = "DIR", default_value = "beanpole-demo")]
    pub dir: PathBuf,

    /// The first member's port for clients, the others have the next two; 0: free ones are chosen
    /// (default: those in DIR, else 11300)
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}
