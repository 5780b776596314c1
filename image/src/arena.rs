//! The arena: addresses that images are linked for.
//!
//! The master reserves it before its first fork, so every child has it at the same place and the
//! compile child can link host symbols by absolute address, once for all. It lies within 2 GiB of
//! the binary's text, so that a script calls the host directly (`call rel32`).
//!
//! Sixteen slots cannot hold hundreds of megabytes each there. What takes so much is memory that
//! starts as zeroes, and that need not be near code: each slot has a far part for it.

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

/// Address range that the master reserves before its first fork; every child has it at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena {
    base: u64,
    /// First address of the far parts; none if this process may not have so many addresses.
    far: Option<u64>,
}

/// Part of the arena that one generation occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index in the arena.
    pub index: u8,
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// First address of its far part, for large variables that start as zeroes.
    pub far: u64,
    /// Bytes of that; 0 where a limit on addresses (`ulimit -v`) leaves no room for it.
    pub far_size: u64,
}

/// Bytes of one slot: code, constants, variables, and debug information while it is linked. As many
/// as sixteen can have within reach.
const SLOT_BYTES: u64 = 96 << 20;
const ARENA_BYTES: u64 = SLOT_BYTES * Arena::SLOTS as u64;
/// Bytes of a slot's far part. They cost addresses and no memory until they are used.
const FAR_BYTES: u64 = 1 << 30;
/// What a far part begins at a multiple of: as variables do that want to.
const FAR_ALIGN: u64 = 1 << 30;
const ALL_FAR_BYTES: u64 = FAR_BYTES * Arena::SLOTS as u64;
/// How far apart arena and text may be, as a call reaches 2 GiB and the binary itself takes some.
const REACH_BYTES: u64 = (2 << 30) - (256 << 20);
const STEP_BYTES: u64 = 16 << 20;

const _: () = assert!(ARENA_BYTES < REACH_BYTES);

impl Arena {
    /// Slots of an arena: an active generation, a compiling one, and many that drain.
    pub const SLOTS: u8 = 16;

    /// Reserves the range, inaccessible, within reach of this binary's text, and the far parts
    /// wherever there is room.
    pub fn reserve() -> io::Result<Self> {
        let base = Self::reserve_near()?;
        Ok(Self { base, far: reserve_anywhere(ALL_FAR_BYTES).ok() })
    }

    fn reserve_near() -> io::Result<u64> {
        let text = (Self::reserve as *const () as u64) & !(STEP_BYTES - 1);
        // Below the binary there is nothing; above it are its data and the heap.
        let lowest = text.saturating_sub(REACH_BYTES);
        let mut base = text.saturating_sub(ARENA_BYTES + (128 << 20));
        while base >= lowest && base > 0 {
            if reserve_at(base, ARENA_BYTES, MapFlags::MAP_FIXED_NOREPLACE).is_ok() {
                return Ok(base);
            }
            base -= STEP_BYTES;
        }
        Err(io::Error::other("no free address range within 2 GiB of the program for scripts"))
    }

    /// Addresses of all slots.
    pub fn range(self) -> Range<u64> {
        self.base..self.base + ARENA_BYTES
    }

    /// Slot `index`, below [`Arena::SLOTS`].
    pub fn slot(self, index: u8) -> Slot {
        assert!(index < Self::SLOTS, "slot {index} of {}", Self::SLOTS);
        let (place, base) = (u64::from(index), self.base + SLOT_BYTES * u64::from(index));
        let far = self.far.map_or(0, |far| far + FAR_BYTES * place);
        let far_size = self.far.map_or(0, |_| FAR_BYTES);
        Slot { index, base, size: SLOT_BYTES, far, far_size }
    }

    /// The whole arena as one slot, for a process that runs one program.
    pub fn whole(self) -> Slot {
        let far = self.far.unwrap_or(0);
        let far_size = self.far.map_or(0, |_| ALL_FAR_BYTES);
        Slot { index: 0, base: self.base, size: ARENA_BYTES, far, far_size }
    }
}

impl Slot {
    /// Its addresses within reach of the host's text.
    pub fn range(self) -> Range<u64> {
        self.base..self.base + self.size
    }

    /// Those of its far part.
    pub fn far_range(self) -> Range<u64> {
        self.far..self.far + self.far_size
    }

    /// Makes every page of it inaccessible again and gives the memory back.
    pub(crate) fn clear(self) -> io::Result<()> {
        reserve_at(self.base, self.size, MapFlags::MAP_FIXED)?;
        if self.far_size > 0 {
            reserve_at(self.far, self.far_size, MapFlags::MAP_FIXED)?;
        }
        Ok(())
    }
}

#[allow(unsafe_code)]
fn reserve_anywhere(bytes: u64) -> io::Result<u64> {
    // With room to begin at a multiple of the largest page, as some variables want to.
    let length = std::num::NonZeroUsize::new((bytes + FAR_ALIGN) as usize).expect("not empty");
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: the kernel chooses addresses where nothing is.
    let found = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }?;
    keep_out_of_cores(found, length.get());
    Ok((found.as_ptr() as u64).next_multiple_of(FAR_ALIGN))
}

#[allow(unsafe_code)]
fn reserve_at(base: u64, bytes: u64, how: MapFlags) -> io::Result<()> {
    let address = std::num::NonZeroUsize::new(base as usize);
    let length = std::num::NonZeroUsize::new(bytes as usize).expect("a slot is not empty");
    let flags = how | MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: either the range is free (MAP_FIXED_NOREPLACE), or it is a slot, whose owner has
    // unregistered all that pointed into it.
    let found = unsafe { mmap_anonymous(address, length, ProtFlags::PROT_NONE, flags) }?;
    assert_eq!(found.as_ptr() as u64, base, "the kernel knows MAP_FIXED_NOREPLACE");
    keep_out_of_cores(found, length.get());
    Ok(())
}

/// Has debuggers pass over addresses where nothing is: GDB's `generate-core-file` tries to read each of
/// their pages, which takes half a minute for 17 GiB. What an image maps there is a mapping of its own,
/// and in every core.
#[allow(unsafe_code)]
fn keep_out_of_cores(place: NonNull<c_void>, bytes: usize) {
    // SAFETY: it changes what a core holds, and nothing that the process sees.
    let advised = unsafe { madvise(place, bytes, MmapAdvise::MADV_DONTDUMP) };
    debug_assert!(advised.is_ok(), "the range was just mapped");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Whether every mapping in the range is left out of cores; see proc_pid_smaps(5).
    fn is_left_out(range: &Range<u64>) -> bool {
        let smaps = fs::read_to_string("/proc/self/smaps").expect("it is readable");
        let mut is_inside = false;
        let (mut bytes, mut left_out) = (0, true);
        for line in smaps.lines() {
            let (word, rest) = line.split_once(' ').expect("a line has words");
            let number = |text| u64::from_str_radix(text, 16).ok();
            if let Some((start, end)) = word.split_once('-') {
                let (start, end) = (number(start).expect("hex"), number(end).expect("hex"));
                let (start, end) = (start.max(range.start), end.min(range.end));
                is_inside = start < end;
                bytes += end.saturating_sub(start);
            } else if word == "VmFlags:" && is_inside {
                left_out &= rest.split_whitespace().any(|flag| flag == "dd");
            }
        }
        assert_eq!(bytes, range.end - range.start, "all of it is mapped");
        left_out
    }

    #[test]
    fn reserved_addresses_are_left_out_of_cores_before_and_after_a_slot_was_used() {
        let arena = Arena::reserve().expect("there are addresses");
        let slot = arena.slot(3);
        assert!(is_left_out(&arena.range()) && is_left_out(&slot.far_range()));
        slot.clear().expect("it is ours");
        assert!(is_left_out(&arena.range()) && is_left_out(&slot.far_range()));
    }
}
