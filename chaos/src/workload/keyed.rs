//! Puts with a key, which may be sent again: the second one is to make no second job.
//!
//! A put whose reply is lost is sent again with its key on the client's next connection, which is at
//! another member. Those that were answered are told to all clients, who send some of them again, with
//! the same body, or with another one, which is to be refused.

use crate::history::{Command, Reply};

use super::body;
use super::client::Hand;
use super::connection::Ended;

/// The length of a long key, the greatest that there may be.
const KEY_BYTES_MAX: usize = 200;
/// One key in so many is a long one.
const LONG_ONCE_IN: u64 = 10;

/// A put that can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyedPut {
    key: String,
    /// The place of its tube, which has to be in use.
    tube: usize,
    put: Command,
}

impl Hand<'_> {
    /// Puts a new job as [`Hand::put`] does, with a key of its own.
    pub(super) fn put_with_key(
        &mut self,
        tube: usize,
        attributes: (u32, u32, u32),
        bytes: u32,
    ) -> Result<Reply, Ended> {
        let body = self.new_body(tube, bytes);
        let is_long = self.random.once_in(LONG_ONCE_IN);
        let digits = if is_long { KEY_BYTES_MAX } else { 1 };
        let key = format!("{:0digits$x}", body.key);
        let (priority, delay, ttr) = attributes;
        let under = Some(key.clone());
        let name = self.tube_name(tube);
        let put = Command::Put { tube: name, priority, delay, ttr, body, under };
        self.send_until_answered(KeyedPut { key, tube, put })
    }

    /// Sends the put again to which the connection before gave no answer, if there is one.
    pub(super) fn put_what_was_lost(&mut self) -> Result<(), Ended> {
        self.unanswered.take().map_or(Ok(()), |lost| self.send_until_answered(lost).map(drop))
    }

    /// Sends a put again that was answered: nothing is to come of it but the same answer.
    pub(super) fn put_again(&mut self) -> Result<(), Ended> {
        let Some(known) = self.shared.pick_keyed(self.random) else { return Ok(()) };
        self.send(&known, Self::ask_unheard).map(drop)
    }

    /// Puts another body with the key of a put that was answered: it is to be refused.
    pub(super) fn put_another_with_its_key(&mut self) -> Result<(), Ended> {
        let Some(mut known) = self.shared.pick_keyed(self.random) else { return Ok(()) };
        let other = self.new_body(known.tube, body::BODY_BYTES_MIN);
        if let Command::Put { body, .. } = &mut known.put {
            *body = other;
        }
        self.send(&known, Self::ask_unheard).map(drop)
    }

    /// Sends a put, and remembers it until it is answered.
    fn send_until_answered(&mut self, put: KeyedPut) -> Result<Reply, Ended> {
        *self.unanswered = Some(put.clone());
        let reply = self.send(&put, Self::ask)?;
        *self.unanswered = None;
        if matches!(reply, Reply::Inserted { .. }) {
            self.shared.learn_keyed(put);
        }
        Ok(reply)
    }

    /// Sends the key and the put, unless the tube or the key is refused.
    fn send(
        &mut self,
        keyed: &KeyedPut,
        ask: fn(&mut Self, Command) -> Result<Reply, Ended>,
    ) -> Result<Reply, Ended> {
        if !self.use_tube(keyed.tube)? {
            return Ok(Reply::OutOfMemory);
        }
        let reply = self.ask(Command::Key { key: keyed.key.clone() })?;
        if reply == Reply::Keyed { ask(self, keyed.put.clone()) } else { Ok(reply) }
    }
}
