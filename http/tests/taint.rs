//! Each byte at each place: whatever is taken leaves as one message in the grammar, made of what came
//! in and of what Kiln writes itself.
//!
//! Representative messages get every byte from 0 to 255 in place of each of their bytes, and between
//! any two of them. What the parser takes is encoded for the other side, and the output is judged by a
//! plain reading of the grammar that shares nothing with the crate. The same for what scripts hand in.

mod support;

// A crate of its own there, so that its items are public.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/strict.rs"]
mod strict;

use http::encode::{Edit, Forwarded};
use http::{BodyDecoder, Framing, Output, RequestHead, ResponseHead, Scan, encode};
use strict::{Chunked, Field, Head};
use support::*;

/// The messages that `message` becomes with one byte replaced or inserted.
fn tainted(message: &[u8], mut check: impl FnMut(&[u8])) {
    for at in 0..=message.len() {
        for byte in 0..=u8::MAX {
            let mut tainted = message.to_vec();
            tainted.insert(at, byte);
            check(&tainted);
            if at < message.len() {
                tainted.remove(at + 1);
                check(&tainted);
            }
        }
    }
}

/// What encoding writes, in room that is used again and again.
fn written_to(
    room: &mut [u8],
    write: impl FnOnce(&mut Output<'_>) -> Result<(), http::Full>,
) -> &[u8] {
    let mut out = Output::new(room);
    write(&mut out).expect("there is room for any head of these tests");
    let filled = out.filled();
    &room[..filled]
}

/// Each field that goes out came in, or is one that Kiln writes.
fn assert_origin(sent: &Head<'_>, came: &[Field<'_>], ours: &[&str], message: &[u8]) {
    for field in &sent.fields {
        let is_ours = ours.iter().any(|name| field.0 == name.as_bytes());
        assert!(is_ours || came.contains(field), "{}: {field:?}", show(message));
    }
}

/// Fields of a request that Kiln writes itself.
const OURS_UPSTREAM: [&str; 9] = [
    "Host",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Via",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
];

fn check_request(message: &[u8]) {
    let limits = TUNNEL_LIMITS;
    let mut head = RequestHead::default();
    let Ok(Some(length)) = head.parse(message, &mut Scan::default(), &limits) else { return };
    let begin = message.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    let came = strict::request(&message[begin..]);
    let came = came.unwrap_or_else(|| panic!("taken: {}", show(message)));
    assert_eq!(came.rest, &message[length..], "{}", show(message));
    if head.is_method(message, "CONNECT") || head.max_forwards == Some(0) {
        return;
    }
    let forwarded = Forwarded { upgrades: true, keeps_forwarded: true, ..STRANGER };
    let mut room = [0; 1024];
    let bytes = &message[..length];
    let sent = written_to(&mut room, |out| {
        encode::upstream_request(out, &head, bytes, forwarded, std::iter::empty())
    });
    let sent = strict::request(sent).unwrap_or_else(|| panic!("{}: {}", show(message), show(sent)));
    assert_eq!(sent.rest, b"", "{}", show(message));
    assert_eq!(sent.start[0], came.start[0]);
    assert!(came.start[1].ends_with(sent.start[1]) || came.start[1].starts_with(b"http"));
    assert_eq!(sent.start[2], b"HTTP/1.1");
    assert_origin(&sent, &came.fields, &OURS_UPSTREAM, message);
    assert_eq!(sent.values("host").len(), 1, "{}", show(message));
    let framing = (sent.values("content-length").len(), sent.values("transfer-encoding").len());
    match head.framing {
        Framing::None | Framing::UntilClose => assert_eq!(framing, (0, 0), "{}", show(message)),
        Framing::Length(_) => assert_eq!(framing, (1, 0), "{}", show(message)),
        Framing::Chunked => assert_eq!(framing, (0, 1), "{}", show(message)),
    }
}

#[test]
fn no_byte_in_a_request_line_makes_another_message_of_it() {
    tainted(b"GET /p?q HTTP/1.1\r\nHost: h\r\n\r\n", check_request);
    tainted(b"GET http://h:8/p HTTP/1.1\r\nHost: h\r\n\r\n", check_request);
    tainted(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", check_request);
    tainted(b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", check_request);
    tainted(b"\r\nGET / HTTP/1.0\r\n\r\n", check_request);
}

#[test]
fn no_byte_in_a_field_line_makes_another_message_of_it() {
    tainted(b"GET / HTTP/1.1\r\nHost: h\r\nX-A: \tb c\t\r\nY:\r\n\r\n", check_request);
    tainted(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\nX: 1\r\n\r\n", check_request);
    let upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a/1, h2c\r\n\r\n";
    tainted(upgrade, check_request);
    tainted(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", check_request);
    tainted(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: a\r\n\r\n", check_request);
}

#[test]
fn no_byte_in_a_framing_field_leaves_the_length_in_doubt() {
    tainted(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\nx", check_request);
    tainted(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx", check_request);
    let both =
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
    tainted(both, check_request);
}

/// Fields of a response that Kiln writes itself.
const OURS_DOWNSTREAM: [&str; 6] =
    ["Via", "Date", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade"];

fn check_response(message: &[u8]) {
    let mut head = ResponseHead::default();
    let Ok(Some(length)) = head.parse(message, &mut Scan::default(), &RESPONSE_LIMITS) else {
        return;
    };
    let came = strict::response(message).unwrap_or_else(|| panic!("taken: {}", show(message)));
    assert_eq!(came.rest, &message[length..], "{}", show(message));
    if head.status == 101 && !head.switches {
        return;
    }
    let framing = match head.framing(false) {
        Ok(Framing::UntilClose) => Framing::Chunked,
        Ok(framing) => framing,
        Err(_) => return,
    };
    let mut room = [0; 1024];
    let bytes = &message[..length];
    let sent = written_to(&mut room, |out| {
        encode::relayed_response(out, &head, bytes, frame(framing), &date(), &KILN)
    });
    let sent =
        strict::response(sent).unwrap_or_else(|| panic!("{}: {}", show(message), show(sent)));
    assert_eq!(sent.rest, b"", "{}", show(message));
    assert_eq!(sent.start[1..], came.start[1..], "{}", show(message));
    assert_origin(&sent, &came.fields, &OURS_DOWNSTREAM, message);
    let lengths = sent.values("content-length").len() + sent.values("transfer-encoding").len();
    match framing {
        Framing::None => assert!(lengths == 0 || sent.start[1] == b"304", "{}", show(message)),
        _ => assert_eq!(lengths, 1, "{}", show(message)),
    }
}

#[test]
fn no_byte_in_a_response_makes_another_message_of_it() {
    tainted(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: \tb c\t\r\nY:\r\n\r\nabc",
        check_response,
    );
    tainted(b"HTTP/1.1 200 O K\r\nTransfer-Encoding: chunked\r\n\r\n", check_response);
    tainted(b"HTTP/1.0 404\r\nConnection: x, close\r\nX: 1\r\n\r\n", check_response);
    tainted(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: a/1\r\n\r\n", check_response);
    tainted(b"HTTP/1.1 304 Same\r\nContent-Length: 3\r\nDate: x\r\n\r\n", check_response);
}

/// A body is what the plain reading makes of it; and its content, encoded, is one body.
fn check_body(body: &[u8]) {
    let mut decoder = BodyDecoder::from(Framing::Chunked);
    let (mut content, mut at) = (Vec::new(), 0);
    let mut outcome = Ok(());
    while at < body.len() && !decoder.is_done() && outcome.is_ok() {
        outcome = decoder.decode(&body[at..]).map(|step| {
            content.extend_from_slice(&body[at..][step.content]);
            at += step.consumed;
        });
    }
    match strict::chunked(body) {
        Chunked::Wrong => assert!(outcome.is_err(), "taken: {}", show(body)),
        Chunked::Begun(expect) => {
            assert_eq!((outcome, decoder.is_done()), (Ok(()), false), "{}", show(body));
            assert_eq!(content, expect, "{}", show(body));
        }
        Chunked::Whole(expect, rest) => {
            assert_eq!((outcome, decoder.is_done()), (Ok(()), true), "{}", show(body));
            assert_eq!((&content, &body[at..]), (&expect, rest), "{}", show(body));
        }
    }
    if content.is_empty() {
        return;
    }
    let mut room = [0; 1024];
    let sent = written_to(&mut room, |out| {
        encode::chunk(out, &content)?;
        out.push(encode::LAST_CHUNK)
    });
    assert_eq!(strict::chunked(sent), Chunked::Whole(content, b""), "{}", show(body));
}

#[test]
fn no_byte_in_a_chunked_body_makes_another_message_of_it() {
    tainted(b"3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\nGET /", check_body);
    tainted(b"1;a=b ; c = \"d\\\"e\";f\r\nx\r\n0;g\r\n\r\n", check_body);
    tainted(b"0\r\nA: b\r\nC:\r\n\r\n", check_body);
}

/// A name and a value that a script hands in, with each byte at each place of them.
fn handed_in(mut check: impl FnMut(&[u8], &[u8])) {
    for byte in 0..=u8::MAX {
        for at in 0..=2 {
            let mut part = b"xy".to_vec();
            part.insert(at, byte);
            check(&part, b"v");
            check(b"x", &part);
        }
    }
    check(b"", b"v");
    for part in [&b"x: y\r\nz"[..], b"x\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", b"x\nz", b"x\r"]
    {
        check(part, b"v");
        check(b"x", part);
    }
}

/// Whether a name and a value make one field line, by the plain grammar.
fn is_field_line(name: &[u8], value: &[u8]) -> bool {
    let head = [&b"A / HTTP/1.1\r\n"[..], name, b": ", value, b"\r\n\r\n"].concat();
    strict::request(&head).is_some_and(|head| {
        head.rest.is_empty() && head.fields.len() == 1 && head.fields[0].0 == name
    })
}

#[test]
fn no_edit_of_a_script_splits_the_line_that_it_makes() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut head = RequestHead::default();
    head.parse(input, &mut Scan::default(), &LIMITS).unwrap();
    let without = strict_lines(&upstream(&head, input, STRANGER, &[]));
    handed_in(|name, value| {
        for edit in [Edit::Set(name, value), Edit::Add(name, value)] {
            let sent = upstream(&head, input, STRANGER, &[edit]);
            let expect = without + usize::from(is_field_line(name, value));
            assert_eq!(strict_lines(&sent), expect, "{edit:?}: {}", show(&sent));
        }
    });
}

/// Field lines of a request that is one head in the grammar.
fn strict_lines(sent: &[u8]) -> usize {
    let head = strict::request(sent).unwrap_or_else(|| panic!("{}", show(sent)));
    assert_eq!(head.rest, b"", "{}", show(sent));
    head.fields.len()
}

#[test]
fn no_field_of_a_reply_splits_the_line_that_it_makes() {
    handed_in(|name, value| {
        let reply = encode::Reply { status: 200, fields: &[(name, value)], content_bytes: 5 };
        let frame = frame(Framing::Length(5));
        let sent = written(|out| encode::reply(out, &reply, frame, &date()));
        let head = strict::response(&sent).unwrap_or_else(|| panic!("{}", show(&sent)));
        assert_eq!(head.rest, b"", "{}", show(&sent));
        let own = ["Date", "Content-Length"].len();
        let expect = own + usize::from(is_field_line(name, value));
        assert_eq!(head.fields.len(), expect, "{}", show(&sent));
    });
}
