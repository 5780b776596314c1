//! The broker with real sockets and the machine's resolver.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heritage::{Channel, Order, Received, Report, ServerNews};
use settings::{Health, Server, Upstream};

/// Longer than anything here takes on a busy machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker in a thread, and the master's end of its channel.
struct Broker {
    channel: Option<Channel>,
    thread: Option<JoinHandle<i32>>,
}

impl Broker {
    /// For one upstream `web` of these servers; whatever `known` says is there before it starts.
    fn start(servers: &[String], health: Option<Health>, known: Vec<ServerNews>) -> Self {
        let servers = servers.iter().map(Server::new).collect();
        let upstream = Upstream { servers, health, resolve_ms: 100, ..Upstream::default() };
        let upstreams = BTreeMap::from([("web".to_owned(), upstream)]);
        let settings = settings::Worker { upstreams, ..settings::Worker::default() };
        assert!(admin::is_needed(&settings));
        let (ours, theirs) = Channel::pair().expect("a channel");
        ours.send(&Order::News(known), &[]).expect("there is room");
        let thread = thread::spawn(move || admin::broker(&settings, theirs));
        Broker { channel: Some(ours), thread: Some(thread) }
    }

    #[track_caller]
    fn expect(&self, expect: &Report) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.channel.as_ref().expect("it is open").receive().expect("a report") {
                Received::Message(report, _) => {
                    let report: Report = report;
                    assert_eq!(&report, expect);
                    return;
                }
                Received::Empty => assert!(Instant::now() < deadline, "waited for {expect:?}"),
                Received::Closed => panic!("the broker is gone"),
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Broker {
    /// The end of the channel is the end of the broker.
    fn drop(&mut self) {
        self.channel = None;
        let code = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert_eq!(code.expect("it ran").expect("it did not panic"), 0);
        }
    }
}

fn checked(server: SocketAddr, is_well: bool) -> Report {
    Report::News(ServerNews::Checked { upstream: "web".to_owned(), server, is_well })
}

/// Often, and quick to change a mind.
fn eager() -> Health {
    Health { interval_ms: 10, timeout_ms: 5000, rise: 2, fall: 2, ..Health::default() }
}

/// A server that answers 200, or 503 as long as it is told to.
fn origin(is_ill: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let is_ill = is_ill.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(request.starts_with("GET / HTTP/1.1\r\nHost: web\r\n"), "{request}");
            let status = if is_ill.load(Ordering::Relaxed) { "503 Ill" } else { "200 OK" };
            // The other side may be gone.
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_name_is_reported_with_its_addresses() {
    let broker = Broker::start(&["localhost:8080".to_owned()], None, Vec::new());
    let name = "localhost:8080".to_owned();
    let mut addresses: Vec<SocketAddr> =
        std::net::ToSocketAddrs::to_socket_addrs(&name).expect("it resolves").collect();
    addresses.sort();
    addresses.dedup();
    broker.expect(&Report::News(ServerNews::Resolved { name, addresses }));
    broker.expect(&Report::NamesResolved);
}

#[test]
fn a_name_that_does_not_resolve_is_reported_with_what_was_known_before() {
    let name = "no port".to_owned();
    let addresses = vec![SocketAddr::from(([10, 0, 0, 1], 80))];
    for addresses in [Vec::new(), addresses] {
        let known = ServerNews::Resolved { name: name.clone(), addresses };
        let broker = Broker::start(std::slice::from_ref(&name), None, vec![known.clone()]);
        broker.expect(&Report::News(known));
        broker.expect(&Report::NamesResolved);
    }
}

#[test]
fn a_server_that_answers_badly_is_down_until_it_answers_well() {
    let is_ill = Arc::new(AtomicBool::new(true));
    let server = origin(&is_ill);
    let broker = Broker::start(&[server.to_string()], Some(eager()), Vec::new());
    broker.expect(&Report::NamesResolved);
    for is_well in [false, true, false] {
        is_ill.store(!is_well, Ordering::Relaxed);
        broker.expect(&checked(server, is_well));
    }
}

#[test]
fn a_server_that_refuses_connections_or_is_silent_is_down() {
    // Nobody else gets this port meanwhile, and on that address nobody listens.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = other.local_addr().expect("it is bound").port();
    let refusing = SocketAddr::from(([127, 0, 0, 9], port));
    let broker = Broker::start(&[refusing.to_string()], Some(eager()), Vec::new());
    broker.expect(&Report::NamesResolved);
    broker.expect(&checked(refusing, false));

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = silent.local_addr().expect("it is bound");
    let health = Health { timeout_ms: 20, ..eager() };
    let broker = Broker::start(&[address.to_string()], Some(health), Vec::new());
    broker.expect(&Report::NamesResolved);
    broker.expect(&checked(address, false));
}

/// A server that answers like this, with as much of `repeated` behind it as the broker takes.
fn answering(head: &'static str, repeated: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() && !repeated.is_empty() {
                    sent = stream.write_all(repeated.as_bytes());
                }
                // It holds the connection until the broker ends it.
                let _ = stream.read(&mut [0; 1]);
            });
        }
    });
    address
}

/// The time is for the whole answer: a status alone, with a body that does not end, is none.
#[test]
fn a_server_whose_answer_does_not_end_is_down() {
    let late = Health { timeout_ms: 50, ..eager() };
    for (head, repeated, health) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "", &late),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "", &late),
        ("HTTP/1.1 200 OK\r\n\r\nabc", "", &late),
        ("HTTP/1.1 200 OK\r\n\r\n", "for ever", &eager()),
    ] {
        let server = answering(head, repeated);
        let broker = Broker::start(&[server.to_string()], Some(health.clone()), Vec::new());
        broker.expect(&Report::NamesResolved);
        broker.expect(&checked(server, false));
    }
}

/// What a body's end is depends on the answer; the connection may stay open after it.
#[test]
fn a_server_that_was_down_is_well_with_any_whole_answer() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let server = answering(head, "");
        let down = ServerNews::Checked { upstream: "web".to_owned(), server, is_well: false };
        let broker = Broker::start(&[server.to_string()], Some(eager()), vec![down]);
        broker.expect(&Report::NamesResolved);
        broker.expect(&checked(server, true));
    }
}

#[test]
fn more_servers_than_are_checked_at_once_are_all_checked() {
    let is_ill = Arc::new(AtomicBool::new(false));
    let port = origin(&is_ill).port();
    // The origin listens on 127.0.0.1 alone: every other loopback address refuses.
    let servers: Vec<SocketAddr> = (1..=600u16)
        .map(u16::to_be_bytes)
        .map(|[high, low]| SocketAddr::from(([127, 0, 1 + high, low], port)))
        .collect();
    let health = Health { fall: 1, ..eager() };
    let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let broker = Broker::start(&names, Some(health), Vec::new());
    broker.expect(&Report::NamesResolved);
    let mut down = std::collections::BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while down.len() < servers.len() {
        match broker.channel.as_ref().expect("it is open").receive().expect("a report") {
            Received::Message(Report::News(ServerNews::Checked { server, is_well, .. }), _) => {
                assert!(!is_well && down.insert(server), "{server} was reported twice");
            }
            Received::Empty => thread::sleep(Duration::from_millis(2)),
            other => panic!("expected news of a check, got {other:?}"),
        }
        assert!(Instant::now() < deadline, "{} of {} are down", down.len(), servers.len());
    }
}
