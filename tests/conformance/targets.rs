//! Targets and hosts (RFC 9112, section 3.2; RFC 9110, sections 4.2 and 7.2).

use crate::site::{Upstream, check, connect, refused};

/// RFC 9112, section 3.2: a 1.1 request without `Host`, with several, or with an invalid one MUST be
/// answered 400.
#[test]
fn a_host_that_is_missing_repeated_or_invalid_is_400() {
    refused("GET / HTTP/1.1\r\n\r\n", 400);
    refused("GET http://test/ HTTP/1.1\r\n\r\n", 400);
    for fields in [
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host: a\r\nhOST: b",
        "Host: a\r\nX: 1\r\nHost: a",
        "Host: a, b",
        "Host: a b",
        "Host: a\tb",
        "Host: http://a",
        "Host: a/b",
        "Host: a?b",
        "Host: a#b",
        "Host: a@b",
        "Host: a:b",
        "Host: a:80:80",
        "Host: a:-1",
        "Host: a:+80",
        "Host: a:65536",
        "Host: a:99999999999999999999",
        "Host: [::1",
        "Host: ::1",
        "Host: [::g]",
        "Host: []",
        "Host: \"a\"",
        "Host: a\u{0}b",
        "Host: a;b",
        "Host: a\\b",
        "Host: <a>",
    ] {
        refused(format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n"), 400);
    }
}

/// RFC 9110, section 7.2: names, addresses and ports, in whatever case.
#[test]
fn hosts_of_every_kind_reach_the_origin_as_they_are() {
    let origin = Upstream::fine();
    for host in [
        "a",
        "A.example",
        "a.example.",
        "a:80",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:DB8::1]:81",
        "a_b",
    ] {
        check(format!("GET / HTTP/1.1\r\nHost:{host} \r\nX-Upstream: {origin}\r\n\r\n"), 200);
        assert_eq!(origin.last().values("host"), [host]);
    }
}

/// RFC 9112, section 3.2: a proxy too MUST send `Host` in every 1.1 request, though a 1.0 request may
/// come without one.
#[test]
fn a_1_0_request_without_a_host_is_forwarded_with_one() {
    let origin = Upstream::fine();
    check(format!("GET / HTTP/1.0\r\nX-Upstream: {origin}\r\n\r\n"), 200);
    assert_eq!(origin.last().values("host").len(), 1, "{}", origin.last().head);
}

/// RFC 9112, section 3.2: several or invalid ones are 400 whatever the version ("any request message").
#[test]
fn a_1_0_request_with_two_hosts_or_a_bad_one_is_400() {
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400);
}

/// RFC 9112, section 3.2.2: a server MUST accept absolute form; the host in it replaces `Host`, and
/// what goes on is origin form with that host (section 3.2.1).
#[test]
fn absolute_form_is_taken_and_its_host_outranks_the_field() {
    let origin = Upstream::fine();
    for (target, forwarded, host) in [
        ("http://one.example/a?b=c", "/a?b=c", "one.example"),
        ("HTTP://One.Example/a", "/a", "One.Example"),
        ("http://one.example:8080/", "/", "one.example:8080"),
        ("http://one.example", "/", "one.example"),
        ("http://one.example?q", "/?q", "one.example"),
        ("http://one.example/?", "/?", "one.example"),
        ("http://[::1]:81/x", "/x", "[::1]:81"),
    ] {
        check(
            format!("GET {target} HTTP/1.1\r\nHost: two.example\r\nX-Upstream: {origin}\r\n\r\n"),
            200,
        );
        let received = origin.last();
        assert_eq!(received.line(), format!("GET {forwarded} HTTP/1.1"), "{target}");
        assert_eq!(received.values("host"), [host], "{target}");
    }
}

/// RFC 9110, section 4.2.1: a URI with an empty host MUST be rejected; section 4.2.4: user information
/// is an error. Other schemes are not what a gateway for `http` serves.
#[test]
fn absolute_forms_that_name_no_host_of_http_are_refused() {
    for target in [
        "http:///a",
        "http://",
        "http://:80/",
        "http://user@one.example/",
        "http://user:pass@one.example/",
        "http://one.example:x/",
        "http://one.example:70000/",
        "http:/one.example/",
        "http:one.example",
        "ftp://one.example/",
        "file:///etc/passwd",
        "//",
        "http://a,b/",
        "http://a b/",
        "javascript:alert(1)",
        "one.example",
        "one.example/",
        "a/b",
        "?a",
        "#a",
        "\\a",
    ] {
        if target == "//" {
            // Origin form: a path with two empty segments (RFC 3986, section 3.3).
            check(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
            continue;
        }
        refused(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 3.2.3: authority form is for `CONNECT` alone, and section 3.2.4: the asterisk for
/// `OPTIONS` alone.
#[test]
fn forms_of_other_methods_are_refused() {
    for target in ["*", "one.example:80", "127.0.0.1:80"] {
        for method in ["GET", "POST", "HEAD", "DELETE", "TRACE", "options"] {
            refused(format!("{method} {target} HTTP/1.1\r\nHost: one.example\r\n\r\n"), 400);
        }
    }
    for target in ["*a", "**", "*?a", "/*/"] {
        let status = if target.starts_with('/') { 200 } else { 400 };
        check(format!("OPTIONS {target} HTTP/1.1\r\nHost: one.example\r\n\r\n"), status);
    }
}

/// RFC 9110, section 9.3.6, and RFC 9112, section 3.2.3: `CONNECT` is for those who offer tunnels, and
/// a target in another form never is one.
#[test]
fn connect_to_somebody_who_opens_no_tunnel_is_refused() {
    for target in ["one.example:80", "one.example", "/", "http://one.example/", "*", ":80", "a:b"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: one.example\r\n\r\n");
        let mut client = connect();
        let answer = client.send(&request).response();
        assert!(matches!(answer.status, 400 | 403 | 405 | 501), "{request:?} got {answer:?}");
    }
}

/// RFC 9112, section 3.2.4: `OPTIONS *` stays what it is, and an absolute form without a path and
/// query becomes it.
#[test]
fn options_of_the_server_as_a_whole_reaches_the_origin_as_an_asterisk() {
    let origin = Upstream::fine();
    for (target, forwarded) in
        [("*", "*"), ("http://a", "*"), ("http://a/", "/"), ("http://a?b", "/?b"), ("/", "/")]
    {
        check(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"), 200);
        assert_eq!(origin.last().line(), format!("OPTIONS {forwarded} HTTP/1.1"), "{target}");
    }
}

/// RFC 9110, section 7.7: an intermediary MUST NOT modify the path and query that it forwards.
#[test]
fn paths_and_queries_are_forwarded_byte_by_byte() {
    let origin = Upstream::fine();
    for target in [
        "/%2e%2e/a",
        "/a/../b",
        "/a/./b",
        "//a//b",
        "/%61",
        "/a%2Fb",
        "/a;b=c",
        "/?",
        "/??",
        "/a?b?c",
        "/a?b=%20+%",
        "/a&b",
        "/~a",
        "/a:b@c",
        "/a?http://b/",
        "/A%C3%a9",
        "/a|b",
        "/{a}",
        "/a^b",
        "/`",
        "/[a]",
    ] {
        check(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"), 200);
        assert_eq!(origin.last().line(), format!("GET {target} HTTP/1.1"));
    }
}

/// Percent signs that encode nothing, or a NUL, may be refused (RFC 3986, section 2.1); repairing them
/// is what must not happen.
#[test]
fn malformed_encodings_are_refused_or_forwarded_as_they_are() {
    let origin = Upstream::fine();
    for target in ["/%", "/%4", "/%zz", "/a%00b", "/a%2", "/%%41", "/a?%", "/a?%zz", "/a?%00"] {
        let mut client = connect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n");
        let answer = client.send(request).response();
        if answer.status == 400 && !target.contains('?') {
            continue;
        }
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(origin.last().line(), format!("GET {target} HTTP/1.1"));
    }
}

/// A path that ends a line once it is decoded, or has the `\` that some origins read as `/`, is refused;
/// encoded it is data (RFC 3986, section 2.4). Queries are left alone.
#[test]
fn paths_that_two_readers_would_not_take_for_the_same_are_400() {
    let origin = Upstream::fine();
    let get = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n\r\n")
    };
    for path in ["/a\\b", "/\\", "/a\\..\\..\\b", "/%0d", "/a%0Ab", "/%0D%0Ax", "/%00", "/a%00"] {
        refused(get(path), 400);
        refused(get(&format!("{path}?b")), 400);
        refused(get(&format!("http://test{path}")), 400);
    }
    for target in ["/a?b\\c", "/?%0d%0a%00", "/a%5Cb", "/%5c%2f%09", "/?a=%5c"] {
        check(get(target), 200);
        assert_eq!(origin.last().line(), format!("GET {target} HTTP/1.1"));
    }
}

/// RFC 9112, section 3.2: whitespace, controls, and (RFC 3986, section 3.5) fragments are in no target.
#[test]
fn bytes_that_no_target_has_are_refused() {
    for part in ["\0", "\u{1}", "\u{7f}", "#", "\"", "<", ">", "é", "\u{b}", "\u{c}"] {
        refused(format!("GET /a{part}b HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        refused(format!("GET /a?b{part}c HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        refused(format!("GET http://a/{part} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}
