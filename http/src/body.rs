//! Where a body ends: counted, chunked, or at the end of the connection (RFC 9112, section 6).
//!
//! The decoder finds runs of content in the bytes it is given and copies nothing.

use crate::chunks::Chunks;
use crate::error::BodyError;
use crate::step::{Step, clamp};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks, each with its size, up to one of size 0.
    Chunked,
    /// Whatever comes until the connection ends; responses alone.
    UntilClose,
}

/// Finds the content of one body in the bytes of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyDecoder {
    /// The body has ended; what follows belongs to the next message.
    Done,
    /// This many bytes are still to come.
    Length(u64),
    /// Between or in chunks.
    Chunked(Chunks),
    /// Everything is content.
    UntilClose,
}

impl From<Framing> for BodyDecoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl BodyDecoder {
    /// Whether the body has ended.
    #[inline]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the end of the connection is a proper end of this body.
    #[inline]
    pub fn may_end_here(&self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }

    /// Whether `input` is nothing but content of this body.
    pub fn is_all_content(&self, input: &[u8]) -> bool {
        match self {
            Self::Length(left) => input.len() as u64 <= *left,
            Self::UntilClose => true,
            Self::Done | Self::Chunked(_) => input.is_empty(),
        }
    }

    /// Bytes of which it is known, without looking at them, that they are content: those that are left of
    /// a counted body, any number until the connection ends. None where each byte must be looked at.
    #[inline]
    pub fn counted_left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::UntilClose => Some(u64::MAX),
            Self::Done | Self::Chunked(_) => None,
        }
    }

    /// Goes past content that was moved without being looked at, as splice(2) does. There must be as
    /// much left as [`BodyDecoder::counted_left`] says.
    pub fn skip(&mut self, count: u64) {
        let left = self.counted_left().unwrap_or(0);
        assert!(count <= left, "{count} bytes were moved of {left}");
        match self {
            Self::Length(left) if *left == count => *self = Self::Done,
            Self::Length(left) => *left -= count,
            Self::UntilClose | Self::Done | Self::Chunked(_) => {}
        }
    }

    /// Finds the next run of content. Call again while something is consumed and the body is not done.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        match self {
            Self::Done => Ok(Step { consumed: 0, content: 0..0 }),
            Self::UntilClose => Ok(Step { consumed: input.len(), content: 0..input.len() }),
            Self::Length(left) => {
                let length = clamp(*left, input.len());
                *left -= length as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step { consumed: length, content: 0..length })
            }
            Self::Chunked(chunks) => {
                let (step, ended) = chunks.decode(input)?;
                if ended {
                    *self = Self::Done;
                }
                Ok(step)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_was_moved_unseen_is_counted() {
        let mut decoder = BodyDecoder::from(Framing::Length(5));
        assert_eq!(decoder.counted_left(), Some(5));
        decoder.skip(3);
        assert_eq!(decoder.counted_left(), Some(2));
        assert_eq!(decoder.decode(b"abc").unwrap().content, 0..2);
        assert_eq!((decoder.counted_left(), decoder.is_done()), (None, true));
        let mut decoder = BodyDecoder::from(Framing::Length(5));
        decoder.skip(5);
        assert!(decoder.is_done());
        let mut decoder = BodyDecoder::from(Framing::UntilClose);
        decoder.skip(1 << 40);
        assert_eq!(decoder.counted_left(), Some(u64::MAX));
        assert_eq!(BodyDecoder::from(Framing::Chunked).counted_left(), None);
    }

    #[test]
    fn bytes_are_all_content_where_none_of_them_can_be_framing() {
        let check = |framing: Framing, expect| {
            let decoder = BodyDecoder::from(framing);
            assert_eq!(decoder.is_all_content(b"abc"), expect, "{framing:?}");
            assert!(decoder.is_all_content(b""), "{framing:?}");
        };
        check(Framing::Length(4), true);
        check(Framing::Length(3), true);
        check(Framing::Length(2), false);
        check(Framing::UntilClose, true);
        check(Framing::None, false);
        check(Framing::Chunked, false);
    }

    #[test]
    #[should_panic(expected = "6 bytes were moved of 5")]
    fn no_more_content_is_skipped_than_is_left() {
        BodyDecoder::from(Framing::Length(5)).skip(6);
    }
}
