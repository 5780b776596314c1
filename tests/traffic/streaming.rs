//! Bodies of every size around which something changes, in both directions and framings; and what they
//! cost while one side does not move.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use tests::{Client, Kiln, Origin, PATIENCE, resident_kb};

use crate::content::{Framing, check, read_head};
use crate::{alone, beside_others};

/// Sizes around a buffer of 16 KiB, a TCP window's first step, and what needs several reads.
const SIZES: [u64; 15] = [
    0,
    1,
    2,
    1023,
    4096,
    16_372,
    16_383,
    16_384,
    16_385,
    32_768,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
];

/// More than what all buffers between two ends hold.
const LARGE: u64 = 100 << 20;

/// Growth of a worker that a peer who does not move may cause: a few buffers, and what the allocator
/// takes at a time.
const GROWTH_KB_MAX: u64 = 2 << 10;

/// Reads requests and checks their content; answers with how much there was, and with as much content
/// of its own as the target says: `/BYTES/counted`, `/BYTES/CHUNK` or `/BYTES/closing`.
fn origin() -> Origin {
    Origin::raw(|stream, _| {
        // A peer that goes away is its own affair.
        let _ = serve(stream);
    })
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    loop {
        let (line, framing, length) = read_head(&mut input)?;
        let received = match framing {
            // A request without framing has no content.
            Framing::Closing => Ok(0),
            framing => check(&mut input, framing, length),
        };
        let said = received.map_or_else(|error| error.to_string(), |count| count.to_string());
        let target = line.split(' ').nth(1).unwrap_or_default();
        let mut parts = target.trim_start_matches('/').split('/');
        let bytes: u64 = parts.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        let framing = framing_of(parts.next().unwrap_or_default());
        let head = format!("HTTP/1.1 200 OK\r\nX-Received: {said}\r\n{}\r\n", framing.field(bytes));
        stream.write_all(head.as_bytes())?;
        framing.write(&mut stream, bytes)?;
        if framing == Framing::Closing {
            return Ok(());
        }
    }
}

fn framing_of(name: &str) -> Framing {
    match name {
        "counted" => Framing::Counted,
        "closing" => Framing::Closing,
        size => Framing::Chunked(size.parse().expect("a size of chunks")),
    }
}

/// Sends so many bytes, asks for so many, and checks all of them.
fn exchange(kiln: SocketAddr, (sent, up): (u64, Framing), (wanted, down): (u64, &str)) {
    let stream = TcpStream::connect(kiln).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is connected");
    let mut writer = stream.try_clone().expect("descriptors are left");
    let field = up.field(sent);
    let head = format!("POST /{wanted}/{down} HTTP/1.1\r\nHost: test\r\n{field}\r\n");
    let sender = thread::spawn(move || {
        writer.write_all(head.as_bytes())?;
        up.write(&mut writer, sent)
    });
    let what = format!("{sent} bytes {up:?} against {wanted} bytes {down}");
    let mut input = BufReader::with_capacity(256 << 10, stream);
    let (line, received, framing, length) = read_response(&mut input).expect(&what);
    assert_eq!((line.as_str(), received), ("HTTP/1.1 200 OK", sent.to_string()), "{what}");
    let count =
        check(&mut input, framing, length).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(count, wanted, "{what}");
    sender.join().expect("no panic").unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// The head of a response, and what it says that the origin received.
fn read_response(input: &mut impl io::BufRead) -> io::Result<(String, String, Framing, u64)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if input.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let received = text.lines().find_map(|line| line.strip_prefix("X-Received: "));
    let received = received.unwrap_or_default().to_owned();
    let (line, framing, length) = read_head(&mut &head[..])?;
    Ok((line, received, framing, length))
}

#[test]
fn bodies_of_every_size_arrive_unchanged_in_both_directions() {
    let _beside = beside_others();
    let origin = origin();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    for size in SIZES {
        for (up, down) in [
            (Framing::Counted, "counted"),
            (Framing::Chunked(16_384), "16384"),
            (Framing::Chunked(16_372), "16372"),
            (Framing::Chunked(50_000), "50000"),
        ] {
            exchange(kiln.address(), (size, up), (size, down));
            exchange(kiln.address(), (size, up), (0, "counted"));
            exchange(kiln.address(), (0, up), (size, down));
        }
        exchange(kiln.address(), (0, Framing::Counted), (size, "closing"));
    }
    // Chunks of a byte each are the dearest: a few thousand of them do.
    exchange(kiln.address(), (20_000, Framing::Chunked(1)), (20_000, "1"));
    exchange(kiln.address(), (100_000, Framing::Chunked(7)), (100_000, "7"));
}

#[test]
fn a_hundred_megabytes_arrive_unchanged_in_both_directions_at_once() {
    let _beside = beside_others();
    let origin = origin();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    exchange(kiln.address(), (LARGE, Framing::Counted), (LARGE, "counted"));
    exchange(kiln.address(), (LARGE, Framing::Chunked(60_000)), (LARGE, "60000"));
    exchange(kiln.address(), (0, Framing::Counted), (LARGE, "closing"));
}

/// What both sides of a transfer have in common: one says when it cannot go on, the other when it may.
struct Stall {
    is_stalled: Receiver<u64>,
    may_go_on: Sender<()>,
}

/// Writes `bytes` of content until the other side takes no more for a while, says so, and goes on once it
/// may.
fn write_until_stalled(
    stream: &mut TcpStream,
    bytes: u64,
    stalled: &Sender<u64>,
    go_on: &Mutex<Receiver<()>>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let block = vec![b'x'; 64 << 10];
    let mut sent = 0;
    let mut has_waited = false;
    while sent < bytes {
        let left = usize::try_from(bytes - sent).unwrap_or(usize::MAX).min(block.len());
        match stream.write(&block[..left]) {
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_waited => {
                has_waited = true;
                stalled.send(sent).map_err(io::Error::other)?;
                let _ = go_on.lock().expect("no holder panics").recv_timeout(PATIENCE);
                stream.set_write_timeout(Some(PATIENCE))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn stall() -> (Stall, Sender<u64>, Mutex<Receiver<()>>) {
    let (stalled, is_stalled) = mpsc::channel();
    let (may_go_on, go_on) = mpsc::channel();
    (Stall { is_stalled, may_go_on }, stalled, Mutex::new(go_on))
}

/// Both directions of this: nothing moves, and the worker holds a few buffers rather than the body.
#[track_caller]
fn expect_bounded(kiln: &Kiln, pid: i32, before_kb: u64, stall: &Stall, bytes: u64) {
    let sent = stall
        .is_stalled
        .recv_timeout(PATIENCE)
        .expect("a peer that reads nothing stalls the other");
    assert!(sent < bytes, "all of it went somewhere");
    let grown_kb = resident_kb(pid).saturating_sub(before_kb);
    assert!(grown_kb < GROWTH_KB_MAX, "the worker grew by {grown_kb} KB");
    // Others are served meanwhile.
    kiln.get("/0/counted").expect_status(200);
    stall.may_go_on.send(()).expect("the sender waits");
}

#[test]
fn a_client_that_stops_reading_stops_its_origin_and_costs_a_few_buffers() {
    let _alone = alone();
    let bytes: u64 = 200 << 20;
    for framing in ["Content-Length", "Transfer-Encoding"] {
        let (stall, stalled, go_on) = stall();
        let is_counted = framing == "Content-Length";
        let large = Origin::answering(move |request, stream| {
            if !request.line().contains("/large") {
                return stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .map(|()| true);
            }
            let head = match is_counted {
                true => format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n"),
                // One chunk of that size: Kiln makes its own of it.
                false => {
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n")
                }
            };
            stream.write_all(head.as_bytes())?;
            write_until_stalled(stream, bytes, &stalled, &go_on)?;
            if !is_counted {
                stream.write_all(b"\r\n0\r\n\r\n")?;
            }
            Ok(false)
        });
        let kiln = Kiln::forwarding_to(&[large.address()]);
        let pid = kiln.worker_pids()[0];
        kiln.get("/warm").expect_status(200);
        let before_kb = resident_kb(pid);
        let mut client = kiln.connect();
        client.send_get("/large");
        client.head().expect_status(200);
        expect_bounded(&kiln, pid, before_kb, &stall, bytes);
        let mut input = client.writer();
        let mut part = vec![0; 1 << 20];
        let mut rest: u64 = 0;
        while rest < bytes / 2 {
            let count = input.read(&mut part).expect("it goes on");
            assert!(count > 0, "it ended after {rest} bytes");
            rest += count as u64;
        }
        let grown_kb = resident_kb(pid).saturating_sub(before_kb);
        assert!(grown_kb < GROWTH_KB_MAX, "the worker grew by {grown_kb} KB later");
    }
}

#[test]
fn an_origin_that_stops_reading_stops_its_client_and_costs_a_few_buffers() {
    let _alone = alone();
    let bytes: u64 = 200 << 20;
    for is_counted in [true, false] {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let origin = Origin::raw(move |mut stream, _| {
            let mut part = vec![0; 1 << 20];
            loop {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut part[..1]) {
                        Ok(1) => head.push(part[0]),
                        _ => return,
                    }
                }
                if head.starts_with(b"PUT") {
                    // Reads nothing before it is told to.
                    let _ = held.lock().expect("no holder panics").recv_timeout(PATIENCE);
                    let mut left = bytes;
                    while left > 0 {
                        match stream.read(&mut part) {
                            Ok(count) if count > 0 => left = left.saturating_sub(count as u64),
                            _ => return,
                        }
                    }
                }
                // The peer may be gone.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let kiln = Kiln::forwarding_to(&[origin.address()]);
        let pid = kiln.worker_pids()[0];
        kiln.get("/0/counted").expect_status(200);
        let before_kb = resident_kb(pid);
        let (stall, stalled, go_on) = stall();
        let mut client = kiln.connect();
        let mut writer = client.writer();
        let sender = thread::spawn(move || {
            let head = match is_counted {
                true => format!("Content-Length: {bytes}\r\n\r\n"),
                false => format!("Transfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n"),
            };
            writer.write_all(format!("PUT / HTTP/1.1\r\nHost: test\r\n{head}").as_bytes())?;
            write_until_stalled(&mut writer, bytes, &stalled, &go_on)?;
            if is_counted { Ok(()) } else { writer.write_all(b"\r\n0\r\n\r\n") }
        });
        expect_bounded(&kiln, pid, before_kb, &stall, bytes);
        release.send(()).expect("the origin waits");
        client.response().expect_status(200);
        sender.join().expect("no panic").expect("all of it was taken");
    }
}

/// A client that has sent its request and shuts its side gets all of a long answer, however slowly it
/// reads it.
#[test]
fn a_client_that_shuts_its_side_gets_the_whole_answer() {
    let _beside = beside_others();
    let origin = origin();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    for down in ["counted", "16384", "closing"] {
        let mut client = kiln.connect();
        client.send(format!("GET /{}/{down} HTTP/1.1\r\nHost: test\r\n\r\n", 4 << 20)).shut();
        let mut input = BufReader::with_capacity(3000, client.writer());
        let (line, framing, length) = read_head(&mut input).expect("a head");
        assert_eq!(line, "HTTP/1.1 200 OK");
        assert_eq!(check(&mut input, framing, length).expect("all of it"), 4 << 20, "{down}");
    }
}

/// An origin answers without reading the upload: the client has its answer while it still sends, and
/// the connection of the origin, which is in doubt, carries nothing more.
#[test]
fn an_early_answer_comes_while_a_large_upload_is_on_its_way() {
    let _beside = beside_others();
    let origin = Origin::raw(|mut stream, _| {
        let mut reader = Client::over(stream.try_clone().expect("a socket"));
        reader.head_of_request();
        let _ =
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge");
        // It is polite and reads what still comes.
        let mut part = vec![0; 1 << 16];
        while stream.read(&mut part).is_ok_and(|count| count > 0) {}
    });
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    for round in 1..=3 {
        let mut client = kiln.connect();
        let mut writer = client.writer();
        let sender = thread::spawn(move || {
            let head = format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n");
            writer.write_all(head.as_bytes())?;
            Framing::Counted.write(&mut writer, LARGE)
        });
        client.response().expect(413, "large");
        drop(client);
        // All of it was taken, or it was cut off: either is an end.
        let _ = sender.join().expect("no panic");
        assert_eq!(origin.connections(), round);
    }
}
