//! Origins that lie, stall or break off: what must not reach a client, and what must not reach the next
//! one (RFC 9112, sections 2.2, 4, 5, 6.3, 8 and 9.2).

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::{Kiln, Origin, Signal, reset, until_true};

use crate::site::{OK, Upstream, check, connect, connect_hasty};

/// RFC 9112, section 6.3, rules 3 to 5, and sections 4, 5.1 and 5.2: a response whose length is in
/// doubt, or that is malformed, MUST be discarded and becomes a 502.
#[test]
fn responses_in_doubt_are_502_and_end_their_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX(: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        " HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "ok",
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a",
    ] {
        let origin = Upstream::replying_once(response);
        let mut client = connect();
        let answer = client.send(origin.get()).response();
        assert_eq!(answer.status, 502, "{response:?} became {answer:?}");
        assert!(!answer.text().contains("ok"), "{response:?} became {answer:?}");
        // The client has done nothing wrong, and hears nothing of it.
        client.get("/after").expect(200, "GET /after test");
    }
}

/// RFC 9112, section 8: an incomplete response is recorded as such: the client must be able to tell.
#[test]
fn a_response_that_breaks_off_never_looks_whole_to_anybody() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    ] {
        let origin = Upstream::replying_once(response);
        let answer = connect().send(origin.get()).try_response();
        assert!(
            answer.as_ref().map_or(true, |answer| answer.status == 502),
            "{response:?} became {answer:?}"
        );
        let mut old = connect();
        old.send(format!("GET / HTTP/1.0\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"));
        let answer = old.try_response();
        assert!(
            answer.as_ref().map_or(true, |answer| answer.status == 502),
            "{response:?} became {answer:?} for 1.0"
        );
    }
}

/// RFC 9112, section 6.3: what comes after a response is not a part of it, and section 9.2: what comes
/// without a request is nobody's. Neither may become the answer to what is asked next.
#[test]
fn bytes_beyond_a_response_never_become_the_next_answer() {
    for more in ["x", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden", "\r\n", "0\r\n\r\n"] {
        for first in
            [OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
        {
            let origin = Upstream::replying(format!("{first}{more}"));
            let mut client = connect();
            for _ in 0..3 {
                client.send(origin.get()).response().expect(200, "ok");
            }
            assert_eq!(origin.connections(), 3, "{more:?}: the connection was used again");
        }
    }
}

/// The same when the second response comes later, on a connection that is in the pool by then.
#[test]
fn a_response_to_no_request_ends_a_pooled_connection() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (closed, is_closed) = std::sync::mpsc::channel::<bool>();
    let held = std::sync::Mutex::new((held, closed));
    let origin = Upstream::answering(move |request, stream| {
        stream.write_all(OK.as_bytes())?;
        if request.connection > 0 {
            return Ok(true);
        }
        let (held, closed) = &*held.lock().expect("no holder panics");
        let _ = held.recv();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden")?;
        stream.set_read_timeout(Some(tests::PATIENCE))?;
        let is_over = stream.read(&mut [0; 1]);
        let is_over =
            is_over.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |n| n == 0);
        closed.send(is_over).map_err(std::io::Error::other).map(|()| false)
    });
    let mut client = connect();
    client.send(origin.get()).response().expect(200, "ok");
    release.send(()).expect("the origin waits");
    assert_eq!(is_closed.recv(), Ok(true), "Kiln closes a connection that talks out of turn");
    for _ in 0..3 {
        client.send(origin.get()).response().expect(200, "ok");
    }
}

/// The same when it has come, but a request for that connection is looked at first: what waits there was
/// said before the request was sent, and so is no answer to it.
#[test]
fn what_waits_on_a_pooled_connection_is_not_the_answer_to_a_request_sent_after_it() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Origin::answering(move |request, stream| {
        stream.write_all(OK.as_bytes())?;
        if request.line().contains("/first") {
            let _ = held.lock().expect("no holder panics").recv();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden")?;
        }
        Ok(true)
    });
    let script = "#include <kiln.h>
        kiln::Action on_request(kiln::Request&) { return kiln::forward(\"web\"); }";
    let kiln =
        Kiln::builder().script(script).workers(1).upstream("web", &[origin.address()]).start();
    let worker = nix::unistd::Pid::from_raw(kiln.worker_pids()[0]);
    let mut client = kiln.connect();
    client.get("/first").expect(200, "ok");
    // While the worker stands still both things happen, so that it finds them together, in this order.
    nix::sys::signal::kill(worker, Signal::SIGSTOP).expect("it is alive");
    tests::until_true("the worker stands still", || tests::state(worker.as_raw()) == Some('T'));
    client.send_get("/second");
    release.send(()).expect("the origin waits");
    let hidden = || {
        let mut sockets = std::process::Command::new("ss");
        let port = origin.address().port();
        sockets.args(["-Htn", "state", "established", &format!("dport = :{port}")]);
        tests::run(&mut sockets).stdout.split_whitespace().next().is_some_and(|queue| queue != "0")
    };
    tests::until_true("the worker has something to read of its origin", hidden);
    nix::sys::signal::kill(worker, Signal::SIGCONT).expect("it is alive");
    client.response().expect(200, "ok");
}

/// RFC 9112, section 9.2: a response before any request is an error, not an answer. It may win the race
/// with the request on a new connection; what comes after it, once it is there, is nobody's answer.
#[test]
fn an_origin_that_answers_before_it_is_asked_confuses_nobody() {
    let closed = Arc::new(AtomicUsize::new(0));
    let closed_by_kiln = closed.clone();
    let origin = Upstream::raw(move |mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlater");
        let _ = stream.read(&mut [0; 4096]);
        closed_by_kiln.fetch_add(1, Ordering::SeqCst);
    });
    for connections in 1..=3 {
        let mut client = connect();
        let answer = client.send(origin.get()).response();
        assert!(answer.status == 502 || answer.text() == "early", "{answer:?}");
        client.get("/after").expect(200, "GET /after test");
        until_true("the connection is closed", || closed.load(Ordering::SeqCst) >= connections);
    }
}

/// Bytes may come one by one; what they say does not depend on it.
#[test]
fn a_response_may_come_byte_by_byte() {
    for response in [
        OK,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\no\r\n1\r\nk\r\n0\r\nX: 1\r\n\r\n",
    ] {
        let origin = Upstream::answering(move |_, stream| {
            for byte in response.bytes() {
                stream.write_all(&[byte])?;
                // Lets them go one by one; nothing depends on whether they do.
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(true)
        });
        let mut client = connect();
        for _ in 0..2 {
            let mut answer = client.send(origin.get()).response();
            if answer.status == 103 {
                answer = client.response();
            }
            answer.expect(200, "ok");
        }
    }
}

/// A request that comes byte by byte, with its content, is one request.
#[test]
fn a_request_may_come_byte_by_byte() {
    let origin = Upstream::fine();
    for (framing, body) in [
        ("Content-Length: 3", "abc"),
        ("Transfer-Encoding: chunked", "1;x\r\na\r\n2\r\nbc\r\n0\r\nX: 1\r\n\r\n"),
    ] {
        let mut client = connect();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n{framing}\r\n\r\n{body}"
        );
        for byte in request.bytes() {
            client.send([byte]);
        }
        client.response().expect(200, "ok");
        assert_eq!(origin.last().body, b"abc");
    }
}

/// A reset instead of an answer is a 502; in the middle of content it is visible to the client.
#[test]
fn an_origin_that_resets_is_502_or_a_truncated_answer() {
    let at_once = Upstream::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        reset(&stream);
    });
    check(at_once.get(), 502);
    let later = Upstream::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc");
        reset(&stream);
    });
    // Framed by the end of the connection, and that end was no end.
    let answer = connect().send(later.get()).try_response();
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 502), "{answer:?}");
}

/// A body that stalls ends, visibly, after the timeout.
#[test]
fn a_response_that_stalls_is_given_up() {
    let check = |start: &'static str| {
        let origin = Upstream::answering_hasty(move |_, stream| {
            stream.write_all(start.as_bytes())?;
            let _ = stream.read(&mut [0; 1]);
            Ok(false)
        });
        let answer = connect_hasty().send(origin.get()).try_response();
        assert!(answer.is_err(), "{start:?} became {answer:?}");
    };
    // Each waits for the same timeout: side by side they wait once.
    std::thread::scope(|scope| {
        for start in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\n\r\nabc",
        ] {
            scope.spawn(move || check(start));
        }
    });
}

/// A byte now and then is no head: its time runs from the request on, or an origin could hold a client
/// for ever. Content is another matter: as long as it moves it may take its time.
#[test]
fn a_head_that_dribbles_is_504_and_content_that_dribbles_arrives() {
    let dribble = |stream: &mut std::net::TcpStream, text: &str, pause_ms: u64| {
        text.bytes().try_for_each(|byte| {
            // The pace is what is tested: below the timeout for each byte, above it for all of them.
            std::thread::sleep(Duration::from_millis(pause_ms));
            stream.write_all(&[byte])
        })
    };
    let origin = Upstream::answering_hasty(move |_, stream| {
        dribble(stream, &format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(100)), 60).map(|()| false)
    });
    connect_hasty().send(origin.get()).response().expect_status(504);
    let origin = Upstream::answering_hasty(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")?;
        dribble(stream, "hello, world", 60).map(|()| false)
    });
    connect_hasty().send(origin.get()).response().expect(200, "hello, world");
}

/// RFC 9110, section 5.4: heads of origins that do not fit are 502, not truncated.
#[test]
fn a_response_head_that_is_too_large_is_502() {
    let large =
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(66_000));
    check(Upstream::replying_once(large).get(), 502);
    let many: String = (0..250).map(|number| format!("X-{number}: 1\r\n")).collect();
    check(
        Upstream::replying_once(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok"))
            .get(),
        502,
    );
}

/// RFC 9112, section 9.6: an origin may half-close when it has answered; the answer counts.
#[test]
fn an_origin_that_shuts_its_side_after_the_answer_has_answered() {
    let origin = Upstream::answering(|_, stream| {
        stream.write_all(OK.as_bytes())?;
        let _ = stream.shutdown(std::net::Shutdown::Write);
        Ok(true)
    });
    let mut client = connect();
    for _ in 0..3 {
        client.send(origin.get()).response().expect(200, "ok");
    }
    assert_eq!(origin.connections(), 3);
}

/// RFC 9112, section 9.3: what an origin answers before it has all content is the answer, and a client
/// that goes on sending is not reset before it has read it.
#[test]
fn an_early_answer_reaches_a_client_that_sends_a_large_body() {
    let origin = Upstream::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        );
        // Closes on unread content: the kernel sends a reset after the answer.
    });
    let mut client = connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nContent-Length: 5000000\r\n\r\n"
    ));
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || {
        // Until it is cut off.
        for _ in 0..50 {
            if writer.write_all(&[b'a'; 100_000]).is_err() {
                return;
            }
        }
    });
    let answer = client.response();
    // A reset may overtake the answer on its way to Kiln; what then comes is a 502 and never nothing.
    assert!(matches!(answer.status, 413 | 502), "{answer:?}");
    drop(client);
    sender.join().expect("it was cut off");
}
