//! The words of `beanpole agent`.

use std::time::Duration;

use clap::Parser;

/// `beanpole agent ..`
#[derive(Debug, Parser)]
#[command(
    name = "beanpole agent",
    bin_name = "beanpole agent",
    about = "Serve clients of this machine, on behalf of members of which any may die"
)]
pub struct AgentArguments {
    /// Where the members listen for clients, with commas
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', required = true)]
    pub members: Vec<String>,

    /// Where libraries connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:11300")]
    pub listen: String,

    /// How long a session lasts when no member hears of it, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub lease: u64,

    /// Say of each connection when it comes and goes
    #[arg(long, short = 'V')]
    pub verbose: bool,
}

impl AgentArguments {
    /// The lease.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease)
    }
}
