//! Asking over a link, and answering.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::error::LinkError;
use super::frame::Frame;
use super::stream::{Link, LinkReader, LinkWriter};

/// Answers that gather before they are sent, bytes.
const ANSWERS_BYTES_FULL: usize = 1 << 20;

/// Asks one request at a time. For many under way at once, split the link: answers come in the
/// order of the requests, with their ids.
#[derive(Debug)]
pub struct Caller {
    reader: LinkReader,
    writer: LinkWriter,
    /// Of the last request.
    id: u64,
    /// Whether the last request has been answered, so that what comes next is of the next one.
    is_usable: bool,
}

impl Caller {
    /// Over a link on which nothing has been asked yet.
    pub fn new(link: Link) -> Self {
        let (reader, writer) = link.split();
        Self { reader, writer, id: 0, is_usable: true }
    }

    /// Asks, and waits for the answer for at most `limit`.
    ///
    /// After any error, and after a call that was dropped before its end, the link is closed: a
    /// late answer would be taken for the next one's. Later calls fail with
    /// [`LinkError::ClosedHere`].
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the request may have been carried out all the same.
    pub async fn call(
        &mut self,
        kind: u8,
        body: &[u8],
        limit: Duration,
    ) -> Result<Frame, LinkError> {
        if !std::mem::replace(&mut self.is_usable, false) {
            self.writer.close();
            return Err(LinkError::ClosedHere);
        }
        self.id += 1;
        self.writer.feed(kind, self.id, body);
        let answered = timeout(limit, self.exchange()).await.unwrap_or(Err(LinkError::TimedOut));
        match answered {
            Ok(_) => self.is_usable = true,
            Err(_) => self.writer.close(),
        }
        answered
    }

    async fn exchange(&mut self) -> Result<Frame, LinkError> {
        self.writer.flush().await?;
        let answer = self.reader.next().await?.ok_or(LinkError::Closed)?;
        if answer.id != self.id {
            return Err(LinkError::Misanswered { asked: self.id, answered: answer.id });
        }
        Ok(answer)
    }
}

/// Answers requests in their order until the other side ends the link.
///
/// `answer` gives kind and body of the answer. Requests that are there already are answered with
/// one write; but an answer that is ready does not wait for one that is not.
///
/// # Errors
///
/// [`LinkError`].
pub async fn serve<F, Fut>(link: Link, mut answer: F) -> Result<(), LinkError>
where
    F: FnMut(Frame) -> Fut,
    Fut: Future<Output = (u8, Vec<u8>)>,
{
    let (mut reader, mut writer) = link.split();
    loop {
        let request = match reader.next_arrived()? {
            Some(request) => request,
            None => {
                writer.flush().await?;
                let Some(request) = reader.next().await? else { return Ok(()) };
                request
            }
        };
        let id = request.id;
        let mut answering = pin!(answer(request));
        let (kind, body) =
            match poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    writer.flush().await?;
                    answering.await
                }
            };
        writer.feed(kind, id, &body);
        if writer.buffered() >= ANSWERS_BYTES_FULL {
            writer.flush().await?;
        }
    }
}
