//! What an origin is told about the client: by Kiln, by a peer that is trusted, and by a script.

mod support;

use std::net::IpAddr;

use http::encode::{Edit, Forwarded};
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

/// RFC 7239, section 5.2, and what proxies write in `X-Forwarded-For`: the chain is read from its end, as
/// far as those are trusted who made it.
#[test]
fn the_client_is_the_last_that_no_trusted_proxy_is() {
    fn check(fields: &str, expect: &str) {
        let input = format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let head = taken(&input);
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let peer = "10.0.0.1".parse().unwrap();
        let client = http::named_client(&head, input.as_bytes(), peer, is_trusted);
        assert_eq!(client, expect.parse::<IpAddr>().unwrap(), "{fields:?}");
    }
    check("", "10.0.0.1");
    check("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7");
    check("X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7");
    check("X-Forwarded-For: 192.0.2.7, 10.0.0.2,10.0.0.3\r\n", "192.0.2.7");
    check("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.0.0.2\r\n", "192.0.2.7");
    check("X-Forwarded-For: 10.0.0.9, 10.0.0.2\r\n", "10.0.0.9");
    check("X-Forwarded-For: 192.0.2.7:4711\r\n", "192.0.2.7");
    check("X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1");
    check("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1");
    check("X-Forwarded-For: ::ffff:192.0.2.7\r\n", "192.0.2.7");
    // Who is behind them nobody knows.
    check("X-Forwarded-For: 192.0.2.7, unknown\r\n", "10.0.0.1");
    check("X-Forwarded-For: 192.0.2.7, _x, 10.0.0.2\r\n", "10.0.0.2");
    check("X-Forwarded-For: , ,\r\n", "10.0.0.1");
    // An option of the connection alone.
    check("Connection: x-forwarded-for\r\nX-Forwarded-For: 192.0.2.7\r\n", "10.0.0.1");

    check("Forwarded: for=192.0.2.7\r\n", "192.0.2.7");
    check("Forwarded: for=6.6.6.6, by=10.0.0.1;FOR=192.0.2.7;proto=http\r\n", "192.0.2.7");
    check("Forwarded: for=\"[2001:db8::1]:80\", for=10.0.0.2\r\n", "2001:db8::1");
    check("Forwarded: for=192.0.2.7;by=\"a,b\\\"for=6.6.6.6\"\r\n", "192.0.2.7");
    check("Forwarded: for=192.0.2.7, proto=https\r\n", "10.0.0.1");
    check("Forwarded: for=_hidden\r\n", "10.0.0.1");
    check("Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7");
    let long = "X-Forwarded-For: 192.0.2.7".to_owned() + &", 10.0.0.2".repeat(31);
    check(&format!("{long}\r\n"), "192.0.2.7");
    check(&format!("{long}, 10.0.0.2\r\n"), "10.0.0.2");
}
