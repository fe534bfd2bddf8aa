//! A file as far as it has come: what was sent is gathered into pieces, and written one after the
//! other.

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::refusal::Refusal;
use crate::storage::background::PIECE_BYTES_MAX;
use crate::storage::checkpoint::{CheckpointError, Incoming};
use crate::storage::runs::{Arriving, RunError};

/// Told when a piece is durable, or why it is not.
pub(super) type Done = oneshot::Sender<Result<(), Refusal>>;

/// A file to which pieces are appended by the background writer.
pub(super) trait Draft {
    /// How many bytes were there, or have been handed over since.
    fn length(&self) -> u64;
    /// Hands a piece over.
    fn append(&mut self, piece: Bytes, done: Done);
    /// Nobody writes any more.
    fn no_writer() -> Refusal;
}

impl Draft for Incoming {
    fn length(&self) -> u64 {
        Self::length(self)
    }

    fn append(&mut self, piece: Bytes, done: Done) {
        let written = move |result: Result<_, CheckpointError>| {
            drop(done.send(result.map_err(Refusal::from)));
        };
        Self::append(self, piece, Box::new(written));
    }

    fn no_writer() -> Refusal {
        CheckpointError::NoBackground.into()
    }
}

impl Draft for Arriving {
    fn length(&self) -> u64 {
        Self::length(self)
    }

    fn append(&mut self, piece: Bytes, done: Done) {
        let written =
            move |result: Result<_, RunError>| drop(done.send(result.map_err(Refusal::from)));
        Self::append(self, piece, Box::new(written));
    }

    fn no_writer() -> Refusal {
        RunError::NoBackground.into()
    }
}

/// A file, as far as it has come.
pub(super) struct Taking<D> {
    pub(super) draft: D,
    /// Less than a piece.
    buffer: BytesMut,
    /// The piece that is being written.
    writing: Option<oneshot::Receiver<Result<(), Refusal>>>,
}

impl<D: Draft> Taking<D> {
    pub(super) fn new(draft: D) -> Self {
        Self { draft, buffer: BytesMut::new(), writing: None }
    }

    /// How many bytes have come.
    pub(super) fn taken(&self) -> u64 {
        self.draft.length() + self.buffer.len() as u64
    }

    pub(super) async fn push(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PIECE_BYTES_MAX {
            self.written().await?;
            self.write(PIECE_BYTES_MAX);
        }
        Ok(())
    }

    /// Waits until all that has come is durable.
    pub(super) async fn write_all(&mut self) -> Result<(), Refusal> {
        self.written().await?;
        if !self.buffer.is_empty() {
            self.write(self.buffer.len());
        }
        self.written().await
    }

    fn write(&mut self, length: usize) {
        let piece = self.buffer.split_to(length).freeze();
        let (done, writing) = oneshot::channel();
        self.draft.append(piece, done);
        self.writing = Some(writing);
    }

    /// Waits until the piece that is being written is durable.
    pub(super) async fn written(&mut self) -> Result<(), Refusal> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let result = writing.await.unwrap_or_else(|_| Err(D::no_writer()));
        self.writing = None;
        result
    }
}
