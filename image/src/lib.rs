//! The image.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Address range that the master reserves before its first fork; every child has it at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena {
    base: u64,
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
}

impl Arena {
    /// Slots of an arena.
    pub const SLOTS: u8 = 16;

    /// Reserves the range, inaccessible, within reach of this binary's text.
    pub fn reserve() -> io::Result<Self> {
        todo!()
    }

    /// Slot `index`, below [`Arena::SLOTS`].
    pub fn slot(self, _index: u8) -> Slot {
        todo!()
    }
}

/// Why an image is not acceptable.
#[derive(Debug, thiserror::Error)]
#[error("not a valid image: {0}")]
pub struct Invalid(pub String);

/// A new empty memfd that a compile child fills (close-on-exec, sealable).
pub fn create() -> io::Result<OwnedFd> {
    todo!()
}

/// Checks an image as hostile input and seals it. Call once the compile child has exited.
pub fn seal(_file: impl AsFd, _slot: Slot) -> Result<(), Invalid> {
    todo!()
}
