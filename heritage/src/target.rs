//! The beginning of a request's target in shared memory, for people to read.
//!
//! A worker writes it and the master reads it meanwhile, which may give a target of which half is
//! newer. A worker is not trusted with it: whatever stands there is read as a short line of printable
//! characters. It is words and not bytes, and no more of them are written than a target has, since one
//! is written before each hook call.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a target that are kept; what follows says little about what is slow.
pub const TARGET_BYTES_MAX: usize = 120;

const WORDS: usize = TARGET_BYTES_MAX / size_of::<u64>();
const _: () = assert!(WORDS * size_of::<u64>() == TARGET_BYTES_MAX);

/// Room for one.
#[repr(C)]
pub(crate) struct TargetCell {
    bytes: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl TargetCell {
    /// In the worker: it begins like this.
    pub(crate) fn write(&self, target: &[u8]) {
        let target = &target[..target.len().min(TARGET_BYTES_MAX)];
        let (words, rest) = target.as_chunks::<{ size_of::<u64>() }>();
        for (place, word) in self.words.iter().zip(words) {
            place.store(u64::from_ne_bytes(*word), Relaxed);
        }
        if !rest.is_empty() {
            let mut word = [0; size_of::<u64>()];
            word[..rest.len()].copy_from_slice(rest);
            self.words[words.len()].store(u64::from_ne_bytes(word), Relaxed);
        }
        self.bytes.store(target.len() as u64, Relaxed);
    }

    /// In the master: what was written last.
    pub(crate) fn read(&self) -> String {
        let bytes = self.bytes.load(Relaxed).min(TARGET_BYTES_MAX as u64) as usize;
        let words = self.words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes());
        let printable = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
        words.take(bytes).map(printable).collect()
    }

    /// As if the worker had written nonsense.
    #[cfg(test)]
    pub(crate) fn break_length(&self) {
        self.bytes.store(u64::MAX, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        TargetCell { bytes: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}
