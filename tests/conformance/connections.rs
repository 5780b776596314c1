//! Connections: persistence, pipelining, closing (RFC 9112, section 9).

use std::io::{Read, Write};

use tests::Client;

use crate::site::{OK, Upstream, check, connect, connect_hasty};

/// RFC 9112, section 9.3: 1.1 connections persist unless told otherwise.
#[test]
fn connections_of_1_1_persist() {
    let mut client = connect();
    for number in 0..10 {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.field("connection"), None, "{answer:?}");
    }
}

/// RFC 9112, section 9.6: a server that receives `close` MUST close after that response, SHOULD say
/// so, and MUST NOT process what comes after it.
#[test]
fn nothing_after_a_request_that_closes_is_processed() {
    let origin = Upstream::fine();
    for option in ["close", "Close", "CLOSE", "keep-alive, close", "x,close", ", close ,"] {
        for upstream in [String::new(), format!("X-Upstream: {origin}\r\n")] {
            let mut client = connect();
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: test\r\n{upstream}Connection: {option}\r\n\r\n\
                 GET /hidden HTTP/1.1\r\nHost: test\r\n{upstream}\r\n"
            ));
            let answer = client.response().expect_status(200);
            assert_eq!(answer.field("connection"), Some("close"), "{option:?}");
            client.expect_closed();
        }
    }
    assert!(origin.requests().iter().all(|request| !request.head.contains("hidden")));
}

/// RFC 9112, section 9.3: a 1.0 connection persists only where `keep-alive` is asked for, and `close`
/// outranks it. A gateway is the origin for its clients, so it may honour it (appendix C.2.2).
#[test]
fn connections_of_1_0_persist_only_on_request() {
    let ask = |connection: &str| format!("GET / HTTP/1.0\r\nHost: test\r\n{connection}\r\n");
    let mut client = connect();
    client.send(ask("Connection: keep-alive\r\n")).response().expect_status(200);
    client.send(ask("Connection: Keep-Alive\r\n")).response().expect_status(200);
    client.send(ask("")).response().expect_status(200);
    client.expect_closed();
    let mut client = connect();
    client.send(ask("Connection: keep-alive, close\r\n")).response().expect_status(200);
    client.expect_closed();
    // `Proxy-Connection` never was an option of 1.0 for a server.
    let mut client = connect();
    client.send(ask("Proxy-Connection: keep-alive\r\n")).response().expect_status(200);
    client.expect_closed();
}

/// RFC 9112, section 9.3.2: pipelined requests are answered in their order, however long each takes.
#[test]
fn pipelined_requests_are_answered_in_order_though_the_first_takes_longest() {
    let origin = Upstream::answering(|request, stream| {
        if request.line().contains("/slow") {
            // Not a guess that something has happened: the later ones must wait however long it is.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let target = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        stream.write_all(head.as_bytes()).map(|()| true)
    });
    let mut client = connect();
    let forward = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n")
    };
    let own = "GET /own HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send([forward("/slow"), own.to_owned(), forward("/fast"), own.to_owned()].concat());
    client.response().expect(200, "/slow");
    client.response().expect(200, "GET /own test");
    client.response().expect(200, "/fast");
    client.response().expect(200, "GET /own test");
}

/// RFC 9112, section 9.3.2: requests with content pipeline like others.
#[test]
fn content_between_pipelined_requests_is_no_request() {
    let origin = Upstream::answering(|request, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        stream.write_all(&[head.as_bytes(), &request.body].concat()).map(|()| true)
    });
    let body = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    let counted = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let mut client = connect();
    client.send([counted.as_str(), &chunked, &counted, &chunked].concat());
    for _ in 0..4 {
        client.response().expect(200, body);
    }
    client.get("/after").expect(200, "GET /after test");
}

/// RFC 9112, section 9.6: the server closes in stages, so that what the client still sends does not
/// destroy the response that it has not read yet.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let mut client = connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n");
    for _ in 0..20 {
        // It may be cut off at some point, but only after the answer.
        let _ = client.try_send([b'a'; 10_000]);
    }
    client.response().expect_status(400);
}

/// RFC 9112, section 9.5: a connection that idles is closed; nothing is written that a client might
/// take for the answer to its next request.
#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut client = connect_hasty();
    client.get("/").expect_status(200);
    client.expect_closed();
    connect_hasty().expect_closed();
}

/// RFC 9110, section 15.5.9: a request that does not come to an end in time is 408, or just closed.
#[test]
fn a_request_that_never_ends_is_given_up() {
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: test\r\nX: "] {
        let mut client = connect_hasty();
        let answer = client.send(part).try_response();
        assert!(answer.as_ref().map_or(true, |answer| answer.status == 408), "{answer:?}");
    }
    let mut client = connect_hasty();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab");
    client.response().expect_status(200);
    assert!(
        client.try_rest().is_ok_and(|rest| rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"))
    );
}

/// The time for a head runs from its first byte, however many follow it one by one.
#[test]
fn a_head_that_dribbles_is_given_up_and_content_that_dribbles_arrives() {
    let dribble = |client: &mut Client, text: &str| {
        text.bytes().try_for_each(|byte| {
            // The pace is what is tested: below the timeout for each byte, above it for all of them.
            std::thread::sleep(std::time::Duration::from_millis(60));
            client.try_send([byte])
        })
    };
    let mut client = connect_hasty();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX: ");
    let sent = dribble(&mut client, &"a".repeat(100));
    assert!(sent.is_err() || client.try_response().is_ok_and(|answer| answer.status == 408));
    let origin = Upstream::answering_hasty(|request, stream| {
        assert_eq!(request.body, b"hello, world");
        stream.write_all(OK.as_bytes()).map(|()| true)
    });
    let mut client = connect_hasty();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nContent-Length: 12\r\n\r\n"
    ));
    dribble(&mut client, "hello, world").expect("it is taken");
    client.response().expect(200, "ok");
}

/// RFC 9112, section 9.6: a client that sends no more may still read. The answer is owed to it.
#[test]
fn a_client_that_shuts_its_side_gets_every_answer() {
    let origin = Upstream::fine();
    let mut client = connect();
    client.send([origin.get(), origin.get(), origin.get()].concat()).shut();
    for _ in 0..3 {
        client.response().expect(200, "ok");
    }
    client.expect_closed();
}

/// RFC 9112, section 9.3: connections to origins persist too, until the origin says `close`.
#[test]
fn an_origin_that_says_close_is_asked_nothing_more_on_that_connection() {
    let origin = Upstream::answering(|_, stream| {
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        // It says so and does not do so, so that a second request would arrive.
        stream.write_all(answer.as_bytes()).map(|()| true)
    });
    let mut client = connect();
    for _ in 0..3 {
        let answer = client.send(origin.get()).response().expect(200, "ok");
        assert_eq!(answer.field("connection"), None, "that was the other connection: {answer:?}");
    }
    let connections: Vec<usize> =
        origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2]);
}

/// RFC 9112, section 9.3: the response of a 1.0 origin without `keep-alive` is the last on its
/// connection.
#[test]
fn a_1_0_origin_is_asked_once_on_each_connection_unless_it_keeps_alive() {
    let once = Upstream::replying("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let keeps = Upstream::replying(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut client = connect();
    for _ in 0..3 {
        client.send(once.get()).response().expect(200, "ok");
        client.send(keeps.get()).response().expect(200, "ok");
    }
    assert_eq!(once.connections(), 3);
    assert!(keeps.connections() <= 3);
}

/// RFC 9112, section 9.3.1: a proxy MUST NOT repeat a request that is not idempotent by itself, and
/// RFC 9110, section 9.2.2, says which are.
#[test]
fn only_idempotent_requests_are_repeated_on_another_connection() {
    for (method, is_repeated) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("DELETE", true),
        ("PUT", true),
        ("POST", false),
        ("PATCH", false),
        ("LOCK", false),
        ("get", false),
    ] {
        // Answers one request of each connection and closes when it has read a second one.
        let origin = Upstream::raw(|mut stream, _| {
            let mut part = [0; 4096];
            if stream.read(&mut part).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                let _ = stream.read(&mut part);
            }
        });
        let mut client = connect();
        client.send(origin.get()).response().expect_status(204);
        let request = format!("{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n");
        let status = client.send(request).head().status;
        assert_eq!(status, if is_repeated { 204 } else { 502 }, "{method}");
        assert_eq!(origin.connections(), if is_repeated { 2 } else { 1 }, "{method}");
    }
}

/// RFC 9112, section 9.3.1: a new connection that dies is no reason to repeat anything.
#[test]
fn nothing_is_repeated_that_was_the_first_on_its_connection() {
    let origin = Upstream::answering(|_, _| Ok(false));
    check(origin.get(), 502);
    assert_eq!(origin.requests().len(), 1);
}

/// RFC 9112, section 9.3: once the content is complete the connection is the next request's, whatever
/// direction finished first.
#[test]
fn an_answer_before_the_content_is_complete_does_not_confuse_what_follows() {
    let origin = Upstream::raw(|mut stream, _| {
        let mut part = [0; 4096];
        let _ = stream.read(&mut part);
        let _ = stream.write_all(OK.as_bytes());
        // Reads on, as an origin that is polite does.
        while stream.read(&mut part).is_ok_and(|count| count > 0) {}
    });
    let mut client = connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nContent-Length: 100000\r\n\r\nabc"
    ));
    client.response().expect(200, "ok");
    // The rest of the content, in the shape of a request.
    let hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3000);
    let _ = client.try_send(&hidden.as_bytes()[..99_997]);
    let rest = client.try_rest().unwrap_or_default();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}
