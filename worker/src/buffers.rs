//! Buffers of one usual size, the pool that they come from and go back to, and larger ones for the few
//! heads that do not fit.
//!
//! A connection holds a buffer only while there is something in it; an idle one holds none. So memory
//! follows the bytes that are on their way, and steady traffic allocates nothing.
//!
//! A larger buffer is for a head alone: it grows by doubling while the head comes or is written, and goes
//! back as soon as what is left fits a usual one. Bodies never fill it. None is kept for later, and all of
//! them together have a limit, since who sends a large head slowly, or never reads one, holds it.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes of a buffer: a usual head, and one read of a body. Larger ones make bodies hardly quicker.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Bytes of the largest buffer: the largest head, and as much again for what Kiln and scripts add.
const LARGE_BYTES_MAX: usize = 2 * settings::HEAD_BYTES_MAX as usize;

/// Buffers that the pool keeps for later (16 MiB); beyond that they are freed.
const POOLED_MAX: usize = 1024;

/// Bytes that came in at one end and have not yet left at the other.
#[derive(Debug)]
struct Buffer {
    bytes: Bytes,
    start: usize,
    end: usize,
}

/// The memory of a buffer.
#[derive(Debug)]
enum Bytes {
    /// Of a usual one.
    Usual(Box<[u8]>),
    /// Of a larger one: mapped, so that a burst of them goes back to the system, whatever was allocated
    /// meanwhile.
    Large(MmapMut),
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Usual(bytes) => bytes,
            Bytes::Large(bytes) => bytes,
        }
    }
}

impl DerefMut for Bytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Bytes::Usual(bytes) => bytes,
            Bytes::Large(bytes) => bytes,
        }
    }
}

impl Buffer {
    fn of(bytes: Bytes) -> Self {
        Buffer { bytes, start: 0, end: 0 }
    }

    fn is_large(&self) -> bool {
        matches!(self.bytes, Bytes::Large(_))
    }

    fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes over what another one holds, which fits.
    fn take_over(&mut self, other: &Buffer) {
        (self.start, self.end) = (0, other.data().len());
        self.bytes[..self.end].copy_from_slice(other.data());
    }
}

/// Spare buffers, and the count of the larger ones.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Buffer>,
    /// Bytes of the larger buffers that are in use.
    large_bytes: usize,
}

impl Buffers {
    fn take(&mut self) -> Buffer {
        self.free
            .pop()
            .unwrap_or_else(|| Buffer::of(Bytes::Usual(vec![0; BUFFER_BYTES].into_boxed_slice())))
    }

    /// A larger buffer, unless it would be larger than any head needs, or more than `large_max` bytes
    /// would be in use with it.
    fn take_large(&mut self, bytes: usize, large_max: u64) -> Option<Buffer> {
        let in_use = self.large_bytes + bytes;
        if bytes > LARGE_BYTES_MAX || in_use as u64 > large_max {
            return None;
        }
        let mapped = MmapMut::map_anon(bytes).ok()?;
        self.large_bytes = in_use;
        Some(Buffer::of(Bytes::Large(mapped)))
    }

    fn give(&mut self, mut buffer: Buffer) {
        if buffer.is_large() {
            self.large_bytes -= buffer.bytes.len();
        } else if self.free.len() < POOLED_MAX {
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
        self.0.as_ref().map_or(&[], Buffer::data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data().is_empty()
    }

    /// Bytes that can be appended. In a larger buffer they are no more than in a usual one: the rest is
    /// for its head.
    pub(crate) fn room(&self) -> usize {
        BUFFER_BYTES.saturating_sub(self.data().len())
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

    /// Appends a head, in a larger buffer if it has to be. The larger ones may be `large_max` bytes.
    pub(crate) fn encode_head(
        &mut self,
        pool: &mut Buffers,
        large_max: u64,
        write: impl Fn(&mut http::Output<'_>) -> Result<(), http::Full>,
    ) -> Result<(), http::Full> {
        loop {
            match self.encode(pool, &write) {
                Err(http::Full) if self.grow(pool, large_max) => {}
                result => return result,
            }
        }
    }

    /// Moves what is there into a buffer of twice the size, for a head that needs it. False if there is
    /// none to be had; the larger ones may be `large_max` bytes.
    #[cold]
    #[must_use]
    pub(crate) fn grow(&mut self, pool: &mut Buffers, large_max: u64) -> bool {
        let bytes = self.0.as_ref().map_or(BUFFER_BYTES, |buffer| buffer.bytes.len());
        let Some(mut larger) = pool.take_large(2 * bytes, large_max) else { return false };
        if let Some(buffer) = &self.0 {
            larger.take_over(buffer);
        }
        self.release(pool);
        self.0 = Some(larger);
        true
    }

    /// Gives back what is not needed: a buffer with nothing in it, and a larger one for what fits a usual
    /// one. A head that still comes, and has begun to need a larger one, does not fit any more.
    #[inline]
    pub(crate) fn rest(&mut self, pool: &mut Buffers) {
        match &self.0 {
            Some(buffer) if buffer.start == buffer.end => self.release(pool),
            Some(buffer) if buffer.is_large() => self.shrink(pool),
            _ => {}
        }
    }

    #[cold]
    fn shrink(&mut self, pool: &mut Buffers) {
        if let Some(buffer) = &self.0
            && buffer.data().len() < BUFFER_BYTES
        {
            let mut usual = pool.take();
            usual.take_over(buffer);
            self.release(pool);
            self.0 = Some(usual);
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
        slot.rest(&mut pool);
        assert!(slot.is_held());
        slot.consume(3);
        slot.rest(&mut pool);
        assert!(!slot.is_held());
        assert_eq!(pool.free.len(), 1);
        assert!(slot.push(b"x", &mut pool));
        assert_eq!((slot.data(), pool.free.len()), (&b"x"[..], 0));
    }

    /// A slot with a full buffer, as one has where a head comes that does not fit.
    fn full(pool: &mut Buffers) -> Slot {
        let mut slot = Slot::default();
        let bytes: Vec<u8> = (0..BUFFER_BYTES).map(|at| at as u8).collect();
        assert!(slot.push(&bytes, pool));
        slot
    }

    #[test]
    fn a_head_that_does_not_fit_moves_to_a_larger_buffer() {
        let mut pool = Buffers::default();
        let mut slot = full(&mut pool);
        let before = slot.data().to_vec();
        for bytes in [2, 4, 8].map(|times| times * BUFFER_BYTES) {
            assert!(slot.grow(&mut pool, u64::MAX));
            assert_eq!((slot.data(), pool.large_bytes), (&before[..], bytes));
            assert_eq!(slot.tail(&mut pool).len(), bytes - BUFFER_BYTES);
            slot.rest(&mut pool);
            assert_eq!(pool.large_bytes, bytes, "the head is still coming");
        }
        assert_eq!(slot.room(), 0, "bodies get no share of it");
        slot.release(&mut pool);
        assert_eq!(pool.large_bytes, 0);
        assert!(pool.free.iter().all(|buffer| !buffer.is_large()), "none is kept");
    }

    #[test]
    fn what_is_left_of_a_large_head_goes_back_to_a_usual_buffer() {
        let mut pool = Buffers::default();
        let mut slot = full(&mut pool);
        assert!(slot.grow(&mut pool, u64::MAX));
        slot.tail(&mut pool)[..3].copy_from_slice(b"abc");
        slot.filled(3);
        slot.consume(3);
        slot.rest(&mut pool);
        assert_eq!(pool.large_bytes, 2 * BUFFER_BYTES, "it fills a usual one");
        slot.consume(BUFFER_BYTES - 3);
        slot.rest(&mut pool);
        assert_eq!((slot.data(), pool.large_bytes), (&b"abc"[..], 0));
        assert!(slot.push(b"d", &mut pool));
        assert_eq!(slot.room(), BUFFER_BYTES - 4);
    }

    #[test]
    fn larger_buffers_have_a_limit_each_and_together() {
        let mut pool = Buffers::default();
        let (mut one, mut other) = (full(&mut pool), full(&mut pool));
        let large_max = 3 * BUFFER_BYTES as u64;
        assert!(one.grow(&mut pool, large_max));
        assert!(!other.grow(&mut pool, large_max), "there is half of what it needs");
        assert_eq!(other.data().len(), BUFFER_BYTES, "it keeps what it has");
        one.release(&mut pool);
        assert!(other.grow(&mut pool, large_max));
        while other.grow(&mut pool, u64::MAX) {}
        assert_eq!(pool.large_bytes, LARGE_BYTES_MAX);
    }

    #[test]
    fn a_head_is_written_into_as_large_a_buffer_as_it_needs() {
        let mut pool = Buffers::default();
        let write = |bytes: usize| {
            move |out: &mut http::Output<'_>| (0..bytes).try_for_each(|_| out.push(b"x"))
        };
        for bytes in [1, BUFFER_BYTES, BUFFER_BYTES + 1, 100_000, LARGE_BYTES_MAX] {
            let mut slot = Slot::default();
            slot.encode_head(&mut pool, u64::MAX, write(bytes)).unwrap();
            assert_eq!(slot.data().len(), bytes);
            assert_eq!(pool.large_bytes > 0, bytes > BUFFER_BYTES);
            slot.release(&mut pool);
        }
        let mut slot = Slot::default();
        assert!(slot.encode_head(&mut pool, u64::MAX, write(LARGE_BYTES_MAX + 1)).is_err());
        slot.release(&mut pool);
        assert_eq!(pool.large_bytes, 0);
    }
}
