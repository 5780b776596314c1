//! What Kiln decides by itself leaves a trace: a line in the log with its reason, and a count in the status.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tests::{FORWARDING, Kiln, Origin, until_true};

fn kiln(servers: &[SocketAddr], config: &str) -> Kiln {
    Kiln::builder().script(FORWARDING).workers(1).upstream("web", servers).config(config).start()
}

/// Waits until this reason was counted so often, and checks that the log has it, with these parts in the
/// same line.
#[track_caller]
fn expect_told(kiln: &Kiln, reason: &str, count: u64, parts: &[&str]) {
    until_true(reason, || kiln.status()["reasons"][reason] == count);
    let log = kiln.log();
    let line = log.lines().find(|line| line.contains(&format!("reason=\"{reason}\"")));
    let line = line.unwrap_or_else(|| panic!("{reason} is not in:\n{log}"));
    for part in parts {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
}

/// Each way in which a response is refused or cut off says which it was, where and for what.
#[test]
fn every_502_says_why() {
    let many = "X: 1\r\n".repeat(11);
    let large = format!("X: {}\r\n", "x".repeat(2000));
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    for (response, reason) in [
        (head("Content-Length: 1\r\nContent-Length: 2\r\n"), "response-content-length"),
        (head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "response-transfer-encoding"),
        (head(&many), "response-fields-too-many"),
        (head(&large), "response-head-too-large"),
        (head("no colon\r\n"), "response-field"),
        ("nonsense\r\n\r\n".to_owned(), "response-status-line"),
        (
            "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
            "response-switch",
        ),
        (String::new(), "response-missing"),
    ] {
        let origin = Origin::answering(move |_, stream| {
            stream.write_all(response.as_bytes()).map(|()| false)
        });
        let limits = "limits.response_fields = 10\nlimits.response_head_bytes = 2000";
        let kiln = kiln(&[origin.address()], limits);
        kiln.get("/page?secret=1").expect_status(502);
        let server = format!("server={}", origin.address());
        expect_told(
            &kiln,
            reason,
            1,
            &[&server, "upstream=\"web\"", "target=\"/page\"", "status=502"],
        );
        assert!(!kiln.log().contains("secret"), "a query is nobody's to read");
    }
    let kiln = kiln(&[Origin::nowhere()], "");
    kiln.get("/").expect_status(502);
    expect_told(&kiln, "connect-refused", 1, &["server=127.0.0.1:"]);
}

#[test]
fn every_response_that_is_cut_off_says_why() {
    for (response, reason) in [
        ("Content-Length: 9\r\n\r\nhalf", "response-cut-length"),
        ("Transfer-Encoding: chunked\r\n\r\n9\r\nhalf", "response-cut-chunks"),
        ("Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", "response-chunks"),
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{response}");
        let origin = Origin::answering(move |_, stream| {
            stream.write_all(response.as_bytes()).map(|()| false)
        });
        let kiln = kiln(&[origin.address()], "");
        assert!(kiln.connect().send_get("/").try_response().is_err());
        expect_told(&kiln, reason, 1, &["upstream=\"web\"", "server=127.0.0.1:"]);
    }
}

/// What clients do wrong, and what Kiln is short of.
#[test]
fn every_answer_of_kilns_own_is_counted_by_its_reason() {
    let origin = Origin::holding();
    let config = "timeouts.body_ms = 200\ntimeouts.head_ms = 200\ntimeouts.queue_ms = 100\n\
                  limits.request_body_bytes = 10\nlimits.fields = 100\nlimits.head_bytes = 2000";
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(101));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
    let put = |rest: &str| format!("PUT / HTTP/1.1\r\nHost: a\r\n{rest}");
    let chunked = |rest: &str| put(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"));
    let requests = [
        ("GET /\r\n\r\n".to_owned(), 400, "request-line"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "request-host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n".to_owned(), 400, "request-field"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505, "request-version"),
        ("GET / HTTP/1.1\r\nHost: a\r\n".to_owned(), 408, "request-head-timeout"),
        (put("Content-Length: 5\r\n\r\nab"), 408, "request-body-timeout"),
        (put("Content-Length: 11\r\n\r\n"), 413, "request-body-too-large"),
        (chunked("x\r\n"), 400, "request-chunks"),
        (chunked("0\r\nHost: b\r\n\r\n"), 400, "request-trailer"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), 501, "request-method"),
        (many, 431, "request-fields-too-many"),
        (large, 431, "request-head-too-large"),
    ];
    // The log takes ten lines a second of each Kiln.
    for requests in requests.chunks(6) {
        let kiln = kiln(&[origin.address()], config);
        for (request, status, reason) in requests {
            let mut client = kiln.connect();
            client.send(request);
            client.response().expect_status(*status);
            expect_told(&kiln, reason, 1, &["client=127.0.0.1:", &format!("status={status}")]);
        }
        let shown = kiln.command("status", &[]).stdout;
        assert!(requests.iter().all(|(_, _, reason)| shown.contains(reason)), "{shown}");
    }
}

/// A flood is counted whole and logged in part, and the log says how much it left out.
#[test]
fn a_flood_of_one_reason_is_counted_and_not_logged_line_by_line() {
    let kiln = kiln(&[Origin::nowhere()], "");
    let mut client = kiln.connect();
    for _ in 0..500 {
        client.get("/").expect_status(502);
    }
    until_true("all are counted", || kiln.status()["reasons"]["connect-refused"] == 500);
    until_true("the log says how many it left out", || kiln.log().contains("left_out="));
    let lines = kiln.log().lines().filter(|line| line.contains("connect-refused")).count();
    assert!((10..400).contains(&lines), "{lines} lines");
    // What was counted stays when its worker is gone.
    kiln.kill(kiln.worker_pids()[0]);
    until_true("another serves", || kiln.workers()[0]["restarts"] == 1);
    assert_eq!(kiln.status()["reasons"]["connect-refused"], 500);
}

/// Sends an event, is silent until told to go on, and sends another.
fn events() -> (Origin, mpsc::Sender<()>) {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let origin = Origin::raw(move |mut stream, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(format!("{head}data: 1\n\n").as_bytes());
        // A timeout of Kiln's ends the test before this one does.
        let _ = may_go_on.lock().expect("no panic").recv_timeout(Duration::from_secs(20));
        let _ = stream.write_all(b"data: 2\n\n");
    });
    (origin, go_on)
}

/// What an origin may be silent for has a limit of its own, well above that for bodies.
#[test]
fn a_quiet_stream_of_events_is_not_cut_like_a_body_that_stalls() {
    let (origin, go_on) = events();
    let kiln = kiln(&[origin.address()], "timeouts.body_ms = 100");
    let mut client = kiln.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    client.head().expect_status(200);
    // Longer than body_ms: what is tested is that nothing happens meanwhile.
    thread::sleep(Duration::from_millis(400));
    go_on.send(()).expect("the origin waits");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(rest.contains("data: 1") && rest.contains("data: 2"), "{rest:?}");
}

#[test]
fn a_stream_that_is_silent_for_too_long_is_cut_and_it_is_said_why() {
    for config in ["timeouts.response_body_ms = 200", "timeouts.body_ms = 20"] {
        let (origin, _go_on) = events();
        let kiln = kiln(&[origin.address()], config);
        let mut client = kiln.connect();
        client.send_get("/events").head().expect_status(200);
        // Cut, so that it does not look whole: the last chunk never comes.
        let rest = client.try_rest().unwrap_or_default();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
        expect_told(&kiln, "response-body-timeout", 1, &["target=\"/events\""]);
    }
}
