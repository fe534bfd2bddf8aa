//! Lists of tubes on their way to clients: at 100,000 tubes one is up to 20 MB, asked for with a few
//! bytes.
//!
//! A connection has one under way at most (see `pipeline`), and all of them together have a part of
//! the memory for connections. One is always let in, whatever its size; the others wait until what is
//! under way has been sent, so that a client that does not read its list holds up the lists of others
//! where there is no memory for two.

use std::sync::Arc;

use parking_lot::Mutex;

use super::connection::Connection;

/// Which part of the memory for connections lists may take up.
const LISTS_PART: u64 = 2;

/// The way out for lists.
#[derive(Debug)]
pub(super) struct Lists {
    /// What may be under way at once, bytes, or one list.
    bytes_max: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is under way.
    bytes: u64,
    /// The last size of one: to measure a list again for each that waits would take long.
    last_bytes: u64,
    /// Whose lists wait. Bounded by the connections: each has one.
    waiting: Vec<Arc<Connection>>,
}

/// A list under way; when it is dropped, others may have room.
#[derive(Debug)]
pub(super) struct ListPass {
    lists: Arc<Lists>,
    bytes: u64,
}

impl Lists {
    /// A way out where connections may take up so many bytes.
    pub(super) fn new(connections_bytes_max: u64) -> Arc<Self> {
        let bytes_max = connections_bytes_max / LISTS_PART;
        Arc::new(Self { bytes_max, inner: Mutex::default() })
    }

    /// Lets a list out that `measure` finds to have so many bytes; `None` when it has to wait.
    pub(super) fn admit(self: &Arc<Self>, measure: impl FnOnce() -> u64) -> Option<ListPass> {
        let mut inner = self.inner.lock();
        if !self.has_room(&inner) {
            return None;
        }
        inner.last_bytes = measure();
        if !self.has_room(&inner) {
            return None;
        }
        let bytes = inner.last_bytes;
        inner.bytes += bytes;
        Some(ListPass { lists: Arc::clone(self), bytes })
    }

    /// A list of `connection` was not let out. It is told when it may ask again.
    pub(super) fn park(&self, connection: &Arc<Connection>) {
        connection.park_list();
        self.inner.lock().waiting.push(Arc::clone(connection));
        self.wake();
    }

    fn has_room(&self, inner: &Inner) -> bool {
        inner.bytes == 0 || inner.bytes + inner.last_bytes <= self.bytes_max
    }

    fn wake(&self) {
        let mut inner = self.inner.lock();
        if !self.has_room(&inner) {
            return;
        }
        let woken = std::mem::take(&mut inner.waiting);
        drop(inner);
        woken.iter().for_each(|connection| connection.unpark_list());
    }
}

impl Drop for ListPass {
    fn drop(&mut self) {
        self.lists.inner.lock().bytes -= self.bytes;
        self.lists.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_half_of_the_memory_for_connections_and_the_others_wait() {
        let lists = Lists::new(200);
        let first = lists.admit(|| 40).expect("nothing is under way");
        let second = lists.admit(|| 60).expect("there is room");
        assert!(lists.admit(|| 1).is_none());
        drop((first, second));
        assert!(lists.admit(|| 60).is_some());
    }

    #[test]
    fn a_list_larger_than_all_room_goes_alone() {
        let lists = Lists::new(200);
        let large = lists.admit(|| 1000).expect("it is alone");
        assert!(lists.admit(|| 1).is_none(), "measured again only when there is room");
        drop(large);
        let small = lists.admit(|| 1).expect("it is alone");
        assert!(lists.admit(|| 1000).is_none());
        drop(small);
        assert!(lists.admit(|| 1000).is_some());
    }
}
