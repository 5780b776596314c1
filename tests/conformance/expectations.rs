//! `Expect` (RFC 9110, section 10.1.1).

use std::io::{Read, Write};

use crate::site::{OK, Upstream, check, connect, refused};

fn put(fields: &str) -> String {
    format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n{fields}\r\n")
}

/// An expectation that nobody can meet is 417; only `100-continue` is defined.
#[test]
fn other_expectations_are_417() {
    for value in ["200-ok", "100-continue, other", "100", "100-continue=1", "x"] {
        refused(put(&format!("Expect: {value}\r\n")), 417);
    }
}

/// The value is case-insensitive.
#[test]
fn the_expectation_is_relayed_and_the_client_told_to_go_on() {
    let origin = Upstream::fine();
    for value in ["100-continue", "100-Continue", "100-CONTINUE"] {
        let mut client = connect();
        client.send(put(&format!("X-Upstream: {origin}\r\nExpect: {value}\r\n")));
        client.response().expect_status(100);
        client.send("hello").response().expect(200, "ok");
        assert_eq!(origin.last().body, b"hello");
        client.get("/after").expect(200, "GET /after test");
    }
}

/// A server that gets `100-continue` in a 1.0 request MUST ignore it.
#[test]
fn an_expectation_in_1_0_is_ignored() {
    let origin = Upstream::fine();
    for value in ["100-continue", "other"] {
        let mut client = connect();
        client.send(format!(
            "PUT / HTTP/1.0\r\nHost: test\r\nX-Upstream: {origin}\r\nContent-Length: 5\r\nExpect: {value}\
             \r\n\r\nhello"
        ));
        client.response().expect(200, "ok");
    }
}

/// A final answer instead of the 100 leaves open whether the content follows: Kiln closes, or it reads
/// the content; it never takes the content for a request.
#[test]
fn a_final_answer_instead_of_100_does_not_make_content_a_request() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    let refusing = Upstream::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    for (upstream, status) in [(String::new(), 200), (format!("X-Upstream: {refusing}\r\n"), 403)] {
        let mut client = connect();
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n{upstream}Expect: 100-continue\r\n\r\n",
            hidden.len()
        ));
        client.response().expect_status(status);
        // It may be closed by now.
        let _ = client.try_send(hidden);
        let rest = client.try_rest().unwrap_or_default();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

/// A server MAY omit the 100 if it has the content already, and MUST send a final response in the end.
#[test]
fn a_client_that_does_not_wait_is_served_all_the_same() {
    let origin = Upstream::fine();
    let mut client = connect();
    client.send(put(&format!("X-Upstream: {origin}\r\nExpect: 100-continue\r\n")) + "hello");
    let mut answer = client.response();
    if answer.status == 100 {
        answer = client.response();
    }
    answer.expect(200, "ok");
    client.get("/after").expect(200, "GET /after test");
}

/// A request without content has nothing to hold back.
#[test]
fn an_expectation_without_content_gets_the_final_answer_at_once() {
    let origin = Upstream::fine();
    let answer = check(origin.get_with("Expect: 100-continue\r\n"), 200);
    assert_eq!(answer.text(), "ok");
    check(origin.get_with("Content-Length: 0\r\nExpect: 100-continue\r\n"), 200);
}

/// A chunked body waits for the 100 like a counted one.
#[test]
fn a_chunked_body_waits_for_its_100_too() {
    let origin = Upstream::replying(OK);
    let mut client = connect();
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    client.response().expect_status(100);
    client.send("5\r\nhello\r\n0\r\n\r\n").response().expect(200, "ok");
    assert_eq!(origin.last().body, b"hello");
}
