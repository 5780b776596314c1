//! Connections that stop to be HTTP: WebSocket by a real implementation on both ends, other protocols,
//! and `CONNECT`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tests::{Client, Kiln, Origin, PATIENCE, reset};
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response as Answer};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message};

use crate::{FORWARDING, beside_others};

/// Echoes messages of each WebSocket until it is closed; the text `close` makes it close by itself, and
/// `die` makes it break off.
fn echo() -> Origin {
    Origin::raw(|stream, _| {
        let Ok(mut socket) = tungstenite::accept_hdr(stream, Telling) else { return };
        while let Ok(message) = socket.read() {
            match &message {
                Message::Text(text) if text.as_str() == "die" => return reset(socket.get_ref()),
                Message::Text(text) if text.as_str() == "close" => {
                    let frame = CloseFrame { code: CloseCode::Away, reason: "as you wish".into() };
                    let _ = socket.close(Some(frame));
                }
                // Pings and closing are answered by the implementation.
                Message::Text(_) | Message::Binary(_) => {
                    let _ = socket.send(message);
                }
                _ => {}
            }
        }
    })
}

/// Tells in `X-Seen` what came in `X-Forwarded-For`.
struct Telling;

impl Callback for Telling {
    fn on_request(self, request: &Request, mut answer: Answer) -> Result<Answer, ErrorResponse> {
        if let Some(value) = request.headers().get("x-forwarded-for") {
            answer.headers_mut().insert("x-seen", value.clone());
        }
        Ok(answer)
    }
}

/// A WebSocket through Kiln; or why there is none.
fn try_open(kiln: SocketAddr) -> Result<(WebSocket<TcpStream>, Option<String>), String> {
    let stream = TcpStream::connect(kiln).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let opened = tungstenite::client("ws://test/chat", stream);
    let (socket, answer) = opened.map_err(|error| error.to_string())?;
    let seen = answer.headers().get("x-seen").and_then(|value| value.to_str().ok());
    Ok((socket, seen.map(str::to_owned)))
}

#[track_caller]
fn open(kiln: SocketAddr) -> WebSocket<TcpStream> {
    try_open(kiln).expect("it is opened").0
}

#[track_caller]
fn expect_echo(socket: &mut WebSocket<TcpStream>, message: Message) {
    socket.send(message.clone()).expect("it is sent");
    let back = socket.read().expect("it comes back");
    assert!(back == message, "another message came back");
}

/// Reads until the closing handshake is through.
#[track_caller]
fn expect_closed_in_order(socket: &mut WebSocket<TcpStream>) {
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return,
            Err(error) => panic!("not closed in order: {error}"),
        }
    }
}

/// Content that no piece of can be moved unnoticed.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8 ^ (at >> 8) as u8).collect()
}

#[test]
fn websocket_messages_of_every_kind_and_size_come_back() {
    let _beside = beside_others();
    let origin = echo();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let (mut socket, seen) = try_open(kiln.address()).expect("it is opened");
    assert_eq!(seen.as_deref(), Some("127.0.0.1"), "the head is an ordinary one");
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        expect_echo(&mut socket, Message::binary(bytes(size)));
        expect_echo(&mut socket, Message::text("x".repeat(size)));
    }
    socket.send(Message::Ping("are you there".into())).expect("it is sent");
    assert_eq!(socket.read().expect("an answer"), Message::Pong("are you there".into()));
    // Many at once, without waiting.
    for number in 0..1000 {
        socket.send(Message::text(number.to_string())).expect("it is sent");
    }
    for number in 0..1000 {
        assert_eq!(socket.read().expect("it comes"), Message::text(number.to_string()));
    }
    socket.close(None).expect("it is sent");
    expect_closed_in_order(&mut socket);
}

#[test]
fn either_side_of_a_websocket_may_close_it() {
    let _beside = beside_others();
    let origin = echo();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut socket = open(kiln.address());
    socket
        .close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() }))
        .expect("sent");
    expect_closed_in_order(&mut socket);
    drop(socket);

    let mut socket = open(kiln.address());
    socket.send(Message::text("close")).expect("it is sent");
    let closing = socket.read().expect("the origin closes");
    assert!(
        matches!(&closing, Message::Close(Some(frame)) if frame.code == CloseCode::Away),
        "{closing:?}"
    );
    expect_closed_in_order(&mut socket);
    drop(socket);
    // Kiln lets go of both sides of both.
    tests::until_true("the worker has no connection", || kiln.workers()[0]["connections"] == 0);
}

#[test]
fn an_origin_that_dies_takes_its_tunnel_along_and_nothing_else() {
    let _beside = beside_others();
    let origin = echo();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut other = open(kiln.address());
    let mut socket = open(kiln.address());
    socket.send(Message::text("die")).expect("it is sent");
    assert!(socket.read().is_err(), "the tunnel is over");
    expect_echo(&mut other, Message::text("still here"));
    // A client that breaks off takes its origin's connection along in the same way.
    reset(other.get_ref());
    drop(other);
    tests::until_true("the worker has no connection", || kiln.workers()[0]["connections"] == 0);
}

#[test]
fn a_hundred_tunnels_at_once_are_kept_apart() {
    let _beside = beside_others();
    let origin = echo();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut sockets: Vec<_> = (0..100).map(|_| open(kiln.address())).collect();
    for round in 0..5 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(format!("{number} in {round}"))).expect("it is sent");
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            let expected = Message::text(format!("{number} in {round}"));
            assert_eq!(socket.read().expect("it comes back"), expected);
        }
    }
    for mut socket in sockets {
        socket.close(None).expect("it is sent");
        expect_closed_in_order(&mut socket);
    }
}

const UPGRADE: &str =
    "GET /switch HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";

/// An origin that does not want another protocol answers as it likes, and the connection lives on.
#[test]
fn a_refused_upgrade_is_an_answer_like_others() {
    let _beside = beside_others();
    for status in ["200 OK", "403 Forbidden", "426 Upgrade Required"] {
        let origin = Origin::replying(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
        let kiln = Kiln::forwarding_to(&[origin.address()]);
        let mut client = kiln.connect();
        for _ in 0..2 {
            let answer = client.send(UPGRADE).response();
            assert!(status.starts_with(&answer.status.to_string()), "{answer:?}");
            assert_eq!(answer.text(), "no");
        }
        assert!(try_open(kiln.address()).is_err(), "no WebSocket comes of it");
    }
}

/// Greets, then sends back what comes, and says goodbye when the other side has sent all.
fn talk(mut stream: TcpStream, greeting: &str) {
    let mut part = vec![0; 64 << 10];
    // Whatever goes wrong, the peer sees it.
    let _ = stream.write_all(greeting.as_bytes());
    while let Ok(count @ 1..) = stream.read(&mut part) {
        if stream.write_all(&part[..count]).is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"bye");
}

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";

/// Switches to a protocol that is nothing but [`talk`].
fn switching() -> Origin {
    Origin::raw(|mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        // Byte by byte, so that none of what follows is taken.
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        talk(stream, &format!("{SWITCHING}hello"));
    })
}

#[track_caller]
fn expect(client: &mut Client, text: &str) {
    let read = client.exactly(text.len()).expect("as many bytes");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

/// RFC 9110, section 7.8: both sides name what they switch to, and what follows is not HTTP, also where
/// it came together with the request.
#[test]
fn other_protocols_are_switched_to_as_well() {
    let _beside = beside_others();
    let origin = switching();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    let answer = client.send(format!("{UPGRADE}early")).head().expect_status(101);
    assert_eq!(answer.field("upgrade"), Some("echo/1"));
    assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
    expect(&mut client, "helloearly");
    client.send("GET / HTTP/1.1\r\n\r\n");
    expect(&mut client, "GET / HTTP/1.1\r\n\r\n");
    // Its other direction stays open.
    client.shut();
    assert_eq!(client.rest(), b"bye");
}

/// What passes a script once is not asked about again, so the tunnel has to end with its protocol.
#[test]
fn a_reload_leaves_open_tunnels_alone() {
    let _beside = beside_others();
    let origin = echo();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut socket = open(kiln.address());
    expect_echo(&mut socket, Message::text("before"));
    for number in 0..3 {
        let script = format!(
            "#include <kiln.h>
            kiln::Action on_request(kiln::Request&) {{ return kiln::reply(200, \"{number}\"); }}"
        );
        kiln.reload_with(&script);
        kiln.get("/").expect(200, &number.to_string());
        expect_echo(&mut socket, Message::binary(bytes(100_000)));
    }
    socket.close(None).expect("it is sent");
    expect_closed_in_order(&mut socket);
}

/// RFC 9110, section 9.3.6. An upstream takes it only where its configuration says so; its server is the
/// end of the tunnel, so it speaks first, and whatever it likes.
#[test]
fn connect_opens_a_tunnel_to_a_server_of_an_upstream_that_takes_it() {
    let _beside = beside_others();
    let origin = Origin::raw(|stream, _| talk(stream, "hello"));
    let script = "#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.method() == \"CONNECT\") return kiln::forward(\"db\");
            return kiln::reply(200, \"plain\");
        }";
    let config = |connect: bool| {
        let address = origin.address();
        format!("[upstreams.db]\nservers = [\"{address}\"]\nconnect = {connect}\n")
    };
    let request = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n";
    let kiln = Kiln::builder().script(script).workers(1).config(&config(true)).start();
    let mut client = kiln.connect();
    let answer = client.send(request).head().expect_status(200);
    // RFC 9110, section 9.3.6: neither field in a 2xx to CONNECT.
    assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
    expect(&mut client, "hello");
    let block = "0123456789".repeat(10_000);
    let mut writer = client.writer();
    let sent = block.clone();
    let sender = thread::spawn(move || writer.write_all(sent.as_bytes()));
    expect(&mut client, &block);
    sender.join().expect("no panic").expect("it is read");
    client.shut();
    assert_eq!(client.rest(), b"bye");
    kiln.get("/").expect(200, "plain");

    let closed = Kiln::builder().script(script).workers(1).config(&config(false)).start();
    let answer = closed.connect().send(request).response();
    assert!(matches!(answer.status, 400 | 403 | 405 | 501), "{answer:?}");
}

/// Nobody knows when a protocol is done but by its silence.
#[test]
fn a_tunnel_in_which_nothing_moves_is_ended() {
    let _beside = beside_others();
    let origin = switching();
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config("timeouts.tunnel_ms = 400")
        .start();
    let mut client = kiln.connect();
    client.send(UPGRADE).head().expect_status(101);
    expect(&mut client, "hello");
    // Kept by what moves, for longer than the timeout.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        client.send("x");
        expect(&mut client, "x");
    }
    let begun = Instant::now();
    // Its end is no orderly one for either side, or it is: what matters is that it comes.
    let _ = client.try_rest();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    tests::until_true("the worker has no connection", || kiln.workers()[0]["connections"] == 0);
}

/// A tunnel whose peers do not read costs no more than their buffers, and stops the side that sends.
#[test]
fn a_tunnel_that_nobody_reads_from_stops_its_sender() {
    let _beside = beside_others();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Origin::raw(move |mut stream, _| {
        let mut reader = Client::over(stream.try_clone().expect("a socket"));
        reader.head_of_request();
        let _ = stream.write_all(SWITCHING.as_bytes());
        // Reads nothing until it is told to, and then everything.
        let _ = held.lock().expect("no holder panics").recv_timeout(PATIENCE);
        let mut total = 0;
        let mut part = vec![0; 1 << 20];
        while let Ok(count @ 1..) = stream.read(&mut part) {
            total += count;
        }
        let _ = stream.write_all(total.to_string().as_bytes());
    });
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let pid = kiln.worker_pids()[0];
    let mut client = kiln.connect();
    client.send(UPGRADE).head().expect_status(101);
    let before_kb = tests::resident_kb(pid);
    let mut writer = client.writer();
    writer.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    let stalled = loop {
        match writer.write(&block) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "a gigabyte went somewhere");
    };
    assert_eq!(stalled.kind(), ErrorKind::WouldBlock);
    let grown_kb = tests::resident_kb(pid).saturating_sub(before_kb);
    assert!(grown_kb < 2 << 10, "the worker grew by {grown_kb} KB");
    release.send(()).expect("the origin waits");
    client.shut();
    assert_eq!(String::from_utf8_lossy(&client.rest()), sent.to_string());
}
