//! Buffers of one size, and the pool that they come from and go back to.
//!
//! A connection holds a buffer only while there is something in it; an idle one holds none. So memory
//! follows the bytes that are on their way, and steady traffic allocates nothing.

/// Bytes of a buffer: the largest head, and one read of a body. Larger ones make bodies hardly quicker.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers that the pool keeps for later (16 MiB); beyond that they are freed.
const POOLED_MAX: usize = 1024;

/// Bytes that came in at one end and have not yet left at the other.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Spare buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Buffer>,
}

impl Buffers {
    fn take(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(|| Buffer {
            bytes: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
        })
    }

    fn give(&mut self, mut buffer: Buffer) {
        if self.free.len() < POOLED_MAX {
            buffer.start = 0;
            buffer.end = 0;
            self.free.push(buffer);
        }
    }
}

/// Room for at most one buffer, which is there only while it is needed.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<Buffer>);

impl Slot {
    /// The bytes in it.
    pub(crate) fn data(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| &buffer.bytes[buffer.start..buffer.end])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data().is_empty()
    }

    /// Bytes that can be appended.
    pub(crate) fn room(&self) -> usize {
        BUFFER_BYTES - self.data().len()
    }

    /// All the room there is, as one slice; [`Slot::filled`] says how much of it was used.
    pub(crate) fn tail(&mut self, pool: &mut Buffers) -> &mut [u8] {
        let buffer = self.0.get_or_insert_with(|| pool.take());
        if buffer.start > 0 {
            buffer.bytes.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
        }
        &mut buffer.bytes[buffer.end..]
    }

    /// Counts bytes in that were written to the front of [`Slot::tail`].
    pub(crate) fn filled(&mut self, count: usize) {
        if count > 0 {
            let buffer = self.0.as_mut().expect("tail() put a buffer here");
            assert!(
                count <= buffer.bytes.len() - buffer.end,
                "more was filled than there was room"
            );
            buffer.end += count;
        }
    }

    /// Drops bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        if count > 0 {
            let buffer = self.0.as_mut().expect("bytes to consume are in a buffer");
            assert!(count <= buffer.end - buffer.start, "more was consumed than there was");
            buffer.start += count;
        }
    }

    /// Appends `part` if all of it fits.
    #[must_use]
    pub(crate) fn push(&mut self, part: &[u8], pool: &mut Buffers) -> bool {
        if part.len() > self.room() {
            return false;
        }
        self.tail(pool)[..part.len()].copy_from_slice(part);
        self.filled(part.len());
        true
    }

    /// Appends what `write` writes, if it fits.
    pub(crate) fn encode(
        &mut self,
        pool: &mut Buffers,
        write: impl FnOnce(&mut http::Output<'_>) -> Result<(), http::Full>,
    ) -> Result<(), http::Full> {
        let mut out = http::Output::new(self.tail(pool));
        write(&mut out)?;
        let count = out.filled();
        self.filled(count);
        Ok(())
    }

    /// Gives the buffer back if there is nothing in it.
    pub(crate) fn release_if_empty(&mut self, pool: &mut Buffers) {
        if self.is_empty() {
            self.release(pool);
        }
    }

    /// Gives the buffer back, whatever is in it.
    pub(crate) fn release(&mut self, pool: &mut Buffers) {
        if let Some(buffer) = self.0.take() {
            pool.give(buffer);
        }
    }

    /// Whether it holds a buffer.
    #[cfg(test)]
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut pool = Buffers::default();
        let mut slot = Slot::default();
        assert!(slot.push(b"abc", &mut pool));
        slot.consume(1);
        assert!(slot.push(b"de", &mut pool));
        assert_eq!(slot.data(), b"bcde");
    }

    #[test]
    fn room_in_front_is_used_again() {
        let mut pool = Buffers::default();
        let mut slot = Slot::default();
        assert!(slot.push(&[1; BUFFER_BYTES], &mut pool));
        assert!(!slot.push(b"x", &mut pool));
        slot.consume(1);
        assert!(slot.push(b"x", &mut pool));
        assert_eq!(slot.room(), 0);
    }

    #[test]
    fn an_empty_buffer_goes_back_and_is_used_again() {
        let mut pool = Buffers::default();
        let mut slot = Slot::default();
        assert!(slot.push(b"abc", &mut pool));
        slot.release_if_empty(&mut pool);
        assert!(slot.is_held());
        slot.consume(3);
        slot.release_if_empty(&mut pool);
        assert!(!slot.is_held());
        assert_eq!(pool.free.len(), 1);
        assert!(slot.push(b"x", &mut pool));
        assert_eq!((slot.data(), pool.free.len()), (&b"x"[..], 0));
    }
}
