//! A client that does nothing by itself: raw bytes out, one response at a time in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use nix::sys::socket::{setsockopt, sockopt};

use crate::PATIENCE;

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The status line, as it came.
    pub line: String,
    /// Field lines in order, as they came.
    pub fields: Vec<(String, String)>,
    /// Content, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// Value of the first field of this name; none if there is none.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// Values of all fields of this name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks status and content.
    #[track_caller]
    pub fn expect(self, status: u16, text: &str) -> Self {
        assert_eq!((self.status, self.text().as_str()), (status, text), "{self:?}");
        self
    }

    /// Checks the status.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// What came and was not looked at yet.
    unread: Vec<u8>,
}

impl Client {
    /// Connects; panics if that is refused.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Connects.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, unread: Vec::new() })
    }

    /// Speaks over a connection that there is already.
    pub fn over(stream: TcpStream) -> Self {
        Client { stream, unread: Vec::new() }
    }

    /// The writing side, for a thread that sends while another reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("descriptors are left")
    }

    /// The address that Kiln sees this client at.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
        self
    }

    /// Sends bytes as they are.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends `GET target`, and reads the response. The connection stays.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send_get(target).response()
    }

    /// Sends `GET target`.
    #[track_caller]
    pub fn send_get(&mut self, target: &str) -> &mut Self {
        self.send(get(target))
    }

    /// Breaks the connection off.
    pub fn reset(self) {
        reset(&self.stream);
    }

    /// Sends no more; the other direction stays open.
    pub fn shut(&mut self) {
        // The other side may have closed first.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the first byte of a response is there, without waiting for one.
    pub fn has_response(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("it is a socket");
        let has_more = self.more().is_ok_and(|has_more| has_more);
        self.stream.set_nonblocking(false).expect("it is a socket");
        has_more || !self.unread.is_empty()
    }

    /// Reads a response to anything but HEAD; interim ones are returned like others.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads a response to anything but HEAD.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let mut response = self.try_head()?;
        response.body = match (response.status, response.field("transfer-encoding")) {
            (100..=199 | 204 | 304, _) => Vec::new(),
            (_, Some("chunked")) => self.chunked()?,
            (_, Some(coding)) => return Err(broken(format!("transfer coding {coding:?}"))),
            (_, None) => match response.field("content-length") {
                Some(length) => {
                    let length = length.parse().map_err(|_| broken(length))?;
                    self.exactly(length)?
                }
                None => self.try_rest()?,
            },
        };
        Ok(response)
    }

    /// Reads the head of a response; its content, if any, stays unread.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        self.try_head().unwrap_or_else(|error| panic!("no head: {error}"))
    }

    /// Reads the head of a response.
    pub fn try_head(&mut self) -> io::Result<Response> {
        let status_line = self.line()?;
        let mut words = status_line.splitn(3, ' ');
        let (version, status) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        let (Some("HTTP/1.1" | "HTTP/1.0"), Some(status)) = (version, status) else {
            return Err(broken(status_line));
        };
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, line: status_line, fields, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the head of a request, as an origin does.
    pub fn head_of_request(&mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.line().ok().filter(|line| !line.is_empty()));
        lines.collect()
    }

    /// Reads until the other side closes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        self.try_rest().unwrap_or_else(|error| panic!("not closed in order: {error}"))
    }

    /// Reads until the other side closes.
    pub fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.unread))
    }

    /// Checks that the other side closes now, in order or by reset, without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.try_rest() {
            Ok(rest) => assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest)),
            Err(error) if is_reset(&error) => {}
            Err(error) => panic!("not closed: {error}"),
        }
    }

    /// Reads exactly so many bytes.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| broken(&line))?;
            body.extend(self.exactly(size)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(broken(end));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what there is; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        let mut part = [0; 64 << 10];
        let length = self.stream.read(&mut part)?;
        self.unread.extend_from_slice(&part[..length]);
        Ok(length > 0)
    }
}

/// Makes the close of a connection a reset, for whichever end this is.
pub fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).expect("it is a socket");
}

/// A request that asks for nothing but its target.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Whether the other side is gone.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof)
}

fn broken(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
