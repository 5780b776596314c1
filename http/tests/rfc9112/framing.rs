//! RFC 9112, section 6: bodies and where they end.

use http::encode::{Edit, ResponseFrame};
use http::{Framing, RequestError, ResponseError, Version};

use crate::support::*;
use crate::{line, refused_with_400, with};

/// That requests with these fields are framed like this.
pub(crate) fn framed(fields: &str, expect: Framing) {
    assert_eq!(taken(&with(fields)).framing, expect, "{fields:?}");
}

/// RFC 9112, section 6: a request has a body if it has `Content-Length` or `Transfer-Encoding`; framing
/// does not depend on the method.
#[test]
fn framing_does_not_depend_on_the_method() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "anything"] {
        let head = |fields: &str| taken(&format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head("").framing, Framing::None);
        assert_eq!(head("Content-Length: 5\r\n").framing, Framing::Length(5));
        assert_eq!(head("Transfer-Encoding: chunked\r\n").framing, Framing::Chunked);
    }
}

/// RFC 9112, section 6.1: chunked is applied once, and last.
#[test]
fn chunked_twice_or_not_last_is_refused_with_400() {
    for fields in [
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        refused_with_400(&with(fields), RequestError::TransferEncoding);
    }
}

/// RFC 9112, section 6.1: a transfer coding that a server does not understand is answered 501.
#[test]
fn unknown_transfer_codings_are_refused_with_501() {
    for coding in ["gzip", "identity", "gzip, chunked", "xchunked", "chunke", "x-chunked"] {
        let input = with(&format!("Transfer-Encoding: {coding}\r\n"));
        refused(&input, RequestError::TransferCoding);
    }
    assert_eq!(RequestError::TransferCoding.status(), 501);
}

/// RFC 9112, sections 6.1 and 11.2: a coding that one parser takes for chunked and another does not.
#[test]
fn obfuscated_codings_are_refused() {
    for value in [
        "",
        ",",
        "chunked;q=1",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked\u{c}",
        "chunked\0",
        "chun ked",
        "chunked\u{a0}",
        "[chunked]",
        "chunked chunked",
        ";chunked",
    ] {
        let input = with(&format!("Transfer-Encoding: {value}\r\n"));
        assert!(request_within(input.as_bytes(), &LIMITS).is_err(), "{value:?}");
        let input = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {value}\r\n\r\n");
        let head = response(input.as_bytes()).map(|head| head.expect(value).1);
        assert!(head.and_then(|head| head.framing(false)).is_err(), "{value:?}");
    }
}

/// RFC 9112, section 6.1: `Transfer-Encoding` beside `Content-Length` may be a smuggling attempt, and a
/// server may refuse it.
#[test]
fn transfer_encoding_beside_content_length_is_refused_with_400() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        refused_with_400(&with(fields), RequestError::TransferEncoding);
        let response = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        refused_response(&response, ResponseError::TransferEncoding);
    }
}

/// RFC 9112, section 6.1: framing is faulty in a 1.0 message with `Transfer-Encoding`, even if there is
/// a `Content-Length`.
#[test]
fn transfer_encoding_in_a_1_0_message_is_refused() {
    for fields in ["", "Content-Length: 5\r\n"] {
        let fields = format!("Host: h\r\n{fields}Transfer-Encoding: chunked\r\n");
        let input = format!("POST / HTTP/1.0\r\n{fields}\r\n");
        refused_with_400(&input, RequestError::TransferEncoding);
        let response = format!("HTTP/1.0 200 OK\r\n{fields}\r\n");
        refused_response(&response, ResponseError::TransferEncoding);
    }
}

/// Framing fields that leave the end of a body in doubt, or announce one.
const DOUBTFUL: [&str; 11] = [
    "Content-Length: 5",
    "Content-Length: x",
    "Content-Length:",
    "Content-Length: 5, 5",
    "Content-Length: 18446744073709551616",
    "Content-Length: 5\r\nContent-Length: 6",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: ,",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
];

/// RFC 9112, section 6.3, rule 1: a 1xx and a 204 end with their heads, regardless of the fields in
/// them. A server sends none that frame (section 6.1; RFC 9110, section 8.6), and Kiln passes none on.
#[test]
fn a_1xx_and_a_204_end_with_their_heads_whatever_their_framing_fields_say() {
    for fields in DOUBTFUL {
        for status in [100, 101, 102, 103, 199, 204] {
            for version in ["1.0", "1.1"] {
                let input = format!("HTTP/{version} {status} X\r\n{fields}\r\nX: y\r\n\r\n");
                let head = taken_response(&input);
                assert_eq!(head.framing(false), Ok(Framing::None), "{input:?}");
                assert_eq!(head.framing(true), Ok(Framing::None), "{input:?}");
                // What comes after a 204 may be its content; after a 1xx it is a response or a fault.
                assert!(status != 204 || !head.is_persistent, "{input:?}");
                let lines = relayed_lines(&input, frame(Framing::None));
                assert_eq!(lines[1], "X: y", "{lines:?}");
                let is_framing =
                    |line: &String| line.starts_with("Content-L") || line.starts_with("Transfer-E");
                assert!(!lines.iter().any(is_framing), "{lines:?}");
            }
        }
    }
}

/// RFC 9112, section 6.3, rule 1: the same goes for a 304 and for an answer to `HEAD`, whose length is
/// passed on if it is one. An answer that has a body is refused for the same fields.
#[test]
fn a_304_and_an_answer_to_head_stand_whatever_their_framing_fields_say() {
    for fields in &DOUBTFUL[1..] {
        for (status, answers_head) in [(304, false), (304, true), (200, true), (404, true)] {
            let input = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
            let head = taken_response(&input);
            assert_eq!(head.framing(answers_head), Ok(Framing::None), "{input:?}");
            let is_plain = *fields == "Transfer-Encoding: chunked";
            assert!(is_plain || !head.is_persistent, "{input:?}");
            let lines = relayed_lines(&input, frame(Framing::None));
            assert_eq!(lines.len(), "status, Via, Date".split(',').count(), "{lines:?}");
            if !is_plain {
                let expect = match fields.starts_with('T') {
                    true => ResponseError::TransferEncoding,
                    false => ResponseError::ContentLength,
                };
                refused_response(&input.replace("304", "200"), expect);
            }
        }
    }
    let input = "HTTP/1.1 304 X\r\nContent-Length: 0005\r\n\r\n";
    assert!(relayed_lines(input, frame(Framing::None)).contains(&"Content-Length: 5".to_owned()));
}

/// RFC 9112, section 6.1: a server sends no `Transfer-Encoding` to a client that is not 1.1.
#[test]
fn a_body_for_a_1_0_client_ends_with_its_connection() {
    let frame =
        ResponseFrame { framing: Framing::UntilClose, version: Version::Http10, closes: false };
    let input = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let lines = relayed_lines(input, frame);
    assert_eq!(lines, ["HTTP/1.1 200 OK", "Via: 1.1 kiln", DATE, "Connection: close"]);
}

/// RFC 9112, section 6.1: as above; who asks for it has a fault.
#[test]
#[should_panic(expected = "a 1.0 client knows no chunks")]
fn chunks_are_never_sent_to_a_1_0_client() {
    let frame =
        ResponseFrame { framing: Framing::Chunked, version: Version::Http10, closes: false };
    relayed_lines("HTTP/1.1 200 OK\r\n\r\n", frame);
}

/// RFC 9112, section 6.2: a sender sends no `Content-Length` with `Transfer-Encoding`, and neither that
/// it did not generate.
#[test]
fn exactly_one_framing_field_goes_upstream() {
    for (fields, expect) in [
        ("", None),
        ("Content-Length: 5\r\n", Some("Content-Length: 5")),
        ("Content-Length: 00005\r\n", Some("Content-Length: 5")),
        ("Content-Length: 0\r\n", Some("Content-Length: 0")),
        ("Transfer-Encoding: ,Chunked,\r\n", Some("Transfer-Encoding: chunked")),
    ] {
        let edits = [
            Edit::Set(b"content-length", b"7"),
            Edit::Add(b"Transfer-Encoding", b"gzip"),
            Edit::Remove(b"Content-Length"),
        ];
        let lines = forwarded_lines(&with(fields), STRANGER, &edits);
        let is_framing = |line: &&String| {
            let line = line.to_ascii_lowercase();
            line.starts_with("content-length") || line.starts_with("transfer-encoding")
        };
        let framing: Vec<&String> = lines.iter().filter(is_framing).collect();
        assert_eq!(framing, expect.iter().collect::<Vec<_>>(), "{fields:?}");
    }
}

/// RFC 9112, section 6.3, rule 1: no body follows an answer to `HEAD`, a 1xx, a 204 or a 304.
#[test]
fn answers_to_head_and_1xx_and_204_and_304_have_no_body() {
    for status in [100, 101, 103, 199, 204, 304] {
        let head = taken_response(&format!("HTTP/1.1 {status} X\r\n\r\n"));
        assert_eq!(head.framing(false), Ok(Framing::None), "{status}");
    }
    for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = taken_response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(head.framing(true), Ok(Framing::None), "{fields:?}");
        let head = taken_response(&format!("HTTP/1.1 304 X\r\n{fields}\r\n"));
        assert_eq!(head.framing(false), Ok(Framing::None), "{fields:?}");
    }
}

/// RFC 9112, section 6.3, rule 5: an invalid `Content-Length` is an unrecoverable error: 400 for a
/// request, 502 for a response.
#[test]
fn invalid_content_length_is_refused() {
    for value in [
        "",
        "x",
        "-1",
        "+1",
        "1 2",
        "1,2",
        "0x1",
        "1.0",
        "1e3",
        "1_0",
        "\u{661}",
        "1\u{b}",
        "1;",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let fields = format!("Content-Length: {value}\r\n");
        let input = with(&fields);
        let is_field_fault = value.contains('\u{b}');
        let expect = if is_field_fault { RequestError::Field } else { RequestError::ContentLength };
        refused_with_400(&input, expect);
        let expect =
            if is_field_fault { ResponseError::Field } else { ResponseError::ContentLength };
        refused_response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), expect);
    }
    framed("Content-Length: 18446744073709551615\r\n", Framing::Length(u64::MAX));
}

/// RFC 9112, section 6.3, rule 5, and RFC 9110, section 8.6: several lengths are refused, those that
/// agree as well, which a recipient may.
#[test]
fn several_content_lengths_are_refused() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\ncontent-length:\r\n",
    ] {
        refused_with_400(&with(fields), RequestError::ContentLength);
        refused_response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), ResponseError::ContentLength);
    }
}

/// RFC 9112, section 6.3, rules 4, 6, 7 and 8: chunks, a length, nothing for a request, and the end of
/// the connection for a response.
#[test]
fn bodies_are_framed_by_what_there_is() {
    framed("", Framing::None);
    framed("Content-Length: 12\r\n", Framing::Length(12));
    framed("transfer-encoding: chunked\r\n", Framing::Chunked);
    for (fields, expect) in [
        ("", Framing::UntilClose),
        ("Content-Length: 12\r\n", Framing::Length(12)),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
    ] {
        let head = taken_response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(head.framing(false), Ok(expect), "{fields:?}");
    }
}

/// RFC 9112, section 6.3: what follows a body belongs to the next message (section 9.3.2).
#[test]
fn a_pipelined_request_begins_where_the_body_before_it_ends() {
    let check = |fields: &str, body: &str| {
        let first = with(fields);
        let input = format!("{first}{body}{}", line("GET /next HTTP/1.1"));
        let head = taken(&input);
        let rest = &input.as_bytes()[first.len()..];
        let (_, rest, is_done) = decode(head.framing, &[rest]).unwrap();
        assert!(is_done, "{fields:?}");
        let (_, next) = request_within(&rest, &LIMITS).unwrap().unwrap();
        assert_eq!(next.path.of(&rest), b"/next", "{fields:?}");
    };
    check("", "");
    check("Content-Length: 3\r\n", "abc");
    check("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX: y\r\n\r\n");
}
