//! Finds where a head ends, as its bytes arrive.
//!
//! The scan remembers how far it got, so that a head that comes byte by byte is looked at once, not
//! once a byte. It also settles line ends for the whole crate: a line ends with CR LF or the message
//! is refused at that byte, since a lone LF or CR is what two parsers most often read differently.

use memchr::memchr;

/// How far a head has been searched for its end. One per message; start with the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Bytes that were searched; once a line is refused, those before its line feed.
    scanned: usize,
    /// Where the line began that is being searched.
    line: usize,
    /// Where the first line that is not empty begins.
    begin: usize,
    /// Where that line ends, past its CR LF; 0 until it has.
    first_line_end: usize,
    /// Whether that line was taken.
    has_taken_line: bool,
}

/// Empty lines that may stand before a request line (RFC 9112, section 2.2).
///
/// One is what old clients send after a body; more than a few is somebody probing.
const EMPTY_LINES_MAX: usize = 4;

/// Bytes of these empty lines.
const EMPTY_BYTES_MAX: usize = EMPTY_LINES_MAX * 2;

/// A line does not end with CR LF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineEnd;

impl Scan {
    /// Searches what is new in `bytes`, which start with the message's first byte. Gives the length of
    /// the head with its empty line, once it is there.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, LineEnd> {
        while let Some(offset) = memchr(b'\n', &bytes[self.scanned..]) {
            let lf = self.scanned + offset;
            self.scanned = lf;
            if lf == self.line || bytes[lf - 1] != b'\r' {
                return Err(LineEnd);
            }
            let is_empty = lf == self.line + 1;
            if is_empty && self.first_line_end == 0 && lf + 1 > EMPTY_BYTES_MAX {
                return Err(LineEnd);
            }
            self.scanned = lf + 1;
            self.line = lf + 1;
            if !is_empty {
                if self.first_line_end == 0 {
                    self.first_line_end = lf + 1;
                }
            } else if self.first_line_end != 0 {
                return Ok(Some(lf + 1));
            } else {
                self.begin = lf + 1;
            }
        }
        self.scanned = bytes.len();
        Ok(None)
    }

    /// How many bytes were searched and found well.
    pub(crate) fn scanned(&self) -> usize {
        self.scanned
    }

    /// Where the first line that is not empty begins.
    pub(crate) fn begin(&self) -> usize {
        self.begin
    }

    /// Where the first line ends, past its CR LF, once it has.
    pub(crate) fn first_line_end(&self) -> Option<usize> {
        (self.first_line_end != 0).then_some(self.first_line_end)
    }

    /// True once: when the first line is to be looked at, which is there.
    pub(crate) fn takes_first_line(&mut self) -> bool {
        !std::mem::replace(&mut self.has_taken_line, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome is the same whether the bytes come at once or one by one.
    fn check(input: &str, expect: Result<Option<usize>, LineEnd>) {
        assert_eq!(Scan::default().advance(input.as_bytes()), expect, "{input:?} at once");
        let mut scan = Scan::default();
        let mut outcome = Ok(None);
        for end in 1..=input.len() {
            outcome = scan.advance(&input.as_bytes()[..end]);
            if outcome != Ok(None) {
                break;
            }
        }
        assert_eq!(outcome, expect, "{input:?} byte by byte");
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        check("GET / HTTP/1.1\r\n\r\nrest", Ok(Some(18)));
        check("A\r\nb: c\r\n\r\n", Ok(Some(11)));
        check("A\r\nb: c\r\n\r", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn empty_lines_before_it_are_skipped_up_to_a_limit() {
        check("\r\nA\r\n\r\n", Ok(Some(7)));
        check("\r\n\r\n", Ok(None));
        check("\r\n\r\n\r\n\r\n\r\nA\r\n\r\n", Err(LineEnd));
    }

    #[test]
    fn a_lone_line_feed_is_refused() {
        check("\nA\r\n\r\n", Err(LineEnd));
        check("A\nb: c\r\n\r\n", Err(LineEnd));
        check("A\r\nb: c\n\r\n", Err(LineEnd));
        check("A\r\n\nx", Err(LineEnd));
    }
}
