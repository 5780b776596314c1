//! Addresses of which only some parts can be used: the rest are guards.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// A range of addresses, inaccessible but for what is opened. Parts are offsets, and begin and end with
/// pages.
pub(crate) struct Reserved {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Reserved {
    /// So many bytes of addresses; pages cost nothing until they are used. `kind` is what mmap(2) is to
    /// know beside that.
    pub(crate) fn new(bytes: usize, kind: MapFlags) -> io::Result<Self> {
        let length = NonZeroUsize::new(bytes).expect("a range is not empty");
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | kind;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }?;
        Ok(Reserved { start, bytes })
    }

    /// Makes a part readable and writable.
    pub(crate) fn open(&self, part: Range<usize>) -> io::Result<()> {
        self.protect(part, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// Makes a part inaccessible again, and gives its memory back.
    ///
    /// # Safety
    ///
    /// Nobody refers to it.
    pub(crate) unsafe fn close(&self, part: Range<usize>) -> io::Result<()> {
        let place = self.at(part.start);
        // SAFETY: it is this range's own; for the rest the caller vouches.
        unsafe { madvise(place, part.len(), MmapAdvise::MADV_DONTNEED) }?;
        self.protect(part, ProtFlags::PROT_NONE)
    }

    /// The address at an offset.
    pub(crate) fn at(&self, offset: usize) -> NonNull<c_void> {
        debug_assert!(offset <= self.bytes);
        // SAFETY: it is in the mapping, or its end.
        unsafe { self.start.byte_add(offset) }
    }

    fn protect(&self, part: Range<usize>, access: ProtFlags) -> io::Result<()> {
        debug_assert!(part.end <= self.bytes);
        // SAFETY: it is this range's own; `close` says what becomes of those who refer to it.
        Ok(unsafe { mprotect(self.at(part.start), part.len(), access) }?)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and goes with what refers to it.
        let unmapped = unsafe { munmap(self.start, self.bytes) };
        debug_assert!(unmapped.is_ok(), "the mapping was made by new()");
    }
}
