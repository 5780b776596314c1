//! Content whose every byte says where it belongs, made and checked while it streams: nothing here holds
//! a body in memory, so hundreds of megabytes cost no more than one.

use std::io::{self, BufRead, Write};
use std::sync::LazyLock;

/// How content is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By `Content-Length`.
    Counted,
    /// In chunks of at most this many bytes.
    Chunked(usize),
    /// By the end of the connection; responses alone.
    Closing,
}

/// Length of the pattern that content repeats: a prime, so that no buffer size divides it and a piece
/// that is moved, doubled or left out is seen.
const PATTERN_BYTES: usize = 65_521;

/// The pattern, twice, so that a piece of any length up to its own can be taken at any place.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let once: Vec<u8> = (0..PATTERN_BYTES).map(|_| next()).collect();
    [&once[..], &once].concat()
});

/// The bytes of content that stand at `offset`, at most `length` of them.
fn piece(offset: u64, length: usize) -> &'static [u8] {
    let start = (offset % PATTERN_BYTES as u64) as usize;
    &PATTERN[start..start + length.min(PATTERN_BYTES)]
}

impl Framing {
    /// The field that says so, with its line end.
    pub(crate) fn field(self, bytes: u64) -> String {
        match self {
            Framing::Counted => format!("Content-Length: {bytes}\r\n"),
            Framing::Chunked(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Closing => String::new(),
        }
    }

    /// Writes so many bytes of content.
    pub(crate) fn write(self, output: &mut impl Write, bytes: u64) -> io::Result<()> {
        let mut offset = 0;
        while offset < bytes {
            let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
            let piece = match self {
                Framing::Chunked(size) => piece(offset, left.min(size)),
                _ => piece(offset, left),
            };
            match self {
                Framing::Chunked(_) => {
                    let size = format!("{:x}\r\n", piece.len());
                    output.write_all(&[size.as_bytes(), piece, b"\r\n"].concat())?;
                }
                _ => output.write_all(piece)?,
            }
            offset += piece.len() as u64;
        }
        if matches!(self, Framing::Chunked(_)) {
            output.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }
}

/// Reads the head of a message: its first line, and how its content is framed and how long it is, as
/// far as that is said.
pub(crate) fn read_head(input: &mut impl BufRead) -> io::Result<(String, Framing, u64)> {
    let mut first = String::new();
    input.read_line(&mut first)?;
    let (mut framing, mut length) = (Framing::Closing, 0);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Ok((first.trim_end().to_owned(), framing, length));
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
            framing = Framing::Counted;
        } else if line == "transfer-encoding: chunked" {
            framing = Framing::Chunked(0);
        }
    }
}

/// Reads content to its end, checking every byte; gives how many there were.
pub(crate) fn check(input: &mut impl BufRead, framing: Framing, length: u64) -> io::Result<u64> {
    match framing {
        Framing::Counted => exactly(input, 0, length).map(|()| length),
        Framing::Closing => {
            let mut offset = 0;
            while let count @ 1.. = check_some(input, offset, u64::MAX)? {
                offset += count;
            }
            Ok(offset)
        }
        Framing::Chunked(_) => {
            let mut offset = 0;
            loop {
                let mut line = String::new();
                input.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
                exactly(input, offset, size)?;
                offset += size;
                line.clear();
                input.read_line(&mut line)?;
                match (line.as_str(), size) {
                    ("\r\n", 0) => return Ok(offset),
                    ("\r\n", _) => {}
                    _ => return Err(io::Error::other(format!("a chunk ends with {line:?}"))),
                }
            }
        }
    }
}

/// Checks the `count` bytes of content from `offset` on.
fn exactly(input: &mut impl BufRead, offset: u64, count: u64) -> io::Result<()> {
    let mut done = 0;
    while done < count {
        match check_some(input, offset + done, count - done)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => done += more,
        }
    }
    Ok(())
}

/// Checks what is there, at most `limit` bytes; 0 at the end.
fn check_some(input: &mut impl BufRead, offset: u64, limit: u64) -> io::Result<u64> {
    let available = input.fill_buf()?;
    let length = available.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
    let expected = piece(offset, length);
    let length = length.min(expected.len());
    if available[..length] != expected[..length] {
        let at = (0..length).find(|at| available[*at] != expected[*at]).unwrap_or_default();
        return Err(io::Error::other(format!("another byte at {}", offset + at as u64)));
    }
    input.consume(length);
    Ok(length as u64)
}
