//! The request arena: memory for what a script makes of one request, given back all at once.
//!
//! One range of addresses between guards. As much of it is open as a request has asked for, so that who
//! writes beyond the end of what he has is caught, and the host's own memory is not near.

use std::io;

use nix::sys::mman::MapFlags;

use crate::reserved::Reserved;

/// Bytes that stay open from request to request: most need no more.
const KEPT_BYTES: usize = 64 << 10;
/// Most bytes that one request may take: a reply made by a script is at most this large.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Alignment that `malloc` gives, and so the arena.
const ALIGN: usize = 16;
/// On either side: wider than a loop that has gone wrong is likely to leap.
const GUARD_BYTES: usize = 1 << 20;

/// One worker's arena.
pub(crate) struct Arena {
    range: Reserved,
    /// Bytes that are open.
    open: usize,
}

/// The part of the arena that a request has not used yet: what scripts take from, and so what they may
/// have ruined.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Free {
    pub(crate) next: *mut u8,
    pub(crate) end: *mut u8,
}

/// Why there is no memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request has used up its share, or the machine has no more.
    UsedUp,
    /// The free part is none.
    Ruined,
}

impl Arena {
    pub(crate) fn new() -> io::Result<Self> {
        let range =
            Reserved::new(GUARD_BYTES + REQUEST_BYTES_MAX + GUARD_BYTES, MapFlags::empty())?;
        range.open(GUARD_BYTES..GUARD_BYTES + KEPT_BYTES)?;
        Ok(Self { range, open: KEPT_BYTES })
    }

    /// Frees what the last request took; what the next one has to begin with. Nothing may refer to it
    /// any more.
    #[inline]
    pub(crate) fn reset(&mut self) -> Free {
        if self.open > KEPT_BYTES {
            self.shrink();
        }
        Free { next: self.at(0), end: self.at(self.open) }
    }

    #[cold]
    fn shrink(&mut self) {
        let rest = GUARD_BYTES + KEPT_BYTES..GUARD_BYTES + self.open;
        // SAFETY: the last request is over, and the caller of `reset` has forgotten what was in it.
        let closed = unsafe { self.range.close(rest) };
        // What cannot be closed stays open, and is asked again at the next reset.
        if closed.is_ok() {
            self.open = KEPT_BYTES;
        }
    }

    /// Takes `size` bytes off the free part, which grows if it has to.
    pub(crate) fn take(&mut self, free: &mut Free, size: usize) -> Result<*mut u8, Refusal> {
        let (start, open) = (self.at(0).addr(), self.open);
        let used = free.next.addr().wrapping_sub(start);
        if used > open || !used.is_multiple_of(ALIGN) || free.end != self.at(open) {
            return Err(Refusal::Ruined);
        }
        let size = size.checked_next_multiple_of(ALIGN).ok_or(Refusal::UsedUp)?;
        let needed = used.checked_add(size).filter(|needed| *needed <= REQUEST_BYTES_MAX);
        let needed = needed.ok_or(Refusal::UsedUp)?;
        if needed > open {
            // Twice as much each time: a request that takes little by little asks seldom.
            let grown = needed.next_power_of_two();
            let more = GUARD_BYTES + open..GUARD_BYTES + grown;
            self.range.open(more).map_err(|_| Refusal::UsedUp)?;
            self.open = grown;
        }
        let taken = self.at(used);
        *free = Free { next: self.at(needed), end: self.at(self.open) };
        Ok(taken)
    }

    /// The address of a byte of it.
    fn at(&self, byte: usize) -> *mut u8 {
        self.range.at(GUARD_BYTES + byte).as_ptr().cast()
    }
}

const _: () = assert!(KEPT_BYTES.is_power_of_two() && REQUEST_BYTES_MAX.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes memory, writes to each byte of it, and says where it is, from the first byte on.
    #[allow(unsafe_code)]
    fn take(arena: &mut Arena, free: &mut Free, size: usize) -> Result<usize, Refusal> {
        let taken = arena.take(free, size)?;
        // SAFETY: so many bytes were taken, and nobody else has them.
        unsafe { taken.write_bytes(b'x', size) };
        Ok(taken.addr() - arena.at(0).addr())
    }

    #[test]
    fn it_grows_in_place_up_to_its_limit_and_is_small_again_for_the_next_request() {
        let mut arena = Arena::new().expect("there is room");
        for _ in 0..3 {
            let mut free = arena.reset();
            assert_eq!(free.end.addr() - free.next.addr(), KEPT_BYTES);
            assert_eq!(take(&mut arena, &mut free, 1), Ok(0));
            assert_eq!(take(&mut arena, &mut free, KEPT_BYTES), Ok(ALIGN));
            assert_eq!(free.end.addr() - free.next.addr(), KEPT_BYTES - ALIGN, "twice as much");
            let rest = REQUEST_BYTES_MAX - KEPT_BYTES - ALIGN;
            assert_eq!(take(&mut arena, &mut free, rest + 1), Err(Refusal::UsedUp));
            assert_eq!(take(&mut arena, &mut free, usize::MAX), Err(Refusal::UsedUp));
            assert_eq!(take(&mut arena, &mut free, rest), Ok(KEPT_BYTES + ALIGN));
            assert_eq!(take(&mut arena, &mut free, 1), Err(Refusal::UsedUp));
            assert_eq!(take(&mut arena, &mut free, 0), Ok(REQUEST_BYTES_MAX));
        }
    }

    #[test]
    fn what_a_script_has_written_over_is_not_followed() {
        let mut arena = Arena::new().expect("there is room");
        let whole = arena.reset();
        let wrong = [
            Free { next: std::ptr::null_mut(), ..whole },
            Free { next: whole.next.wrapping_add(1), ..whole },
            Free { next: whole.next.wrapping_sub(ALIGN), ..whole },
            Free { next: whole.end.wrapping_add(ALIGN), ..whole },
            Free { end: whole.end.wrapping_add(1 << 20), ..whole },
            Free { end: std::ptr::null_mut(), ..whole },
        ];
        for mut free in wrong {
            assert_eq!(arena.take(&mut free, 1).map(|_| ()), Err(Refusal::Ruined));
        }
    }
}
