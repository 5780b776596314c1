//! Heads as large as real sites have them, and larger: what passes, what is refused, and what they leave.

use std::io::Write;
use std::sync::Mutex;

use tests::{Client, FORWARDING, Kiln, Origin, resident_kb, until_true};

fn kiln(origin: &Origin, script: &str, limits: &str) -> Kiln {
    let config = format!("[limits]\n{limits}\n");
    let builder = Kiln::builder().script(script).workers(1).config(&config);
    builder.upstream("web", &[origin.address()]).start()
}

/// A request whose head has exactly so many bytes and field lines, with 20 KB of cookies in it.
fn request(bytes: usize, count: usize) -> String {
    let cookies = "c".repeat(20_000);
    let mut head = format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: session={cookies}\r\n");
    for number in 0..count - 3 {
        head += &format!("X-{number}: {number}\r\n");
    }
    let padding = "p".repeat(bytes - head.len() - "X-Padding: \r\n\r\n".len());
    format!("{head}X-Padding: {padding}\r\n\r\n")
}

/// Checks that each field of `sent` arrived.
fn expect_arrived(origin: &Origin, sent: &str) {
    let received = origin.last();
    for line in sent.lines().filter(|line| line.starts_with(['X', 'C'])) {
        assert!(received.head.lines().any(|arrived| arrived == line), "{line:.60}");
    }
}

#[test]
fn a_head_of_64_kib_with_20_kb_of_cookies_and_200_fields_reaches_the_origin() {
    let origin = Origin::echoing();
    let kiln = kiln(&origin, FORWARDING, "");
    let mut client = kiln.connect();
    let largest = request(64 << 10, 200);
    for sent in [request(25_000, 30), request(16_384 + 8000, 4), largest.clone()] {
        client.send(&sent).response().expect_status(200);
        expect_arrived(&origin, &sent);
    }
    for beyond in [request((64 << 10) + 1, 200), request(64 << 10, 201)] {
        kiln.connect().send(beyond).response().expect_status(431);
    }
    // Byte by byte as well.
    for byte in largest.as_bytes().chunks(1) {
        client.send(byte);
    }
    client.response().expect_status(200);
    assert_eq!(origin.requests().len(), 4);
}

/// Scripts see all of the fields, and may write as much.
#[test]
fn a_head_of_1_mib_and_4000_fields_passes_where_the_limits_allow_it() {
    let origin = Origin::echoing();
    let script = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    std::size_t last = request.header_count() - 1;
    request.set_header("x-count", std::to_string(request.header_count()));
    request.set_header("x-last", request.header_at(last).name);
    std::string cookie(request.header(kiln::Field::cookie));
    request.set_header("cookie", cookie + "; more=1");
    return kiln::forward("web");
}
"#;
    let limits = "head_bytes = 1048576\nfields = 4000";
    let kiln = kiln(&origin, script, limits);
    let sent = request(1 << 20, 4000);
    let mut client = kiln.connect();
    for _ in 0..3 {
        client.send(&sent).response().expect_status(200);
    }
    expect_arrived(&origin, &sent.replace("Cookie", "Other"));
    let received = origin.last();
    assert_eq!(
        (received.field("x-count"), received.field("x-last")),
        (Some("4000"), Some("X-Padding"))
    );
    assert!(received.field("cookie").is_some_and(|cookie| cookie.ends_with("cc; more=1")));
    for beyond in [request((1 << 20) + 1, 4000), request(1 << 20, 4001)] {
        kiln.connect().send(beyond).response().expect_status(431);
    }
}

#[test]
fn a_target_of_16_kb_passes() {
    let origin = Origin::echoing();
    let kiln = kiln(&origin, FORWARDING, "");
    let target = format!("/search?q={}", "q".repeat(16 << 10));
    kiln.get(&target).expect_status(200);
    assert_eq!(origin.last().line(), format!("GET {target} HTTP/1.1"));
}

#[test]
fn a_response_head_passes_up_to_its_limits_and_is_a_502_beyond() {
    let head = Mutex::new(String::new());
    let head = std::sync::Arc::new(head);
    let sends = head.clone();
    let origin = Origin::answering(move |_, stream| {
        let fields = sends.lock().expect("no panic").clone();
        let response = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        stream.write_all(response.as_bytes()).map(|()| true)
    });
    let kiln = kiln(&origin, FORWARDING, "");
    let many = |count: usize, bytes: usize| {
        let value = "v".repeat(bytes);
        (0..count).map(|number| format!("X-{number}: {value}\r\n")).collect::<String>()
    };
    for (fields, status) in [
        (many(20, 900), 200),
        (many(1, 30 << 10), 200),
        (many(199, 300), 200),
        (many(200, 1), 502),
        (many(1, 64 << 10), 502),
        (many(2, 10), 200),
    ] {
        head.lock().expect("no panic").clone_from(&fields);
        let answer = kiln.get("/").expect_status(status);
        for line in fields.lines().filter(|_| status == 200) {
            let (name, value) = line.split_once(": ").expect("above");
            assert_eq!(answer.field(name), Some(value));
        }
    }
    assert!(kiln.status()["upstreams"]["out"].as_array().expect("a list").is_empty());
}

#[test]
fn a_scripts_reply_may_have_many_and_large_fields() {
    let script = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    int count = std::stoi(std::string(request.query("count")));
    std::string value(std::stoi(std::string(request.query("bytes"))), 'v');
    kiln::Action reply = kiln::reply(200, "ok");
    for (int i = 0; i < count; ++i) reply = reply.header("x-" + std::to_string(i), value);
    return reply;
}
"#;
    let kiln = kiln(&Origin::echoing(), script, "");
    for (count, bytes) in [(300, 10), (1, 30_000), (60, 1000), (1, 0)] {
        let answer = kiln.get(&format!("/?count={count}&bytes={bytes}")).expect(200, "ok");
        let last = format!("x-{}", count - 1);
        assert_eq!(answer.field(&last).map(str::len), Some(bytes));
    }
    kiln.get("/?count=70&bytes=1000").expect_status(500);
    until_true("it is told", || kiln.status()["reasons"]["reply-too-large"] == 1);
}

/// What a burst of large heads took is given back: to other heads, and to the system.
#[test]
fn a_burst_of_large_heads_leaves_no_memory_taken() {
    for (count, bytes) in [(100, 500_000), (400, 64 << 10)] {
        let origin = Origin::holding();
        let kiln = kiln(&origin, FORWARDING, "head_bytes = 1048576");
        let worker = kiln.worker_pids()[0];
        origin.release(1);
        kiln.get("/").expect_status(200);
        let before_kb = resident_kb(worker);
        let sent = request(bytes, 50);
        let mut clients: Vec<Client> = (0..count).map(|_| kiln.connect()).collect();
        for client in &mut clients {
            client.send(&sent);
        }
        // Each is kept as long as it may have to be sent again.
        origin.until_requests(1 + count);
        let held_kb = resident_kb(worker) - before_kb;
        assert!(
            held_kb > count as u64 * bytes as u64 / 1100,
            "{held_kb} kB for {count} of {bytes}"
        );
        origin.release_all();
        for client in &mut clients {
            client.response().expect_status(200);
        }
        until_true("memory is back", || resident_kb(worker) < before_kb + held_kb / 4);
        kiln.connect().send(&sent).response().expect_status(200);
    }
}

/// Slow senders hold half of the room for large heads at most, which is told apart from a head that is
/// too large.
#[test]
fn a_head_that_finds_no_room_is_a_431_with_a_reason_of_its_own() {
    let origin = Origin::echoing();
    let kiln = kiln(&origin, FORWARDING, "head_bytes = 1048576\nlarge_heads_bytes = 8388608");
    let begun = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(600_000));
    let mut slow: Vec<Client> = (0..4).map(|_| kiln.connect()).collect();
    for client in &mut slow {
        client.send(&begun);
    }
    until_true("one is refused", || kiln.status()["reasons"]["request-head-room"] == 1);
    kiln.get("/").expect_status(200);
}
