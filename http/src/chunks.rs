//! The chunked coding (RFC 9112, section 7.1), byte by byte: sizes, extensions, data and trailers.
//!
//! Extensions and trailers are held to their grammar and dropped: nothing between client and origin may
//! depend on them (RFC 9110, section 6.5.1), and a field that arrives after the decision it could have
//! changed is best not seen. A sloppy line that would do no harm here is refused all the same, since it
//! is no sender's habit but somebody's try at what the next parser makes of it.
//!
//! The same goes for a trailer that names a field which frames a message, routes it or manages its
//! connection: no sender may send one. Other fields that must not be trailers (`Authorization`,
//! `Content-Type`, `Cache-Control` and more) mean nothing to Kiln and are dropped with the rest.

use crate::error::BodyError;
use crate::fields::{Known, is_token_byte, is_value_byte};
use crate::step::{Step, clamp};

/// Where a chunked body stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Bytes of extensions, trailers and padding so far.
    extra_bytes: usize,
    /// The name of the trailer that is being read, as far as it fits.
    name: [u8; NAME_BYTES_MAX],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// In the hexadecimal size; how many digits it has so far, 255 for more.
    Size { size: u64, digits: u8 },
    /// In what may follow the size on its line.
    Extension { size: u64, at: ExtensionPart },
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
    /// In the name of a trailer; how many bytes it has so far.
    TrailerName { length: usize },
    /// In the value of a trailer.
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last line.
    EndLf,
}

/// Where in the extensions of a chunk: `;name`, `;name=token` or `;name="quoted"`, blanks in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExtensionPart {
    /// In blanks after the size or a value: another extension must follow.
    Blank,
    /// After the semicolon.
    NameBegin,
    /// In the name.
    Name,
    /// In blanks after the name: a value or another extension must follow.
    NameBlank,
    /// After the equals sign.
    ValueBegin,
    /// In a value that is a token.
    Token,
    /// In a value that is quoted.
    Quoted,
    /// After a backslash in it.
    QuotedPair,
    /// After its closing quote.
    QuotedEnd,
}

/// The largest chunk size: 60 bits, so that no sum of sizes overflows.
const SIZE_MAX: u64 = (1 << 60) - 1;

/// Digits of a size that cost nothing extra: some senders pad each size to the 16 that 64 bits have.
/// Zeros beyond count as extra bytes, since a size may begin with any number of them.
const SIZE_DIGITS_USUAL: u8 = 16;

/// Bytes of extensions, trailers and padding of sizes that one body may carry. They cost work and carry
/// no content, so that without a limit a sender could make a small body as dear as it likes.
const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a trailer's name that are kept: a name as long as this is no field that is refused.
const NAME_BYTES_MAX: usize = Known::NAME_BYTES_MAX + 1;

impl Default for State {
    fn default() -> Self {
        State::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// One run of data, or all the framing up to the next one; and whether the body ended with it.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<(Step, bool), BodyError> {
        let mut at = 0;
        while at < input.len() {
            if let State::Data { left } = &mut self.state {
                let length = clamp(*left, input.len() - at);
                *left -= length as u64;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                return Ok((Step { consumed: at + length, content: at..at + length }, false));
            }
            let byte = input[at];
            at += 1;
            if self.state == State::EndLf {
                let is_end = byte == b'\n';
                let step = Step { consumed: at, content: at..at };
                return if is_end { Ok((step, true)) } else { Err(BodyError::Malformed) };
            }
            self.state = self.after(byte)?;
        }
        Ok((Step { consumed: at, content: at..at }, false))
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, BodyError> {
        use State::*;
        if self.is_extra(byte) {
            self.extra_bytes += 1;
            if self.extra_bytes > EXTRA_BYTES_MAX {
                return Err(BodyError::TooLong);
            }
        }
        match (&self.state, byte) {
            (&Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if size > SIZE_MAX >> 4 {
                    return Err(BodyError::ChunkSize);
                }
                let digit = (byte as char).to_digit(16).expect("matched as a hexadecimal digit");
                Ok(Size { size: size << 4 | u64::from(digit), digits: digits.saturating_add(1) })
            }
            (Size { digits: 0, .. }, _) => Err(BodyError::ChunkSize),
            (&Size { size, .. }, b' ' | b'\t') => Ok(Extension { size, at: ExtensionPart::Blank }),
            (&Size { size, .. }, b';') => Ok(Extension { size, at: ExtensionPart::NameBegin }),
            (&Size { size, .. }, b'\r') => Ok(SizeLf { size }),
            (Size { .. }, _) => Err(BodyError::ChunkSize),
            (&Extension { size, at }, b'\r') if at.may_end() => Ok(SizeLf { size }),
            (&Extension { size, at }, byte) => {
                let at = at.after(byte).ok_or(BodyError::Malformed)?;
                Ok(Extension { size, at })
            }
            (SizeLf { size: 0 }, b'\n') => Ok(LineBegin),
            (&SizeLf { size }, b'\n') => Ok(Data { left: size }),
            (DataCr, b'\r') => Ok(DataLf),
            (DataLf, b'\n') => Ok(State::default()),
            (SizeLf { .. } | DataCr | DataLf, _) => Err(BodyError::ChunkEnd),
            (LineBegin, b'\r') => Ok(EndLf),
            (LineBegin, byte) if is_token_byte(byte) => Ok(self.after_name_byte(0, byte)),
            (&TrailerName { length }, b':') => match Known::of(&self.name[..length]) {
                known if known.is_never_a_trailer() => Err(BodyError::Trailer),
                _ => Ok(TrailerValue),
            },
            (&TrailerName { length }, byte) if is_token_byte(byte) => {
                Ok(self.after_name_byte(length, byte))
            }
            (TrailerValue, b'\r') => Ok(TrailerLf),
            (TrailerValue, byte) if is_value_byte(byte) => Ok(TrailerValue),
            (TrailerLf, b'\n') => Ok(LineBegin),
            _ => Err(BodyError::Malformed),
        }
    }

    /// Whether the next byte costs work and carries no content.
    fn is_extra(&self, byte: u8) -> bool {
        use State::*;
        match self.state {
            Size { digits, .. } => digits >= SIZE_DIGITS_USUAL && byte.is_ascii_hexdigit(),
            Extension { .. } | LineBegin | TrailerName { .. } | TrailerValue => true,
            _ => false,
        }
    }

    /// The state after one more byte of a trailer's name, which has so many already.
    fn after_name_byte(&mut self, length: usize, byte: u8) -> State {
        let Some(place) = self.name.get_mut(length) else { return State::TrailerName { length } };
        *place = byte;
        State::TrailerName { length: length + 1 }
    }
}

impl ExtensionPart {
    /// Whether the line may end here.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd)
    }

    /// The place after one byte that does not end the line.
    fn after(self, byte: u8) -> Option<Self> {
        use ExtensionPart::*;
        match (self, byte) {
            (Quoted, b'"') => Some(QuotedEnd),
            (Quoted, b'\\') => Some(QuotedPair),
            (Quoted | QuotedPair, byte) => is_value_byte(byte).then_some(Quoted),
            (NameBegin | ValueBegin, b' ' | b'\t') => Some(self),
            (Name | NameBlank, b' ' | b'\t') => Some(NameBlank),
            (Blank | Token | QuotedEnd, b' ' | b'\t') => Some(Blank),
            (Blank | Name | NameBlank | Token | QuotedEnd, b';') => Some(NameBegin),
            (Name | NameBlank, b'=') => Some(ValueBegin),
            (ValueBegin, b'"') => Some(Quoted),
            (NameBegin | Name, byte) if is_token_byte(byte) => Some(Name),
            (ValueBegin | Token, byte) if is_token_byte(byte) => Some(Token),
            _ => None,
        }
    }
}
