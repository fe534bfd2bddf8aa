//! Buffers of connections, of which there are many that do nothing.

use bytes::BytesMut;

/// Gives up the memory of a buffer that is empty, if it has more than `kept_bytes_max`.
pub(super) fn give_up_empty(buffer: &mut BytesMut, kept_bytes_max: usize) {
    if !buffer.is_empty() {
        return;
    }
    // The capacity of a buffer is what lies behind its front, which moves with what is taken from
    // it: all of it is seen when the front is back at the beginning. Already there, it stays.
    let _ = buffer.try_reclaim(buffer.capacity() + 1);
    if buffer.capacity() > kept_bytes_max {
        *buffer = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn what_was_taken_from_the_front_counts_too() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&[0; 10_000]);
        give_up_empty(&mut buffer, 4096);
        assert_eq!(buffer.len(), 10_000);
        buffer.advance(10_000);
        assert!(buffer.is_empty() && buffer.capacity() < 4096);
        give_up_empty(&mut buffer, 4096);
        assert!(!buffer.try_reclaim(1), "no memory is left");
        buffer.extend_from_slice(&[0; 3000]);
        buffer.advance(3000);
        give_up_empty(&mut buffer, 4096);
        assert!(buffer.capacity() >= 3000, "a little is kept, and counted");
    }
}
