//! Where a body ends: counted, chunked, or at the end of the connection (RFC 9112, sections 6 and 7).
//!
//! The decoder finds runs of content in the bytes it is given and copies nothing. Chunk extensions and
//! trailers are checked and dropped: nothing between client and origin may depend on them (RFC 9110,
//! section 6.5.1), and a field that arrives after the decision it could have changed is best not seen.

use std::ops::Range;

use crate::error::BodyError;
use crate::fields::{is_token_byte, is_value_byte};

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

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// Where in these bytes content stands; may be empty.
    pub content: Range<usize>,
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

/// Where a chunked body stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: ChunkState,
    /// Bytes of extensions and trailers so far.
    extra_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the hexadecimal size; how many digits it has so far.
    Size { size: u64, digits: u8 },
    /// Blanks after the size: an extension or the line end must follow.
    Blank { size: u64 },
    /// In a chunk extension.
    Extension { size: u64 },
    /// After the CR of the size's line.
    SizeLf { size: u64 },
    /// In the data; how much is left.
    Data { left: u64 },
    /// After the data.
    DataCr,
    /// After the CR that follows the data.
    DataLf,
    /// At the beginning of a trailer line, or of the empty line that ends the body.
    LineBegin,
    /// In the name of a trailer.
    TrailerName,
    /// In the value of a trailer.
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last line.
    EndLf,
}

/// Hexadecimal digits of a chunk size: 60 bits, so that no sum of them overflows.
const SIZE_DIGITS_MAX: u8 = 15;

/// Bytes of extensions and trailers that one body may carry. They cost work and carry no content, so
/// that without a limit a sender could make a small body as dear as it likes.
const EXTRA_BYTES_MAX: usize = 16 * 1024;

impl From<Framing> for BodyDecoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks {
                state: ChunkState::Size { size: 0, digits: 0 },
                extra_bytes: 0,
            }),
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

impl Chunks {
    /// One run of data, or all the framing up to the next one; and whether the body ended with it.
    fn decode(&mut self, input: &[u8]) -> Result<(Step, bool), BodyError> {
        let mut at = 0;
        while at < input.len() {
            if let ChunkState::Data { left } = &mut self.state {
                let length = clamp(*left, input.len() - at);
                *left -= length as u64;
                if *left == 0 {
                    self.state = ChunkState::DataCr;
                }
                return Ok((Step { consumed: at + length, content: at..at + length }, false));
            }
            let byte = input[at];
            at += 1;
            if self.state == ChunkState::EndLf {
                let is_end = byte == b'\n';
                let step = Step { consumed: at, content: at..at };
                return if is_end { Ok((step, true)) } else { Err(BodyError::Malformed) };
            }
            self.state = self.after(byte)?;
        }
        Ok((Step { consumed: at, content: at..at }, false))
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<ChunkState, BodyError> {
        use ChunkState::*;
        if matches!(self.state, Blank { .. } | Extension { .. } | TrailerName | TrailerValue) {
            self.extra_bytes += 1;
            if self.extra_bytes > EXTRA_BYTES_MAX {
                return Err(BodyError::TooLong);
            }
        }
        match (&self.state, byte) {
            (&Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(BodyError::ChunkSize);
                }
                let digit = (byte as char).to_digit(16).expect("matched as a hexadecimal digit");
                Ok(Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Size { digits: 0, .. }, _) => Err(BodyError::ChunkSize),
            (&(Size { size, .. } | Blank { size }), b' ' | b'\t') => Ok(Blank { size }),
            (&(Size { size, .. } | Blank { size }), b';') => Ok(Extension { size }),
            (&Size { size, .. }, b'\r') => Ok(SizeLf { size }),
            (Size { .. } | Blank { .. }, _) => Err(BodyError::ChunkSize),
            (&Extension { size }, b'\r') => Ok(SizeLf { size }),
            (&Extension { size }, byte) if is_value_byte(byte) => Ok(Extension { size }),
            (SizeLf { size: 0 }, b'\n') => Ok(LineBegin),
            (&SizeLf { size }, b'\n') => Ok(Data { left: size }),
            (DataCr, b'\r') => Ok(DataLf),
            (DataLf, b'\n') => Ok(Size { size: 0, digits: 0 }),
            (SizeLf { .. } | DataCr | DataLf, _) => Err(BodyError::ChunkEnd),
            (LineBegin, b'\r') => Ok(EndLf),
            (LineBegin, byte) if is_token_byte(byte) => Ok(TrailerName),
            (TrailerName, b':') => Ok(TrailerValue),
            (TrailerName, byte) if is_token_byte(byte) => Ok(TrailerName),
            (TrailerValue, b'\r') => Ok(TrailerLf),
            (TrailerValue, byte) if is_value_byte(byte) => Ok(TrailerValue),
            (TrailerLf, b'\n') => Ok(LineBegin),
            _ => Err(BodyError::Malformed),
        }
    }
}

fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(available)
}
