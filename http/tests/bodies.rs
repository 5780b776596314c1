//! Where bodies end, whatever the pieces they come in.

mod support;

use http::{BodyError, Framing};
use support::*;

/// The outcome is the same whole, byte by byte, and cut in two anywhere.
fn check(framing: Framing, input: &str, expect: Result<(&str, &str, bool), BodyError>) {
    let expect = expect.map(|(content, rest, is_done)| {
        (content.as_bytes().to_vec(), rest.as_bytes().to_vec(), is_done)
    });
    assert_eq!(decode_anyhow(framing, input.as_bytes()), expect, "{input:?}");
}

#[test]
fn counted_bodies_end_after_their_bytes() {
    check(Framing::Length(3), "abcdef", Ok(("abc", "def", true)));
    check(Framing::Length(3), "ab", Ok(("ab", "", false)));
    check(Framing::Length(0), "ab", Ok(("", "ab", true)));
    check(Framing::None, "ab", Ok(("", "ab", true)));
    check(Framing::UntilClose, "ab", Ok(("ab", "", false)));
}

#[test]
fn chunked_bodies_end_after_their_trailers() {
    let check = |input, expect| check(Framing::Chunked, input, expect);
    check("0\r\n\r\nnext", Ok(("", "next", true)));
    check("3\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    check("A\r\n0123456789\r\n01\r\nx\r\n000\r\n\r\n", Ok(("0123456789x", "", true)));
    check("3;a=b;c=\"d e\"\r\nabc\r\n0;z\r\n\r\n", Ok(("abc", "", true)));
    check("3 \t; a = b ;c\t=\t\"\\\"\u{e9};\t\" ;d\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    check("0\r\nX: y\r\nZ:\r\n\r\nnext", Ok(("", "next", true)));
    check("3\r\nab", Ok(("ab", "", false)));
    check("3\r\nabc\r\n0\r\n", Ok(("abc", "", false)));
}

#[test]
fn chunks_that_are_in_doubt_are_refused() {
    let check = |input, error| check(Framing::Chunked, input, Err(error));
    for input in ["\r\n", "g\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", ";a\r\n", "1\n", "x"] {
        check(input, BodyError::ChunkSize);
    }
    check("1000000000000000\r\n", BodyError::ChunkSize);
    check("ffffffffffffffff1\r\n", BodyError::ChunkSize);
    check("1\rx", BodyError::ChunkEnd);
    check("1\r\nab\r\n", BodyError::ChunkEnd);
    check("1\r\na\n", BodyError::ChunkEnd);
    check("1\r\na\rx", BodyError::ChunkEnd);
    check("1;a\n\r\n", BodyError::Malformed);
    for line in [
        "1 \r",
        "1 x",
        "1;\r",
        "1;;",
        "1;=",
        "1; \r",
        "1;a=\r",
        "1;a=;",
        "1;a b",
        "1;a \r",
        "1;a=b c",
        "1;a=b \r",
        "1;a=\"b\r",
        "1;a=\"b\\\r",
        "1;a=\"b\"c",
        "1;a=\"b\" \r",
        "1;a==",
        "1;\0",
        "1;a=\"\0",
    ] {
        check(line, BodyError::Malformed);
    }
    check("0\r\n\n", BodyError::Malformed);
    check("0\r\nX\r\n\r\n", BodyError::Malformed);
    check("0\r\n x: y\r\n\r\n", BodyError::Malformed);
    check("0\r\nX: y\n\r\n", BodyError::Malformed);
    check("0\r\n\rx", BodyError::Malformed);
}

#[test]
fn extensions_and_trailers_are_limited() {
    let long = "x".repeat(20_000);
    for input in [
        format!("1;{long}\r\na\r\n0\r\n\r\n"),
        format!("0\r\nX: {long}\r\n\r\n"),
        "1;ab\r\nx\r\n".repeat(10_000),
    ] {
        assert_eq!(decode(Framing::Chunked, &[input.as_bytes()]), Err(BodyError::TooLong));
    }
}

/// What the encoder makes of content in pieces of any size decodes to the same content.
#[test]
fn encoded_chunks_decode_to_their_content() {
    let content: Vec<u8> = (0..5000u32).map(|at| (at * 7) as u8).collect();
    for size in [1, 2, 15, 16, 17, 255, 256, 4096, 5000] {
        let mut bytes = vec![0; 64 * 1024];
        let mut out = http::Output::new(&mut bytes);
        for piece in content.chunks(size) {
            http::encode::chunk(&mut out, piece).unwrap();
        }
        out.push(http::encode::LAST_CHUNK).unwrap();
        let filled = out.filled();
        assert_eq!(
            decode(Framing::Chunked, &[&bytes[..filled]]),
            Ok((content.clone(), vec![], true))
        );
    }
}
