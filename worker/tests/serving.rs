//! What clients of one worker see: keep-alive, pipelines, bodies, errors, timeouts and drains.

mod harness;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use harness::{Client, Origin, Worker, pattern, upstream, wait_until};
use heritage::{ListenerId, Order, Report};

const SHORT_MS: u64 = 100;
const SHORT: Duration = Duration::from_millis(SHORT_MS);

fn pair() -> (Origin, Worker) {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    (origin, worker)
}

fn request(head: &str) -> String {
    format!("{head}\r\nHost: test\r\n\r\n")
}

#[test]
fn a_connection_serves_request_after_request() {
    let (origin, worker) = pair();
    let mut client = worker.connect();
    for round in 0..100 {
        let reply = client.get(&format!("/reply?{round}"));
        assert_eq!((reply.status(), reply.text()), (200, round.to_string()));
        assert_eq!(reply.field("x-script"), Some("yes"));
        assert!(reply.field("date").is_some());
        assert_eq!(client.get("/plain").text(), "plain");
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1, "the origin's connection is reused");
    worker.wait_for_no_holds();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let mut all = String::new();
    for round in 0..200 {
        all += &request(&format!("GET /reply?{round} HTTP/1.1"));
        all += &request("GET /plain HTTP/1.1");
        all += &format!("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n{round:03}");
    }
    client.send(all);
    for round in 0..200 {
        assert_eq!(client.response().text(), round.to_string());
        assert_eq!(client.response().text(), "plain");
        assert_eq!(client.response().text(), format!("{round:03}"));
    }
}

#[test]
fn a_request_is_the_same_whole_or_byte_by_byte() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let text = "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\
                5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n";
    for byte in text.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "hello!");
    assert_eq!(client.get("/plain").text(), "plain");
}

#[test]
fn refused_requests_get_their_status_and_an_orderly_close() {
    let (_origin, worker) = pair();
    let check = |text: &str, status: u16| {
        let mut client = worker.connect();
        let response = client.send(text).response();
        assert_eq!(response.status(), status, "{text:?}");
        assert_eq!(response.field("connection"), Some("close"), "{text:?}");
        client.expect_end();
    };
    let long = "x".repeat(33_000);
    let many: String = (0..201).map(|at| format!("f{at}: x\r\n")).collect();
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    check("GET / HTTP/1.1\nHost: a\n\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400);
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    );
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400);
    check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501);
    check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400);
    check("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    check("GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417);
    check("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check("GET /\r\n", 400);
    check("\x16\x03\x01", 400);
    check(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}{long}\r\n\r\n"), 431);
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431);
    worker.wait_for_no_holds();
}

#[test]
fn decisions_of_scripts_are_carried_out() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    assert_eq!(client.get("/empty").status(), 204);
    assert_eq!(client.get("/failed").status(), 500);
    assert_eq!(client.get("/unknown").status(), 500);
    assert_eq!(client.get("/none").status(), 503);
    assert_eq!(client.get("/dead").status(), 502);
    assert_eq!(client.get("/large").body.len(), 1 << 20);
    let head = client.send(request("HEAD /reply?abc HTTP/1.1")).head();
    assert_eq!(head.field("content-length"), Some("3"));
    assert_eq!(client.get("/reply?x").text(), "x");
    client.send(request("GET /close HTTP/1.1")).expect_end();
    worker.wait_for_no_holds();
}

#[test]
fn large_replies_of_a_pipeline_keep_their_order() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let three = request("GET /reply?a HTTP/1.1") + &request("GET /large HTTP/1.1");
    client.send(three.repeat(20));
    for _ in 0..20 {
        assert_eq!(client.response().text(), "a");
        assert!(client.response().body.iter().all(|&byte| byte == b'L'));
    }
}

#[test]
fn the_origin_sees_end_to_end_fields_and_the_script_s_edits() {
    let (_origin, worker) = pair();
    let text = "GET http://target:81/head?q=1 HTTP/1.1\r\nHost: other\r\nConnection: x-hop, close\r\n\
                X-Hop: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Forwarded-For: 9.9.9.9\r\n\
                X-Forwarded-Proto: https\r\nX-End: 2\r\n\r\n";
    let mut client = worker.connect();
    let seen = client.send(text).response().text();
    client.expect_end();
    assert_eq!(
        seen,
        "GET /head?q=1 HTTP/1.1\r\nHost: target:81\r\nX-End: 2\r\n\
         X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: target:81\r\nVia: 1.1 kiln\r\n"
    );
}

#[test]
fn what_a_trusted_proxy_says_of_its_client_is_kept() {
    let origin = Origin::start();
    let text = "GET /head HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 9.9.9.9\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\r\n";
    for (network, proto, host) in
        [("127.0.0.0/8", "https", "outer"), ("10.0.0.0/8", "http", "inner")]
    {
        let worker =
            Worker::start(&origin, |settings| settings.trusted_proxies.push(network.to_owned()));
        let seen = worker.connect().send(text).response().text();
        for line in [
            "X-Forwarded-For: 9.9.9.9, 127.0.0.1".to_owned(),
            format!("X-Forwarded-Proto: {proto}"),
            format!("X-Forwarded-Host: {host}"),
        ] {
            assert!(seen.contains(&format!("{line}\r\n")), "{network}: {line} is not in {seen}");
        }
    }
}

#[test]
fn edits_are_applied_in_the_order_in_which_they_were_made() {
    let (_origin, worker) = pair();
    let text = "GET /edited HTTP/1.1\r\nHost: t\r\nX-User: 1\r\nx-user: 2\r\nX-Secret: 3\r\n\
                X-Tag: b\r\n\r\n";
    let seen = worker.connect().send(text).response().text();
    assert_eq!(
        seen,
        "GET /edited HTTP/1.1\r\nHost: t\r\nX-Tag: b\r\nX-Forwarded-For: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: t\r\nX-User: 7\r\nX-Tag: a\r\nVia: 1.1 kiln\r\n"
    );
}

#[test]
fn fields_of_the_origin_s_connection_stay_on_it() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let response = client.get("/hop");
    let names: Vec<&str> = response.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["X-Public", "Via", "Date", "Content-Length"]);
}

#[test]
fn responses_keep_their_content_whatever_their_framing() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    let response = client.get("/chunked");
    assert_eq!(response.text(), "hello world");
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    assert_eq!(response.field("trailer"), None);
    assert_eq!(client.get("/until-close").text(), "until the end");
    for target in ["/chunked", "/until-close"] {
        let mut old = worker.connect();
        let response = old.send(format!("GET {target} HTTP/1.0\r\n\r\n")).response();
        assert_eq!(response.field("transfer-encoding"), None);
        assert_eq!(response.field("connection"), Some("close"));
        assert!(["hello world", "until the end"].contains(&response.text().as_str()));
    }
    let mut old = worker.connect();
    for _ in 0..2 {
        let text = "GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        let response = old.send(text).response();
        assert_eq!(response.field("connection"), Some("keep-alive"));
    }
}

#[test]
fn interim_responses_reach_clients_that_know_them() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    client.send(request("GET /hints HTTP/1.1"));
    assert_eq!(client.response().status(), 103);
    assert_eq!(client.response().text(), "ok");
    let mut old = worker.connect();
    assert_eq!(old.send("GET /hints HTTP/1.0\r\n\r\n").response().text(), "ok");
}

#[test]
fn a_client_that_expects_100_gets_it_once_from_the_origin_or_from_kiln() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.timeouts.continue_ms = SHORT_MS);
    for target in ["/continue", "/echo"] {
        let mut client = worker.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.response().status(), 100, "{target}");
        assert_eq!(client.send("body").response().text(), "body", "{target}");
        assert_eq!(client.get("/plain").text(), "plain");
    }
    let mut client = worker.connect();
    client.send(
        "POST /reply?no HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response().field("connection"), Some("close"));
    client.expect_end();
}

#[test]
fn large_bodies_stream_both_ways() {
    let (_origin, worker) = pair();
    const BYTES: usize = 50 << 20;
    let mut client = worker.connect();
    client.send(request(&format!("GET /bytes?{BYTES} HTTP/1.1")));
    let mut head = client.head();
    // The client is slow to begin with: the worker has to wait, not to buffer.
    thread::sleep(SHORT);
    assert!(head.read_body(&mut client.stream, false));
    assert!(head.body == pattern(1 << 16).repeat(BYTES >> 16), "content differs");

    let body = pattern(8 << 20);
    let mut sender = client.stream.get_ref().try_clone().unwrap();
    let sent = body.clone();
    let upload = thread::spawn(move || {
        write!(sender, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", sent.len())
            .unwrap();
        sender.write_all(&sent).unwrap();
        sender
            .write_all(b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in sent.chunks(100_000) {
            write!(sender, "{:x}\r\n", chunk.len()).unwrap();
            sender.write_all(chunk).unwrap();
            sender.write_all(b"\r\n").unwrap();
        }
        sender.write_all(b"0\r\n\r\n").unwrap();
    });
    assert!(client.response().body == body, "counted content differs");
    assert!(client.response().body == body, "chunked content differs");
    upload.join().unwrap();
}

#[test]
fn early_responses_are_relayed_and_the_connections_closed() {
    let (_origin, worker) = pair();
    for target in ["/early", "/early-and-reads"] {
        let mut client = worker.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nabc"
        ));
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (403, "no\n"));
        assert_eq!(response.field("connection"), Some("close"));
        client.expect_end();
    }
    worker.wait_for_no_holds();
}

#[test]
fn an_unread_body_after_a_reply_is_discarded_up_to_a_limit() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    client.send("POST /reply?1 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n12");
    assert_eq!(client.response().text(), "1");
    client.send("345");
    assert_eq!(client.get("/reply?2").text(), "2");
    client.send("POST /reply?3 HTTP/1.1\r\nHost: t\r\nContent-Length: 500000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.response().text(), "3");
    client.expect_end();
}

#[test]
fn a_truncated_response_never_looks_whole() {
    let (_origin, worker) = pair();
    for target in ["/truncated", "/truncated-chunks"] {
        let mut client = worker.connect();
        let mut head = client.send(request(&format!("GET {target} HTTP/1.1"))).head();
        assert!(!head.read_body(&mut client.stream, true), "{target}");
    }
    let mut old = worker.connect();
    let mut head = old.send("GET /truncated-chunks HTTP/1.0\r\n\r\n").head();
    assert!(!head.read_body(&mut old.stream, true), "1.0");
    worker.wait_for_no_holds();
}

#[test]
fn origins_that_answer_wrong_or_not_at_all_are_502() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    assert_eq!(client.get("/malformed").status(), 502);
    assert_eq!(client.get("/nothing").status(), 502);
    assert_eq!(client.get("/plain").text(), "plain");
}

#[test]
fn a_refused_connection_goes_to_the_next_server() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    for _ in 0..4 {
        assert_eq!(client.get("/half").status(), 200);
    }
}

/// The origin closes a connection that Kiln took from its pool, as origins do when they time out.
#[test]
fn a_request_on_a_dead_pooled_connection_is_repeated_only_if_that_is_safe() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    assert_eq!(client.get("/once").text(), "1");
    assert_eq!(client.get("/once").text(), "2", "on a fresh connection");
    let post = "POST /once HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(client.send(post).response().status(), 502);
}

/// To a 1.0 client an orderly end of the connection is the end of the body.
#[test]
fn a_response_that_is_cut_short_does_not_pass_for_whole() {
    let check = |body_ms, cut: fn(&Worker)| {
        let origin = Origin::start();
        let worker = Worker::start(&origin, |settings| settings.timeouts.body_ms = body_ms);
        let mut client = worker.connect();
        client.send("GET /endless HTTP/1.0\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        cut(&worker);
        let error = client.stream.read_to_end(&mut Vec::new()).expect_err("no orderly end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    };
    check(100, |worker| worker.wait_for_no_holds());
    check(60_000, |worker| worker.order(&Order::Stop));
}

#[test]
fn slow_peers_run_into_their_timeouts() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.timeouts.head_ms = SHORT_MS;
        settings.timeouts.keep_alive_ms = SHORT_MS;
        settings.timeouts.body_ms = SHORT_MS;
        settings.timeouts.response_head_ms = SHORT_MS;
    });
    worker.connect().expect_end();
    let mut idle = worker.connect();
    assert_eq!(idle.get("/plain").status(), 200);
    idle.expect_end();
    let mut partial = worker.connect();
    assert_eq!(partial.send("GET / HT").response().status(), 408);
    partial.expect_end();
    let mut upload = worker.connect();
    upload.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n12");
    assert_eq!(upload.response().status(), 408);
    let mut held = worker.connect();
    assert_eq!(held.get("/hold").status(), 504);
    let mut stalled = worker.connect();
    let mut head = stalled.send(request("GET /stall HTTP/1.1")).head();
    assert!(!head.read_body(&mut stalled.stream, true));
    worker.wait_for_no_holds();
}

/// An address that swallows SYNs is only there where the network has one, so the connection that stays
/// unopened is one to a listener whose queue is full.
#[test]
fn a_connection_that_does_not_open_is_504_and_holds_up_no_earlier_answer() {
    let (_full, address) = harness::full_listener();
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.timeouts.connect_ms = 5 * SHORT_MS;
        settings.upstreams.insert("dead".to_owned(), upstream(&[address]));
    });
    let mut client = worker.connect();
    let begun = std::time::Instant::now();
    client.send(request("GET /reply?first HTTP/1.1") + &request("GET /dead HTTP/1.1"));
    assert_eq!(client.response().text(), "first");
    assert!(begun.elapsed() < 5 * SHORT, "the answer waited for the other request's server");
    assert_eq!(client.response().status(), 504);
    assert_eq!(client.get("/plain").text(), "plain");
}

/// The timeout of the connect must not outlive it, nor that of a head miss a second connection.
#[test]
fn deadlines_belong_to_one_connection_to_an_origin() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.timeouts.connect_ms = SHORT_MS;
        settings.timeouts.response_head_ms = 3 * SHORT_MS;
    });
    let mut upload = worker.connect();
    upload.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n12");
    thread::sleep(2 * SHORT);
    assert_eq!(upload.send("34").response().text(), "1234");
    let mut client = worker.connect();
    assert_eq!(client.get("/once").status(), 200);
    assert_eq!(client.get("/hold-or-die").status(), 504, "on the second connection");
}

#[test]
fn half_a_head_behind_an_answer_runs_into_the_head_timeout() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.timeouts.head_ms = SHORT_MS);
    let mut client = worker.connect();
    client.send(request("GET /reply?a HTTP/1.1") + "GET /half");
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
}

#[test]
fn a_client_that_goes_away_takes_its_origin_s_request_along() {
    let (origin, worker) = pair();
    let mut client = worker.connect();
    client.send(request("GET /hold HTTP/1.1"));
    wait_until("the origin has the request", || origin.connections.load(Ordering::SeqCst) == 1);
    client.reset();
    wait_until("the origin's connection is closed", || origin.ended.load(Ordering::SeqCst) == 1);
    worker.wait_for_no_holds();
}

#[test]
fn a_client_that_shuts_its_side_still_gets_its_answers() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    client.send(request("GET /plain HTTP/1.1") + &request("GET /chunked HTTP/1.1")).half_close();
    assert_eq!(client.response().text(), "plain");
    assert_eq!(client.response().text(), "hello world");
    client.expect_end();
}

#[test]
fn connections_over_the_limit_are_answered_503() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.limits.connections = 1);
    let mut first = worker.connect();
    assert_eq!(first.get("/plain").status(), 200);
    let mut second = worker.connect();
    assert_eq!(second.response().status(), 503);
    second.expect_end();
    assert_eq!(first.get("/plain").status(), 200);
}

#[test]
fn a_drain_finishes_what_has_begun_and_closes_the_rest() {
    let (_origin, worker) = pair();
    let mut idle = worker.connect();
    assert_eq!(idle.get("/plain").status(), 200);
    let mut busy = worker.connect();
    assert_eq!(busy.get("/plain").status(), 200);
    busy.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n12");
    let mut partial = worker.connect();
    partial.send("GET /plain HTTP/1.1\r\nHo");
    let mut waiting = worker.connect();
    let mut crossing = worker.connect();
    assert_eq!(crossing.get("/plain").status(), 200);
    worker.order(&Order::Drain);
    // Sent before the client could know: it is answered, and told.
    let response = crossing.get("/plain");
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    crossing.expect_end();
    let response = partial.send("st: t\r\n\r\n").response();
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    partial.expect_end();
    let response = waiting.get("/reply?waited");
    assert_eq!((response.text().as_str(), response.field("connection")), ("waited", Some("close")));
    waiting.expect_end();
    let response = busy.send("34").response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("1234", Some("close")));
    busy.expect_end();
    idle.expect_end();
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn a_worker_whose_master_is_gone_drains() {
    let (_origin, worker) = pair();
    let mut client = worker.connect();
    assert_eq!(client.get("/plain").status(), 200);
    let thread = worker.abandon();
    client.expect_end();
    assert_eq!(thread.join().unwrap(), 0);
}

#[test]
fn orders_are_obeyed_and_reported() {
    let (origin, worker) = pair();
    let image = std::fs::File::open("/dev/null").unwrap();
    let mut settings = settings::Worker::default();
    settings.upstreams.insert("web".to_owned(), upstream(&[origin.address]));
    let settings = harness::settings_file(&settings);
    let files = [image.as_fd(), settings.as_fd()];
    worker.master.send(&Order::Load { generation: 2, slot: 1 }, &files).unwrap();
    assert_eq!(worker.report(), Report::Loaded { generation: 2, map_us: 1 });
    worker.master.send(&Order::Load { generation: 13, slot: 1 }, &files).unwrap();
    assert!(matches!(worker.report(), Report::LoadFailed { generation: 13, .. }));

    let orphan = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = orphan.local_addr().unwrap();
    let listener = ListenerId { address: 0, worker: 1 };
    let mut early = Client::connect(address);
    worker.master.send(&Order::Adopt { listener }, &[orphan.as_fd()]).unwrap();
    drop(orphan);
    assert_eq!(early.get("/plain").status(), 200);
    let mut late = Client::connect(address);
    worker.order(&Order::Release { listener });
    assert_eq!(worker.report(), Report::Released { listener });
    assert_eq!(late.get("/plain").status(), 200, "what waited in the queue is served");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens there any more");
}
