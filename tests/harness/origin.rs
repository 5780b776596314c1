//! Small origins in this process: for what a well-behaved server never does, and for seeing exactly
//! what arrives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::{PATIENCE, until};

/// A request as it arrived at an origin.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Request line and field lines as they came, without the empty line.
    pub head: String,
    /// Content, without its framing.
    pub body: Vec<u8>,
    /// Which connection to this origin it came on, from 0.
    pub connection: usize,
}

impl Received {
    /// Values of all fields of this name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }

    /// Value of the only field of this name; none if there is none, or more than one.
    pub fn field(&self, name: &str) -> Option<&str> {
        match self.values(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// A counter that somebody may wait for.
#[derive(Default)]
struct Gate {
    opened: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn open(&self, count: usize) {
        let mut opened = self.opened.lock().expect("no holder panics");
        *opened = opened.saturating_add(count);
        self.changed.notify_all();
    }

    /// Takes one of what was opened; gives up after a while, so that no thread stays for ever.
    fn pass(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut opened = self.opened.lock().expect("no holder panics");
        while *opened == 0 && Instant::now() < deadline {
            let waited = self.changed.wait_timeout(opened, Duration::from_secs(1));
            opened = waited.expect("no holder panics").0;
        }
        *opened = opened.saturating_sub(1);
    }
}

/// What the origin and its conversations have in common.
#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    requests: Mutex<Vec<Received>>,
    gate: Gate,
    is_stopped: AtomicBool,
}

/// An origin. Dropping it stops it from accepting; conversations end with their connections.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Origin {
    /// One that does this with each connection; the number is the connection's, from 0.
    pub fn raw(converse: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        Self::raw_at(a_port(), converse)
    }

    /// The same on a port that was bound before.
    pub fn raw_at(
        listener: TcpListener,
        converse: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Self {
        Self::accepting(listener, move |stream, number, _| converse(stream, number))
    }

    fn accepting(
        listener: TcpListener,
        converse: impl Fn(TcpStream, usize, &Shared) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let origin = Origin { address, shared: shared.clone() };
        let converse = Arc::new(converse);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let (converse, shared) = (converse.clone(), shared.clone());
                thread::spawn(move || converse(stream, number, &shared));
            }
        });
        origin
    }

    /// One that reads whole requests and answers each with what this writes, while it says `true`.
    pub fn answering(
        answer: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::answering_at(a_port(), answer)
    }

    /// The same on a port that was bound before.
    pub fn answering_at(
        listener: TcpListener,
        answer: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::answering_through(listener, move |request, stream, _| answer(request, stream))
    }

    /// One that answers each request with these bytes, as they are.
    pub fn replying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::answering(move |_, stream| stream.write_all(&bytes).map(|()| true))
    }

    /// One that answers each request with 200 and its head and body.
    pub fn echoing() -> Self {
        Self::answering(|request, stream| {
            let mut content = format!("{}\n\n", request.head).into_bytes();
            content.extend(&request.body);
            stream.write_all(&ok(&content)).map(|()| true)
        })
    }

    /// One that answers each request with 200 and the request's own body.
    pub fn mirroring() -> Self {
        Self::answering(|request, stream| stream.write_all(&ok(&request.body)).map(|()| true))
    }

    /// One that reads requests and answers none before [`Origin::release`]; then 200 and `held\n`.
    pub fn holding() -> Self {
        Self::answering_through(a_port(), |_, stream, gate| {
            gate.pass();
            stream.write_all(&ok(b"held\n")).map(|()| true)
        })
    }

    /// One that closes each connection as soon as it has read a request.
    pub fn closing() -> Self {
        Self::answering(|_, _| Ok(false))
    }

    fn answering_through(
        listener: TcpListener,
        answer: impl Fn(&Received, &mut TcpStream, &Gate) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::accepting(listener, move |stream, number, shared| {
            // A peer that goes away is its own affair.
            let _ = converse(stream, number, shared, &answer);
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets so many held requests be answered.
    pub fn release(&self, count: usize) {
        self.shared.gate.open(count);
    }

    /// Lets every request be answered from now on.
    pub fn release_all(&self) {
        self.shared.gate.open(usize::MAX / 2);
    }

    /// Requests that have arrived whole.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.requests.lock().expect("no holder panics").clone()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have arrived.
    #[track_caller]
    pub fn until_requests(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests at the origin"), || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
    }

    /// The request that came last.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.requests().pop().expect("a request came")
    }

    /// An address that nobody listens on.
    pub fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("it is bound")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        self.release_all();
        // Wakes the accepting thread, unless a test has cut it off.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn a_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// A counted 200.
fn ok(content: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
    [head.as_bytes(), content].concat()
}

fn converse(
    mut stream: TcpStream,
    connection: usize,
    shared: &Shared,
    answer: &impl Fn(&Received, &mut TcpStream, &Gate) -> io::Result<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    while let Some(head) = read_head(&mut input)? {
        let mut request = Received { head, body: Vec::new(), connection };
        if request.field("expect") == Some("100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = read_body(&mut input, &request)?;
        shared.requests.lock().expect("no holder panics").push(request.clone());
        if !answer(&request, &mut stream, &shared.gate)? {
            break;
        }
    }
    Ok(())
}

fn read_head(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if input.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        if &head[before..] == b"\r\n" {
            head.truncate(before.saturating_sub(2));
            // A value may be bytes that are no text.
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

fn read_body(input: &mut impl BufRead, request: &Received) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.field("transfer-encoding") != Some("chunked") {
        let length =
            request.field("content-length").map_or(0, |length| length.parse().unwrap_or(0));
        read_exactly(input, length, &mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        read_exactly(input, size, &mut body)?;
        line.clear();
        input.read_line(&mut line)?;
        if line != "\r\n" {
            return Err(io::Error::other("a chunk that does not end with its data"));
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Appends so many bytes: a request that breaks off has not arrived.
fn read_exactly(input: &mut impl BufRead, count: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = input.take(count).read_to_end(body)?;
    if read as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
