//! Requests that are not as they should be, and the limits and timeouts of `kiln.toml`.

use tests::{Kiln, Nginx, Origin};

use crate::{FORWARDING, replying};

/// Sends these bytes and expects this status, and the connection to close after it.
#[track_caller]
fn check(kiln: &Kiln, bytes: impl AsRef<[u8]>, status: u16) {
    let bytes = bytes.as_ref();
    let mut client = kiln.connect();
    client.send(bytes);
    let answer = client.response();
    let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]);
    assert_eq!(answer.status, status, "{sent:?} got {answer:?}");
    assert_eq!(answer.field("connection"), Some("close"), "{sent:?} got {answer:?}");
    client.expect_closed();
}

#[test]
fn malformed_requests_are_refused_with_their_status() {
    let kiln = Kiln::start(&replying("fine"));
    for malformed in [
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 extra\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\u{7f}T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nSpace : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nFolded: 1\r\n 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nNul: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        check(&kiln, malformed, 400);
    }
    check(&kiln, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501);
    check(&kiln, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501);
    check(&kiln, "GET / HTTP/1.1\r\nHost: a\r\nExpect: the-best\r\n\r\n", 417);
    check(&kiln, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    check(&kiln, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(33_000)), 414);
    check(&kiln, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)), 431);
    check(&kiln, format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200)), 431);
    kiln.get("/").expect(200, "fine");
}

#[test]
fn a_malformed_chunk_is_the_clients_fault() {
    let origin = Origin::mirroring();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    for body in ["x\r\n", "-1\r\n", "3\r\nabcd\r\n", "3\nabc\r\n"] {
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&kiln, format!("{head}{body}"), 400);
    }
    // The origin is not asked to answer half a request.
    assert_eq!(origin.requests().len(), 0);
    kiln.get("/").expect(200, "");
}

#[test]
fn limits_of_the_configuration_are_obeyed() {
    let origin = Origin::mirroring();
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config(
            "[limits]
            line_bytes = 100
            head_bytes = 1024
            fields = 10
            request_body_bytes = 1000
            requests_per_connection = 3
            ",
        )
        .start();
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    check(&kiln, get(&format!("/{}", "x".repeat(100)), ""), 414);
    check(&kiln, get("/", &format!("X: {}\r\n", "x".repeat(1024))), 431);
    check(&kiln, get("/", &"X: 1\r\n".repeat(10)), 431);
    check(&kiln, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413);
    let chunk = format!("3e9\r\n{}\r\n", "x".repeat(1001));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(&kiln, format!("{chunked}{chunk}"), 413);

    let mut client = kiln.connect();
    client.send(get(&format!("/{}", "x".repeat(70)), "")).response().expect(200, "");
    let body = "x".repeat(1000);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{body}"));
    client.response().expect(200, &body);
    let last = client.send(get("/", &"X: 1\r\n".repeat(9))).response().expect(200, "");
    assert_eq!(last.field("connection"), Some("close"));
    client.expect_closed();
}

#[test]
fn a_connection_over_the_limit_is_told_503() {
    let kiln =
        Kiln::builder().script(&replying("in")).workers(1).config("limits.connections = 2").start();
    let (mut first, mut second) = (kiln.connect(), kiln.connect());
    first.get("/").expect(200, "in");
    second.get("/").expect(200, "in");
    check(&kiln, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 503);
    drop(first);
    tests::until_true("there is room again", || {
        kiln.connect().send_get("/").try_response().is_ok_and(|answer| answer.status == 200)
    });
    second.get("/").expect(200, "in");
}

#[test]
fn a_head_that_does_not_end_in_time_is_408() {
    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(1)
        .config("timeouts.head_ms = 200\ntimeouts.keep_alive_ms = 60000")
        .start();
    check(&kiln, "GET / HTTP/1.1\r\nHos", 408);
    // One that said nothing at all is owed no answer.
    kiln.connect().expect_closed();
    // Between requests another timeout counts.
    let mut client = kiln.connect();
    client.get("/").expect(200, "fine");
    let other = kiln.connect();
    drop(other);
    check(&kiln, "GET / HTTP/1.1\r\nHos", 408);
    client.get("/").expect(200, "fine");
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(1)
        .config("timeouts.keep_alive_ms = 100")
        .start();
    let mut client = kiln.connect();
    client.get("/").expect(200, "fine");
    client.expect_closed();
}

#[test]
fn a_body_that_stalls_is_408() {
    let origin = Nginx::start();
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config("timeouts.body_ms = 200")
        .start();
    check(&kiln, "PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", 408);
}

#[test]
fn what_a_script_cannot_mean_is_500_and_logged() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/status") return kiln::reply(42);
            if (request.path() == "/header") request.set_header("a b", "c");
            return kiln::forward("nowhere");
        }"#,
    );
    let mut client = kiln.connect();
    for path in ["/status", "/header", "/upstream"] {
        client.get(path).expect_status(500);
    }
    kiln.until_logged("nowhere");
    kiln.until_logged("not a valid header: a b");
}
