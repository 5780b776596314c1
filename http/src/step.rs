//! A step through a body, whatever its framing.

use std::ops::Range;

/// What one call of [`crate::BodyDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// Where in these bytes content stands; may be empty.
    pub content: Range<usize>,
}

/// As many of the bytes that are left as are available.
pub(crate) fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(available)
}
