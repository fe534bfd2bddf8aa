//! A process that takes up memory until there is none.

use std::process::{Child, Stdio};

use super::MemoryGroup;

/// Such a process. Ended when dropped, if the kernel has not done so.
#[derive(Debug)]
pub struct Glutton(Child);

impl Glutton {
    /// Lets it begin in a group: its limit bounds what is taken.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn start(group: &MemoryGroup) -> Result<Self, String> {
        // `tail` keeps what has no end of line.
        let mut command = group.command("tail");
        command.args(["-n", "1", "/dev/zero"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| format!("tail: {error}"))
    }
}

impl Drop for Glutton {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.0.kill());
        self.0.wait().expect("a child can be waited for");
    }
}
