//! What goes out for what came in: one side's head in, the other side's lines out.

mod support;

use http::encode::{self, Edit, Forwarded};
use http::{BodyDecoder, Framing, RequestError};
use support::*;

/// The lines that go to an origin, for a request with these field lines besides `Host`.
fn check(fields: &str, forwarded: Forwarded<'_>, edits: &[Edit<'_>], expect: &[&str]) {
    let input = format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let lines = forwarded_lines(&input, forwarded, edits);
    assert_eq!(lines[..2], ["GET /a HTTP/1.1", "Host: h"], "{fields:?}");
    assert_eq!(lines[2..], *expect, "{fields:?} {edits:?}");
}

const FOR: &str = "X-Forwarded-For: 192.0.2.1";
const PROTO: &str = "X-Forwarded-Proto: http";
const HOST: &str = "X-Forwarded-Host: h";
const VIA: &str = "Via: 1.1 kiln";

/// What a proxy in front says about the client.
const TOLD: &str = "Forwarded: for=a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: b\r\nX-Forwarded-Port: 8443\r\n";

const TRUSTED: Forwarded<'static> = Forwarded { keeps_forwarded: true, ..STRANGER };
const UPGRADING: Forwarded<'static> = Forwarded { upgrades: true, ..STRANGER };

#[test]
fn what_a_stranger_says_about_the_client_is_replaced() {
    check("", STRANGER, &[], &[FOR, PROTO, HOST, VIA]);
    check(TOLD, STRANGER, &[], &["X-Forwarded-For: 9.9.9.9, 192.0.2.1", PROTO, HOST, VIA]);
}

#[test]
fn what_a_trusted_peer_says_about_the_client_is_passed_on() {
    let told = ["Forwarded: for=a", "X-Forwarded-Proto: https", "X-Forwarded-Host: b"];
    let port = "X-Forwarded-Port: 8443";
    let chain = "X-Forwarded-For: 9.9.9.9, 192.0.2.1";
    check(TOLD, TRUSTED, &[], &[told[0], told[1], told[2], port, chain, VIA]);
    check("", TRUSTED, &[], &[FOR, PROTO, HOST, VIA]);
    let hidden = "Connection: x-forwarded-proto\r\nX-Forwarded-Proto: https\r\n";
    check(hidden, TRUSTED, &[], &[FOR, PROTO, HOST, VIA]);
}

#[test]
fn edits_win_over_what_kiln_says_about_the_client() {
    let set = Edit::Set(b"x-forwarded-host", b"s");
    check(
        TOLD,
        TRUSTED,
        &[Edit::Remove(b"forwarded"), set, Edit::Remove(b"X-FORWARDED-FOR")],
        &["X-Forwarded-Proto: https", "X-Forwarded-Port: 8443", "x-forwarded-host: s", VIA],
    );
    let add = Edit::Add(b"X-Forwarded-Proto", b"wss");
    check(
        "",
        STRANGER,
        &[set, add],
        &[FOR, PROTO, "x-forwarded-host: s", "X-Forwarded-Proto: wss", VIA],
    );
    check("", STRANGER, &[add, Edit::Remove(b"x-forwarded-proto")], &[FOR, HOST, VIA]);
}

#[test]
fn a_request_without_a_host_tells_none_of_the_client() {
    let lines = forwarded_lines("GET / HTTP/1.0\r\n\r\n", STRANGER, &[]);
    assert_eq!(lines, ["GET / HTTP/1.1", "Host: default", FOR, PROTO, "Via: 1.0 kiln"]);
}

#[test]
fn upgrades_are_offered_as_far_as_they_are_not_to_http() {
    let wants =
        "Connection: Upgrade, x\r\nX: 1\r\nUpgrade: h2c, websocket\r\nupgrade: TLS/1.2, a/1\r\n";
    let offer = ["Connection: upgrade", "Upgrade: websocket, a/1"];
    check(wants, UPGRADING, &[], &[FOR, PROTO, HOST, offer[0], offer[1], VIA]);
    check(wants, STRANGER, &[], &[FOR, PROTO, HOST, VIA]);
    check("Connection: upgrade\r\nUpgrade: h2c\r\n", UPGRADING, &[], &[FOR, PROTO, HOST, VIA]);
}

#[test]
fn trace_is_reflected_as_it_came_without_secrets() {
    let input =
        "\r\nTRACE /a?b HTTP/1.2\r\nHost: h\r\nCookie: c\r\nX:  y \r\nAuthorization: z\r\n\r\n";
    let head = taken(input);
    let content = written(|out| encode::trace_reply(out, &head, input.as_bytes()));
    assert_eq!(show(&content), show(b"TRACE /a?b HTTP/1.2\r\nHost: h\r\nX: y\r\n\r\n"));
}

#[test]
fn the_count_of_forwards_is_counted_down_where_it_counts() {
    let check = |method: &str, value: &str, expect: Option<&str>| {
        let input = format!("{method} / HTTP/1.1\r\nHost: h\r\nMax-Forwards: {value}\r\n\r\n");
        let lines = forwarded_lines(&input, STRANGER, &[]);
        let line = lines.iter().find(|line| line.starts_with("Max-Forwards"));
        assert_eq!(line.map(String::as_str), expect, "{method} {value}");
    };
    check("TRACE", "10", Some("Max-Forwards: 9"));
    check("OPTIONS", "1", Some("Max-Forwards: 0"));
    check("OPTIONS", "99999999999999999999", Some("Max-Forwards: 18446744073709551614"));
    check("GET", "0", Some("Max-Forwards: 0"));
    check("GET", "x", Some("Max-Forwards: x"));
    for fields in
        ["Max-Forwards: x\r\n", "Max-Forwards:\r\n", "Max-Forwards: 1\r\nMax-Forwards: 1\r\n"]
    {
        refused(&format!("TRACE / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), RequestError::MaxForwards);
    }
}

#[test]
fn a_switch_of_protocols_is_relayed_with_its_fields() {
    let input =
        "HTTP/1.1 101 Go\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n";
    let head = taken_response(input);
    assert!(head.switches && !head.is_interim());
    assert_eq!(head.framing(false), Framing::None);
    assert_eq!(
        relayed_lines(input, frame(Framing::None)),
        ["HTTP/1.1 101 Go", "X: y", VIA, "Connection: upgrade", "Upgrade: websocket"]
    );
    for input in [
        "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: a, h2c\r\n\r\n",
        "HTTP/1.0 101 Go\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert!(!taken_response(input).switches, "{input:?}");
    }
}

#[test]
fn content_that_was_moved_unseen_is_counted() {
    let mut decoder = BodyDecoder::from(Framing::Length(5));
    assert_eq!(decoder.counted_left(), Some(5));
    decoder.skip(3);
    assert_eq!(decoder.counted_left(), Some(2));
    assert_eq!(decoder.decode(b"abc").unwrap().content, 0..2);
    assert_eq!((decoder.counted_left(), decoder.is_done()), (None, true));
    let mut decoder = BodyDecoder::from(Framing::Length(5));
    decoder.skip(5);
    assert!(decoder.is_done());
    let mut decoder = BodyDecoder::from(Framing::UntilClose);
    decoder.skip(1 << 40);
    assert_eq!(decoder.counted_left(), Some(u64::MAX));
    assert_eq!(BodyDecoder::from(Framing::Chunked).counted_left(), None);
}

#[test]
#[should_panic(expected = "6 bytes were moved of 5")]
fn no_more_content_is_skipped_than_is_left() {
    BodyDecoder::from(Framing::Length(5)).skip(6);
}
