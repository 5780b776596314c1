//! Connections that stop to be HTTP: upgrades, CONNECT, and what must not become a tunnel.

mod harness;

use std::io::{Read, Write};
use std::thread;

use harness::{Client, Origin, Worker, pattern};

const UPGRADE: &str =
    "GET /switch HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";
const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n";

fn pair() -> (Origin, Worker) {
    let origin = Origin::start();
    let worker = Worker::start(&origin, take_connect);
    (origin, worker)
}

fn take_connect(settings: &mut settings::Worker) {
    settings.upstreams.get_mut("tunnels").expect("it is there").connect = true;
}

/// Reads exactly these bytes.
fn expect(client: &mut Client, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    client.stream.read_exact(&mut read).expect("as many bytes");
    assert!(read == bytes, "{:?}", String::from_utf8_lossy(&read[..read.len().min(100)]));
}

/// Sends this much through an echo, which must come back as it was.
fn echo(client: &mut Client, count: usize) {
    let bytes = pattern(count);
    let mut writer = client.stream.get_ref().try_clone().expect("descriptors are left");
    let sent = bytes.clone();
    let sender = thread::spawn(move || writer.write_all(&sent).expect("it is read"));
    expect(client, &bytes);
    sender.join().expect("it was sent");
}

#[test]
fn an_upgrade_that_the_origin_agrees_to_becomes_a_tunnel() {
    let (origin, worker) = pair();
    let mut client = worker.connect();
    // What follows the request at once is for the other protocol.
    let head = client.send(UPGRADE.to_owned() + "early").head();
    assert_eq!(head.status(), 101);
    let fields = ["connection", "upgrade", "x-origin"].map(|name| head.field(name));
    assert_eq!(fields, [Some("upgrade"), Some("echo/1"), Some("yes")]);
    assert_eq!(head.field("content-length"), None);
    expect(&mut client, b"helloearly");
    echo(&mut client, 3);
    echo(&mut client, 5_000_000);
    client.half_close();
    expect(&mut client, b"bye");
    client.expect_end();
    worker.wait_for_no_holds();
    harness::wait_until("the origin's connection ends", || {
        origin.ended.load(std::sync::atomic::Ordering::SeqCst) == 1
    });
}

#[test]
fn an_upgrade_that_the_origin_does_not_agree_to_is_an_answer_like_others() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let request = UPGRADE.replace("/switch", "/plain");
    assert_eq!(client.send(&request).response().text(), "plain");
    assert_eq!(client.send(&request).response().text(), "plain");
    let seen = client.send(UPGRADE.replace("/switch", "/head")).response().text();
    assert!(seen.contains("Connection: upgrade\r\nUpgrade: echo/1\r\n"), "{seen}");
}

#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    let (_origin, worker) = pair();
    assert_eq!(worker.connect().get("/switch").status(), 502);
    let other = UPGRADE.replace("echo/1", "echo/2, websocket");
    assert_eq!(worker.connect().send(other).response().status(), 502);
    let several = UPGRADE.replace("echo/1", "other/1, ECHO/1");
    assert_eq!(worker.connect().send(several).head().status(), 101);
}

/// A tunnel of HTTP/2 would get requests past the script.
#[test]
fn http2_is_never_offered_to_an_origin() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let request = "GET /head HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let seen = client.send(request).response().text().to_ascii_lowercase();
    assert!(!seen.contains("h2c") && !seen.contains("http2-settings"), "{seen}");
}

#[test]
fn connect_becomes_a_tunnel_to_a_server_of_the_upstream() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let head = client.send(CONNECT).head();
    assert_eq!(head.status(), 200);
    assert!(head.fields.is_empty(), "{head:?}");
    client.send("tunnel");
    expect(&mut client, b"tunnel");
    echo(&mut client, 1_000_000);
    client.half_close();
    expect(&mut client, b"bye");
    client.expect_end();
    worker.wait_for_no_holds();
}

#[test]
fn connect_is_refused_where_no_upstream_takes_it() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    assert_eq!(client.send(CONNECT).response().status(), 501);
    client.expect_end();
}

#[test]
fn connect_to_a_server_that_is_not_there_is_502_and_the_connection_closes() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        take_connect(settings);
        let dead = settings.upstreams["dead"].servers.clone();
        settings.upstreams.get_mut("tunnels").expect("it is there").servers = dead;
    });
    let mut client = worker.connect();
    assert_eq!(client.send(CONNECT).response().status(), 502);
    client.expect_end();
}

/// Failures that others come between are not in a row.
#[test]
fn a_server_that_takes_connections_is_no_failing_one() {
    let origin = Origin::start();
    let address = harness::unused_address();
    let worker = Worker::start(&origin, |settings| {
        let tunnels = harness::upstream(&[address]);
        let tunnels = settings::Upstream { connect: true, eject_failures: 2, ..tunnels };
        let tunnels = settings::Upstream { eject_percent: 100, ..tunnels };
        settings.upstreams.insert("tunnels".to_owned(), tunnels);
    });
    for _ in 0..3 {
        assert_eq!(worker.connect().send(CONNECT).response().status(), 502);
        let _server = std::net::TcpListener::bind(address).expect("nobody has it");
        assert_eq!(worker.connect().send(CONNECT).head().status(), 200);
    }
}

/// Nothing is left to be read that would tell.
#[test]
fn a_client_that_breaks_off_after_its_end_takes_the_tunnel_along() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        take_connect(settings);
        let servers = harness::upstream(&[address]).servers;
        settings.upstreams.get_mut("tunnels").expect("it is there").servers = servers;
    });
    let mut client = worker.connect();
    assert_eq!(client.send(CONNECT).head().status(), 200);
    let (mut server, _) = listener.accept().expect("the tunnel's");
    server.set_read_timeout(Some(harness::PATIENCE)).expect("it is ours");
    client.half_close();
    assert_eq!(server.read(&mut [0]).expect("the end"), 0);
    client.reset();
    // A reset is all that is to come.
    harness::wait_until("the server is told", || {
        let error = nix::sys::socket::getsockopt(&server, nix::sys::socket::sockopt::SocketError);
        error.expect("it is a socket") != 0
    });
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_closed() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.timeouts.tunnel_ms = 200);
    let mut client = worker.connect();
    assert_eq!(client.send(UPGRADE).head().status(), 101);
    expect(&mut client, b"hello");
    for _ in 0..5 {
        thread::sleep(std::time::Duration::from_millis(60));
        echo(&mut client, 1);
    }
    client.expect_end();
}
