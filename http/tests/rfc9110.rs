//! RFC 9110, HTTP semantics: what it requires of servers, clients and intermediaries that can be shown
//! without sockets, a test for each rule, in the order of its sections.
//!
//! Kiln is a gateway: a server to its clients and a client to its origins. Every input is parsed at
//! once and byte by byte (`support`), with the same outcome.

mod support;

use http::encode::{self, Edit, Forwarded, ResponseFrame};
use http::{Framing, RequestError, RequestHead, ResponseError, Version};
use support::*;

/// A request of this method, to `/`, with these field lines besides `Host`.
fn request(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// That a request is refused with a reason, whose status is also 400.
fn refused_with_400(input: &str, expect: RequestError) {
    refused(input, expect);
    assert_eq!(expect.status(), 400);
}

/// The lines of this name of what goes upstream for a request.
fn sent(input: &str, forwarded: Forwarded<'_>, name: &str) -> Vec<String> {
    lines_of(forwarded_lines(input, forwarded, &[]), name)
}

/// The lines of this name of what goes to a 1.1 client for a response.
fn relayed_of(input: &str, name: &str) -> Vec<String> {
    let framing = match taken_response(input).framing(false).expect(input) {
        Framing::UntilClose => Framing::Chunked,
        framing => framing,
    };
    lines_of(relayed_lines(input, frame(framing)), name)
}

fn lines_of(lines: Vec<String>, name: &str) -> Vec<String> {
    let is_it =
        |line: &String| line.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case(name));
    lines.into_iter().filter(is_it).collect()
}

const UPGRADING: Forwarded<'static> = Forwarded { upgrades: true, ..STRANGER };

// Sections 2 to 4: versions and identifiers.

/// RFC 9110, section 2.5: a later minor version is processed as the highest that is known; of another
/// major version is answered 505 (section 15.6.6).
#[test]
fn later_minor_versions_are_taken_and_other_major_ones_refused_with_505() {
    let expected = [
        ("1.0", Version::Http10),
        ("1.1", Version::Http11),
        ("1.2", Version::Http11),
        ("1.9", Version::Http11),
    ];
    for (version, expect) in expected {
        assert_eq!(taken(&format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n")).version, expect);
        assert_eq!(taken_response(&format!("HTTP/{version} 200 OK\r\n\r\n")).version, expect);
    }
    for version in ["0.9", "2.0", "3.0", "9.9"] {
        refused(&format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"), RequestError::Version);
        refused_response(&format!("HTTP/{version} 200 OK\r\n\r\n"), ResponseError::StatusLine);
    }
    assert_eq!(RequestError::Version.status(), 505);
}

/// RFC 9110, sections 2.5 and 6.2: an intermediary sends its own version, not the one that came.
#[test]
fn messages_leave_with_kilns_own_version() {
    for version in ["1.0", "1.1", "1.2"] {
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n");
        assert_eq!(forwarded_lines(&input, STRANGER, &[])[0], "GET / HTTP/1.1");
        let input = format!("HTTP/{version} 200 OK\r\n\r\n");
        assert_eq!(relayed_lines(&input, frame(Framing::Chunked))[0], "HTTP/1.1 200 OK");
    }
}

/// RFC 9110, section 4.2.1: a URI with an empty host is invalid. Section 4.2.4: so is, from a source
/// that is not trusted, one with user information. Section 7.1: a fragment is no part of a target.
#[test]
fn targets_without_host_or_with_userinfo_or_fragment_are_refused_with_400() {
    for target in [
        "http:///a",
        "http://:80/",
        "http://?q",
        "http://",
        "http:",
        "http:/a",
        "http:a",
        "ftp://h/",
        "http://u@h/",
        "http://u:p@h/",
        "http://h@/",
        "/a#b",
        "http://h/#b",
        "#",
        "a",
        "h:80",
        "?q",
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        refused_with_400(&input, RequestError::Target);
    }
}

/// RFC 9110, section 4.2.3, and RFC 3986, section 2.1: a percent sign begins the code of a byte; in a
/// path that is held to, since it chooses what is asked for. NUL ends paths in some origins.
#[test]
fn malformed_percent_encoding_of_a_path_is_refused_with_400() {
    for target in ["/%", "/%4", "/%zz", "/a%00b", "/%%41", "http://h/%x"] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        refused_with_400(&input, RequestError::Target);
    }
    for byte in (0..0x20).chain([0x7f, b'"', b'<', b'>', 0x80, 0xff]) {
        let input = [b"GET /", &[byte][..], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        assert!(request_within(&input, &LIMITS).is_err(), "{byte:#x}");
    }
}

// Section 5: fields.

/// RFC 9110, section 5.1: field names are case-insensitive.
#[test]
fn field_names_have_no_case() {
    for name in ["content-length", "CONTENT-LENGTH", "cOnTeNt-lEnGtH"] {
        let input = request("POST", &format!("{name}: 5\r\n"));
        assert_eq!(taken(&input).framing, Framing::Length(5), "{name}");
    }
    let edits = [Edit::Remove(b"X-TAG")];
    let lines = forwarded_lines(&request("GET", "x-tag: y\r\n"), STRANGER, &edits);
    assert!(!lines.contains(&"x-tag: y".into()), "{lines:?}");
}

/// RFC 9110, section 5.1: a proxy forwards fields that it does not know. Section 5.3: it keeps the order
/// of those of one name; and the spelling is theirs.
#[test]
fn unknown_fields_are_forwarded_as_they_are_in_their_order() {
    let fields = "x-B: 2\r\nX-a: 1\r\nX-b: 1, \"2\"\r\nX-Empty:\r\nX-b: 3\r\n";
    let expect = ["x-B: 2", "X-a: 1", "X-b: 1, \"2\"", "X-Empty: ", "X-b: 3"];
    let lines = forwarded_lines(&request("GET", fields), STRANGER, &[]);
    assert_eq!(lines[2..2 + expect.len()], expect);
    let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    assert_eq!(relayed_lines(&input, frame(Framing::Chunked))[1..1 + expect.len()], expect);
}

/// RFC 9110, section 5.4: fields larger than a server wishes to process are answered with a 4xx, and not
/// ignored.
#[test]
fn large_heads_are_refused_with_431() {
    let field = |length: usize| request("GET", &format!("X: {}\r\n", "y".repeat(length)));
    let spare = field(0).len();
    taken(&field(LIMITS.head_bytes_max - spare));
    refused(&field(LIMITS.head_bytes_max - spare + 1), RequestError::HeadTooLarge);
    taken(&request("GET", &"a: b\r\n".repeat(LIMITS.fields_max - 1)));
    refused(&request("GET", &"a: b\r\n".repeat(LIMITS.fields_max)), RequestError::FieldsTooMany);
    refused(&request("GET", &"a: b\r\n".repeat(101)), RequestError::FieldsTooMany);
    assert_eq!(RequestError::HeadTooLarge.status(), 431);
    assert_eq!(RequestError::FieldsTooMany.status(), 431);
    let many = "a: b\r\n".repeat(LIMITS.fields_max + 1);
    refused_response(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), ResponseError::FieldsTooMany);
    let long = "y".repeat(LIMITS.head_bytes_max);
    refused_response(&format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n"), ResponseError::HeadTooLarge);
}

/// RFC 9110, section 5.5: NUL, CR and LF in a value are refused, and other control characters may be.
#[test]
fn control_characters_in_values_are_refused_with_400() {
    for byte in (0..0x20u8).chain([0x7f]).filter(|&byte| byte != b'\t') {
        let head = [b"X: a", &[byte][..], b"b\r\n\r\n"].concat();
        let input = [b"GET / HTTP/1.1\r\nHost: h\r\n", &head[..]].concat();
        let error = request_within(&input, &LIMITS).map(|_| ()).unwrap_err();
        assert_eq!(error.status(), 400, "{byte:#x}");
        assert!(response(&[b"HTTP/1.1 200 OK\r\n", &head[..]].concat()).is_err(), "{byte:#x}");
    }
    taken(&request("GET", "X: a\tb\r\n"));
}

/// RFC 9110, section 5.6.1: empty members of a list are ignored.
#[test]
fn empty_list_members_are_ignored() {
    let input = request("GET", "Connection: , ,close,\t,x-a , \r\nX-A: 1\r\nX-B: 2\r\n");
    assert!(!taken(&input).is_persistent);
    let lines = forwarded_lines(&input, STRANGER, &[]);
    assert!(!lines.contains(&"X-A: 1".into()) && lines.contains(&"X-B: 2".into()), "{lines:?}");
}

// Section 6: messages.

/// RFC 9110, section 6.6.1: a recipient with a clock adds `Date` to a response that has none; an origin
/// server with a clock sends it.
#[test]
fn responses_leave_with_one_date() {
    let without = "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(relayed_of(without, "date"), [DATE]);
    let with = "HTTP/1.1 200 OK\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n";
    assert_eq!(relayed_of(with, "date"), ["date: Tue, 15 Nov 1994 08:12:31 GMT"]);
    let replied = reply_lines(404, &[(b"Date", b"never")], frame(Framing::Length(5)));
    assert_eq!(lines_of(replied, "date"), [DATE]);
}

// Section 7: routing.

/// RFC 9110, section 7.6.1: fields that `Connection` names are removed before a message is forwarded, in
/// any case, and so is `Connection`.
#[test]
fn fields_that_connection_names_stay_on_it() {
    let fields =
        "Connection: X-A, close\r\nx-a: 1\r\nX-B: 2\r\nconnection: x-c\r\nX-C: 3\r\nX-a: 4\r\n";
    let lines = forwarded_lines(&request("GET", fields), STRANGER, &[]);
    assert_eq!(lines[2], "X-B: 2");
    assert!(lines[3].starts_with("X-Forwarded-For"), "{lines:?}");
    let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    assert_eq!(
        relayed_lines(&input, frame(Framing::Chunked)),
        ["HTTP/1.1 200 OK", "X-B: 2", "Via: 1.1 kiln", DATE, "Transfer-Encoding: chunked"]
    );
}

/// RFC 9110, section 7.6.1: an option is a token; what is none is ambiguous, and more options than
/// anybody needs are an attack on whoever compares them with the fields.
#[test]
fn malformed_connection_options_are_refused_with_400() {
    for options in ["a b", "close; x", "\"close\"", "a/b", "x:y", "\u{e9}"] {
        let fields = format!("Connection: {options}\r\n");
        refused_with_400(&request("GET", &fields), RequestError::Connection);
        refused_response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), ResponseError::Connection);
    }
    let fields = |count: usize| format!("Connection: {}\r\n", vec!["a"; count].join(","));
    taken(&request("GET", &fields(100)));
    refused_with_400(&request("GET", &fields(101)), RequestError::Connection);
}

/// RFC 9110, section 7.6.1: fields that are known to be for one connection are removed even if it does
/// not name them.
#[test]
fn known_hop_by_hop_fields_are_not_forwarded() {
    for name in [
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Connection",
        "HTTP2-Settings",
    ] {
        let field = format!("{name}: x\r\n");
        assert!(sent(&request("GET", &field), STRANGER, name).is_empty(), "{name}");
        assert!(relayed_of(&format!("HTTP/1.1 200 OK\r\n{field}\r\n"), name).is_empty(), "{name}");
        let edits = [Edit::Set(name.as_bytes(), b"x")];
        let lines = forwarded_lines(&request("GET", ""), STRANGER, &edits);
        assert!(lines_of(lines, name).is_empty(), "{name}");
    }
}

/// RFC 9110, section 7.6.1: what an intermediary itself needs is not removed because `Connection` names
/// it; nobody can make Kiln forget where a message ends, or for whom it is.
#[test]
fn connection_options_do_not_remove_what_kiln_writes() {
    let fields = "Connection: host, content-length, via, x-forwarded-for\r\nContent-Length: 5\r\n\
                  X-Forwarded-For: 9.9.9.9\r\n";
    let lines = forwarded_lines(&request("POST", fields), STRANGER, &[]);
    assert_eq!(
        lines[1..],
        [
            "Host: h",
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: h",
            "Via: 1.1 kiln",
            "Content-Length: 5"
        ]
    );
}

/// RFC 9110, section 7.6.2: `Max-Forwards` of `TRACE` and `OPTIONS` is checked and counted down, and one
/// that is greater than can be counted becomes the greatest.
#[test]
fn max_forwards_is_counted_down() {
    let check = |method: &str, value: &str, expect: u64, line: &str| {
        let input = request(method, &format!("Max-Forwards: {value}\r\n"));
        assert_eq!(taken(&input).max_forwards, Some(expect));
        assert_eq!(sent(&input, STRANGER, "max-forwards"), [line]);
    };
    check("TRACE", "10", 10, "Max-Forwards: 9");
    check("OPTIONS", "1", 1, "Max-Forwards: 0");
    check("OPTIONS", "007", 7, "Max-Forwards: 6");
    let (most, less) = (u64::MAX, "Max-Forwards: 18446744073709551614");
    check("TRACE", "18446744073709551615", most, less);
    check("TRACE", "99999999999999999999999", most, less);
    let input = request("TRACE", "Max-Forwards: 10\r\n");
    let lines = forwarded_lines(&input, STRANGER, &[Edit::Set(b"max-forwards", b"3")]);
    assert_eq!(lines_of(lines, "max-forwards"), ["max-forwards: 3"], "a script says otherwise");
    assert_eq!(taken(&request("TRACE", "Max-Forwards: 0\r\n")).max_forwards, Some(0));
    assert_eq!(taken(&request("TRACE", "")).max_forwards, None);
}

/// RFC 9110, section 7.6.2: a request whose count is 0 is not forwarded; who does it has a fault.
#[test]
#[should_panic(expected = "nobody may pass on")]
fn a_request_with_no_forwards_left_is_never_forwarded() {
    forwarded_lines(&request("TRACE", "Max-Forwards: 0\r\n"), STRANGER, &[]);
}

/// RFC 9110, section 7.6.2: the count is digits; what is none, or several, leaves it in doubt.
#[test]
fn malformed_max_forwards_is_refused_with_400() {
    for value in ["", "x", "-1", "+1", "1,2", "1 2", "0x1"] {
        for method in ["TRACE", "OPTIONS"] {
            let input = request(method, &format!("Max-Forwards: {value}\r\n"));
            refused_with_400(&input, RequestError::MaxForwards);
        }
    }
    let input = request("TRACE", "Max-Forwards: 1\r\nmax-forwards: 1\r\n");
    refused_with_400(&input, RequestError::MaxForwards);
}

/// RFC 9110, section 7.6.2: with other methods a recipient may ignore the field, which goes on unchanged.
#[test]
fn max_forwards_of_other_methods_is_an_ordinary_field() {
    for value in ["0", "10", "x"] {
        let input = request("GET", &format!("Max-Forwards: {value}\r\n"));
        assert_eq!(taken(&input).max_forwards, None);
        assert_eq!(sent(&input, STRANGER, "max-forwards"), [format!("Max-Forwards: {value}")]);
    }
}

/// RFC 9110, section 7.6.3: each message is forwarded with a `Via` of its received version behind those
/// that came with it.
#[test]
fn via_is_appended_in_both_directions() {
    let via = "Via: 1.0 a, 1.1 b\r\n";
    let expect = |version: &str| vec!["Via: 1.0 a, 1.1 b".into(), format!("Via: {version} kiln")];
    for version in ["1.0", "1.1"] {
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{via}\r\n");
        assert_eq!(sent(&input, STRANGER, "via"), expect(version));
        let input = format!("HTTP/{version} 200 OK\r\n{via}\r\n");
        assert_eq!(relayed_of(&input, "via"), expect(version));
    }
}

/// RFC 9110, section 7.7: path and query are forwarded as they came, but for an empty path.
#[test]
fn paths_and_queries_are_not_rewritten() {
    for target in [
        "/a/../b/./c//d",
        "/%2e%2E/%2f",
        "/A%41?%41&=%zz%00",
        "//h/",
        "/a;b=c,d",
        "/?",
        "/a?b?c/../",
        "/~{}|^`?\\",
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let expect = format!("GET {target} HTTP/1.1");
        assert_eq!(forwarded_lines(&input, STRANGER, &[])[0], expect);
        let input = format!("GET http://h{target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(forwarded_lines(&input, STRANGER, &[])[0], expect);
    }
}

/// Whether a request wants an upgrade.
fn wants_upgrade(input: &str) -> bool {
    taken_within(input, &TUNNEL_LIMITS).wants_upgrade
}

/// RFC 9110, section 7.8: a server ignores `Upgrade` in a 1.0 request, and a sender also sends the option
/// that keeps it on its connection.
#[test]
fn upgrades_are_wanted_with_field_and_option_in_1_1() {
    let both = "Connection: keep-alive, UPGRADE\r\nUpgrade: websocket\r\n";
    assert!(wants_upgrade(&request("GET", both)));
    assert!(wants_upgrade(&request("POST", both)));
    assert!(wants_upgrade(&request("GET", "Upgrade: x/1\r\nConnection: upgrade\r\n")));
    for fields in [
        "",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade:\r\n",
        "Connection: upgrade\r\nUpgrade: ,\r\n",
        "Connection: upgrades\r\nUpgrade: websocket\r\n",
    ] {
        assert!(!wants_upgrade(&request("GET", fields)), "{fields:?}");
    }
    assert!(!wants_upgrade(&format!("GET / HTTP/1.0\r\nHost: h\r\n{both}\r\n")));
    assert!(!wants_upgrade(&format!("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n{both}\r\n")));
    for framing in
        ["Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"]
    {
        assert!(!wants_upgrade(&request("GET", &format!("{both}{framing}"))), "{framing:?}");
    }
}

/// RFC 9110, section 7.8: a protocol is a name and perhaps a version, tokens both; a field that is
/// anything else offers nothing.
#[test]
fn malformed_protocols_are_never_offered() {
    for protocols in ["a b", "a/", "/1", "a/b/c", "\"a\"", "a;b", "a, b c", "\u{e9}"] {
        let fields = format!("Connection: upgrade\r\nUpgrade: {protocols}\r\n");
        assert!(!wants_upgrade(&request("GET", &fields)), "{protocols}");
    }
}

/// RFC 9110, section 7.8: an intermediary offers what it wishes to. Other versions of HTTP would carry
/// requests that it does not see, and TLS anything.
#[test]
fn upgrades_to_http_and_tls_are_never_offered() {
    for protocols in [
        "h2c",
        "H2C",
        "h2",
        "h2c-14",
        "HTTP/2.0",
        "http/3",
        "HTTP",
        "TLS/1.2",
        "tls",
        "h2c, TLS/1.0",
    ] {
        let fields = format!("Connection: upgrade\r\nUpgrade: {protocols}\r\n");
        assert!(!wants_upgrade(&request("GET", &fields)), "{protocols}");
        assert!(sent(&request("GET", &fields), UPGRADING, "upgrade").is_empty(), "{protocols}");
    }
    let fields =
        "Connection: x, Upgrade\r\nX: 1\r\nUpgrade: h2c, websocket\r\nupgrade: TLS/1.2, a/1\r\n";
    let input = request("GET", fields);
    assert_eq!(sent(&input, UPGRADING, "upgrade"), ["Upgrade: websocket, a/1"]);
    assert_eq!(sent(&input, UPGRADING, "connection"), ["Connection: upgrade"]);
    assert!(sent(&input, STRANGER, "upgrade").is_empty(), "nobody said to offer it");
}

// Section 8: representations.

/// RFC 9110, section 8.6: a server sends no `Content-Length` with 1xx and 204. They end with their heads
/// all the same (RFC 9112, section 6.3, rule 1). After a 204 that announces content the connection is
/// closed, since some may follow.
#[test]
fn content_length_with_1xx_and_204_is_not_relayed() {
    for status in [103, 204] {
        let input = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        assert!(relayed_of(&input, "content-length").is_empty(), "{status}");
    }
    let input = "HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n";
    assert!(relayed_of(input, "content-length").is_empty());
    let input = "HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n";
    assert!(relayed_of(input, "content-length").is_empty());
    assert!(!taken_response(input).is_persistent);
    let reply = reply_lines(204, &[(b"Content-Length", b"5")], frame(Framing::None));
    assert!(lines_of(reply, "content-length").is_empty());
}

/// RFC 9110, section 8.6: with an answer to `HEAD` and with a 304 it is the length that `GET` would have
/// had, if the origin said it.
#[test]
fn content_length_of_bodiless_responses_is_the_origins() {
    for status in ["200 OK", "304 Not Modified"] {
        let input = format!("HTTP/1.1 {status}\r\nContent-Length: 12\r\n\r\n");
        let lines = relayed_lines(&input, frame(Framing::None));
        assert_eq!(lines_of(lines, "content-length"), ["Content-Length: 12"]);
        let lines = relayed_lines(&format!("HTTP/1.1 {status}\r\n\r\n"), frame(Framing::None));
        assert!(lines_of(lines, "content-length").is_empty());
    }
    let reply = reply_lines(304, &[], frame(Framing::None));
    assert!(lines_of(reply, "content-length").is_empty());
}

// Section 9: methods.

/// RFC 9110, section 9.1: methods are case-sensitive, and those that an intermediary does not know are
/// forwarded.
#[test]
fn methods_are_case_sensitive_and_unknown_ones_are_forwarded() {
    for method in ["get", "M-SEARCH", "PROPFIND", "!#$%&'*+-.^_`|~", "connect"] {
        let lines = forwarded_lines(&request(method, ""), STRANGER, &[]);
        assert_eq!(lines[0], format!("{method} / HTTP/1.1"));
    }
    let input = request("head", "");
    assert!(!taken(&input).is_method(input.as_bytes(), "HEAD"));
}

/// RFC 9110, section 9.2.2: idempotent are `PUT`, `DELETE` and the safe methods.
#[test]
fn idempotent_methods_are_known() {
    for (method, expect) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("TRACE", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
        ("CONNECT", false),
        ("get", false),
        ("LOCK", false),
    ] {
        let target = if method == "CONNECT" { "h:80" } else { "/" };
        let input = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head: RequestHead = taken_within(&input, &TUNNEL_LIMITS);
        assert_eq!(head.is_idempotent(input.as_bytes()), expect, "{method}");
    }
}

/// What becomes of a `CONNECT` where there are tunnels.
fn connect(target: &str, fields: &str) -> Result<bool, RequestError> {
    let input = format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    request_within(input.as_bytes(), &TUNNEL_LIMITS).map(|head| head.is_some())
}

/// RFC 9110, section 9.3.6: the port of a tunnel is mandatory, and an empty or invalid one is answered
/// 400.
#[test]
fn connect_without_a_valid_port_is_refused_with_400() {
    for target in ["h:80", "h:1", "h:65535", "[::1]:443", "127.0.0.1:8080", "a.b-c:080"] {
        assert_eq!(connect(target, ""), Ok(true), "{target}");
    }
    for target in [
        "h", "h:", "h:0", "h:00", "h:65536", "h:x", "h:-1", "h:80x", ":80", "[::1]", "[::1]:",
        "::1:80", "u@h:80",
    ] {
        assert_eq!(connect(target, ""), Err(RequestError::Target), "{target}");
    }
    let host = "CONNECT h:80 HTTP/1.1\r\n\r\n";
    let outcome = request_within(host.as_bytes(), &TUNNEL_LIMITS).map(|head| head.is_some());
    assert_eq!(outcome, Err(RequestError::Host));
}

/// RFC 9110, section 9.3.6: a `CONNECT` has no content; framing fields would have some take the tunnel's
/// first bytes for it.
#[test]
fn connect_with_framing_fields_is_refused_with_400() {
    for fields in
        ["Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"]
    {
        assert_eq!(connect("h:80", fields), Err(RequestError::Content), "{fields:?}");
    }
    assert_eq!(RequestError::Content.status(), 400);
}

/// RFC 9110, section 9.3.6: a server that opens no tunnels answers 501, as to any method that it does not
/// implement (section 15.6.2).
#[test]
fn connect_is_refused_with_501_where_there_are_no_tunnels() {
    for target in ["h:80", "/", "*", "h"] {
        let input = format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        refused(&input, RequestError::Method);
    }
    assert_eq!(RequestError::Method.status(), 501);
}

/// RFC 9110, section 9.3.6: a 2xx to `CONNECT` has neither `Content-Length` nor `Transfer-Encoding`.
#[test]
fn the_answer_that_opens_a_tunnel_is_not_framed() {
    let text = std::str::from_utf8(encode::CONNECT_ESTABLISHED).unwrap();
    let head = taken_response(text);
    assert_eq!((head.status, head.fields.len()), (200, 0));
}

/// RFC 9110, section 9.3.6: a tunnel is not forwarded as a request; who does it has a fault.
#[test]
#[should_panic(expected = "a tunnel is no request")]
fn a_tunnel_is_never_forwarded_as_a_request() {
    let input = "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n";
    upstream(&taken_within(input, &TUNNEL_LIMITS), input.as_bytes(), STRANGER, &[]);
}

/// RFC 9110, section 9.3.7: a proxy adds no `Max-Forwards` to an `OPTIONS` that came without.
#[test]
fn no_max_forwards_is_made_up() {
    for method in ["OPTIONS", "TRACE", "GET"] {
        assert!(sent(&request(method, ""), STRANGER, "max-forwards").is_empty(), "{method}");
    }
}

/// RFC 9110, section 9.3.8: a client sends no content in a `TRACE`.
#[test]
fn trace_with_content_is_refused_with_400() {
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        refused_with_400(&request("TRACE", fields), RequestError::Content);
    }
    assert_eq!(taken(&request("TRACE", "Content-Length: 0\r\n")).framing, Framing::Length(0));
}

/// RFC 9110, section 9.3.8: the final recipient reflects the request as it was received, without fields
/// that hold secrets.
#[test]
fn trace_is_reflected_as_it_came_without_secrets() {
    let input = "\r\nTRACE http://a/b?c HTTP/1.2\r\nHost: h\r\nCookie: c\r\nX:  y \r\n\
                 authorization: z\r\nMax-Forwards: 0\r\nPROXY-AUTHORIZATION: z\r\n\r\n";
    let head = taken(input);
    let content = written(|out| encode::trace_reply(out, &head, input.as_bytes()));
    let expect = b"TRACE http://a/b?c HTTP/1.2\r\nHost: h\r\nX: y\r\nMax-Forwards: 0\r\n\r\n";
    assert_eq!(show(&content), show(expect));
}

// Sections 10 and 11: context and authentication.

/// RFC 9110, section 10.1.1: an expectation is case-insensitive, one that cannot be met is answered 417,
/// and one in a 1.0 request is ignored.
#[test]
fn expectations_other_than_100_continue_are_refused_with_417() {
    for value in ["100-continue", "100-Continue"] {
        let fields = format!("Content-Length: 5\r\nExpect: {value}\r\n");
        let input = request("POST", &fields);
        assert!(taken(&input).expects_continue);
        assert_eq!(sent(&input, STRANGER, "expect"), [format!("Expect: {value}")]);
        let old = taken(&format!("POST / HTTP/1.0\r\n{fields}\r\n"));
        assert!(!old.expects_continue);
    }
    for value in ["", "x", "100-continue, x", "200-ok"] {
        refused(&request("POST", &format!("Expect: {value}\r\n")), RequestError::Expectation);
        taken(&format!("POST / HTTP/1.0\r\nExpect: {value}\r\n\r\n"));
    }
    assert_eq!(RequestError::Expectation.status(), 417);
}

/// RFC 9110, section 10.1.1: a client without content does not expect 100, so neither does Kiln for it.
#[test]
fn nothing_is_expected_for_a_request_without_content() {
    for fields in ["", "Content-Length: 0\r\n"] {
        let input = request("POST", &format!("{fields}Expect: 100-continue\r\n"));
        assert!(!taken(&input).expects_continue);
        assert!(sent(&input, STRANGER, "expect").is_empty());
    }
    let old = "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert!(sent(old, STRANGER, "expect").is_empty(), "nobody waits for it");
}

/// RFC 9110, sections 11.6.1 and 11.6.2: fields of authentication are forwarded as they are.
#[test]
fn authentication_fields_are_not_modified() {
    let credentials = "Authorization: Digest a=\"b, c\",  d=e";
    let input = request("GET", &format!("{credentials}\r\n"));
    assert_eq!(sent(&input, STRANGER, "authorization"), [credentials]);
    let challenge = "WWW-Authenticate: Basic realm=\"a\", Digest  b=c";
    let input = format!("HTTP/1.1 401 No\r\n{challenge}\r\n\r\n");
    assert_eq!(relayed_of(&input, "www-authenticate"), [challenge]);
}

// Section 15: status codes.

/// RFC 9110, section 15: a status is within 100 to 599, and one that is not known is forwarded.
#[test]
fn statuses_out_of_range_are_refused_and_unknown_ones_forwarded() {
    for status in ["000", "099", "600", "999"] {
        refused_response(&format!("HTTP/1.1 {status} X\r\n\r\n"), ResponseError::StatusLine);
    }
    for status in ["299", "471", "599"] {
        let lines = relayed_lines(&format!("HTTP/1.1 {status} X\r\n\r\n"), frame(Framing::Chunked));
        assert_eq!(lines[0], format!("HTTP/1.1 {status} X"));
    }
}

/// RFC 9110, section 15.2: interim responses end with their head, and another response follows.
#[test]
fn interim_responses_are_relayed_without_a_body() {
    for status in [100, 102, 103, 199] {
        let input = format!("HTTP/1.1 {status} X\r\nLink: </a>\r\n\r\n");
        let head = taken_response(&input);
        assert!(head.is_interim());
        let lines = relayed_lines(&input, frame(Framing::None));
        assert_eq!(lines[1..], ["Link: </a>", "Via: 1.1 kiln"]);
    }
    assert!(!taken_response("HTTP/1.1 200 OK\r\n\r\n").is_interim());
    assert!(taken_response(std::str::from_utf8(encode::CONTINUE).unwrap()).is_interim());
}

/// RFC 9110, section 15.2.2: a 101 names the protocols of the switch, and no other response follows it.
#[test]
fn a_switch_of_protocols_is_relayed_with_its_fields() {
    let input =
        "HTTP/1.1 101 Go\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n";
    let head = taken_response(input);
    assert!(head.switches && !head.is_interim());
    let expect =
        ["HTTP/1.1 101 Go", "X: y", "Via: 1.1 kiln", "Connection: upgrade", "Upgrade: websocket"];
    assert_eq!(relayed_lines(input, frame(Framing::None)), expect);
    for input in [
        "HTTP/1.1 101 Go\r\n\r\n",
        "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: a b\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: a, h2c\r\n\r\n",
        "HTTP/1.0 101 Go\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let head = taken_response(input);
        assert!(!head.switches && !head.is_interim(), "{input:?}");
    }
}

/// RFC 9110, section 15.3.6: a server generates no content in a 205, which is framed as empty.
#[test]
fn a_205_of_kilns_own_is_empty() {
    let reply = reply_lines(205, &[], frame(Framing::None));
    assert_eq!(reply, ["HTTP/1.1 205 Reset Content", DATE, "Content-Length: 0"]);
    for (status, expect) in [(200, true), (204, false), (205, false), (304, false), (404, true)] {
        assert_eq!(encode::reply_has_content(status), expect, "{status}");
    }
}

/// RFC 9110, section 15.5.22: a 426 says which protocols are required.
#[test]
fn a_426_is_relayed_with_its_protocols() {
    let input =
        "HTTP/1.1 426 Up\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(relayed_of(input, "upgrade"), ["Upgrade: websocket"]);
    let closing = ResponseFrame { closes: true, ..frame(Framing::Length(0)) };
    let lines = lines_of(relayed_lines(input, closing), "connection");
    assert_eq!(lines, ["Connection: upgrade", "Connection: close"]);
    let input = "HTTP/1.1 426 Up\r\nUpgrade: websocket\r\n\r\n";
    assert!(relayed_of(input, "upgrade").is_empty());
}
