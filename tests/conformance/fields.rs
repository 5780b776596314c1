//! Field lines (RFC 9112, section 5; RFC 9110, section 5).

use crate::site::{Upstream, check, connect, refused};

/// RFC 9112, section 5.1: whitespace between name and colon MUST be answered 400.
#[test]
fn whitespace_before_a_colon_is_400() {
    for field in [
        "X : 1",
        "X\t: 1",
        "X  : 1",
        "Content-Length : 0",
        "Transfer-Encoding : chunked",
        "Host : a",
        "X\u{b}: 1",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 5.2: a folded line outside message/http MUST be rejected, or be unfolded before
/// it is looked at; Kiln rejects it.
#[test]
fn folded_lines_are_400() {
    for fields in [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X:\r\n a",
        "X: a\r\n \r\nY: b",
        "Transfer-Encoding:\r\n chunked",
        "Content-Length: 1\r\n 0",
        "X: a\r\n Content-Length: 5",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n"), 400);
    }
}

/// RFC 9110, section 5.1: names are tokens.
#[test]
fn field_names_that_are_no_tokens_are_400() {
    for name in [
        "", "a b", "a\tb", "a(b", "a/b", "a@b", "a\"b", "a{b", "a\0b", "a\u{7f}b", "é", "a,b",
        "a;b", "a=b", "[a]", "<a>", "a\\b", "a?b",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: test\r\n{name}: 1\r\n\r\n"), 400);
    }
    refused("GET / HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nnocolon\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\n:\r\n\r\n", 400);
}

/// RFC 9110, section 5.5: CR, LF and NUL in a value are dangerous and MUST be rejected or replaced; the
/// other controls MAY be.
#[test]
fn control_bytes_in_values_are_400() {
    for byte in (0..=8).chain([0x0b, 0x0c]).chain(0x0e..=0x1f).chain([0x7f]) {
        let byte = char::from(byte);
        refused(format!("GET / HTTP/1.1\r\nHost: test\r\nX: a{byte}b\r\n\r\n"), 400);
        refused(format!("GET / HTTP/1.1\r\nHost: test\r\nX: {byte}\r\n\r\n"), 400);
    }
}

/// RFC 9112, section 5: whitespace around a value is no part of it, and none is needed.
#[test]
fn whitespace_around_values_is_not_forwarded() {
    let origin = Upstream::fine();
    for (line, value) in [
        ("X-V:a", "a"),
        ("X-V: \t a \t ", "a"),
        ("X-V:  a  b\tc  ", "a  b\tc"),
        ("X-V:", ""),
        ("X-V: \t ", ""),
        ("X-V: :", ":"),
        ("X-V: \"a,  b\"", "\"a,  b\""),
    ] {
        check(origin.get_with(&format!("{line}\r\n")), 200);
        let head = origin.last().head;
        let lines: Vec<&str> = head.lines().filter(|line| line.starts_with("X-V:")).collect();
        assert_eq!(lines, [format!("X-V: {value}")], "{head}");
    }
}

/// RFC 9110, section 5.3: a proxy MUST NOT change the order of field lines of one name.
#[test]
fn lines_of_one_name_keep_their_order_in_both_directions() {
    let origin = Upstream::replying(
        "HTTP/1.1 200 OK\r\nX-V: 1\r\nSet-Cookie: a=1\r\nX-V: 2, 3\r\nSet-Cookie: b=2\r\nx-v: 4\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let answer = check(origin.get_with("X-V: 1\r\nX-W: a\r\nx-v: 2,3\r\nX-V:\r\nX-V: 1\r\n"), 200);
    assert_eq!(origin.last().values("x-v"), ["1", "2,3", "", "1"]);
    assert_eq!(answer.values("x-v"), ["1", "2, 3", "4"]);
    // RFC 9110, section 5.3: these are never combined.
    assert_eq!(answer.values("set-cookie"), ["a=1", "b=2"]);
}

/// RFC 9110, section 5.1: a proxy MUST forward fields that it does not know, whose names are
/// case-insensitive.
#[test]
fn unknown_fields_are_forwarded_in_both_directions() {
    let origin = Upstream::replying(
        "HTTP/1.1 200 OK\r\nX-Unknown: 1\r\n!#$%&'*+-.^`|~: odd\r\nFOO: bar\r\nContent-Length: 2\r\n\
         X_Origin: 1\r\n\r\nok",
    );
    let answer = check(
        origin
            .get_with("X-Unknown: 1\r\n!#$%&'*+-.^`|~: odd\r\nFOO: bar\r\nCookie: a=\"b\"; c\r\n"),
        200,
    );
    let received = origin.last();
    for (name, value) in [("x-unknown", "1"), ("!#$%&'*+-.^`|~", "odd"), ("foo", "bar")] {
        assert_eq!(received.values(name), [value]);
        assert_eq!(answer.values(name), [value]);
    }
    assert_eq!(received.values("cookie"), ["a=\"b\"; c"]);
    // Nobody takes names in a response for variables.
    assert_eq!(answer.values("x_origin"), ["1"]);
}

/// RFC 9110, section 11.6.2 and 11.6.1: a proxy MUST NOT modify `Authorization` and
/// `WWW-Authenticate`; section 10.2.1: nor `Allow`; section 8.8: nor validators.
#[test]
fn fields_for_the_ends_pass_unmodified() {
    let origin = Upstream::replying(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nAllow: GET,  POST\r\n\
         ETag: W/\"x\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: it/1 (self)\r\n\
         Cache-Control: no-transform\r\nContent-Location: /a%20b\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = check(
        origin.get_with(
            "Authorization: Basic QTpC\r\nIf-None-Match: W/\"x\", \"y\"\r\nRange: bytes=0-1,2-3\r\n\
             Accept-Encoding: gzip;q=0.5, *;q=0\r\nPragma: no-cache\r\n",
        ),
        401,
    );
    let received = origin.last();
    assert_eq!(received.values("authorization"), ["Basic QTpC"]);
    assert_eq!(received.values("if-none-match"), ["W/\"x\", \"y\""]);
    assert_eq!(received.values("range"), ["bytes=0-1,2-3"]);
    assert_eq!(received.values("accept-encoding"), ["gzip;q=0.5, *;q=0"]);
    for (name, value) in [
        ("www-authenticate", "Basic realm=\"a, b\""),
        ("allow", "GET,  POST"),
        ("etag", "W/\"x\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("server", "it/1 (self)"),
        ("cache-control", "no-transform"),
        ("content-location", "/a%20b"),
    ] {
        assert_eq!(answer.values(name), [value]);
    }
}

/// RFC 9110, section 5.4: fields that are larger than the server wishes are answered with a 4xx, and
/// are never ignored, since what is ignored could be what matters.
#[test]
fn heads_that_are_too_large_or_have_too_many_fields_are_431() {
    let many: String = (0..250).map(|number| format!("X-{number}: 1\r\n")).collect();
    check(format!("GET / HTTP/1.1\r\nHost: test\r\n{many}\r\n"), 431);
    let large = "a".repeat(66_000);
    check(format!("GET / HTTP/1.1\r\nHost: test\r\nX: {large}\r\n\r\n"), 431);
    // Without an end, too.
    connect()
        .send(format!("GET / HTTP/1.1\r\nHost: test\r\nX: {large}"))
        .response()
        .expect_status(431);
    let fits = "a".repeat(8_000);
    let name = format!("X-{}", "n".repeat(2_000));
    let origin = Upstream::fine();
    check(origin.get_with(&format!("{name}: {fits}\r\n")), 200);
    assert_eq!(origin.last().values(&name), [fits.as_str()]);
}
