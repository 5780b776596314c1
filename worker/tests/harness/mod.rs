//! A worker in a thread, with a plain function for a script, a real origin and real clients.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heritage::{
    Channel, Inheritance, InheritedImage, ListenerId, Order, PageNumber, Received, Report,
    Scoreboard,
};
use hook::{Decision, Edit, Held, Holding, LoadError, Loaded, RequestView};
use nix::unistd::{Pid, gettid};
use settings::{Server, Upstream};
use worker::Hooks;

/// Longest wait for anything in a test; nothing that works comes near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    /// Whether this thread is a worker's, for tests that count what a worker does.
    pub(crate) static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the script decides about `/late`; until then the worker does nothing else.
pub(crate) static MAY_DECIDE: AtomicBool = AtomicBool::new(true);

/// Decides by the first part of the path; counts holds.
pub(crate) struct Decider {
    held: Arc<AtomicI64>,
    body: Vec<u8>,
}

impl Hooks for Decider {
    fn configure(&mut self, _: &settings::Faults) {}

    fn load(&mut self, image: InheritedImage, _: u64) -> Result<Loaded, LoadError> {
        match image.generation {
            13 => Err(LoadError::NoHook),
            _ => Ok(Loaded { map_us: 1 }),
        }
    }

    fn stand_by(&mut self, _: InheritedImage, _: u64) -> Result<(), LoadError> {
        Ok(())
    }

    fn on_request(&mut self, request: &RequestView<'_>) -> (Held, Decision<'_>) {
        self.held.fetch_add(1, Ordering::SeqCst);
        const FIELDS: &[(&[u8], &[u8])] = &[(b"X-Script", b"yes")];
        const EDITS: &[Edit<'static>] =
            &[Edit::Set(b"X-User", b"7"), Edit::Remove(b"x-secret"), Edit::Add(b"X-Tag", b"a")];
        let forward = |upstream: &'static str, edits: &'static [Edit<'static>]| Decision::Forward {
            upstream: upstream.as_bytes(),
            key: b"",
            edits,
        };
        let decision = match request.path {
            b"/reply" => {
                self.body = request.query.to_vec();
                Decision::Reply { status: 200, fields: FIELDS, body: &self.body }
            }
            b"/fixed" => Decision::Reply { status: 200, fields: FIELDS, body: b"hello world\n" },
            b"/large" => {
                self.body = vec![b'L'; 1 << 20];
                Decision::Reply { status: 200, fields: FIELDS, body: &self.body }
            }
            b"/empty" => Decision::Reply { status: 204, fields: &[], body: b"ignored" },
            b"/close" => Decision::Close,
            b"/failed" => Decision::Failed,
            b"/unknown" => forward("nowhere", &[]),
            b"/dead" => forward("dead", &[]),
            b"/half" => forward("half", &[]),
            b"/none" => forward("none", &[]),
            b"/any" | b"/any-hold" => forward("any", &[]),
            b"/late" => {
                wait_until("the script may decide", || MAY_DECIDE.load(Ordering::SeqCst));
                forward("any", &[])
            }
            b"" => forward("tunnels", &[]),
            b"/edited" => forward("web", EDITS),
            _ => forward("web", &[]),
        };
        (Held(1), decision)
    }

    fn release(&mut self, _: Held) {
        self.held.fetch_sub(1, Ordering::SeqCst);
    }

    fn retire(&mut self, _: u64) {}

    fn next_retired(&mut self) -> Option<u64> {
        None
    }

    fn next_fault(&mut self) -> Option<heritage::Fault> {
        None
    }

    fn is_tainted(&self) -> bool {
        false
    }

    fn holdings(&self) -> impl Iterator<Item = Holding> {
        let requests = self.held.load(Ordering::SeqCst) as u32;
        std::iter::once(Holding { generation: 1, requests, decided: 0, memory_bytes: 0 })
    }

    fn settle(&mut self) {}
}

/// A running worker.
pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    pub(crate) master: Channel,
    /// The kernel's number of its thread.
    pub(crate) thread_id: Pid,
    held: Arc<AtomicI64>,
    thread: Option<JoinHandle<i32>>,
}

impl Worker {
    /// Starts one that forwards to `origin`, with `adjust` applied to settings made for tests.
    pub(crate) fn start(origin: &Origin, adjust: impl FnOnce(&mut settings::Worker)) -> Worker {
        let dead = unused_address();
        let upstreams = [
            ("web", upstream(&[origin.address])),
            ("dead", upstream(&[dead])),
            ("half", upstream(&[dead, origin.address])),
            ("none", upstream(&[])),
            ("any", upstream(&[origin.address])),
            ("tunnels", upstream(&[origin.address])),
        ];
        let mut settings = settings::Worker {
            upstreams: upstreams.map(|(name, upstream)| (name.to_owned(), upstream)).into(),
            ..settings::Worker::default()
        };
        adjust(&mut settings);
        let settings = serde_json::to_vec(&settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (master, channel) = Channel::pair().unwrap();
        let held = Arc::new(AtomicI64::new(0));
        let decider = Decider { held: held.clone(), body: Vec::new() };
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            IS_WORKER.set(true);
            tell.send(gettid()).unwrap();
            let page = Scoreboard::create().unwrap().keep_only(PageNumber::new(0)).unwrap();
            let image = InheritedImage {
                generation: 1,
                slot: 0,
                file: File::open("/dev/null").unwrap().into(),
            };
            let listeners = vec![(ListenerId { address: 0, worker: 0 }, listener.into())];
            let inheritance =
                Inheritance { index: 0, channel, page, listeners, image: Some(image), settings };
            worker::serve(decider, inheritance)
        });
        let thread_id = told.recv().unwrap();
        let worker = Worker { address, master, thread_id, held, thread: Some(thread) };
        assert_eq!(worker.report(), Report::Ready { generation: 1, map_us: 1 });
        worker
    }

    pub(crate) fn order(&self, order: &Order) {
        self.master.send(order, &[]).unwrap();
    }

    /// The next report.
    pub(crate) fn report(&self) -> Report {
        let begun = Instant::now();
        loop {
            match self.master.receive::<Report>().unwrap() {
                Received::Message(report, _) => return report,
                Received::Empty => assert!(begun.elapsed() < PATIENCE, "no report"),
                Received::Closed => panic!("the worker is gone"),
            }
            thread::yield_now();
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits for the worker to end by itself.
    pub(crate) fn exit_code(mut self) -> i32 {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Lets the master's end of the channel go.
    pub(crate) fn abandon(mut self) -> JoinHandle<i32> {
        let (unused, _) = Channel::pair().unwrap();
        self.master = unused;
        self.thread.take().unwrap()
    }

    /// Waits until a request is being decided on, or is with an origin.
    pub(crate) fn wait_for_a_hold(&self) {
        wait_until("a request is held", || self.held.load(Ordering::SeqCst) > 0);
    }

    /// Waits until no request holds a generation.
    pub(crate) fn wait_for_no_holds(&self) {
        self.wait_for_holds(0);
    }

    /// Waits until so many requests hold a generation: were forwarded, or wait to be.
    pub(crate) fn wait_for_holds(&self, count: i64) {
        wait_until("so many requests", || self.held.load(Ordering::SeqCst) == count);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.master.send(&Order::Stop, &[]);
            let code = thread.join();
            if !thread::panicking() {
                assert_eq!(code.unwrap(), 0);
            }
        }
    }
}

/// A file of settings, as an order brings it.
pub(crate) fn settings_file(settings: &settings::Worker) -> OwnedFd {
    heritage::settings_file(&serde_json::to_vec(settings).unwrap()).unwrap()
}

/// An upstream of these servers.
pub(crate) fn upstream(servers: &[SocketAddr]) -> Upstream {
    let servers = servers.iter().map(|address| Server::new(address.to_string())).collect();
    Upstream { servers, ..Upstream::default() }
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}

/// An address that refuses connections.
pub(crate) fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A listener whose queue is full, so that a connection to it stays unopened; and its address.
pub(crate) fn full_listener() -> (Vec<TcpStream>, SocketAddr) {
    use nix::sys::socket;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let kind = socket::SockType::Stream;
    let flags = socket::SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(socket::AddressFamily::Inet, kind, flags, None).unwrap();
    let bound = socket::SockaddrStorage::from(address);
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &bound).unwrap();
    socket::listen(&fd, socket::Backlog::new(0).unwrap()).unwrap();
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        streams.push(stream);
    }
    // It has to stay open, and a stream is as good a place for its descriptor as any.
    streams.push(TcpStream::from(std::os::fd::OwnedFd::from(listener)));
    (streams, address)
}

/// A message as it was read: first line, field lines and decoded content.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        let first = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} is repeated in {self:?}");
        first
    }

    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads a head; `None` at end-of-file before it.
    pub(crate) fn read_head(from: &mut impl BufRead) -> Option<Message> {
        let mut message = Message::default();
        if from.read_line(&mut message.line).ok()? == 0 {
            return None;
        }
        assert!(message.line.ends_with("\r\n"), "{:?} ends early", message.line);
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let line = line.trim_end();
            if line.is_empty() {
                return Some(message);
            }
            let (name, value) = line.split_once(": ").expect("a field line");
            message.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Reads content by its framing. False if it was cut short.
    pub(crate) fn read_body(&mut self, from: &mut impl BufRead, until_close: bool) -> bool {
        if self.field("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                if from.read_line(&mut line).unwrap_or(0) == 0 {
                    return false;
                }
                let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk size");
                let mut chunk = vec![0; size + 2];
                if from.read_exact(&mut chunk).is_err() {
                    return false;
                }
                assert!(chunk.ends_with(b"\r\n"));
                self.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return true;
                }
            }
        }
        match self.field("content-length").map(|length| length.parse().unwrap()) {
            Some(length) => {
                self.body = vec![0; length];
                from.read_exact(&mut self.body).is_ok()
            }
            None if until_close => from.read_to_end(&mut self.body).is_ok(),
            None => true,
        }
    }
}

/// A client connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    pub(crate) fn get(&mut self, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")).response()
    }

    /// The next response, with its body.
    pub(crate) fn response(&mut self) -> Message {
        let mut message = self.head();
        let has_body = !matches!(message.status(), 100..=199 | 204 | 304);
        assert!(!has_body || message.read_body(&mut self.stream, true), "the body is cut short");
        message
    }

    /// The next response's head.
    pub(crate) fn head(&mut self) -> Message {
        Message::read_head(&mut self.stream).expect("a response")
    }

    pub(crate) fn half_close(&mut self) -> &mut Self {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        self
    }

    /// Breaks the connection off: one that is only closed may still read its answer.
    pub(crate) fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let option = nix::sys::socket::sockopt::Linger;
        nix::sys::socket::setsockopt(self.stream.get_ref(), option, &linger).unwrap();
    }

    /// Asserts that the connection ends here, in order.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// A server that does what the path says.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Connections that have ended.
    pub(crate) ended: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let (accepted, over) = (connections.clone(), ended.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let over = over.clone();
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_nodelay(true).unwrap();
                    serve(BufReader::new(stream), number);
                    over.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Origin { address, connections, ended }
    }
}

fn serve(mut stream: BufReader<TcpStream>, number: usize) {
    for count in 1.. {
        if stream.fill_buf().is_ok_and(|bytes| bytes.starts_with(b"tunnel")) {
            echo_until_the_end(&mut stream);
            return;
        }
        let Some(request) = Message::read_head(&mut stream) else { return };
        let target = request.line.split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if !answer(&mut stream, request, path, query, (number, count)) {
            return;
        }
    }
}

/// Answers one request. False if the connection is to close.
fn answer(
    stream: &mut BufReader<TcpStream>,
    mut request: Message,
    path: &str,
    query: &str,
    (number, count): (usize, usize),
) -> bool {
    let write =
        |stream: &mut BufReader<TcpStream>, part: &[u8]| stream.get_mut().write_all(part).is_ok();
    let counted = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    match path {
        "/early" => {
            write(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
            return false;
        }
        "/early-and-reads" => {
            write(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
            return request.read_body(stream, false);
        }
        "/continue" => {
            write(stream, b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        "/hold-or-die" if count > 1 => return false,
        "/switch" => {
            write(
                stream,
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                  Upgrade: echo/1\r\nX-Origin: yes\r\n\r\nhello",
            );
            return echo_until_the_end(stream);
        }
        "/any-hold" | "/hold" | "/hold-or-die" => {
            // Until the other side goes.
            let _ = stream.read(&mut [0]);
            return false;
        }
        _ => {}
    }
    if !request.read_body(stream, false) {
        return false;
    }
    match path {
        "/echo" | "/continue" => write(stream, &counted(&request.body)),
        "/head" | "/edited" => {
            let mut text = request.line.clone();
            for (name, value) in &request.fields {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            write(stream, &counted(text.as_bytes()))
        }
        "/chunked" => write(
            stream,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
              5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
        ),
        "/hop" => write(
            stream,
            b"HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\n\
              Upgrade: h2c\r\nX-Public: 2\r\nContent-Length: 0\r\n\r\n",
        ),
        "/until-close" => {
            write(stream, b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
            false
        }
        "/endless" => {
            write(stream, b"HTTP/1.1 200 OK\r\n\r\n");
            while write(stream, &[b'e'; 1 << 16]) {}
            false
        }
        "/truncated" => {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            false
        }
        "/truncated-chunks" => {
            write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            false
        }
        "/malformed" => write(stream, b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n"),
        "/nothing" => false,
        "/stall" => {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            let _ = stream.read(&mut [0]);
            false
        }
        "/hints" => write(
            stream,
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        "/connection" => write(stream, &counted(format!("{number}").as_bytes())),
        "/once" if count > 1 => false,
        "/once" => write(stream, &counted(format!("{number}").as_bytes())),
        "/large-head" => {
            let value = "v".repeat(query.parse().unwrap());
            let head = format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 5\r\n\r\n");
            write(stream, &[head.as_bytes(), b"plain"].concat())
        }
        "/many-fields" => {
            let many = "X: y\r\n".repeat(query.parse().unwrap());
            write(
                stream,
                format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n").as_bytes(),
            )
        }
        "/bytes" => send_bytes(stream, query.parse().unwrap()),
        _ => write(stream, &counted(b"plain")),
    }
}

/// Sends back what comes, then the end, then a last word. False, since the connection is to close.
fn echo_until_the_end(stream: &mut BufReader<TcpStream>) -> bool {
    loop {
        let bytes = stream.fill_buf().map_or(Vec::new(), <[u8]>::to_vec);
        if bytes.is_empty() {
            let _ = stream.get_mut().write_all(b"bye");
            return false;
        }
        stream.consume(bytes.len());
        if stream.get_mut().write_all(&bytes).is_err() {
            return false;
        }
    }
}

fn send_bytes(stream: &mut BufReader<TcpStream>, count: usize) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
    if stream.get_mut().write_all(head.as_bytes()).is_err() {
        return false;
    }
    let block = pattern(1 << 16);
    let mut left = count;
    while left > 0 {
        let part = left.min(block.len());
        if stream.get_mut().write_all(&block[..part]).is_err() {
            return false;
        }
        left -= part;
    }
    true
}

/// Bytes in which a missing or repeated part shows; its period divides 64 KiB.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8)) as u8).collect()
}
