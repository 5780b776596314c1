//! Where a request ends (RFC 9112, sections 6 and 7).

use crate::site::{Upstream, check, connect, refused};

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{body}")
}

/// RFC 9112, section 6.3, rule 5, and RFC 9110, section 8.6: an invalid `Content-Length` is 400 and
/// the end of the connection. Values that agree MAY be merged; Kiln refuses them too.
#[test]
fn a_content_length_that_is_no_number_or_no_single_one_is_400() {
    for value in [
        "",
        "+3",
        "-3",
        "0x3",
        "3.0",
        "3 3",
        "3,3",
        "3, 3",
        "3;3",
        "3a",
        "a",
        "\"3\"",
        "3 ,4",
        "1e1",
        "３",
        "18446744073709551616",
        "99999999999999999999999999999",
        "-0",
        "3,",
        ",3",
        "3\t3",
        "0,0",
    ] {
        refused(post(&format!("Content-Length: {value}"), "abc"), 400);
    }
    for fields in [
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 0\r\nX: 1\r\ncontent-length: 3",
    ] {
        refused(post(fields, "abc"), 400);
    }
}

/// RFC 9110, section 8.6: any number of digits is a valid length. Zeros before it are parsed by all as
/// the same number, and what goes on is Kiln's own spelling.
#[test]
fn zeros_before_a_length_change_nothing() {
    let origin = Upstream::fine();
    let head = format!("X-Upstream: {origin}\r\nContent-Length: 0003");
    check(post(&head, "abc"), 200);
    let received = origin.last();
    assert_eq!((received.values("content-length"), &received.body[..]), (vec!["3"], &b"abc"[..]));
}

/// RFC 9112, section 6.1: both together ought to be handled as an error, and whoever answers MUST close
/// after it.
#[test]
fn content_length_beside_transfer_encoding_is_400_in_either_order() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "content-length:5\r\nTRANSFER-ENCODING:Chunked",
    ] {
        refused(post(fields, "0\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 6.3, rule 4: a request whose last coding is not `chunked` MUST be answered 400;
/// section 7.1: `chunked` MUST NOT be applied twice; section 6.1: codings that are not understood
/// SHOULD be 501. Whatever it is, it is refused.
#[test]
fn transfer_codings_other_than_one_chunked_are_refused() {
    for (fields, status) in [
        ("Transfer-Encoding: gzip", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunked, identity", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: 'chunked'", 501),
        ("Transfer-Encoding: chunked x", 400),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: chunked\u{b}", 400),
        ("Transfer-Encoding: chunke\u{1}d", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: ,", 400),
    ] {
        refused(post(fields, "0\r\n\r\n"), status);
    }
}

/// RFC 9112, section 7: names of codings are case-insensitive, and empty members of a list are ignored
/// (RFC 9110, section 5.6.1.2).
#[test]
fn chunked_is_chunked_in_whatever_spelling_a_list_allows() {
    let origin = Upstream::fine();
    for value in
        ["chunked", "Chunked", "CHUNKED", " chunked ", ",chunked", "chunked,", "\tchunked, ,"]
    {
        let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: {value}");
        check(post(&fields, "3\r\nabc\r\n0\r\n\r\n"), 200);
        let received = origin.last();
        assert_eq!(received.values("transfer-encoding"), ["chunked"], "{value:?}");
        assert_eq!(received.body, b"abc");
    }
}

/// RFC 9112, section 6.1: a 1.0 message with `Transfer-Encoding` MUST be treated as faulty.
#[test]
fn transfer_encoding_in_a_1_0_request_is_400() {
    refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

/// RFC 9112, section 7.1: chunk sizes are hexadecimal digits, and large ones MUST NOT overflow.
#[test]
fn chunk_sizes_that_are_none_end_the_request() {
    let origin = Upstream::fine();
    for body in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 x\r\na\r\n",
        "1.0\r\na\r\n",
        "1,1\r\na\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\na\r\n",
        "fffffffffffffffff\r\n",
        "0000001000000000000000\r\na\r\n",
        "1\na\r\n",
        "1\ra\r\n",
        "1\r\rna\r\n",
        "1;\n",
        "1;a\rb\r\n",
        "1;a\0b\r\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\r",
        "2\r\na\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "\u{b}1\r\na\r\n",
        "1\u{b}\r\na\r\n",
    ] {
        let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
        let mut client = connect();
        client.send(post(&fields, &format!("{body}GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n")));
        let answer = client.try_response();
        // The head was forwarded before the body came, so all that is certain is that it fails.
        let is_refused = answer.as_ref().map_or(true, |answer| answer.status == 400);
        assert!(is_refused, "{body:?} got {answer:?}");
        let rest = client.try_rest().unwrap_or_default();
        assert!(rest.is_empty(), "{body:?}: {}", String::from_utf8_lossy(&rest));
    }
    assert!(origin.requests().is_empty(), "none of them came to an end: {:?}", origin.requests());
}

/// RFC 9112, section 7.1.1: a recipient MUST ignore chunk extensions that it does not know, and what
/// it sends on are chunks of its own.
#[test]
fn chunk_extensions_are_ignored_and_not_forwarded() {
    let origin = Upstream::raw(|mut stream, _| {
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        while !seen.ends_with(b"0\r\n\r\n") {
            match std::io::Read::read(&mut stream, &mut part) {
                Ok(count) if count > 0 => seen.extend_from_slice(&part[..count]),
                _ => return,
            }
        }
        let body = seen.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let length = seen.len() - body;
        let answer =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = [answer.as_bytes(), &seen[body..]].concat();
        // The peer may be gone.
        let _ = std::io::Write::write_all(&mut stream, &answer);
    });
    for (body, content) in [
        ("3;a\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3;a=b;c=\"d;e\"\r\nabc\r\n0;last\r\n\r\n", "abc"),
        ("3 ; a\r\nabc\r\n0\r\n\r\n", "abc"),
        ("003\r\nabc\r\n000\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n00\r\n\r\n", "0123456789"),
    ] {
        let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
        let forwarded = check(post(&fields, body), 200).text();
        assert!(!forwarded.contains(';') && forwarded.contains(content), "{forwarded:?}");
    }
}

/// RFC 9112, section 7.1: endless extensions must not cost endless work for no content.
#[test]
fn endless_chunk_extensions_are_refused() {
    let origin = Upstream::fine();
    let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
    let mut client = connect();
    client.send(post(&fields, &format!("1;{}", "a".repeat(60_000))));
    let answer = client.try_response();
    assert!(answer.as_ref().map_or(true, |answer| answer.status >= 400), "{answer:?}");
}

/// RFC 9112, section 7.1: the value of a size counts, and not its spelling.
#[test]
fn chunk_sizes_that_begin_with_zeros_are_read() {
    let origin = Upstream::fine();
    let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
    for zeros in [1, 15, 16, 29, 500] {
        let zeros = "0".repeat(zeros);
        let body = format!("{zeros}3\r\nabc\r\n{zeros}\r\n\r\n");
        let mut client = connect();
        client.send(post(&fields, &body)).response().expect(200, "ok");
        assert_eq!(origin.last().body, b"abc");
        client.get("/after").expect(200, "GET /after test");
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let padding = Upstream::replying(answer);
        let mut client = connect();
        client.send(padding.get()).response().expect(200, "abc");
        client.get("/after").expect(200, "GET /after test");
    }
}

/// RFC 9110, section 6.5.1: no sender may send as a trailer what frames or routes a message.
#[test]
fn trailers_that_frame_or_route_are_400() {
    let origin = Upstream::fine();
    let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
    for trailer in ["Content-Length: 5", "transfer-encoding: gzip", "HOST: other", "Trailer: X"] {
        for trailers in [trailer.to_owned(), format!("X: 1\r\n{trailer}\r\nY: 2")] {
            let mut client = connect();
            client.send(post(&fields, &format!("3\r\nabc\r\n0\r\n{trailers}\r\n\r\n")));
            client.response().expect_status(400);
            client.expect_closed();
            // To a response whose head has gone out nothing can be said but that it is not whole.
            let answering = Upstream::replying(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n\r\n"
            ));
            let answer = connect().send(answering.get()).try_response();
            let is_told = answer.as_ref().map_or(true, |answer| answer.status == 502);
            assert!(is_told, "{trailers:?} became {answer:?}");
        }
    }
    assert!(origin.requests().is_empty(), "it was forwarded whole: {}", origin.last().head);
}

/// RFC 9110, section 6.5.1, and RFC 9112, section 7.1.2: a trailer MUST NOT become a field of the
/// head, whatever else becomes of it.
#[test]
fn trailers_of_requests_are_never_merged_into_the_head() {
    let origin = Upstream::fine();
    let fields = format!("X-Upstream: {origin}\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked");
    let mut client = connect();
    client.send(post(&fields, "3\r\nabc\r\n0\r\nX-Late: 1\r\nY: 2\r\n\r\n"));
    client.response().expect(200, "ok");
    client.get("/after").expect(200, "GET /after test");
    assert_eq!(origin.last().body, b"abc");
    assert_eq!(origin.last().field("x-late"), None);
}

/// RFC 9112, section 7.1.2: trailers are field lines, with the same grammar.
#[test]
fn malformed_trailers_are_refused() {
    let origin = Upstream::fine();
    for trailer in ["no colon", " folded: 1", "X : 1", ": 1", "X: a\nY: b", "X: a\rb", "X: \0"] {
        let fields = format!("X-Upstream: {origin}\r\nTransfer-Encoding: chunked");
        let mut client = connect();
        let answer = client
            .send(post(
                &fields,
                &format!("0\r\n{trailer}\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"),
            ))
            .try_response();
        let is_refused = answer.as_ref().map_or(true, |answer| answer.status == 400);
        assert!(is_refused, "{trailer:?} got {answer:?}");
        assert!(client.try_rest().unwrap_or_default().is_empty(), "{trailer:?}");
    }
    assert!(origin.requests().is_empty());
}

/// RFC 9112, section 6.3, rule 7: without either field a request has no content, whatever its method.
#[test]
fn requests_without_framing_fields_have_no_content() {
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"] {
        let mut client = connect();
        client.send(format!(
            "{method} /a HTTP/1.1\r\nHost: test\r\n\r\nGET /b HTTP/1.1\r\nHost: test\r\n\r\n"
        ));
        client.response().expect(200, &format!("{method} /a test"));
        client.response().expect(200, "GET /b test");
    }
}

/// RFC 9110, section 9.3: content in a GET, HEAD or DELETE has no meaning, but it has a length.
#[test]
fn content_of_any_method_is_read_and_forwarded_as_content() {
    let origin = Upstream::fine();
    for method in ["GET", "DELETE", "OPTIONS", "X"] {
        for (fields, body) in
            [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")]
        {
            let mut client = connect();
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n{fields}\r\n\r\n{body}"
            ));
            client.response().expect(200, "ok");
            client.get("/after").expect(200, "GET /after test");
            assert_eq!(origin.last().body, b"abc");
        }
    }
}

/// RFC 9112, section 6.2: a `Content-Length` of 0 says that there is no content, and a POST without
/// content still has to say so to its origin where it was said.
#[test]
fn a_length_of_nought_is_forwarded() {
    let origin = Upstream::fine();
    check(post(&format!("X-Upstream: {origin}\r\nContent-Length: 0"), ""), 200);
    assert_eq!(origin.last().values("content-length"), ["0"]);
}

/// RFC 9112, section 8: a request that breaks off is incomplete; it is never completed by Kiln.
#[test]
fn a_request_that_breaks_off_is_never_whole_for_the_origin() {
    let origin = Upstream::fine();
    for (fields, body) in [
        ("Content-Length: 10", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nabc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "3"),
    ] {
        let mut client = connect();
        client.send(post(&format!("X-Upstream: {origin}\r\n{fields}"), body)).shut();
        let answer = client.try_response();
        assert!(answer.as_ref().map_or(true, |answer| answer.status >= 400), "{answer:?}");
    }
    // Whatever reached it of these came before this one.
    check(origin.get(), 200);
    assert_eq!(origin.requests().len(), 1, "{:?}", origin.requests());
}

/// RFC 9110, section 15.5.14: content that is larger than the server is willing to take is 413.
#[test]
fn a_length_beyond_the_limit_is_413_before_it_is_sent() {
    let mut client = connect();
    client.send(post("Content-Length: 18446744073709551615", ""));
    client.response().expect_status(413);
    client.expect_closed();
}
