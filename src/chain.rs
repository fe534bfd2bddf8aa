//! An error with everything that led to it, on one line, for the log.

use std::error::Error;
use std::fmt;

/// Shows an error and its sources, each after a colon.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut shown = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors say their source themselves.
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the file")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("no checkpoint: {0}")]
    struct SaysItsSource(#[source] Outer);

    #[test]
    fn every_cause_is_named_once() {
        let outer = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(Chain(&outer).to_string(), "cannot write the file: disk on fire");
        let twice = SaysItsSource(outer);
        assert_eq!(Chain(&twice).to_string(), "no checkpoint: cannot write the file: disk on fire");
    }
}
