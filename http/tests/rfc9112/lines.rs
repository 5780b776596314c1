//! RFC 9112, sections 2 to 5: messages, request lines, status lines and field lines.

use http::encode::Edit;
use http::{Framing, RequestError, RequestLimits, ResponseError};

use crate::support::*;
use crate::{line, refused_with_400, with};

// Section 2: messages.

/// RFC 9112, section 2.2: a message is parsed as octets in a superset of US-ASCII, not as Unicode.
#[test]
fn octets_beyond_ascii_are_opaque_in_values_and_refused_elsewhere() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\xe2\x80\r\n\r\n";
    let (_, head) = request_within(input, &LIMITS).unwrap().unwrap();
    assert_eq!(head.fields[1].value.of(input), b"\xff\xe2\x80");
    refused_with_400(&with("X\u{e9}: y\r\n"), RequestError::Field);
    refused_with_400(&line("G\u{e9}T / HTTP/1.1"), RequestError::RequestLine);
    refused_with_400(&line("GET /\u{e9} HTTP/1.1"), RequestError::Target);
}

/// RFC 9112, section 2.2: a bare CR is invalid in any protocol element other than content.
#[test]
fn bare_carriage_return_is_refused_with_400() {
    refused_with_400("GET / HTTP/1.1\rHost: h\r\n\r\n", RequestError::RequestLine);
    refused_with_400("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", RequestError::RequestLine);
    refused_with_400(&with("X: a\rb\r\n"), RequestError::Field);
    refused_with_400(&with("X: a\r\r\n"), RequestError::Field);
    refused_with_400(&with("X\r: a\r\n"), RequestError::Field);
    refused_response("HTTP/1.1 200 O\rK\r\n\r\n", ResponseError::StatusLine);
    refused_response("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", ResponseError::Field);
}

/// RFC 9112, section 2.2: a recipient may, and need not, take a lone LF for a line end.
#[test]
fn lone_line_feed_is_refused_with_400() {
    refused_with_400("GET / HTTP/1.1\nHost: h\r\n\r\n", RequestError::LineEnd);
    refused_with_400("GET / HTTP/1.1\r\nHost: h\n\r\n", RequestError::LineEnd);
    refused_with_400("GET / HTTP/1.1\r\nHost: h\r\n\n", RequestError::LineEnd);
    let long = "x".repeat(LIMITS.line_bytes_max);
    refused_with_400(&format!("GET / HTTP/1.1\n{long}"), RequestError::LineEnd);
    refused_response("HTTP/1.1 200 OK\nX: y\n\n", ResponseError::LineEnd);
}

/// RFC 9112, section 2.2: a server ignores at least one empty line before a request line.
#[test]
fn empty_lines_before_a_request_are_ignored_up_to_a_limit() {
    for empty in ["\r\n", "\r\n\r\n\r\n\r\n"] {
        taken(&format!("{empty}{}", line("GET / HTTP/1.1")));
    }
    refused_with_400(&format!("{}GET", "\r\n".repeat(5)), RequestError::LineEnd);
    refused_response("\r\n", ResponseError::StatusLine);
    refused_response("\r\nHTTP/1.1 200 OK\r\n\r\n", ResponseError::StatusLine);
}

/// RFC 9112, section 2.2: a user agent sends no empty line before a request or after it.
#[test]
fn requests_go_upstream_without_empty_lines_around_them() {
    let input = "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = taken(input);
    let sent = upstream(&head, input.as_bytes(), STRANGER, &[]);
    assert!(sent.starts_with(b"GET / HTTP/1.1\r\n"), "{}", show(&sent));
    assert!(!sent.ends_with(b"\r\n\r\n\r\n"), "{}", show(&sent));
}

/// RFC 9112, section 2.2: whitespace between the start line and the first field is refused, or the line
/// is skipped.
#[test]
fn whitespace_before_the_first_field_is_refused_with_400() {
    for blank in [" ", "\t"] {
        let input = format!("GET / HTTP/1.1\r\n{blank}Host: h\r\nHost: h\r\n\r\n");
        refused_with_400(&input, RequestError::Field);
        refused_response(&format!("HTTP/1.1 200 OK\r\n{blank}X: y\r\n\r\n"), ResponseError::Field);
    }
}

/// RFC 9112, section 2.2: what is no HTTP request is answered 400.
#[test]
fn another_protocol_is_refused_at_its_first_bytes() {
    for input in ["\x16\x03\x01\x02", "\0", "\u{e9}", "{\"a\": 1}", " GET", "(", "<a>"] {
        refused_with_400(input, RequestError::RequestLine);
    }
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", RequestError::Version);
}

/// RFC 9112, section 2.3: the version is `HTTP/`, a digit, a dot and a digit, case-sensitive.
#[test]
fn versions_are_spelt_exactly() {
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1,1",
        "XTTP/1.1",
        "HTTP/ 1.1",
    ] {
        refused_with_400(&line(&format!("GET / {version}")), RequestError::RequestLine);
        refused_response(&format!("{version} 200 OK\r\n\r\n"), ResponseError::StatusLine);
    }
}

// Section 3: the request line.

/// RFC 9112, section 3: single spaces separate the parts; a line with others is not corrected but
/// refused, for it could be a try at another target (sections 3.2 and 11.2).
#[test]
fn request_lines_of_another_shape_are_refused_with_400() {
    for input in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / x HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /\u{b} HTTP/1.1 ",
        "/ HTTP/1.1",
        "G{}T / HTTP/1.1",
        "GET: / HTTP/1.1",
    ] {
        refused_with_400(&line(input), RequestError::RequestLine);
    }
}

/// RFC 9112, section 3: a target longer than a server wishes to read is answered 414, and a server
/// reads at least some.
#[test]
fn long_targets_are_refused_with_414() {
    let spare = "GET /".len() + " HTTP/1.1\r\n".len();
    let path = "x".repeat(LIMITS.line_bytes_max - spare);
    taken(&line(&format!("GET /{path} HTTP/1.1")));
    refused(&line(&format!("GET /{path}x HTTP/1.1")), RequestError::TargetTooLong);
    refused(&format!("GET /{path}{path}"), RequestError::TargetTooLong);
    // The head may be limited to less than the line.
    let limits = RequestLimits { head_bytes_max: 512, ..LIMITS };
    let refusal =
        |input: &str| request_within(input.as_bytes(), &limits).map(|head| head.is_some());
    assert_eq!(refusal(&format!("GET /{path}")), Err(RequestError::TargetTooLong));
    let lines = line("GET / HTTP/1.1") + "X: y\r\n";
    assert_eq!(refusal(&lines.replace("\r\n\r\n", &path)), Err(RequestError::HeadTooLarge));
    assert_eq!(RequestError::TargetTooLong.status(), 414);
}

/// RFC 9112, section 3: a method longer than any that is implemented is answered 501, and what is no
/// request line 400, however long it is.
#[test]
fn long_methods_are_refused_with_501_and_other_long_lines_with_400() {
    let long = "A".repeat(LIMITS.line_bytes_max + 1);
    for input in [
        long.clone(),
        format!("{long} / HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", &long[3..]),
    ] {
        refused(&input, RequestError::Method);
    }
    assert_eq!(RequestError::Method.status(), 501);
    let limits = RequestLimits { head_bytes_max: 512, ..LIMITS };
    let outcome = request_within(long.as_bytes(), &limits).map(|head| head.is_some());
    assert_eq!(outcome, Err(RequestError::Method));
    for input in [
        format!("A(){long}"),
        format!("{}\u{e9}", &long[2..]),
        format!("A\r{long}"),
        format!("GET / HTTP/1.1{long}"),
        format!("GET / {long}"),
        format!("GET / /{} HTTP/1.1\r\n", &long),
    ] {
        refused_with_400(&input, RequestError::RequestLine);
    }
}

/// RFC 9112, section 3.2: a 1.1 request without `Host`, with several, or with one that is no host.
#[test]
fn missing_repeated_or_malformed_host_is_refused_with_400() {
    for fields in [
        "",
        "Host: h\r\nHost: h\r\n",
        "Host: h\r\nhost: i\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a,b\r\n",
        "Host: u@h\r\n",
        "Host: h/\r\n",
        "Host: http://h\r\n",
        "Host: h:x\r\n",
        "Host: h:65536\r\n",
        "Host: h:-1\r\n",
        "Host: [::1\r\n",
        "Host: [h]\r\n",
        "Host: h%41\r\n",
        "Host: \u{e9}\r\n",
    ] {
        refused_with_400(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), RequestError::Host);
    }
    refused_with_400("GET http://h/ HTTP/1.1\r\n\r\n", RequestError::Host);
    refused_with_400("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", RequestError::Host);
    taken("GET / HTTP/1.0\r\n\r\n");
}

/// RFC 9112, section 3.2: a client sends `Host` with every 1.1 request.
#[test]
fn every_request_goes_upstream_with_one_host() {
    for (input, expect) in [
        ("GET / HTTP/1.1\r\nHost: h:8\r\n\r\n", "Host: h:8"),
        ("GET / HTTP/1.0\r\n\r\n", "Host: default"),
        ("GET http://a/ HTTP/1.0\r\n\r\n", "Host: a"),
    ] {
        assert_eq!(forwarded_lines(input, STRANGER, &[])[1], expect, "{input:?}");
    }
    let check = |edits: &[Edit<'_>], expect: &str| {
        let lines = forwarded_lines(&line("GET / HTTP/1.1"), STRANGER, edits);
        let hosts: Vec<&String> =
            lines.iter().filter(|line| line.to_ascii_lowercase().starts_with("host")).collect();
        assert_eq!(hosts, [expect], "{edits:?}");
    };
    let (set, add) = (Edit::Set(b"host", b"s"), Edit::Add(b"HOST", b"a:8"));
    let remove = Edit::Remove(b"Host");
    check(&[set], "Host: s");
    check(&[add], "Host: a:8");
    check(&[set, add], "Host: a:8");
    check(&[add, remove], "Host: default");
    check(&[remove, add], "Host: a:8");
    for none in [&b""[..], b"a b", b"u@h", b"a,b", b"a\r\nb: c"] {
        check(&[Edit::Set(b"host", none)], "Host: h");
        check(&[set, Edit::Add(b"host", none)], "Host: s");
    }
}

/// RFC 9112, section 3.2.1: to an origin goes the path and the query, and `/` for an empty path.
#[test]
fn origin_form_goes_upstream() {
    let check = |line: &str, expect: &str| {
        let input = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(forwarded_lines(&input, STRANGER, &[])[0], expect, "{line:?}");
    };
    check("GET /a?b HTTP/1.1", "GET /a?b HTTP/1.1");
    check("GET /? HTTP/1.1", "GET /? HTTP/1.1");
    check("GET http://a HTTP/1.1", "GET / HTTP/1.1");
    check("GET http://a? HTTP/1.1", "GET /? HTTP/1.1");
    check("GET http://a?b HTTP/1.1", "GET /?b HTTP/1.1");
    check("GET HTTPS://a/b/?c HTTP/1.1", "GET /b/?c HTTP/1.1");
}

/// RFC 9112, section 3.2.2: a server takes the absolute form, and the host that it names outranks
/// `Host`, which is generated anew.
#[test]
fn absolute_form_outranks_the_host_field() {
    let input = "GET http://a:8/ HTTP/1.1\r\nHost: b\r\n\r\n";
    let head = taken(input);
    assert_eq!(head.authority.of(input.as_bytes()), b"a:8");
    let lines = forwarded_lines(input, STRANGER, &[]);
    assert!(lines.contains(&"Host: a:8".into()) && !lines.contains(&"Host: b".into()), "{lines:?}");
}

/// RFC 9112, section 3.2.3: the authority form, host and port alone, is for `CONNECT` alone.
#[test]
fn authority_form_is_for_connect_alone() {
    for method in ["GET", "OPTIONS", "connect"] {
        refused_with_400(&line(&format!("{method} h:80 HTTP/1.1")), RequestError::Target);
    }
    let input = line("CONNECT h:80 HTTP/1.1");
    let head = taken_within(&input, &TUNNEL_LIMITS);
    assert!(head.path.is_empty() && head.query.is_empty());
    assert_eq!(head.authority.of(input.as_bytes()), b"h:80");
    for target in ["/", "*", "http://h:80", "http://h:80/", "h", "h:80/", "u@h:80"] {
        let input = line(&format!("CONNECT {target} HTTP/1.1"));
        let outcome = request_within(input.as_bytes(), &TUNNEL_LIMITS).map(|head| head.is_some());
        assert_eq!(outcome, Err(RequestError::Target), "{target}");
    }
}

/// RFC 9112, section 3.2.4: the asterisk form is for `OPTIONS` alone, and an absolute form without path
/// and query becomes one.
#[test]
fn asterisk_form_is_for_options_alone() {
    refused_with_400(&line("GET * HTTP/1.1"), RequestError::Target);
    refused_with_400(&line("OPTIONS ** HTTP/1.1"), RequestError::Target);
    for (target, expect) in [
        ("*", "OPTIONS * HTTP/1.1"),
        ("http://a:8001", "OPTIONS * HTTP/1.1"),
        ("http://a/", "OPTIONS / HTTP/1.1"),
        ("http://a?q", "OPTIONS /?q HTTP/1.1"),
        ("http://a?", "OPTIONS /? HTTP/1.1"),
    ] {
        let input = line(&format!("OPTIONS {target} HTTP/1.1"));
        assert_eq!(forwarded_lines(&input, STRANGER, &[])[0], expect, "{target}");
    }
}

// Section 4: the status line.

/// RFC 9112, section 4: version, three digits and a reason, which may be empty.
#[test]
fn status_lines_of_another_shape_are_refused() {
    for input in [
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\u{7f}K",
        " HTTP/1.1 200 OK",
        "200 OK",
    ] {
        refused_response(&format!("{input}\r\n\r\n"), ResponseError::StatusLine);
    }
    for reason in ["", " ", " OK", "  O\tK ", " \u{e9}"] {
        taken_response(&format!("HTTP/1.1 404{reason}\r\n\r\n"));
    }
}

/// RFC 9112, section 4: the space before the reason is sent even if there is no reason.
#[test]
fn a_status_line_without_a_reason_keeps_its_space() {
    for input in ["HTTP/1.1 299\r\n\r\n", "HTTP/1.1 299 \r\n\r\n"] {
        assert_eq!(relayed_lines(input, frame(Framing::Chunked))[0], "HTTP/1.1 299 ");
    }
    assert_eq!(reply_lines(299, &[], frame(Framing::Length(5)))[0], "HTTP/1.1 299 ");
}

// Section 5: field lines.

/// RFC 9112, section 5: a name, a colon, and a value without the whitespace around it.
#[test]
fn whitespace_around_a_value_is_no_part_of_it() {
    let check = |line: &str, expect: &str| {
        let input = with(&format!("{line}\r\n"));
        let head = taken(&input);
        assert_eq!(head.fields[1].value.of(input.as_bytes()), expect.as_bytes(), "{line:?}");
    };
    check("X: \t b  c \t", "b  c");
    check("X:b", "b");
    check("X:", "");
    check("X: \t", "");
    check("X::", ":");
}

/// RFC 9112, section 5.1: whitespace between name and colon is refused in a request; in a response it
/// is removed or, as here, nothing of it is forwarded.
#[test]
fn whitespace_between_field_name_and_colon_is_refused_with_400() {
    for blank in [" ", "\t", " \t"] {
        refused_with_400(&with(&format!("X{blank}: y\r\n")), RequestError::Field);
        let input = format!("HTTP/1.1 200 OK\r\nX{blank}: y\r\n\r\n");
        refused_response(&input, ResponseError::Field);
    }
    let input = with("Content-Length : 5\r\n");
    refused_with_400(&input, RequestError::Field);
}

/// RFC 9112, section 5.1: a field line has a name that is a token, and a colon.
#[test]
fn field_lines_of_another_shape_are_refused_with_400() {
    for line in
        ["X", ": y", "X y: z", "X(: y", "X\0: y", "X=y", "\"X\": y", "X: \u{1}", "X: \u{7f}"]
    {
        refused_with_400(&with(&format!("{line}\r\n")), RequestError::Field);
        refused_response(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"), ResponseError::Field);
    }
}

/// RFC 9112, section 5.2: a folded line is refused in a request, and a response with one is replaced by
/// a 502.
#[test]
fn folded_field_lines_are_refused() {
    for fold in ["X: y\r\n z\r\n", "X: y\r\n\tz\r\n", "X:\r\n y\r\n", "X: y\r\n \r\n"] {
        refused_with_400(&with(fold), RequestError::Field);
        refused_response(&format!("HTTP/1.1 200 OK\r\n{fold}\r\n"), ResponseError::Field);
    }
}

/// RFC 9112, section 5.2: a sender folds no line.
#[test]
fn no_folded_line_is_sent_for_a_script() {
    let edits = [Edit::Set(b"x", b"y\r\n z"), Edit::Add(b"x", b"y\r\n\tz")];
    let lines = forwarded_lines(&line("GET / HTTP/1.1"), STRANGER, &edits);
    assert!(lines.iter().all(|line| !line.starts_with(['x', ' ', '\t'])), "{lines:?}");
}
