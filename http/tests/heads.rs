//! Which heads are taken, what they say, and which are refused: one table each, one check.
//!
//! Every input is parsed at once and again byte by byte; the outcome must be the same, or a peer could
//! choose by its packets what a message means.

mod support;

use http::{Framing, RequestError, ResponseError, Version};
use support::*;

#[test]
fn request_lines() {
    let bad =
        |line: &str| refused(&format!("{line}\r\nHost: a\r\n\r\n"), RequestError::RequestLine);
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G{}T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / XTTP/1.1",
        "GET",
        "/ HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
    ] {
        bad(line);
    }
    for version in ["0.9", "2.0", "3.0", "9.9"] {
        refused(&format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"), RequestError::Version);
    }
    for (version, expect) in
        [("1.0", Version::Http10), ("1.1", Version::Http11), ("1.2", Version::Http11)]
    {
        assert_eq!(taken(&format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n")).version, expect);
    }
    let long = "x".repeat(1024);
    refused(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::TargetTooLong);
    refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Method);
    refused("GET * HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Target);
}

#[test]
fn field_lines() {
    let field = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
    for line in [
        "X : b",
        " X: b",
        "X\t: b",
        ": b",
        "X",
        "X y: b",
        "X: b\r\n c",
        "X: b\r\n\tc",
        "X: \u{1}",
        "X: \u{7f}",
        "X: a\rb",
        "X\u{e9}: b",
        "X(: b",
        "X: a\0b",
    ] {
        refused(&field(line), RequestError::Field);
    }
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n", RequestError::LineEnd);
    refused("GET / HTTP/1.1\r\nHost: a\n\r\n", RequestError::LineEnd);
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", RequestError::LineEnd);
    let input = field("X: \t b  c \t");
    let head = taken(&input);
    assert_eq!(head.fields[1].value.of(input.as_bytes()), b"b  c");
    let input = field("X:");
    assert!(taken(&input).fields[1].value.is_empty());
    taken(&field("X: \u{e9}"));
    refused(&field(&["a: b"; 10].join("\r\n")), RequestError::FieldsTooMany);
    refused(&field(&["a: b"; 101].join("\r\n")), RequestError::FieldsTooMany);
    refused(&field(&format!("X: {}", "y".repeat(5000))), RequestError::HeadTooLarge);
}

#[test]
fn hosts() {
    let host = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a,b\r\n",
        "Host: u@a\r\n",
    ] {
        refused(&host(fields), RequestError::Host);
    }
    let check = |input: &str, expect: &str| {
        let head = taken(input);
        assert_eq!(head.authority.of(input.as_bytes()), expect.as_bytes(), "{input:?}");
    };
    check("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", "a:80");
    check("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "b");
    check("GET / HTTP/1.0\r\n\r\n", "");
    refused("GET http://b/ HTTP/1.1\r\n\r\n", RequestError::Host);
}

#[test]
fn request_framing() {
    let check = |version: &str, fields: &str, expect: Result<Framing, RequestError>| {
        let input = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        match expect {
            Ok(framing) => assert_eq!(taken(&input).framing, framing, "{fields:?}"),
            Err(error) => refused(&input, error),
        }
    };
    let length = Err(RequestError::ContentLength);
    let encoding = Err(RequestError::TransferEncoding);
    check("1.1", "", Ok(Framing::None));
    check("1.1", "Content-Length: 0\r\n", Ok(Framing::Length(0)));
    check("1.1", "Content-Length: 12\r\n", Ok(Framing::Length(12)));
    check("1.1", "Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked));
    check("1.1", "transfer-encoding: CHUNKED\r\n", Ok(Framing::Chunked));
    for value in ["", "x", "-1", "+1", "1 2", "1,1", "0x1", "1.0", "18446744073709551616"] {
        check("1.1", &format!("Content-Length: {value}\r\n"), length);
    }
    check("1.1", "Content-Length: 1\r\nContent-Length: 1\r\n", length);
    check("1.1", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", encoding);
    check("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", encoding);
    check("1.0", "Transfer-Encoding: chunked\r\n", encoding);
    for value in
        ["", ",", "chunked, chunked", "chunked, gzip", "chunked;q=1", "\"chunked\"", "\u{b}chunked"]
    {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
        assert!(request_within(input.as_bytes(), &LIMITS).is_err(), "{value:?}");
    }
    check("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", encoding);
    check("1.1", "Transfer-Encoding: gzip, chunked\r\n", Err(RequestError::TransferCoding));
    check("1.1", "Transfer-Encoding: xchunked\r\n", Err(RequestError::TransferCoding));
    check("1.1", "Transfer-Encoding: identity\r\n", Err(RequestError::TransferCoding));
}

#[test]
fn persistence_and_expectations() {
    let check = |version: &str, connection: &str, expect: bool| {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        assert_eq!(taken(&input).is_persistent, expect, "{version} {connection:?}");
    };
    check("1.1", "", true);
    check("1.1", "Close", false);
    check("1.1", "x, close", false);
    check("1.1", "xclose", true);
    check("1.0", "", false);
    check("1.0", "Keep-Alive", true);
    check("1.0", "keep-alive, close", false);
    let expects = |fields: &str| {
        taken(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).expects_continue
    };
    assert!(expects("Content-Length: 1\r\nExpect: 100-Continue\r\n"));
    assert!(!expects("Expect: 100-continue\r\n"), "there is no body to hold back");
    refused("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", RequestError::Expectation);
}

#[test]
fn responses() {
    let check = |input: &str, expect: Result<Framing, ResponseError>| {
        let outcome = response(input.as_bytes())
            .map(|head| head.unwrap_or_else(|| panic!("{input:?} has no end")).1.framing(false));
        assert_eq!(outcome, expect, "{input:?}");
    };
    check("HTTP/1.1 200 OK\r\n\r\n", Ok(Framing::UntilClose));
    check("HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n", Ok(Framing::Length(3)));
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(Framing::Chunked));
    check("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", Ok(Framing::None));
    check("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Err(ResponseError::Framing));
    check("HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", Ok(Framing::None));
    check("HTTP/1.1 103 Hints\r\n\r\n", Ok(Framing::None));
    check("HTTP/1.0 200 OK\r\n\r\n", Ok(Framing::UntilClose));
    let framing = Err(ResponseError::Framing);
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", framing);
    check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", framing);
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", framing);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", framing);
    check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", framing);
    let line = Err(ResponseError::StatusLine);
    check("HTTP/2.0 200 OK\r\n\r\n", line);
    check("HTTP/1.1 20 OK\r\n\r\n", line);
    check("HTTP/1.1 600 OK\r\n\r\n", line);
    check("HTTP/1.1 099 OK\r\n\r\n", line);
    check("\r\nHTTP/1.1 200 OK\r\n\r\n", line);
    check("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", Err(ResponseError::Field));
    check("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", Err(ResponseError::Field));
    check("HTTP/1.1 200 OK\nX: y\n\n", Err(ResponseError::LineEnd));
}
