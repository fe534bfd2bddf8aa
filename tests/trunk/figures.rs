//! What a member says of itself.

use std::thread;
use std::time::Duration;

use crate::support::{Client, PATIENCE, now};

/// One figure of `stats`, or of another question with figures.
pub(super) fn figure(client: &mut Client, question: &str, name: &str) -> u64 {
    let stats = client.ask(question).expect("figures");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{stats}")).parse().expect("a number")
}

/// Waits until a figure of `stats` is this.
pub(super) fn wait_for(client: &mut Client, name: &str, wanted: u64) {
    let deadline = now() + PATIENCE;
    while figure(client, "stats", name) != wanted {
        assert!(now() < deadline, "{name} does not become {wanted}");
        thread::sleep(Duration::from_millis(5));
    }
}
