//! A buffer that a head is written into, and the ways in which parts of one are written.

use std::io::Write;
use std::net::IpAddr;

/// A place for output that can be full.
#[derive(Debug)]
pub struct Output<'a> {
    bytes: &'a mut [u8],
    filled: usize,
}

/// There is no room for what was to be written; what is there is to be thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'a> Output<'a> {
    /// Writes from the beginning of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Output { bytes, filled: 0 }
    }

    /// Bytes written so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Writes `part`.
    #[inline]
    pub fn push(&mut self, part: &[u8]) -> Result<(), Full> {
        self.take(part.len())?.copy_from_slice(part);
        Ok(())
    }

    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Full> {
        let line = self.take(name.len() + value.len() + 4)?;
        let (to_name, line) = line.split_at_mut(name.len());
        let (colon, line) = line.split_at_mut(2);
        let (to_value, line_end) = line.split_at_mut(value.len());
        to_name.copy_from_slice(name);
        colon.copy_from_slice(b": ");
        to_value.copy_from_slice(value);
        line_end.copy_from_slice(b"\r\n");
        Ok(())
    }

    /// Room for that many bytes, which the caller fills.
    #[inline]
    fn take(&mut self, count: usize) -> Result<&mut [u8], Full> {
        let end = self.filled + count;
        let room = self.bytes.get_mut(self.filled..end).ok_or(Full)?;
        self.filled = end;
        Ok(room)
    }

    pub(crate) fn number(&mut self, number: u64) -> Result<(), Full> {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    pub(crate) fn formatted(&mut self, value: impl std::fmt::Display) -> Result<(), Full> {
        let mut rest = &mut self.bytes[self.filled..];
        let before = rest.len();
        write!(rest, "{value}").map_err(|_| Full)?;
        self.filled += before - rest.len();
        Ok(())
    }

    pub(crate) fn address(&mut self, address: IpAddr) -> Result<(), Full> {
        let IpAddr::V4(address) = address.to_canonical() else { return self.formatted(address) };
        // By hand: formatting by the library costs more than the rest of the head together.
        let [first, rest @ ..] = address.octets();
        self.number(u64::from(first))?;
        for octet in rest {
            self.push(b".")?;
            self.number(u64::from(octet))?;
        }
        Ok(())
    }

    pub(crate) fn content_length(&mut self, length: u64) -> Result<(), Full> {
        self.push(b"Content-Length: ")?;
        self.number(length)?;
        self.push(b"\r\n")
    }
}
