//! Content of requests and responses, in both framings and both directions.

use std::io::Write;
use std::thread;

use tests::{Client, Kiln, Nginx, Origin};

/// Bytes that no two pieces of a body of this size have in common by chance.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The same in chunks of changing size.
fn chunked(content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut rest = content;
    for size in [1, 7, 100, 4096, 20_000, 70_000].into_iter().cycle() {
        let size = rest.len().min(size);
        encoded.extend(format!("{size:x}\r\n").bytes());
        encoded.extend(&rest[..size]);
        encoded.extend(b"\r\n");
        if size == 0 {
            return encoded;
        }
        rest = &rest[size..];
    }
    unreachable!("the sizes never end")
}

/// Sends from a thread, so that answers are read meanwhile.
fn send_beside(client: &Client, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = client.writer();
    thread::spawn(move || stream.write_all(&bytes).expect("it is read"))
}

#[test]
fn counted_and_chunked_request_bodies_reach_the_origin_whole() {
    let origin = Origin::mirroring();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    for bytes in [0, 1, 1000, 16 << 10, 300_000, 5 << 20] {
        let body = content(bytes);
        let mut counted =
            format!("POST /counted HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n")
                .into_bytes();
        counted.extend(&body);
        let sender = send_beside(&client, counted);
        assert!(client.response().expect_status(200).body == body, "{bytes} counted bytes");
        sender.join().expect("it was sent");
        assert_eq!(origin.last().field("content-length"), Some(bytes.to_string().as_str()));

        let mut encoded =
            b"POST /chunked HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        encoded.extend(chunked(&body));
        let sender = send_beside(&client, encoded);
        assert!(client.response().expect_status(200).body == body, "{bytes} bytes in chunks");
        sender.join().expect("it was sent");
        assert_eq!(origin.last().field("transfer-encoding"), Some("chunked"));
    }
}

#[test]
fn nginx_stores_what_clients_upload() {
    let origin = Nginx::start();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let body = content(1 << 20);
    let mut client = kiln.connect();
    let head = "PUT /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sender = send_beside(&client, [head.as_bytes(), &chunked(&body)].concat());
    client.response().expect_status(201);
    sender.join().expect("it was sent");
    assert!(origin.read("upload") == body, "another file arrived");
    client.get("/files/upload").expect_status(200);
}

#[test]
fn counted_and_chunked_responses_of_nginx_reach_the_client_whole() {
    let origin = Nginx::start();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    for bytes in [1, 1000, 100_000, 5 << 20] {
        let body = content(bytes);
        origin.write("file", &body);
        let counted = client.get("/files/file").expect_status(200);
        assert_eq!(counted.field("content-length"), Some(bytes.to_string().as_str()));
        assert!(counted.body == body, "{bytes} counted bytes");
        client.send("GET /gzip/file HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
        let chunked = client.response().expect_status(200);
        assert_eq!(chunked.field("transfer-encoding"), Some("chunked"));
        assert_eq!(chunked.field("content-encoding"), Some("gzip"));
        assert_eq!(chunked.body[..2], [0x1f, 0x8b], "it is a gzip file");
    }
}

#[test]
fn chunked_responses_are_told_to_old_clients_by_closing() {
    let body = content(100_000);
    let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    response.extend(chunked(&body));
    let origin = Origin::replying(response);
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    assert!(kiln.get("/").expect_status(200).body == body, "in chunks");
    let mut old = kiln.connect();
    let answer = old.send("GET / HTTP/1.0\r\n\r\n").response().expect_status(200);
    assert_eq!(answer.field("transfer-encoding"), None);
    assert!(answer.body == body, "until the end");
}

#[test]
fn responses_that_end_with_their_connection_are_chunked_for_clients() {
    let body = content(100_000);
    let sent = body.clone();
    let origin = Origin::answering(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        stream.write_all(&sent).map(|()| false)
    });
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    for _ in 0..2 {
        let answer = client.get("/").expect_status(200);
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        assert!(answer.body == body);
    }
}

#[test]
fn head_has_the_length_and_no_body_wherever_the_answer_comes_from() {
    let origin = Nginx::start();
    origin.write("file", content(12_345));
    let script = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/own") return kiln::reply(200, "0123456789");
            return kiln::forward("web");
        }"#;
    let kiln =
        Kiln::builder().script(script).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    for (target, length) in [("/files/file", "12345"), ("/own", "10")] {
        for _ in 0..2 {
            client.send(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
            assert_eq!(client.head().expect_status(200).field("content-length"), Some(length));
        }
    }
    // Had a body come, this answer would be read out of it.
    client.get("/own").expect(200, "0123456789");
}

#[test]
fn statuses_without_content_have_none() {
    let origin = Nginx::start();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    for (target, status) in [("/status/204", 204), ("/status/304", 304), ("/status/404", 404)] {
        client.get(target).expect_status(status);
    }
    client.get("/echo").expect_status(200);
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on_before_it_sends() {
    let origin = Origin::mirroring();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    client
        .send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.response().expect(100, "");
    client.send("hello").response().expect(200, "hello");
    client.get("/").expect(200, "");
}

#[test]
fn nginx_decides_about_an_expectation_too() {
    let origin = Nginx::start();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    client.send(
        "PUT /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    client.response().expect(100, "");
    client.send("hello").response().expect_status(201);
    assert_eq!(origin.read("upload"), b"hello");
}

/// An origin that knows nothing of the expectation says nothing, and waits for the body.
#[test]
fn kiln_itself_tells_a_client_to_go_on_when_the_origin_does_not() {
    let origin = Origin::raw(|mut stream, _| {
        let mut reader = Client::over(stream.try_clone().expect("a socket"));
        reader.head_of_request();
        let body = reader.exactly(5).expect("the body");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(answer.as_bytes()).expect("it is read");
        stream.write_all(&body).expect("it is read");
    });
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    client
        .send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.response().expect(100, "");
    client.send("hello").response().expect(200, "hello");
}

/// A script answers without the body, which must not be taken for the next request.
#[test]
fn a_body_that_nobody_wants_is_not_taken_for_a_request() {
    let kiln = Kiln::start(
        "#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) { return kiln::reply(200, request.path()); }",
    );
    let mut client = kiln.connect();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send(format!(
        "POST /first HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    client.response().expect(200, "/first");
    client.get("/next").expect(200, "/next");
}

/// A slow client must cost the worker a buffer, and not the whole file.
#[test]
fn a_client_that_reads_slowly_does_not_make_a_worker_grow() {
    let origin = Nginx::start();
    origin.write("file", content(64 << 20));
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let pid = kiln.worker_pids()[0];
    let before_kb = tests::resident_kb(pid);
    let mut client = kiln.connect();
    client.send_get("/files/file");
    client.head().expect_status(200);
    // It is full when nothing moves: nginx has no more room to write, and neither has Kiln.
    let mut read = 0;
    while read < 64 << 20 {
        read += client.exactly(1 << 20).expect("more of the file").len();
        let grown_kb = tests::resident_kb(pid).saturating_sub(before_kb);
        assert!(grown_kb < 8 << 10, "the worker grew by {grown_kb} KB");
    }
}
