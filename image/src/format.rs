//! What an image looks like on disk, or rather in its memfd.
//!
//! An ELF file whose loaded part is a picture of its slot: the byte for address `a` is at offset
//! `a - slot.base`. The first page holds the ELF header, the program headers and two notes; the
//! segments follow; section headers, symbols and debug information stand behind them, for GDB and perf.
//!
//! The note `Kiln` is a list of little-endian 64-bit words:
//!
//! ```text
//! format version, ABI version, slot base, slot size,
//! .eh_frame start and end,
//! count, then start and end of each initialiser array,
//! count, then start and end of each finaliser array,
//! count, then entry point and address of each entry
//! ```

use std::ops::Range;

use crate::Invalid;

/// Bytes before the first segment.
pub(crate) const HEADER_BYTES: u64 = 4096;
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Version of this layout.
const FORMAT_VERSION: u64 = 1;
/// Version of `abi.h` that scripts are compiled against.
pub const ABI_VERSION: u64 = 2;
/// Name and type of the note.
pub(crate) const NOTE_NAME: &[u8] = b"Kiln\0\0\0\0";
pub(crate) const NOTE_TYPE: u32 = 1;
/// Most arrays or entries of one kind: the header page would not hold more.
const LIST_MAX: u64 = 64;

/// A function of an image that the host calls by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum EntryPoint {
    /// The chain of every script's `on_request`.
    OnRequest = 1,
    /// A program's `main`.
    Main = 2,
}

/// A run of pages with one protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address, page-aligned.
    pub address: u64,
    /// Bytes that the file has.
    pub file_bytes: u64,
    /// Bytes in memory; those that the file has not are zero.
    pub memory_bytes: u64,
    /// What may be done with it.
    pub protection: Protection,
}

/// Protections of a segment: nothing is both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Constants and unwind tables.
    Read,
    /// Variables.
    ReadWrite,
    /// Code.
    ReadExecute,
}

/// What the host must know of an image to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) slot: Range<u64>,
    pub(crate) eh_frame: Range<u64>,
    pub(crate) initialisers: Vec<Range<u64>>,
    pub(crate) finalisers: Vec<Range<u64>>,
    pub(crate) entries: Vec<(u64, u64)>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut words = vec![FORMAT_VERSION, ABI_VERSION];
        words.extend([self.slot.start, self.slot.end - self.slot.start]);
        words.extend([self.eh_frame.start, self.eh_frame.end]);
        for list in [&self.initialisers, &self.finalisers] {
            words.push(list.len() as u64);
            words.extend(list.iter().flat_map(|range| [range.start, range.end]));
        }
        words.push(self.entries.len() as u64);
        words.extend(self.entries.iter().flat_map(|&(entry, address)| [entry, address]));
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut words = Words(bytes);
        let (format, abi) = (words.next()?, words.next()?);
        if (format, abi) != (FORMAT_VERSION, ABI_VERSION) {
            return Err(Invalid(format!("format {format} and ABI {abi} are not this program's")));
        }
        let (base, size) = (words.next()?, words.next()?);
        let end = base.checked_add(size).ok_or_else(|| Invalid("slot wraps around".into()))?;
        let eh_frame = words.range()?;
        let initialisers = words.list(Words::range)?;
        let finalisers = words.list(Words::range)?;
        let entries = words.list(|words| Ok((words.next()?, words.next()?)))?;
        Ok(Self { slot: base..end, eh_frame, initialisers, finalisers, entries })
    }
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u64, Invalid> {
        let (word, rest) =
            self.0.split_first_chunk::<8>().ok_or_else(|| Invalid("note is cut short".into()))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*word))
    }

    fn range(&mut self) -> Result<Range<u64>, Invalid> {
        let (start, end) = (self.next()?, self.next()?);
        if start > end {
            return Err(Invalid(format!("range {start:#x} to {end:#x} is backwards")));
        }
        Ok(start..end)
    }

    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, Invalid>,
    ) -> Result<Vec<T>, Invalid> {
        let count = self.next()?;
        if count > LIST_MAX {
            return Err(Invalid(format!("list of {count}")));
        }
        (0..count).map(|_| item(self)).collect()
    }
}

pub(crate) fn page_end(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_BYTES)
}
