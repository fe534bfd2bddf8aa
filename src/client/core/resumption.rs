//! What a member says of a session's commands after a move.

use beanpole_protocol::Reply;
use bytes::Bytes;

use super::entry::Entry;
use super::{Breach, SessionCore};

impl SessionCore {
    /// Takes in which commands were carried out, `last` the latest, and what they came to.
    ///
    /// What was not carried out is sent again, under numbers that are new: the former connection can do
    /// nothing for the session any more, so that none of it comes a second time.
    pub(super) fn settle(
        &mut self,
        last: u64,
        waiting: Option<u64>,
        kept: &[(u64, Bytes)],
    ) -> Result<(), Breach> {
        let sent = self.next_number - 1;
        if last > sent {
            return Err(Breach::FromTheFuture { last, sent });
        }
        if let Some(number) = waiting {
            let is_ours = |entry: &Entry| entry.unanswered_number() == Some(number);
            // A job that came for it would be nobody's.
            if !self.entries.iter().any(is_ours) && !self.is_closing {
                return Err(Breach::UnknownNumber { number });
            }
        }
        for entry in &mut self.entries {
            let Some(number) = entry.unanswered_number() else { continue };
            let told = kept.iter().find(|(told, _)| *told == number);
            if waiting == Some(number) {
                entry.wait_on(number);
            } else if let Some((_, line)) = told {
                if !entry.recall(number, line) {
                    return Err(Breach::NoReply { number });
                }
            } else if number > last {
                entry.ask_anew();
            } else {
                settle_untold(entry, number)?;
            }
        }
        Ok(())
    }
}

/// A command that others behind it have overtaken, and of which nothing is kept: it never came into the
/// log.
fn settle_untold(entry: &mut Entry, number: u64) -> Result<(), Breach> {
    if entry.is_put() {
        entry.answer_with(&Reply::OutOfMemory);
    } else if entry.is_read() {
        entry.ask_anew();
    } else {
        return Err(Breach::Untold { number });
    }
    Ok(())
}
