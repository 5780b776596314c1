//! Heads of the plain exchanges that this program takes part in itself: its own origin, its own
//! loader, the question whether a server answers.
//!
//! All that it needs is the first line and how long the body is. A body without a length, such as a
//! chunked one, is refused: every peer passes on the length that it was given.

use std::io::{self, BufRead, Error, ErrorKind, Read};

/// No server here sends a tenth of it; what is longer is no head.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// What counts of a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The request line or the status line.
    pub(crate) first_line: String,
    pub(crate) body_bytes: u64,
}

/// Reads one head, and nothing after it. `None` is the stream's end in the place of a head.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut reader = reader.take(HEAD_BYTES_MAX);
    let Some(first_line) = line(&mut reader)? else { return Ok(None) };
    let mut head = Head { first_line, body_bytes: 0 };
    loop {
        let field = line(&mut reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if field.is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = field.split_once(':').ok_or(ErrorKind::InvalidData)?;
        if name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Error::new(ErrorKind::Unsupported, field));
        }
    }
}

/// Reads so many bytes of a body and forgets them.
pub(crate) fn skip(reader: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let ready = reader.fill_buf()?.len();
        if ready == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let taken = left.min(ready as u64);
        reader.consume(taken as usize);
        left -= taken;
    }
    Ok(())
}

/// A line without its end; `None` at the stream's end.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let content = line.strip_suffix("\r\n").ok_or(ErrorKind::InvalidData)?;
    Ok(Some(content.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first line, the body's length, and what is left to read after the head.
    fn check(input: &str, expect: Option<(&str, u64, &str)>) {
        let mut reader = input.as_bytes();
        let head = read(&mut reader).ok().flatten();
        let left = String::from_utf8_lossy(reader);
        let seen = head.as_ref().map(|head| (&*head.first_line, head.body_bytes, &*left));
        assert_eq!(seen, expect, "{input:?}");
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        check("GET / HTTP/1.1\r\n\r\nnext", Some(("GET / HTTP/1.1", 0, "next")));
        check("GET / HTTP/1.1\r\nhost: a\r\n", None);
        check("GET / HTTP/1.1\n\n", None);
        check("", None);
    }

    #[test]
    fn the_length_of_a_body_is_read_whatever_its_case() {
        let ok = "HTTP/1.1 200 OK";
        check(&format!("{ok}\r\ncontent-LENGTH: 12\r\n\r\n"), Some((ok, 12, "")));
        check(&format!("{ok}\r\ncontent-length: twelve\r\n\r\n"), None);
        check(&format!("{ok}\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let mut reader = "hello world".as_bytes();
        assert!(skip(&mut reader, 5).is_ok());
        assert_eq!(reader, b" world");
        assert!(skip(&mut reader, 7).is_err());
    }
}
