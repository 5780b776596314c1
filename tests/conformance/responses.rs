//! Responses as clients get them: statuses, content, fields (RFC 9110, sections 6.6, 8.6, 9.3.2 and
//! 15; RFC 9112, sections 4 and 6.3).

use crate::site::{Upstream, check, connect};

/// RFC 9112, section 6.3, rule 1: answers to HEAD, 204 and 304 end with their head; what an origin
/// sends after it is not the client's. RFC 9110, section 6.4.1.
#[test]
fn content_where_there_can_be_none_never_reaches_a_client() {
    let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
    for (method, status) in
        [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
    {
        for framing in [format!("Content-Length: {}\r\n", hidden.len()), String::new()] {
            let origin = Upstream::replying(format!("HTTP/1.1 {status}\r\n{framing}\r\n{hidden}"));
            let mut client = connect();
            for _ in 0..2 {
                client.send(format!(
                    "{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n"
                ));
                let answer = client.head();
                // A 204 that has a length may be refused: nobody but its origin knows what follows.
                if answer.status == 502 && status.starts_with("204") {
                    let length =
                        answer.field("content-length").and_then(|length| length.parse().ok());
                    client
                        .exactly(length.expect("Kiln's own answer is counted"))
                        .expect("its content");
                } else {
                    assert!(status.starts_with(&answer.status.to_string()), "{answer:?}");
                }
                client.get("/after").expect(200, "GET /after test");
            }
            let connections = origin.connections();
            assert_eq!(connections, 2, "{method} {status}: a connection in doubt was used again");
        }
    }
}

/// RFC 9112, section 6.1: `Transfer-Encoding` MUST NOT be sent in a 204, and RFC 9110, section 8.6:
/// nor `Content-Length`, which a 304 and an answer to HEAD may have.
#[test]
fn statuses_without_content_are_sent_without_framing_fields() {
    for (field, may_be_refused) in [
        ("Content-Length: 0", false),
        ("Content-Length: 5", true),
        ("Transfer-Encoding: chunked", true),
    ] {
        let origin = Upstream::replying_once(format!("HTTP/1.1 204 No Content\r\n{field}\r\n\r\n"));
        let answer = connect().send(origin.get()).response();
        if may_be_refused && answer.status == 502 {
            continue;
        }
        assert_eq!(answer.status, 204, "{field}: {answer:?}");
        assert!(answer.values("content-length").is_empty(), "{answer:?}");
        assert!(answer.values("transfer-encoding").is_empty(), "{answer:?}");
    }
    for field in ["Content-Length: x", "Content-Length: 1, 2", "Transfer-Encoding: gzip"] {
        for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)] {
            let origin =
                Upstream::replying(format!("HTTP/1.1 {status} X\r\n{field}\r\nX-V: 1\r\n\r\n"));
            let mut client = connect();
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"));
            let answer = client.head();
            assert_eq!((answer.status, answer.values("x-v")), (status, vec!["1"]), "{answer:?}");
            assert!(answer.values("content-length").is_empty(), "{answer:?}");
            assert!(answer.values("transfer-encoding").is_empty(), "{answer:?}");
            client.get("/after").expect(200, "GET /after test");
        }
    }
    let origin = Upstream::replying(
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n",
    );
    let answer = check(origin.get(), 304);
    assert_eq!(answer.values("etag"), ["\"x\""]);
    assert!(answer.values("transfer-encoding").is_empty());
}

/// RFC 9110, section 9.3.2: HEAD has the fields of GET and no content, also where the framing of the
/// content would be chunked or the end of the connection.
#[test]
fn an_answer_to_head_has_no_content_whatever_its_framing_says() {
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked", "X-None: 1"] {
        let origin =
            Upstream::replying_once(format!("HTTP/1.1 200 OK\r\n{framing}\r\nX-V: 1\r\n\r\n"));
        let mut client = connect();
        client.send(format!("HEAD / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n"));
        let answer = client.head().expect_status(200);
        assert_eq!(answer.values("x-v"), ["1"]);
        if framing.starts_with("Content-Length") {
            assert_eq!(answer.values("content-length"), ["10"]);
        }
        client.get("/after").expect(200, "GET /after test");
    }
}

/// Answers that Kiln makes itself to HEAD have no content either.
#[test]
fn kilns_own_answers_to_head_have_no_content() {
    let mut client = connect();
    client.send("HEAD /own HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = client.head().expect_status(200);
    assert_eq!(answer.values("content-length"), ["HEAD /own test".len().to_string()]);
    let gone = Upstream::answering(|_, _| Ok(false));
    client.send(format!("HEAD / HTTP/1.1\r\nHost: test\r\nX-Upstream: {gone}\r\n\r\n"));
    client.head().expect_status(502);
    client.get("/after").expect(200, "GET /after test");
}

/// RFC 9110, section 15: a status that is not known is treated as the x00 of its class, and passed on
/// as it is; the reason phrase may be anything or nothing (RFC 9112, section 4).
#[test]
fn unknown_statuses_and_reasons_are_passed_on() {
    for line in [
        "HTTP/1.1 299 Odd",
        "HTTP/1.1 599 Very Odd Indeed",
        "HTTP/1.1 418 I'm a teapot",
        "HTTP/1.1 200 ",
        "HTTP/1.1 404 not  found\there",
        "HTTP/1.1 205 Reset Content",
        "HTTP/1.1 300 x",
        "HTTP/1.1 451 (x)",
    ] {
        let origin = Upstream::replying(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        let status: u16 = line[9..12].parse().expect("three digits");
        let answer = check(origin.get(), status);
        assert_eq!(answer.line, line);
    }
}

/// RFC 9112, section 4: the space before an absent reason phrase is demanded of senders, and lenient
/// recipients do without it. Kiln sends it.
#[test]
fn a_status_line_is_always_sent_with_its_second_space() {
    let origin = Upstream::replying("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n");
    let mut client = connect();
    let answer = client.send(origin.get()).response();
    assert!(matches!(answer.status, 200 | 502), "{answer:?}");
    assert_eq!(answer.line.matches(' ').count().min(2), 2, "{answer:?}");
}

/// RFC 9110, section 6.6.1: whoever forwards a response without `Date` adds one; one that is there
/// stays, and Kiln's own answers have one.
#[test]
fn every_response_has_exactly_one_date() {
    let dated = "Sun, 06 Nov 1994 08:49:37 GMT";
    let with = Upstream::replying(format!(
        "HTTP/1.1 200 OK\r\nDate: {dated}\r\nContent-Length: 2\r\n\r\nok"
    ));
    assert_eq!(check(with.get(), 200).values("date"), [dated]);
    let without = Upstream::fine();
    for answer in [
        check(without.get(), 200),
        check("GET / HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        check("GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        let dates = answer.values("date");
        assert!(matches!(dates[..], [date] if is_imf_date(date)), "{answer:?}");
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn is_imf_date(date: &str) -> bool {
    let pattern = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    date.len() == pattern.len()
        && date.bytes().zip(pattern.bytes()).enumerate().all(|(at, (byte, shape))| match shape {
            b'0' => byte.is_ascii_digit(),
            b'A' if at < 26 => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            _ => byte == shape,
        })
}

/// RFC 9112, section 6.1: chunks are sent only to those who speak 1.1; for others the end of the
/// connection is the end of the content.
#[test]
fn content_of_unknown_length_is_chunked_for_1_1_and_ends_the_connection_for_1_0() {
    for response in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello world",
        "HTTP/1.0 200 OK\r\n\r\nhello world",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello world",
    ] {
        let origin = Upstream::replying_once(response);
        let answer = check(origin.get(), 200);
        assert_eq!((answer.text().as_str(), answer.field("content-length")), ("hello world", None));
        assert_eq!(answer.values("transfer-encoding"), ["chunked"]);
        let mut old = connect();
        old.send(format!(
            "GET / HTTP/1.0\r\nHost: a\r\nX-Upstream: {origin}\r\nConnection: keep-alive\r\n\r\n"
        ));
        let answer = old.response().expect(200, "hello world");
        assert!(answer.values("transfer-encoding").is_empty(), "{answer:?}");
        assert_ne!(answer.field("connection"), Some("keep-alive"), "{answer:?}");
        old.expect_closed();
    }
}

/// RFC 9110, section 6.5.1: trailers are dropped or relayed as trailers, and never become fields.
#[test]
fn trailers_of_responses_are_never_merged_into_the_head() {
    let origin = Upstream::replying(
        "HTTP/1.1 200 OK\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         X-Late: 1\r\n\r\n",
    );
    let mut client = connect();
    client.send(origin.get());
    let head = client.head().expect_status(200);
    assert_eq!(head.field("x-late"), None);
    // To a client that did not say `TE: trailers` they are best not sent.
    assert_eq!(
        client.exactly(b"2\r\nok\r\n0\r\n\r\n".len()).expect("chunks"),
        b"2\r\nok\r\n0\r\n\r\n"
    );
    client.get("/after").expect(200, "GET /after test");
}

/// RFC 9110, section 15.6.3 and 15.6.5: 502 for an invalid answer or none, 504 for one that is late.
#[test]
fn failures_of_origins_are_told_apart() {
    check(Upstream::replying_once("").get(), 502);
    check(Upstream::replying_once("nonsense\r\n\r\n").get(), 502);
    let late = Upstream::answering_hasty(|_, stream| {
        // Until Kiln gives up and closes.
        let _ = std::io::Read::read(stream, &mut [0; 1]);
        Ok(false)
    });
    let mut client = crate::site::connect_hasty();
    client.send(late.get()).response().expect_status(504);
}
