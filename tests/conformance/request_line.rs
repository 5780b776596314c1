//! Request lines and what stands before them (RFC 9112, sections 2 and 3).

use crate::site::{Upstream, check, connect, refused};

/// RFC 9112, section 2.2: a server SHOULD ignore at least one empty line before a request line.
#[test]
fn an_empty_line_before_a_request_is_ignored() {
    check("\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n", 200);
    let mut client = connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\r\n");
    client.response().expect(200, "POST / test");
    client.get("/next").expect(200, "GET /next test");
}

/// RFC 9112, section 2.2: whitespace between the request line and the first field line is rejected, or
/// each such line is consumed without being looked at.
#[test]
fn whitespace_before_the_first_field_is_refused() {
    for blank in [" ", "\t", " X: 1\r\n ", "\u{b}"] {
        refused(format!("GET / HTTP/1.1\r\n{blank}Host: test\r\n\r\n"), 400);
        refused(format!("GET / HTTP/1.1\r\n{blank}\r\nHost: test\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 2.2: a bare CR is invalid in every element but content.
#[test]
fn a_bare_carriage_return_is_refused_wherever_it_stands() {
    for request in [
        "GET /\r HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /a\rb HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET\r / HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\rHost: test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: te\rst\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX: a\rY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX\r: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\n\r\r\n",
        "\rGET / HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        refused(request, 400);
    }
}

/// RFC 9112, section 2.2, lets a recipient take a lone LF for a line end; two recipients of which one
/// does can be told different stories, so Kiln does not.
#[test]
fn a_line_that_ends_with_a_lone_line_feed_is_refused() {
    for request in [
        "GET / HTTP/1.1\nHost: test\n\n",
        "GET / HTTP/1.1\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\n\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        refused(request, 400);
    }
}

/// RFC 9112, section 3: `method SP request-target SP HTTP-version`, and nothing else; an invalid line
/// SHOULD be answered 400 and never be repaired.
#[test]
fn request_lines_with_other_spacing_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / a HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET\u{b}/ HTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET",
        "GET ",
        "GET HTTP/1.1",
        " / HTTP/1.1",
        "GET / ",
    ] {
        refused(format!("{line}\r\nHost: test\r\n\r\n"), 400);
    }
}

/// RFC 9110, section 9.1, and RFC 9112, section 3.1: a method is a token and case-sensitive.
#[test]
fn methods_are_tokens_and_keep_their_case() {
    let origin = Upstream::fine();
    for method in ["get", "Get", "PROPFIND", "X", "M-SEARCH", "!#$%&'*+-.^_`|~09", "GETGETGET"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n");
        check(head, 200);
        assert_eq!(origin.last().line(), format!("{method} / HTTP/1.1"));
    }
    for method in ["G(T", "G@T", "G\"T", "G/T", "G:T", "G{T", "G\0T", "G\u{7f}T", "GÉT", "{", ","]
    {
        refused(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 2.3: `HTTP/` is case-sensitive and each number is one digit.
#[test]
fn versions_are_spelt_as_they_are() {
    for version in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1,1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/11",
        "HTTP/1.1.1",
        "HTTP /1.1",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/1.10",
        "HTTP/+1.1",
        "HTTP/1.-1",
        "HTTP/a.b",
        "HTTPS/1.1",
        "XTTP/1.1",
        "HTTP/1.1x",
        "",
        "ICY",
    ] {
        refused(format!("GET / {version}\r\nHost: test\r\n\r\n"), 400);
    }
}

/// RFC 9110, section 15.6.6: a major version that is not supported is 505. An HTTP/2 client that does
/// not ask first sends such a line too.
#[test]
fn other_major_versions_are_505() {
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"] {
        refused(format!("GET / {version}\r\nHost: test\r\n\r\n"), 505);
    }
}

/// RFC 9113, section 3.4: the preface is made to be no request that an older server could serve.
#[test]
fn the_preface_of_http_2_is_refused_at_its_first_line() {
    let answer = connect().send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").response();
    assert!(matches!(answer.status, 400 | 505), "{answer:?}");
}

/// RFC 9112, section 2.3, and RFC 9110, section 2.5: a higher minor version of the same major version
/// is read as the highest that is known; an intermediary sends its own version on.
#[test]
fn a_later_minor_version_is_served_as_1_1_and_is_not_passed_on() {
    let origin = Upstream::fine();
    for version in ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"] {
        let head = format!("GET /v {version}\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n");
        let answer = check(head, 200);
        assert_eq!(origin.last().line(), "GET /v HTTP/1.1");
        assert!(answer.line.starts_with("HTTP/1.1 "), "{answer:?}");
    }
}

/// RFC 9110, section 6.2, and RFC 9112, section 2.3: an intermediary sends its own version in both
/// directions.
#[test]
fn versions_of_old_peers_are_not_passed_on() {
    let origin = Upstream::replying("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let head = format!("GET / HTTP/1.0\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n");
    let answer = check(head, 200);
    assert_eq!(origin.last().line(), "GET / HTTP/1.1");
    assert_eq!(answer.line, "HTTP/1.1 200 OK");
}

/// There is no response to a 0.9 request that a 0.9 client would not take for content (RFC 1945,
/// section 4.1), and no such client is left: the line is malformed.
#[test]
fn a_request_of_http_0_9_is_refused() {
    for request in ["GET /\r\n", "GET / \r\n", "GET /index.html\r\n"] {
        refused(request, 400);
    }
}

/// RFC 9112, section 3: a target longer than any that is parsed MUST be answered 414, and it is
/// RECOMMENDED to support request lines of 8000 bytes. Some sites have longer ones.
#[test]
fn request_lines_of_8000_bytes_are_served_and_longer_targets_are_414() {
    let line = |bytes: usize| {
        let around = "GET / HTTP/1.1\r\n".len();
        format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(bytes - around))
    };
    for bytes in [8000, 16_500, 32 << 10] {
        check(line(bytes), 200);
    }
    for bytes in [(32 << 10) + 1, 60_000] {
        check(line(bytes), 414);
    }
    let mut client = connect();
    // Without an end: the answer need not wait for it.
    client.send(format!("GET /{}", "a".repeat(33_000)));
    client.response().expect_status(414);
}

/// RFC 9112, section 3: a method longer than any that is implemented SHOULD be 501; what is none is
/// 400, at any length. 414 would be about the target.
#[test]
fn a_method_that_is_too_long_is_501_and_none_at_all_is_400() {
    for bytes in [33_000, 60_000, 100_000] {
        let long = "A".repeat(bytes);
        for line in [long.clone(), format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n")] {
            assert_eq!(connect().send(line).response().status, 501, "{bytes}");
        }
        let answer = connect().send(format!("A\u{e9}{long}")).response();
        assert_eq!(answer.status, 400, "{bytes}");
        let answer = connect().send(format!("GET / HTTP/1.1{long}\r\n")).response();
        assert_eq!(answer.status, 400, "{bytes}");
        let answer = connect().send(format!("GET /{long} HTTP/1.1\r\n")).response();
        assert_eq!(answer.status, 414, "{bytes}");
    }
}

/// RFC 9112, section 2.2: messages are parsed as bytes, not as text in some encoding.
#[test]
fn bytes_that_are_no_text_in_any_encoding_are_no_reason_to_fail() {
    let origin = Upstream::fine();
    let head = origin.get_with("X-Bytes: \u{0}").replace('\u{0}', "");
    let (before, after) = head.split_once("X-Bytes: ").expect("above");
    let mut request = format!("{before}X-Bytes: ").into_bytes();
    request.extend([0x80, 0xff, 0xc0, b' ', 0xfe]);
    request.extend(after.bytes());
    request.extend(b"\r\n");
    check(request, 200);
}

/// RFC 9112, section 2.2: what does not match the grammar SHOULD be answered 400; a peer that speaks
/// something else altogether need not wait for a timeout.
#[test]
fn other_protocols_are_refused_at_once() {
    for hello in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0",
        b"\x05\x01\x00",
        b"\x80\x2e\x01\x00\x02",
    ] {
        let answer = connect().send(hello).try_response();
        let is_refused = answer.as_ref().map_or(true, |answer| answer.status == 400);
        assert!(is_refused, "{hello:?} got {answer:?}");
    }
    refused("SSH-2.0-OpenSSH_9.2p1\r\n", 400);
    refused("EHLO test\r\n", 400);
    refused("*1\r\n$4\r\nPING\r\n", 400);
}
