//! One health check: a connection, a request, and the head of the answer.
//!
//! The body is nobody's business: the status says it all, and the connection closes after it. An
//! answer is read as strictly as one to a client's request, since that is what the server is to
//! give.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use http::{ResponseError, ResponseHead, ResponseLimits, Scan};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bytes of the longest head: as many as a worker may ever take. Interim heads before it count.
const HEAD_BYTES_MAX: usize = settings::HEAD_BYTES_MAX as usize;

/// Why a server has not said how it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection, or a broken one.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// No answer in time.
    #[error("it does not answer in time")]
    TimedOut,
    /// The connection ended before the head did.
    #[error("it closes the connection without an answer")]
    Closed,
    /// The head is none.
    #[error("its answer is not HTTP/1.1: {0}")]
    Response(#[from] ResponseError),
}

/// Finds the status in what a server sends.
#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    /// Where the head begins that is being read, after interim ones.
    begin: usize,
    scan: Scan,
    head: ResponseHead,
}

impl Answer {
    /// Takes bytes as they come; gives the status once the head is whole.
    fn take(&mut self, part: &[u8]) -> Result<Option<u16>, Failure> {
        let room = HEAD_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
        // Several heads may have come at once. Each takes bytes, so that they end.
        while self.begin < HEAD_BYTES_MAX {
            let head_bytes_max = HEAD_BYTES_MAX - self.begin;
            let limits = ResponseLimits { head_bytes_max, fields_max: http::FIELDS_MAX };
            let bytes = &self.bytes[self.begin..];
            let Some(length) = self.head.parse(bytes, &mut self.scan, &limits)? else {
                return Ok(None);
            };
            if !self.head.is_interim() {
                self.head.framing(false)?;
                return Ok(Some(self.head.status));
            }
            self.begin += length;
            self.scan = Scan::default();
        }
        Err(ResponseError::HeadTooLarge.into())
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
        let mut part = [0; 4096];
        loop {
            let length = match self.stream.read(&mut part) {
                Ok(0) => return Err(Failure::Closed),
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

    /// The outcome is the same whether the bytes come at once or one by one.
    fn check(input: &str, expect: Result<Option<u16>, &str>) {
        let said = |outcome: Result<Option<u16>, Failure>| outcome.map_err(|bad| bad.to_string());
        let expect = expect.map_err(str::to_owned);
        assert_eq!(said(Answer::default().take(input.as_bytes())), expect, "{input:?} at once");
        let mut answer = Answer::default();
        let mut outcome = Ok(None);
        for byte in input.bytes() {
            outcome = said(answer.take(&[byte]));
            if outcome != Ok(None) {
                break;
            }
        }
        assert_eq!(outcome, expect, "{input:?} byte by byte");
    }

    #[test]
    fn the_status_is_that_of_the_first_head_that_is_not_interim() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(Some(200)));
        check("HTTP/1.0 503 Busy\r\n\r\n", Ok(Some(503)));
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(Some(204)));
        check("HTTP/1.1 100 Continue\r\n\r\n", Ok(None));
        check("HTTP/1.1 200 OK\r\n", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn a_head_may_be_as_large_as_for_a_client() {
        let cookies = "x".repeat(30 << 10);
        check(&format!("HTTP/1.1 200 OK\r\nSet-Cookie: {cookies}\r\n\r\n"), Ok(Some(200)));
        let fields = "x: y\r\n".repeat(200);
        check(&format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"), Ok(Some(204)));
    }

    #[test]
    fn what_a_client_would_not_be_given_is_no_answer() {
        let malformed = "its answer is not HTTP/1.1: the status line is malformed";
        check("SSH-2.0-OpenSSH_9.2\r\n\r\n", Err(malformed));
        check("HTTP/1.1 42 Low\r\n\r\n", Err(malformed));
        let line_end = "its answer is not HTTP/1.1: a line does not end with CR LF";
        check("HTTP/1.1 200 OK\nContent-Length: 0\n\n", Err(line_end));
    }

    #[test]
    fn a_head_without_end_is_no_answer() {
        let too_large = "its answer is not HTTP/1.1: the response head is too large";
        check(&format!("HTTP/1.1 200 {}", "x".repeat(HEAD_BYTES_MAX)), Err(too_large));
        check(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 16), Err(too_large));
    }
}
