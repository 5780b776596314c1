//! Heads: bytes, lines, names, targets, hosts, connections, sizes, and what follows them.

use super::{Corpus, SMUGGLED};

/// Bytes that some parsers take for an end, at every place of a head.
pub(super) fn bytes_and_lines(corpus: &mut Corpus) {
    for byte in
        ["\0", "\r", "\n", "\u{b}", "\u{c}", "\u{7f}", "\u{80}", "\u{a0}", "\t", "\u{1}", "\u{8}"]
    {
        for (place, head) in [
            ("method", format!("GE{byte}T /case-@ HTTP/1.1\r\nHost: test\r\n\r\n")),
            ("before the method", format!("{byte}GET /case-@ HTTP/1.1\r\nHost: test\r\n\r\n")),
            ("target", format!("GET /case-@{byte}x HTTP/1.1\r\nHost: test\r\n\r\n")),
            ("version", format!("GET /case-@ HTTP/1.1{byte}\r\nHost: test\r\n\r\n")),
            ("name", format!("GET /case-@ HTTP/1.1\r\nHost: test\r\nX{byte}Y: 1\r\n\r\n")),
            ("value", format!("GET /case-@ HTTP/1.1\r\nHost: test\r\nX: a{byte}b: c\r\n\r\n")),
            ("host", format!("GET /case-@ HTTP/1.1\r\nHost: te{byte}st\r\n\r\n")),
            (
                "after the fields",
                format!("GET /case-@ HTTP/1.1\r\nHost: test\r\n{byte}\r\n\r\n{SMUGGLED}"),
            ),
            (
                "before the colon",
                format!(
                    "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length{byte}: 43\r\n\r\n{SMUGGLED}"
                ),
            ),
        ] {
            corpus.add(format!("{byte:?} in {place}"), head);
        }
    }
    for (name, head) in [
        ("LF everywhere", "GET /case-@ HTTP/1.1\nHost: test\n\n"),
        ("LF after the line", "GET /case-@ HTTP/1.1\nHost: test\r\n\r\n"),
        ("LF after a field", "GET /case-@ HTTP/1.1\r\nHost: test\n\r\n"),
        ("LF at the end", "GET /case-@ HTTP/1.1\r\nHost: test\r\n\n"),
        ("CR everywhere", "GET /case-@ HTTP/1.1\rHost: test\r\r"),
        ("CR CR LF", "GET /case-@ HTTP/1.1\r\r\nHost: test\r\r\n\r\r\n"),
        ("LF CR", "GET /case-@ HTTP/1.1\n\rHost: test\n\r\n\r"),
        (
            "LF LF in a value",
            "GET /case-@ HTTP/1.1\r\nHost: test\r\nX: a\n\nGET /smuggled-@ HTTP/1.1\r\nHost: test\r\n\r\n",
        ),
        (
            "CR CR in a value",
            "GET /case-@ HTTP/1.1\r\nHost: test\r\nX: a\r\rGET /smuggled-@ HTTP/1.1\r\nHost: test\r\n\r\n",
        ),
        ("an empty line before", "\r\nGET /case-@ HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("two empty lines before", "\r\n\r\nGET /case-@ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (
            "many empty lines before",
            "\r\n\r\n\r\n\r\n\r\n\r\nGET /case-@ HTTP/1.1\r\nHost: test\r\n\r\n",
        ),
        ("a blank line with a space", "GET /case-@ HTTP/1.1\r\n \r\nHost: test\r\n\r\n"),
        ("a fold first", "GET /case-@ HTTP/1.1\r\n X: 1\r\nHost: test\r\n\r\n"),
        ("a fold of Host", "GET /case-@ HTTP/1.1\r\nHost:\r\n test\r\n\r\n"),
        (
            "a fold that hides TE",
            "POST /case-@ HTTP/1.1\r\nHost: test\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a fold of nothing", "GET /case-@ HTTP/1.1\r\nHost: test\r\nX: a\r\n \r\n\r\n"),
        ("a fold with a tab", "GET /case-@ HTTP/1.1\r\nHost: test\r\nX: a\r\n\tb\r\n\r\n"),
        ("a fold of the line", "GET /case-@\r\n HTTP/1.1\r\nHost: test\r\n\r\n"),
    ] {
        corpus.add(name, head);
    }
}

pub(super) fn names(corpus: &mut Corpus) {
    for name in [
        "",
        " ",
        "a b",
        "a\tb",
        "a(",
        "a)",
        "a<",
        "a>",
        "a@",
        "a,",
        "a;",
        "a\\",
        "a\"",
        "a/",
        "a[",
        "a]",
        "a?",
        "a=",
        "a{",
        "a}",
        "é",
        "a_b",
        "a.b",
        "a!b",
        "a|b",
        "~",
        "'",
        "1",
        "-",
        "_",
        "*",
        "a%00b",
        "a%0d%0a",
        ":a",
        "content-length:0\r\nx",
    ] {
        corpus.get(format!("field name {name:?}"), &format!("{name}: 1"));
    }
    for line in [
        "nocolon",
        "GET /smuggled-@ HTTP/1.1",
        "HTTP/1.1 200 OK",
        "a",
        "a b c",
        ":",
        "::",
        ": :",
        "=",
        "\"a: b\"",
    ] {
        corpus.get(format!("field line {line:?}"), line);
    }
}

pub(super) fn targets_and_hosts(corpus: &mut Corpus) {
    for target in [
        "http://test/case-@",
        "http://other/case-@",
        "HTTP://test/case-@",
        "https://test/case-@",
        "http://test:80/case-@",
        "http://test:0/case-@",
        "http://test:99999/case-@",
        "http://user@test/case-@",
        "http://u:p@test/case-@",
        "http:///case-@",
        "http://case-@",
        "http:/case-@",
        "http:case-@",
        "//test/case-@",
        "///case-@",
        "ftp://test/case-@",
        "http://test\\case-@",
        "http://test?case-@",
        "http://test/case-@#a",
        "/case-@#a",
        "/case-@?a?b",
        "/case-@?",
        "case-@",
        "*",
        "*/case-@",
        "/../case-@",
        "/a/../case-@",
        "/./case-@",
        "/%2e%2e/case-@",
        "/case-@%00",
        "/case-@%0d%0aX:1",
        "/case-@%20HTTP/1.1",
        "/case-@;a=b",
        "/case-@\\",
        "/case-@|",
        "/case-@{}",
        "/case-@^",
        "/case-@`",
        "/case-@\"",
        "/case-@<",
        "/case-@é",
        "/case-@%",
        "/case-@%zz",
        "test:80",
        "[::1]:80",
        "?case-@",
        "&case-@",
        ";case-@",
        "http://test/http://other/case-@",
        "/http://other/case-@",
        "http://[::1]/case-@",
        "http://[::1/case-@",
        "http://te st/case-@",
        "http://test,other/case-@",
        "http://test%00/case-@",
        "http://test/\tcase-@",
    ] {
        corpus.add(
            format!("target {target:?}"),
            format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"),
        );
    }
    for hosts in [
        "",
        "X: 1\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a@b\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a:b\r\n",
        "Host: a:\r\n",
        "Host: :80\r\n",
        "Host: a:80:80\r\n",
        "Host: a:-1\r\n",
        "Host: a:65536\r\n",
        "Host: [::1]\r\n",
        "Host: [::1\r\n",
        "Host: http://a\r\n",
        "Host : a\r\n",
        " Host: a\r\n",
        "Host\t: a\r\n",
        "Host: a\r\n Host: b\r\n",
        "Host: a\0\r\n",
        "Host: a%00\r\n",
        "Host: a\\b\r\n",
        "Host: \"a\"\r\n",
        "Host: a;b\r\n",
        "Host: é\r\n",
        "Host: a|b\r\n",
        "Host: 127.0.0.1\r\n",
        "Host: 0x7f.1\r\n",
        "Host: a..b\r\n",
        "Host: -\r\n",
        "Host: _\r\n",
        "Host: a\r\nX-Forwarded-Host: b\r\n",
    ] {
        corpus.add(format!("host {hosts:?}"), format!("GET /case-@ HTTP/1.1\r\n{hosts}\r\n"));
        corpus
            .add(format!("host {hosts:?} of 1.0"), format!("GET /case-@ HTTP/1.0\r\n{hosts}\r\n"));
        corpus.add(
            format!("host {hosts:?} beside an absolute form"),
            format!("GET http://c/case-@ HTTP/1.1\r\n{hosts}\r\n"),
        );
    }
}

pub(super) fn request_lines(corpus: &mut Corpus) {
    for line in [
        "GET  /case-@ HTTP/1.1",
        "GET /case-@  HTTP/1.1",
        "GET\t/case-@ HTTP/1.1",
        "GET /case-@\tHTTP/1.1",
        " GET /case-@ HTTP/1.1",
        "GET /case-@ HTTP/1.1 ",
        "GET /case-@ HTTP/1.1\t",
        "GET /case-@",
        "GET /case-@ ",
        "GET",
        "GET /case-@ HTTP/1.1 HTTP/1.1",
        "GET /case-@ /smuggled-@ HTTP/1.1",
        "GET /case-@ http/1.1",
        "GET /case-@ HTTP/1,1",
        "GET /case-@ HTTP/1.",
        "GET /case-@ HTTP/11",
        "GET /case-@ HTTP/1.10",
        "GET /case-@ HTTP/01.1",
        "GET /case-@ HTTP/1.01",
        "GET /case-@ HTTP/0.9",
        "GET /case-@ HTTP/1.0",
        "GET /case-@ HTTP/1.2",
        "GET /case-@ HTTP/1.9",
        "GET /case-@ HTTP/2.0",
        "GET /case-@ HTTP/3",
        "GET /case-@ HTTP/-1.1",
        "GET /case-@ HTTP/+1.1",
        "GET /case-@ HTTP/1.1x",
        "GET /case-@ HTTPS/1.1",
        "GET /case-@ XTTP/1.1",
        "GET /case-@ HTTP /1.1",
        "GET /case-@ HTTP/1 .1",
        "GET /case-@ HTTP/ 1.1",
        "GET /case-@ \"HTTP/1.1\"",
        "get /case-@ HTTP/1.1",
        "Get /case-@ HTTP/1.1",
        "GET, /case-@ HTTP/1.1",
        "G@ET /case-@ HTTP/1.1",
        "(GET) /case-@ HTTP/1.1",
        "HEAD /case-@ HTTP/1.1",
        "TRACE /case-@ HTTP/1.1",
        "OPTIONS /case-@ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PURGE /case-@ HTTP/1.1",
        "CONNECT /case-@ HTTP/1.1",
        "CONNECT test:80 HTTP/1.1",
        "PRI * HTTP/2.0",
        "PRI /case-@ HTTP/1.1",
        "QUERY /case-@ HTTP/1.1",
        "DELETE /case-@ HTTP/1.1",
        "PUT /case-@ HTTP/1.1",
        "HTTP/1.1 200 OK",
        "POST /case-@ HTTP/1.1",
        "M-SEARCH /case-@ HTTP/1.1",
    ] {
        corpus.add(format!("line {line:?}"), format!("{line}\r\nHost: test\r\n\r\n"));
    }
}

pub(super) fn connections(corpus: &mut Corpus) {
    let length = SMUGGLED.len();
    let chunked = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    for option in [
        "close",
        "keep-alive",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "content-length, transfer-encoding",
        "Via",
        "X-Forwarded-For",
        "Expect",
        "TE",
        "Upgrade",
        "Connection",
        "close, Content-Length",
        ",",
        "",
        "a b",
        "\"close\"",
        "Content-Length\r\nConnection: Transfer-Encoding",
        "Cookie",
        "Trailer",
        "HTTP2-Settings",
        "\0",
        "close\u{b}",
    ] {
        corpus.post(
            format!("Connection {option:?}, counted"),
            &format!("Connection: {option}\r\nContent-Length: {length}"),
            SMUGGLED,
        );
        corpus.post(
            format!("Connection {option:?}, chunked"),
            &format!("Connection: {option}\r\nTransfer-Encoding: chunked"),
            &chunked,
        );
    }
    for value in [
        "100-continue",
        "100-Continue",
        "100-continue, x",
        "x",
        "",
        "200",
        "100-continue\0",
        " 100-continue ",
        "\"100-continue\"",
    ] {
        corpus.post(
            format!("Expect {value:?}"),
            &format!("Expect: {value}\r\nContent-Length: {length}"),
            SMUGGLED,
        );
        corpus.post(
            format!("Expect {value:?}, chunked"),
            &format!("Expect: {value}\r\nTransfer-Encoding: chunked"),
            &chunked,
        );
        corpus.get(format!("Expect {value:?} without content"), &format!("Expect: {value}"));
    }
    for fields in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Upgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: websocket",
        "Upgrade: TLS/1.0\r\nConnection: close",
        "Upgrade:\r\nConnection: Upgrade",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=1",
        "TE: chunked",
        "TE: trailers",
        "Max-Forwards: 0",
        "Max-Forwards: -1",
        "X-HTTP-Method-Override: DELETE",
        "Trailer: Content-Length",
        "Content-Encoding: chunked",
        "Via: 1.1 a\0",
        "Range: bytes=0-0",
        "X-Original-URL: /smuggled-@",
        "Forwarded: for=a;host=b",
        "Content-Type: message/http",
        "Content-Type: multipart/byteranges",
    ] {
        corpus.get(format!("fields {fields:?}"), fields);
        corpus.post(
            format!("fields {fields:?}, counted"),
            &format!("{fields}\r\nContent-Length: {length}"),
            SMUGGLED,
        );
    }
}

pub(super) fn sizes_and_pipelines(corpus: &mut Corpus) {
    for bytes in [1000, 4000, 7000] {
        corpus.get(format!("a value of {bytes} bytes"), &format!("X: {}", "a".repeat(bytes)));
        corpus.add(
            format!("a target of {bytes} bytes"),
            format!("GET /case-@?{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(bytes)),
        );
    }
    for bytes in [20_000, 70_000] {
        corpus.get(format!("a value of {bytes} bytes"), &format!("X: {}", "a".repeat(bytes)));
        corpus.get(format!("a name of {bytes} bytes"), &format!("{}: 1", "a".repeat(bytes)));
        corpus.add(
            format!("a target of {bytes} bytes"),
            format!("GET /case-@{} HTTP/1.1\r\n\r\n", "a".repeat(bytes)),
        );
        corpus.add(
            format!("a method of {bytes} bytes"),
            format!("{} /case-@ HTTP/1.1\r\n\r\n", "A".repeat(bytes)),
        );
        corpus.post(
            format!("an extension of {bytes} bytes"),
            "Transfer-Encoding: chunked",
            &format!("0;{}\r\n\r\n{SMUGGLED}", "a".repeat(bytes)),
        );
        corpus.post(
            format!("a trailer of {bytes} bytes"),
            "Transfer-Encoding: chunked",
            &format!("0\r\nX: {}\r\n\r\n{SMUGGLED}", "a".repeat(bytes)),
        );
    }
    for count in [50, 95, 500] {
        let fields: Vec<String> = (0..count).map(|number| format!("X-{number}: 1")).collect();
        corpus.get(format!("{count} fields"), &fields.join("\r\n"));
    }
    let second = "GET /second-@ HTTP/1.1\r\nHost: test\r\n\r\n";
    for (name, first) in [
        ("GET", "GET /case-@ HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("HEAD", "HEAD /case-@ HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("empty POST", "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"),
        ("counted POST", "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "chunked POST",
            "POST /case-@ HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "POST and CR LF",
            "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\r\n",
        ),
        (
            "POST and CR LF CR LF",
            "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n",
        ),
        ("POST and a byte", "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabcX"),
        ("POST and a NUL", "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\0"),
        (
            "POST of half a line",
            "POST /case-@ HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n",
        ),
        ("1.0 keep-alive", "GET /case-@ HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n"),
        ("1.0", "GET /case-@ HTTP/1.0\r\nHost: test\r\n\r\n"),
        ("close", "GET /case-@ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    ] {
        corpus.add(format!("pipelined after {name}"), format!("{first}{second}"));
    }
}
