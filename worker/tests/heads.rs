//! Heads that do not fit a usual buffer: how they pass, what they are refused for, and who may hold the
//! room that they take.

mod harness;

use harness::{Client, Origin, Worker, wait_until};

/// So many field lines, of so many bytes of value each.
fn fields(count: usize, bytes: usize) -> String {
    let value = "v".repeat(bytes);
    (0..count).map(|number| format!("X-{number}: {value}\r\n")).collect()
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")
}

/// `/head` answers with the head of the request as the origin saw it.
#[test]
fn a_large_head_reaches_the_origin_whole() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.head_bytes = settings::HEAD_BYTES_MAX;
        settings.limits.fields = settings::FIELDS_MAX;
    });
    let mut client = worker.connect();
    for (count, bytes) in [(10, 1630), (10, 1640), (1, 60_000), (3000, 4), (100, 10_000)] {
        let text = request("/head", &fields(count, bytes));
        let seen = client.send(&text).response().text();
        let line = |line: &str| line.to_ascii_lowercase();
        let seen: Vec<String> = seen.lines().map(line).collect();
        for sent in text.lines().filter(|line| line.starts_with("X-")) {
            assert!(seen.contains(&line(sent)), "{count} fields of {bytes}: {:.40}", sent);
        }
        assert_eq!(client.get("/plain").text(), "plain", "the next one is not in its way");
    }
}

#[test]
fn a_large_head_with_a_body_and_another_request_behind_it_are_told_apart() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    let body = "b".repeat(100_000);
    let length = body.len();
    let many = fields(10, 3000);
    let first =
        format!("POST /echo HTTP/1.1\r\nHost: t\r\n{many}Content-Length: {length}\r\n\r\n{body}");
    client.send(format!("{first}{}{first}", request("/reply?x", &many)));
    assert_eq!(client.response().text(), body);
    assert_eq!(client.response().text(), "x");
    assert_eq!(client.response().text(), body);
}

#[test]
fn a_large_head_may_come_in_any_pieces() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    let text = request("/plain", &fields(20, 2000));
    for piece in [1000, 16_384, 16_385, 30_000] {
        for part in text.as_bytes().chunks(piece) {
            client.send(part);
        }
        assert_eq!(client.response().text(), "plain", "{piece}");
    }
}

/// RFC 9110, section 9.3.8: a `TRACE` is answered with the request, here by Kiln as the last one. A space
/// is added behind each colon that came without.
#[test]
fn a_large_trace_is_reflected_whole() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.limits.fields = 4000);
    let tight: String = (0..3000).map(|number| format!("X-{number}:1\r\n")).collect();
    let text = format!("TRACE / HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n{tight}\r\n");
    let seen = worker.connect().send(text).response().text();
    assert!(seen.ends_with("X-2999: 1\r\n\r\n"), "{seen}");
}

/// Whether a head of so many bytes is taken, rather than answered 431.
fn takes(worker: &Worker, bytes: usize) -> bool {
    match worker.connect().send(request("/plain", &fields(10, bytes / 10))).response().status() {
        200 => true,
        431 => false,
        other => panic!("{other}"),
    }
}

/// What slow senders of large heads hold is bounded, is half of what there is, and comes back.
#[test]
fn slow_senders_of_large_heads_hold_no_more_than_half_of_the_room() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.large_heads_bytes = 8 << 20;
    });
    assert!(takes(&worker, 20_000));
    // Half of 8 MiB is room for 128 heads of up to 32 KiB.
    let begun = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}", "v".repeat(20_000));
    let slow: Vec<Client> = (0..128).map(|_| worker.connect()).collect();
    let slow: Vec<Client> = slow
        .into_iter()
        .map(|mut slow| {
            slow.send(&begun);
            slow
        })
        .collect();
    wait_until("the room for heads that arrive is used up", || !takes(&worker, 20_000));
    let mut client = worker.connect();
    assert_eq!(client.get("/plain").text(), "plain", "usual heads need none");
    assert_eq!(client.get("/large-head?30000").status(), 200, "responses have theirs");
    drop(slow);
    wait_until("it is given back", || takes(&worker, 20_000));
}

/// The limit is Kiln's, so that whoever knows one heavy page does not take servers out.
#[test]
fn a_response_head_without_room_is_a_502_that_ejects_nobody() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.response_head_bytes = 1 << 20;
        settings.limits.large_heads_bytes = 256 << 10;
    });
    let mut client = worker.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/large-head?200000").status(), 502);
    }
    let passed = client.get("/large-head?30000");
    assert_eq!((passed.status(), passed.field("x").map(str::len)), (200, Some(30_000)));
}

/// Content may follow for hours, and nobody needs the head again once some of it has gone.
#[test]
fn uploads_under_way_hold_no_room_for_their_heads() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.head_bytes = 1 << 20;
        settings.limits.large_heads_bytes = 8 << 20;
    });
    let large = fields(90, 10_000);
    let begun = format!("POST /echo HTTP/1.1\r\nHost: t\r\n{large}Content-Length: 10\r\n\r\nhalf ");
    let mut uploads: Vec<Client> = Vec::new();
    for _ in 0..10 {
        wait_until("there is room for one more", || takes(&worker, 900_000));
        let mut client = worker.connect();
        client.send(&begun);
        uploads.push(client);
    }
    wait_until("there is room", || takes(&worker, 900_000));
    for client in &mut uploads {
        assert_eq!(client.send("other").response().text(), "half other");
    }
}

/// What a client does not read of a large response head waits with the rest of the answer, and the
/// connection serves on.
#[test]
fn a_large_response_head_passes_whole_with_whatever_surrounds_it() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.response_head_bytes = settings::HEAD_BYTES_MAX;
    });
    for bytes in [15_000, 16_384, 30_000, 65_000, 1_000_000] {
        let mut client = worker.connect();
        let target = format!("/large-head?{bytes}");
        // Answers before it wait in the same output.
        client.send(format!("{0}{0}{1}{0}{1}", request("/reply?x", ""), request(&target, "")));
        for is_large in [false, false, true, false, true] {
            let answer = client.response();
            assert_eq!(answer.text(), if is_large { "plain" } else { "x" });
            let length = answer.field("x").map_or(0, str::len);
            assert_eq!(length, if is_large { bytes } else { 0 });
        }
    }
}

#[test]
fn a_response_beyond_its_limits_is_a_502() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.limits.response_head_bytes = 20_000;
        settings.limits.response_fields = 10;
    });
    let mut client = worker.connect();
    assert_eq!(client.get("/large-head?19000").status(), 200);
    assert_eq!(client.get("/large-head?20000").status(), 502);
    assert_eq!(client.get("/many-fields?9").status(), 200);
    assert_eq!(client.get("/many-fields?10").status(), 502);
}
