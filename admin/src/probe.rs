//! One health check: a connection, a request, and the whole answer.
//!
//! The status says how the server is, and the answer has to come to its end: a server that stops in
//! the middle of a body does that to clients, too. The body is read up to a limit and thrown away.
//! An answer is read as strictly as one to a client's request, since that is what the server is to
//! give.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use http::{BodyDecoder, BodyError, ResponseError, ResponseHead, ResponseLimits, Scan};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bytes of the longest head: as many as a worker may ever take. Interim heads before it count.
const HEAD_BYTES_MAX: usize = settings::HEAD_BYTES_MAX as usize;

/// Bytes of the longest body, with what frames it: more than any page that is made for health
/// checks, and few enough that checks are no load. `settings::Health::path` says so.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// What is asked is always a `GET`.
const ANSWERS_HEAD: bool = false;

/// Bytes of one read.
const READ_BYTES: usize = 4096;

/// Why a server has not said how it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection, or a broken one.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// No answer in time.
    #[error("it does not answer in time")]
    TimedOut,
    /// The head came in time, and the end of the body did not.
    #[error("its answer, of status {0}, does not end in time")]
    BodyTimedOut(u16),
    /// The connection ended before the head did.
    #[error("it closes the connection without an answer")]
    Closed,
    /// The connection ended before the body did.
    #[error("it closes the connection in the middle of its answer, of status {0}")]
    BodyClosed(u16),
    /// The head is none.
    #[error("its answer is not HTTP/1.1: {0}")]
    Response(#[from] ResponseError),
    /// The body is none.
    #[error("its answer is not HTTP/1.1: {0}")]
    Body(#[from] BodyError),
    /// The body is longer than anybody reads.
    #[error(
        "its answer, of status {0}, has more than {limit} MiB: let health.path be a shorter one",
        limit = BODY_BYTES_MAX >> 20
    )]
    BodyTooLarge(u16),
}

/// Finds the status in what a server sends, and the end of its answer.
#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    /// Where the head begins that is being read, after interim ones.
    begin: usize,
    scan: Scan,
    head: ResponseHead,
    /// Once the head is whole.
    body: Option<Body>,
}

/// What is left of an answer whose head is whole.
#[derive(Debug)]
struct Body {
    decoder: BodyDecoder,
    /// Bytes that may still come.
    room: u64,
}

impl Body {
    /// Takes bytes as they come; answers whether the body has ended.
    fn take(&mut self, mut part: &[u8], status: u16) -> Result<bool, Failure> {
        while !self.decoder.is_done() {
            let step = self.decoder.decode(part)?;
            self.room =
                self.room.checked_sub(step.consumed as u64).ok_or(Failure::BodyTooLarge(status))?;
            part = &part[step.consumed..];
            if step.consumed == 0 || part.is_empty() {
                break;
            }
        }
        Ok(self.decoder.is_done())
    }
}

impl Answer {
    /// Takes bytes as they come; gives the status once the answer is whole.
    fn take(&mut self, part: &[u8]) -> Result<Option<u16>, Failure> {
        let rest = match self.body {
            Some(_) => part,
            None => match self.take_head(part)? {
                Some(rest) => rest,
                None => return Ok(None),
            },
        };
        let body = self.body.as_mut().expect("the head is whole");
        Ok(body.take(rest, self.head.status)?.then_some(self.head.status))
    }

    /// The connection has ended; gives the status if that is a proper end of the answer.
    fn end(&self) -> Result<u16, Failure> {
        match &self.body {
            Some(body) if body.decoder.may_end_here() => Ok(self.head.status),
            Some(_) => Err(Failure::BodyClosed(self.head.status)),
            None => Err(Failure::Closed),
        }
    }

    /// What is missing of it after all the time that there is.
    fn late(&self) -> Failure {
        match self.body {
            Some(_) => Failure::BodyTimedOut(self.head.status),
            None => Failure::TimedOut,
        }
    }

    /// Takes bytes of heads; once the last one is whole, gives those behind it.
    fn take_head<'p>(&mut self, part: &'p [u8]) -> Result<Option<&'p [u8]>, Failure> {
        let before = self.bytes.len();
        let taken = part.len().min(HEAD_BYTES_MAX - before);
        self.bytes.extend_from_slice(&part[..taken]);
        loop {
            let head_bytes_max = HEAD_BYTES_MAX - self.begin;
            let limits = ResponseLimits { head_bytes_max, fields_max: http::FIELDS_MAX };
            let bytes = &self.bytes[self.begin..];
            let Some(length) = self.head.parse(bytes, &mut self.scan, &limits)? else {
                return Ok(None);
            };
            self.begin += length;
            if !self.head.is_interim() {
                let decoder = BodyDecoder::from(self.head.framing(ANSWERS_HEAD)?);
                self.body = Some(Body { decoder, room: BODY_BYTES_MAX });
                // The head ended within this part, or an earlier one would have had it.
                return Ok(Some(&part[self.begin - before..]));
            }
            // The next head may have come with it.
            self.scan = Scan::default();
            if self.begin == HEAD_BYTES_MAX {
                return Err(ResponseError::HeadTooLarge.into());
            }
        }
    }
}

/// A question to one server that is not answered yet.
#[derive(Debug)]
pub(crate) struct Probe {
    /// When it is late.
    pub(crate) deadline_ms: u64,
    stream: TcpStream,
    /// Bytes of the request that were sent.
    sent: usize,
    answer: Answer,
}

impl Probe {
    /// Begins to connect.
    pub(crate) fn start(
        server: SocketAddr,
        deadline_ms: u64,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = connect(server)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Probe { deadline_ms, stream, sent: 0, answer: Answer::default() })
    }

    /// Its time is up.
    pub(crate) fn late(&self) -> Failure {
        self.answer.late()
    }

    /// Goes on as far as the socket permits; gives the outcome once there is one.
    pub(crate) fn advance(&mut self, request: &[u8]) -> Option<Result<u16, Failure>> {
        match self.exchange(request) {
            Ok(status) => Some(Ok(status)),
            Err(Failure::Connection(error)) if error.kind() == ErrorKind::WouldBlock => None,
            Err(failure) => Some(Err(failure)),
        }
    }

    fn exchange(&mut self, request: &[u8]) -> Result<u16, Failure> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        while self.sent < request.len() {
            self.sent += match self.stream.write(&request[self.sent..]) {
                // The connection is still being opened.
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    return Err(io::Error::from(ErrorKind::WouldBlock).into());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                written => written?,
            };
        }
        let mut part = [0; READ_BYTES];
        loop {
            let length = match self.stream.read(&mut part) {
                Ok(0) => return self.answer.end(),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(status) = self.answer.take(&part[..length])? {
                return Ok(status);
            }
        }
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of these bytes, and of the end of the connection after them if they are not all of
    /// an answer: the same whether they come at once or one by one.
    fn check(input: &str, expect: Result<Option<u16>, &str>, at_end: Result<u16, &str>) {
        let said = |outcome: Result<Option<u16>, Failure>| outcome.map_err(|bad| bad.to_string());
        let (expect, at_end) = (expect.map_err(str::to_owned), at_end.map_err(str::to_owned));
        let ended = |answer: &Answer| answer.end().map_err(|bad| bad.to_string());
        let mut answer = Answer::default();
        assert_eq!(said(answer.take(input.as_bytes())), expect, "{input:?} at once");
        if expect == Ok(None) {
            assert_eq!(ended(&answer), at_end, "{input:?} at once, then its end");
        }
        let mut answer = Answer::default();
        let mut outcome = Ok(None);
        for byte in input.bytes() {
            outcome = said(answer.take(&[byte]));
            if outcome != Ok(None) {
                break;
            }
        }
        assert_eq!(outcome, expect, "{input:?} byte by byte");
        if expect == Ok(None) {
            assert_eq!(ended(&answer), at_end, "{input:?} byte by byte, then its end");
        }
    }

    /// An answer that is whole, of this status.
    fn whole(input: &str, status: u16) {
        check(input, Ok(Some(status)), Ok(status));
    }

    /// Not whole yet, and never if the connection ends here.
    fn cut_short(input: &str, at_end: &str) {
        check(input, Ok(None), Err(at_end));
    }

    fn refused(input: &str, why: &str) {
        check(input, Err(why), Err(why));
    }

    #[test]
    fn the_status_is_that_of_the_first_head_that_is_not_interim() {
        whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200);
        whole("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503);
        whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204);
        for nothing in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n", ""] {
            cut_short(nothing, "it closes the connection without an answer");
        }
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let in_the_middle = "it closes the connection in the middle of its answer, of status 200";
        let counted = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        cut_short(counted, in_the_middle);
        cut_short(&format!("{counted}abc"), in_the_middle);
        whole(&format!("{counted}abcd"), 200);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        cut_short(chunked, in_the_middle);
        cut_short(&format!("{chunked}3\r\nabc\r\n"), in_the_middle);
        cut_short(&format!("{chunked}3\r\nabc\r\n0\r\n"), in_the_middle);
        whole(&format!("{chunked}3\r\nabc\r\n0\r\n\r\n"), 200);
        whole(&format!("{chunked}1\r\na\r\n1\r\nb\r\n0\r\nX-Checksum: c\r\n\r\n"), 200);
        let until_close = "HTTP/1.0 200 OK\r\n\r\n";
        check(until_close, Ok(None), Ok(200));
        check(&format!("{until_close}abc"), Ok(None), Ok(200));
    }

    #[test]
    fn statuses_that_have_no_body_end_with_their_head() {
        whole("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204);
        whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304);
        whole("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101);
    }

    #[test]
    fn a_body_without_end_is_no_answer() {
        let too_large =
            "its answer, of status 200, has more than 1 MiB: let health.path be a shorter one";
        let most = "x".repeat(BODY_BYTES_MAX as usize);
        for framing in ["", "Content-Length: 1048576\r\n"] {
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
            let whole = (!framing.is_empty()).then_some(200);
            check(&format!("{head}{most}"), Ok(whole), Ok(200));
        }
        refused(&format!("HTTP/1.1 200 OK\r\n\r\n{most}x"), too_large);
        let chunks = "1\r\na\r\n".repeat(BODY_BYTES_MAX as usize / 6 + 1);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(&format!("{chunked}{chunks}"), too_large);
    }

    #[test]
    fn what_comes_too_late_is_told() {
        let late = |input: &str| {
            let mut answer = Answer::default();
            assert_eq!(answer.take(input.as_bytes()).ok(), Some(None), "{input:?}");
            answer.late().to_string()
        };
        assert_eq!(late("HTTP/1.1 200 OK\r\n"), "it does not answer in time");
        let dribbled = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        assert_eq!(late(dribbled), "its answer, of status 200, does not end in time");
    }

    #[test]
    fn a_head_may_be_as_large_as_for_a_client() {
        let cookies = "x".repeat(30 << 10);
        let cookies = format!("Set-Cookie: {cookies}\r\nContent-Length: 0\r\n");
        whole(&format!("HTTP/1.1 200 OK\r\n{cookies}\r\n"), 200);
        let fields = "x: y\r\n".repeat(200);
        whole(&format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"), 204);
    }

    #[test]
    fn what_a_client_would_not_be_given_is_no_answer() {
        let malformed = "its answer is not HTTP/1.1: the status line is malformed";
        refused("SSH-2.0-OpenSSH_9.2\r\n\r\n", malformed);
        refused("HTTP/1.1 42 Low\r\n\r\n", malformed);
        let line_end = "its answer is not HTTP/1.1: a line does not end with CR LF";
        refused("HTTP/1.1 200 OK\nContent-Length: 0\n\n", line_end);
        let input = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
        let mut answer = Answer::default();
        assert!(matches!(answer.take(input.as_bytes()), Err(Failure::Body(_))));
    }

    #[test]
    fn a_head_without_end_is_no_answer() {
        let too_large = "its answer is not HTTP/1.1: the response head is too large";
        refused(&format!("HTTP/1.1 200 {}", "x".repeat(HEAD_BYTES_MAX)), too_large);
        refused(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 16), too_large);
    }
}
