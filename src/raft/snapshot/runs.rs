//! The run files of a snapshot, as far as they have come: one after the other, each verified when all
//! of it is there.

use super::loading::{Listing, Work};
use super::receiver::Left;
use super::refusal::Refusal;
use super::taking::Taking;
use crate::storage::runs::{Arriving, RunError, RunId, RunUid};

/// Run files that come.
pub(super) struct Runs {
    /// What is missing has the next one last.
    listing: Listing,
    /// The first of those that are missing.
    coming: Option<Coming>,
    /// What nobody was told of.
    verified: Vec<RunId>,
}

enum Coming {
    Taking(Taking<Arriving>),
    Verifying(Work<RunId>),
}

impl Runs {
    pub(super) fn new(mut listing: Listing) -> Self {
        listing.missing.reverse();
        Self { listing, coming: None, verified: Vec::new() }
    }

    /// Goes on as far as it can without the sender.
    pub(super) async fn advance(&mut self) -> Result<Left, Refusal> {
        loop {
            match &mut self.coming {
                None => {
                    let Some(id) = self.listing.missing.last().copied() else {
                        return Ok(Left::Nothing);
                    };
                    let exchange = self.listing.exchange.clone();
                    let begun = tokio::task::spawn_blocking(move || exchange.begin(id));
                    self.coming = Some(Coming::Taking(Taking::new(begun.await??)));
                }
                Some(Coming::Taking(taking)) => {
                    let (id, bytes) = (taking.draft.id(), taking.taken());
                    if bytes != id.file_bytes {
                        return Ok(Left::Run { id, bytes });
                    }
                    taking.write_all().await?;
                    self.begin_to_verify();
                }
                Some(Coming::Verifying(work)) => match work.wait().await {
                    Err(progress) => return Ok(Left::Work { progress }),
                    Ok(verified) => {
                        self.coming = None;
                        let id = verified?;
                        self.listing.missing.pop();
                        self.listing.arrived.insert(id.uid);
                        self.verified.push(id);
                    }
                },
            }
        }
    }

    fn begin_to_verify(&mut self) {
        let Some(Coming::Taking(taking)) = self.coming.take() else { return };
        let verify = move |progress: &_| verify(taking.draft, progress);
        self.coming = Some(Coming::Verifying(Work::begin(verify)));
    }

    /// The file of this name, if it is the one that comes.
    pub(super) fn coming(&mut self, uid: RunUid) -> Option<&mut Taking<Arriving>> {
        match &mut self.coming {
            Some(Coming::Taking(taking)) => (taking.draft.id().uid == uid).then_some(taking),
            _ => None,
        }
    }

    /// The files that were verified since it was last asked.
    pub(super) fn take_verified(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.verified)
    }

    /// Waits until what is being written is durable.
    pub(super) async fn written(&mut self) -> Result<(), Refusal> {
        match &mut self.coming {
            Some(Coming::Taking(taking)) => taking.written().await,
            _ => Ok(()),
        }
    }

    /// What is there, when nothing is missing.
    pub(super) fn into_listing(self) -> Listing {
        self.listing
    }

    /// Removes what has come of the file that comes.
    pub(super) fn discard(self) {
        if let Some(Coming::Taking(taking)) = self.coming {
            taking.draft.discard();
        }
    }
}

/// Reads a file that has come, and removes it when it is damaged.
fn verify(arriving: Arriving, progress: &std::sync::atomic::AtomicU64) -> Result<RunId, Refusal> {
    match arriving.verify(progress) {
        Ok(()) => Ok(arriving.id()),
        Err(error) => {
            if matches!(error, RunError::Corrupt { .. }) {
                arriving.discard();
            }
            Err(error.into())
        }
    }
}
