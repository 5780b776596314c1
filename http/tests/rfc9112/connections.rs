//! RFC 9112, sections 8 to 11: incomplete messages, connections, and response splitting.

use http::encode::ResponseFrame;
use http::{BodyDecoder, Framing, Version};

use crate::support::*;

// Section 8: incomplete messages.

/// RFC 9112, section 8: a body is complete with its last chunk, its counted bytes, or, for a response
/// that has neither, the end of its connection.
#[test]
fn a_body_that_ends_early_is_known_to_be_incomplete() {
    let check = |framing, input: &str, expect: bool| {
        let mut decoder = BodyDecoder::from(framing);
        let mut input = input.as_bytes();
        while !input.is_empty() {
            input = &input[decoder.decode(input).unwrap().consumed..];
        }
        assert_eq!(decoder.may_end_here(), expect, "{framing:?}");
    };
    check(Framing::Length(3), "ab", false);
    check(Framing::Length(3), "abc", true);
    check(Framing::Length(0), "", true);
    check(Framing::None, "", true);
    check(Framing::UntilClose, "ab", true);
    for input in
        ["", "3", "3\r\n", "3\r\nabc", "3\r\nabc\r\n", "0", "0\r\n", "0\r\nX: y\r\n", "0\r\n\r"]
    {
        check(Framing::Chunked, input, false);
    }
    check(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\n", true);
}

/// RFC 9112, section 8: counted bodies end after their bytes, whatever the pieces.
#[test]
fn counted_bodies_end_after_their_bytes() {
    let check = |framing, expect: (&str, &str, bool)| {
        let (content, rest, is_done) = expect;
        let expect = (content.into(), rest.into(), is_done);
        assert_eq!(decode_anyhow(framing, b"abcdef"), Ok(expect), "{framing:?}");
    };
    check(Framing::Length(3), ("abc", "def", true));
    check(Framing::Length(7), ("abcdef", "", false));
    check(Framing::Length(0), ("", "abcdef", true));
    check(Framing::None, ("", "abcdef", true));
    check(Framing::UntilClose, ("abcdef", "", false));
}

// Section 9: connections.

/// RFC 9112, section 9.3: persistence by version and option; `close` outranks the rest.
#[test]
fn connections_persist_by_version_and_option() {
    let check = |version: &str, fields: &str, expect: bool| {
        let head = taken(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head.is_persistent, expect, "{version} {fields:?}");
        let head = taken_response(&format!("HTTP/{version} 200 OK\r\n{fields}\r\n"));
        assert_eq!(head.is_persistent, expect, "{version} {fields:?}");
    };
    check("1.1", "", true);
    check("1.1", "Connection:\r\n", true);
    check("1.1", "Connection: Close\r\n", false);
    check("1.1", "Connection: x, close\r\n", false);
    check("1.1", "Connection: x\r\nConnection: ,close\r\n", false);
    check("1.1", "Connection: xclose\r\n", true);
    check("1.1", "Connection: keep-alive, close\r\n", false);
    check("1.9", "", true);
    check("1.0", "", false);
    check("1.0", "Connection: Keep-Alive\r\n", true);
    check("1.0", "Connection: keep-alive, close\r\n", false);
    check("1.0", "Proxy-Connection: keep-alive\r\n", false);
}

/// RFC 9112, section 9.6: a server says `close` in its last response; to a 1.0 client that keeps its
/// connection, it says that it does (appendix C.2.2).
#[test]
fn responses_say_whether_their_connection_lives_on() {
    let check = |version, closes, expect: Option<&str>| {
        let frame = ResponseFrame { framing: Framing::Length(5), version, closes };
        let input = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        for lines in [relayed_lines(input, frame), reply_lines(200, &[], frame)] {
            let line = lines.iter().find(|line| line.starts_with("Connection"));
            assert_eq!(line.map(String::as_str), expect, "{frame:?}");
        }
    };
    check(Version::Http11, false, None);
    check(Version::Http11, true, Some("Connection: close"));
    check(Version::Http10, false, Some("Connection: keep-alive"));
    check(Version::Http10, true, Some("Connection: close"));
}

// Section 11: security.

/// RFC 9112, section 11.1: no field that a script hands in splits a response.
#[test]
fn replies_are_not_split() {
    let fields: [(&[u8], &[u8]); 3] = [
        (b"Location", b"/\r\nSet-Cookie: a=b"),
        (b"X: y\r\nSet-Cookie", b"a=b"),
        (b"X", b"y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ];
    let lines = reply_lines(302, &fields, frame(Framing::Length(5)));
    assert_eq!(lines, ["HTTP/1.1 302 Found", DATE, "Content-Length: 5"]);
}
