//! What is sent again after a server failed a request: all of it, and only in time.

mod harness;

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use harness::{MAY_DECIDE, Message, Origin, Worker, upstream};
use settings::Upstream;

fn start(any: Upstream, origin: &Origin) -> Worker {
    Worker::start(origin, |settings| {
        settings.upstreams.insert("any".to_owned(), any);
    })
}

/// A server that closes each connection once it has a head.
fn dropping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            Message::read_head(&mut BufReader::new(stream.unwrap()));
        }
    });
    address
}

/// Reads a request and answers it.
fn answer(stream: &TcpStream) {
    let mut stream = BufReader::new(stream);
    Message::read_head(&mut stream).expect("a request");
    let mut stream = stream.into_inner();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
}

fn reset(stream: TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
}

/// The second server would wait for the end of the body, and take the next request for it.
#[test]
fn an_empty_body_in_chunks_ends_on_the_second_connection_too() {
    let origin = Origin::start();
    let worker = start(upstream(&[dropping(), origin.address]), &origin);
    let mut client = worker.connect();
    client.send("PUT /any HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "plain");
}

/// Writing to the old connection fails at once, before the poll reports its reset: nothing was sent, so
/// that the method makes no difference.
#[test]
fn a_request_is_sent_again_whose_old_connection_takes_nothing() {
    let check = |method: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (break_off, is_to_break_off) = mpsc::channel::<()>();
        let (tell, is_broken) = mpsc::channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            answer(&stream);
            is_to_break_off.recv().unwrap();
            reset(stream);
            tell.send(()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            answer(&stream);
            answer(&stream);
        });
        let origin = Origin::start();
        let worker = start(upstream(&[address]), &origin);
        let mut client = worker.connect();
        assert_eq!(client.get("/any").text(), "ok");
        worker.wait_for_no_holds();
        MAY_DECIDE.store(false, Ordering::SeqCst);
        client.send(format!("{method} /late HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"));
        worker.wait_for_a_hold();
        break_off.send(()).unwrap();
        is_broken.recv().unwrap();
        MAY_DECIDE.store(true, Ordering::SeqCst);
        assert_eq!(client.response().text(), "ok", "{method}");
        assert_eq!(client.get("/any").text(), "ok", "neither connection had to close");
    };
    check("GET");
    check("POST");
}

/// What a client or another server takes too long for is not this server's fault.
#[test]
fn a_request_whose_time_is_over_is_no_failure_of_the_next_server() {
    let (_full, unopened) = harness::full_listener();
    let origin = Origin::start();
    let eject = |any| Upstream { eject_failures: 1, eject_percent: 100, ..any };
    let any = Upstream { exchange_ms: Some(100), ..eject(upstream(&[unopened, origin.address])) };
    let worker = start(any, &origin);
    assert_eq!(worker.connect().get("/any").status(), 504);
    let mut slow = worker.connect();
    slow.send("POST /any HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(slow.response().status(), 408);
    assert_eq!(worker.connect().get("/any").text(), "plain");
}
