//! The beginning of a request's target, for whoever wonders later what a request was.

use std::fmt;

use heritage::TARGET_BYTES_MAX;

/// The beginning of a target.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    length: u8,
    bytes: [u8; TARGET_BYTES_MAX],
}

const _: () = assert!(TARGET_BYTES_MAX <= u8::MAX as usize);

impl Label {
    /// No target: there is no request yet, or none that could be read.
    pub(crate) const NONE: Label = Label { length: 0, bytes: [0; TARGET_BYTES_MAX] };

    pub(crate) fn of(target: &[u8]) -> Self {
        let mut bytes = [0; TARGET_BYTES_MAX];
        let length = target.len().min(TARGET_BYTES_MAX);
        bytes[..length].copy_from_slice(&target[..length]);
        Label { length: length as u8, bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}
