//! Interim responses of origins (RFC 9110, section 15.2).

use std::io::Write;

use crate::site::{OK, Upstream, connect};

/// RFC 9110, section 15.2: a proxy MUST forward interim responses, unless it asked for them itself.
#[test]
fn interim_responses_are_relayed_in_order_before_the_final_one() {
    let origin = Upstream::replying(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\nHTTP/1.1 199 Odd\r\nX-V: 1\r\n\r\n{OK}"
    ));
    let mut client = connect();
    for _ in 0..2 {
        client.send(origin.get());
        let hints = client.response().expect_status(103);
        assert_eq!(hints.values("link"), ["</a.css>; rel=preload"]);
        client.response().expect_status(102);
        client.response().expect_status(103);
        assert_eq!(client.response().expect_status(199).values("x-v"), ["1"]);
        client.response().expect(200, "ok");
    }
}

/// RFC 9110, section 15.2: a server MUST NOT send a 1xx response to a 1.0 client.
#[test]
fn old_clients_get_no_interim_responses() {
    let origin = Upstream::replying(format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"
    ));
    let mut client = connect();
    client.send(format!("GET / HTTP/1.0\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"));
    client.response().expect(200, "ok");
}

/// RFC 9112, section 6.3, rule 1: a 1xx ends with its head, regardless of the fields in it. It MUST NOT
/// carry `Transfer-Encoding` (section 6.1) nor `Content-Length` (RFC 9110, section 8.6): they are
/// dropped, and the answer that follows stands.
#[test]
fn interim_responses_are_relayed_without_framing_fields() {
    for field in [
        "Content-Length: 5",
        "Content-Length: x",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let hints = format!("HTTP/1.1 103 Early Hints\r\n{field}\r\nX-V: 1\r\n\r\n");
        let origin = Upstream::replying(format!("{hints}{hints}{OK}"));
        let mut client = connect();
        for _ in 0..2 {
            client.send(origin.get());
            for _ in 0..2 {
                let first = client.head();
                assert_eq!((first.status, first.values("x-v")), (103, vec!["1"]), "{first:?}");
                assert!(first.values("content-length").is_empty(), "{first:?}");
                assert!(first.values("transfer-encoding").is_empty(), "{first:?}");
            }
            client.response().expect(200, "ok");
        }
        assert_eq!(origin.connections(), 1, "{field}: a connection in order was not used again");
    }
}

/// RFC 9110, section 15.2.1: a 100 that nobody waits for may be discarded by a proxy only if it asked
/// for it itself; a client that gets one has to cope, and one more final response is not one of them.
#[test]
fn a_needless_100_never_becomes_the_answer() {
    let origin = Upstream::replying(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    let mut client = connect();
    let mut answer = client.send(origin.get()).response();
    if answer.status == 100 {
        answer = client.response();
    }
    answer.expect(200, "ok");
    client.get("/after").expect(200, "GET /after test");
}

/// An origin that sends nothing but interim responses costs its client no more than a failed request.
#[test]
fn an_interim_response_without_a_final_one_is_502() {
    let origin = Upstream::replying_once("HTTP/1.1 103 Early Hints\r\n\r\n");
    let mut client = connect();
    client.send(origin.get());
    client.response().expect_status(103);
    client.response().expect_status(502);
}

/// Interim responses reach a client when they are sent, not together with the final one: that is all
/// they are for (RFC 8297, section 2).
#[test]
fn early_hints_are_early() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Upstream::answering(move |_, stream| {
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        // It is released, or the test is over.
        let _ = held.lock().expect("no holder panics").recv();
        stream.write_all(OK.as_bytes()).map(|()| true)
    });
    let mut client = connect();
    client.send(origin.get());
    client.response().expect_status(103);
    release.send(()).expect("the origin waits");
    client.response().expect(200, "ok");
}

/// Thousands of interim responses are relayed, or the request fails; they are never kept.
#[test]
fn a_flood_of_interim_responses_ends() {
    let origin = Upstream::answering(|_, stream| {
        for _ in 0..2000 {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")?;
        }
        stream.write_all(OK.as_bytes()).map(|()| true)
    });
    let mut client = connect();
    client.send(origin.get());
    loop {
        match client.response().status {
            103 => {}
            200 | 502 => break,
            other => panic!("{other}"),
        }
    }
}
