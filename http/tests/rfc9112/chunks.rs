//! RFC 9112, section 7: transfer codings.

use http::{BodyError, Framing, encode};

use crate::framing::framed;
use crate::support::*;
use crate::with;

/// What a chunked body decodes to, in pieces of any size: content, what follows, and whether it ended.
fn chunked(input: &str, expect: Result<(&str, &str, bool), BodyError>) {
    let expect = expect.map(|(content, rest, is_done)| (content.into(), rest.into(), is_done));
    assert_eq!(decode_anyhow(Framing::Chunked, input.as_bytes()), expect, "{input:?}");
}

/// RFC 9112, section 7: the names of transfer codings are case-insensitive.
#[test]
fn transfer_codings_have_no_case() {
    for coding in ["chunked", "CHUNKED", "cHunkeD"] {
        framed(&format!("Transfer-Encoding: {coding}\r\n"), Framing::Chunked);
    }
}

/// RFC 9112, section 7.1: a recipient decodes the chunked coding.
#[test]
fn chunks_are_decoded() {
    chunked("0\r\n\r\nnext", Ok(("", "next", true)));
    chunked("3\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("A\r\n0123456789\r\n01\r\nx\r\n000\r\n\r\n", Ok(("0123456789x", "", true)));
    chunked("a\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n", Ok(("\r\n0\r\n\r\n0\r\n", "", true)));
}

/// RFC 9112, section 7.1: a size is hexadecimal digits; one that no number holds must not overflow.
#[test]
fn chunk_sizes_of_another_shape_are_refused() {
    for size in ["", "g", "-1", "+1", "0x1", " 1", "\t1", ";a", "1_0", "\u{e9}", "1\0", "1h", "1\n"]
    {
        chunked(&format!("{size}\r\n"), Err(BodyError::ChunkSize));
    }
    for size in ["1000000000000000", "ffffffffffffffff", "10000000000000001", "001000000000000000"]
    {
        chunked(&format!("{size}\r\nx"), Err(BodyError::ChunkSize));
    }
    chunked("fffffffffffffff\r\nx", Ok(("x", "", false)));
}

/// RFC 9112, section 7.1: the value of a size counts, and not how many zeros it begins with, within the
/// limit on what carries no content.
#[test]
fn chunk_sizes_may_begin_with_zeros() {
    chunked("0000000000000003\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("0000fffffffffffffff\r\nx", Ok(("x", "", false)));
    for zeros in [14, 15, 16, 17, 300] {
        let zeros = "0".repeat(zeros);
        let input = format!("{zeros}3;a=b\r\nabc\r\n{zeros}A\r\n0123456789\r\n{zeros}\r\n\r\n");
        chunked(&input, Ok(("abc0123456789", "", true)));
    }
    // Senders that pad each size to 64 bits are not limited in their chunks.
    let padded = "0000000000000001\r\nx\r\n".repeat(20_000) + "0000000000000000\r\n\r\n";
    let (content, rest, is_done) = decode(Framing::Chunked, &[padded.as_bytes()]).unwrap();
    assert_eq!((content.len(), rest.len(), is_done), (20_000, 0, true));
}

/// RFC 9112, section 7.1: CR LF ends the size's line, and CR LF follows the data.
#[test]
fn chunks_that_do_not_end_where_they_say_are_refused() {
    for input in ["1\rx", "1\r\nab\r\n", "1\r\na\n", "1\r\na\rx", "1\r\n\r\n\n", "2\r\na\r\n\r\n"] {
        chunked(input, Err(BodyError::ChunkEnd));
    }
}

/// RFC 9112, section 7.1.1: a recipient ignores chunk extensions that it does not know.
#[test]
fn chunk_extensions_are_ignored() {
    for extensions in [
        ";a",
        ";a=b",
        " ;a",
        "\t; a = b",
        ";a=\"b\"",
        ";a=\"\"",
        ";a;b=c ;d",
        ";a=\"\\\"; x\u{e9}\"",
    ] {
        let input = format!("3{extensions}\r\nabc\r\n0{extensions}\r\n\r\n");
        chunked(&input, Ok(("abc", "", true)));
    }
}

/// RFC 9112, section 7.1.1: extensions have a grammar, quoted strings with it.
#[test]
fn chunk_extensions_of_another_shape_are_refused() {
    for extensions in [
        " ",
        " x",
        ";",
        ";;",
        ";=",
        "; ",
        ";a=",
        ";a=;",
        ";a b",
        ";a ",
        ";a=b c",
        ";a=b ",
        ";a==",
        ";a=\"b",
        ";a=\"b\\",
        ";a=\"b\"c",
        ";a=\"b\" ",
        ";a=\"b\" c",
        ";\0",
        ";a=\"\0\"",
        ";\u{e9}",
        ";a=\"\u{7f}\"",
        ";a\n",
    ] {
        chunked(&format!("1{extensions}\r\nx\r\n"), Err(BodyError::Malformed));
    }
}

/// RFC 9112, section 7.1.1: a server limits the length of extensions; the same goes for trailers, which
/// carry as little.
#[test]
fn extensions_and_trailers_are_limited() {
    let long = "x".repeat(17 * 1024);
    for input in [
        format!("1;{long}\r\na\r\n0\r\n\r\n"),
        format!("1;a=\"{long}\"\r\na\r\n0\r\n\r\n"),
        format!("0\r\nX: {long}\r\n\r\n"),
        format!("0\r\n{long}: x\r\n\r\n"),
        "1;ab\r\nx\r\n".repeat(10_000),
        format!("0\r\n{}", "X:\r\n".repeat(10_000)),
        format!("{}1\r\na\r\n", "0".repeat(17 * 1024)),
        format!("{}1\r\na\r\n", "0".repeat(115)).repeat(200),
    ] {
        let outcome = decode(Framing::Chunked, &[input.as_bytes()]);
        assert_eq!(outcome, Err(BodyError::TooLong));
    }
}

/// RFC 9112, section 7.1.2: trailers are field lines; a recipient may discard them, and does not merge
/// them into the head.
#[test]
fn trailers_are_checked_and_discarded() {
    chunked("0\r\nX: y\r\nZ:\r\n\r\nnext", Ok(("", "next", true)));
    chunked("0\r\nDate: x\r\nAuthorization: y\r\n\r\nnext", Ok(("", "next", true)));
    for trailer in [
        "X\r\n",
        " x: y\r\n",
        "X : y\r\n",
        ": y\r\n",
        "X: y\n",
        "X: \0\r\n",
        "X: y\rz\r\n",
        "\n",
        "\rx",
        "X: y\r\n z\r\n",
        "X\u{e9}: y\r\n",
    ] {
        chunked(&format!("0\r\n{trailer}\r\n"), Err(BodyError::Malformed));
    }
}

/// RFC 9110, section 6.5.1: no sender may send as a trailer what frames or routes a message, or manages
/// its connection. Names that only begin or end like one are other names.
#[test]
fn trailers_that_frame_or_route_are_refused() {
    for name in [
        "Content-Length",
        "TRANSFER-ENCODING",
        "transfer_encoding",
        "Host",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Max-Forwards",
    ] {
        for trailers in
            [format!("{name}: 5"), format!("X: y\r\n{name}:"), format!("{name}: 1\r\nZ: y")]
        {
            let input = format!("0\r\n{trailers}\r\n\r\nnext");
            chunked(&input, Err(BodyError::Trailer));
        }
        for name in [format!("{name}s"), format!("x{name}"), name.repeat(30)] {
            let input = format!("1\r\na\r\n0\r\n{name}: 5\r\n\r\nnext");
            chunked(&input, Ok(("a", "next", true)));
        }
    }
}

/// RFC 9112, section 7.1: what the encoder makes of content decodes to the content.
#[test]
fn encoded_chunks_decode_to_their_content() {
    let content: Vec<u8> = (0..5000u32).map(|at| (at * 7) as u8).collect();
    for size in [1, 2, 15, 16, 17, 255, 256, 4096, 5000] {
        let encoded = written(|out| {
            content.chunks(size).try_for_each(|piece| encode::chunk(out, piece))?;
            out.push(encode::LAST_CHUNK)
        });
        let outcome = decode(Framing::Chunked, &[&encoded]);
        assert_eq!(outcome, Ok((content.clone(), vec![], true)), "{size}");
    }
}

/// RFC 9112, section 7.4: `TE` is for the next hop alone, and Kiln sends none of its own.
#[test]
fn te_stays_on_its_connection() {
    for fields in ["TE: trailers\r\n", "Connection: TE\r\nTE: gzip;q=0.5\r\n"] {
        let lines = forwarded_lines(&with(fields), STRANGER, &[]);
        assert!(lines.iter().all(|line| !line.starts_with("TE")), "{lines:?}");
    }
}
