//! What clients see of balancing, queues, retries and limits.

mod harness;

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use harness::{Client, Origin, Worker, upstream, wait_until};
use heritage::{Ejection, Order, Report, ServerNews};
use settings::{Balance, Upstream};

fn start(any: Upstream, origin: &Origin) -> Worker {
    Worker::start(origin, |settings| {
        settings.upstreams.insert("any".to_owned(), any);
    })
}

/// A server that takes requests and then closes without a word.
fn silent() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            harness::Message::read_head(&mut std::io::BufReader::new(stream.unwrap()));
        }
    });
    address
}

#[test]
fn a_get_that_a_server_drops_is_sent_to_another_and_a_post_is_not() {
    let origin = Origin::start();
    let mut any = upstream(&[silent(), origin.address]);
    any.eject_failures = 0;
    let worker = start(any, &origin);
    let mut client = worker.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/any").text(), "plain");
    }
    let post = "POST /any HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
    let mut statuses: Vec<u16> =
        (0..2).map(|_| worker.connect().send(post).response().status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[test]
fn a_server_that_keeps_failing_is_left_out_and_the_other_workers_are_told() {
    let origin = Origin::start();
    let failing = silent();
    let worker = start(upstream(&[failing, origin.address]), &origin);
    let mut client = worker.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/any").status(), 200);
    }
    let ejected = ServerNews::Ejected {
        upstream: "any".to_owned(),
        server: failing,
        why: Ejection::Failing,
        for_ms: 10_000,
    };
    assert_eq!(worker.report(), Report::News(ejected));
}

#[test]
fn news_of_servers_are_obeyed() {
    let (one, other) = (Origin::start(), Origin::start());
    let worker = start(upstream(&[one.address, other.address]), &one);
    let check = |is_well| {
        let (upstream, server) = ("any".to_owned(), one.address);
        worker.order(&Order::News(vec![ServerNews::Checked { upstream, server, is_well }]));
    };
    check(false);
    // An order that is answered has been preceded by all before it.
    worker.order(&Order::Release { listener: heritage::ListenerId { address: 9, worker: 9 } });
    assert!(matches!(worker.report(), Report::Released { .. }));
    for _ in 0..6 {
        assert_eq!(worker.connect().get("/any").status(), 200);
    }
    assert_eq!(one.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn requests_wait_for_a_server_that_is_busy_and_are_served_in_their_order() {
    let origin = Origin::start();
    let any = Upstream { connections: 1, queue: 2, ..upstream(&[origin.address]) };
    let worker = start(any, &origin);
    let mut holding = worker.connect();
    holding.send("GET /any-hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_until("it is held", || origin.connections.load(Ordering::SeqCst) == 1);
    let mut waiting: Vec<Client> = (0..2).map(|_| worker.connect()).collect();
    for (number, client) in (2..).zip(&mut waiting) {
        client.send("GET /any HTTP/1.1\r\nHost: t\r\n\r\n");
        // So that the next one is behind it.
        worker.wait_for_holds(number);
    }
    assert_eq!(worker.connect().get("/any").status(), 503, "the queue is full");
    // A client that waits and goes leaves its place.
    waiting.remove(0).reset();
    worker.wait_for_holds(2);
    let mut late = worker.connect();
    late.send("GET /any HTTP/1.1\r\nHost: t\r\n\r\n");
    worker.wait_for_holds(3);
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1, "the others have to wait");
    holding.reset();
    assert_eq!(waiting[0].response().text(), "plain");
    assert_eq!(late.response().text(), "plain");
    worker.wait_for_no_holds();
}

#[test]
fn a_request_that_waits_too_long_is_503() {
    let origin = Origin::start();
    let any = Upstream { connections: 1, ..upstream(&[origin.address]) };
    let worker = Worker::start(&origin, |settings| {
        settings.upstreams.insert("any".to_owned(), any);
        settings.timeouts.queue_ms = 100;
    });
    let mut holding = worker.connect();
    holding.send("GET /any-hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_until("it is held", || origin.connections.load(Ordering::SeqCst) == 1);
    let mut client = worker.connect();
    assert_eq!(client.get("/any").status(), 503);
    assert_eq!(client.get("/plain").text(), "plain", "the connection goes on");
}

#[test]
fn an_answer_does_not_wait_with_the_request_behind_it() {
    let origin = Origin::start();
    let any = Upstream { connections: 1, ..upstream(&[origin.address]) };
    let worker = Worker::start(&origin, |settings| {
        settings.upstreams.insert("any".to_owned(), any);
        settings.timeouts.queue_ms = 60_000;
    });
    let mut holding = worker.connect();
    holding.send("GET /any-hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_until("it is held", || origin.connections.load(Ordering::SeqCst) == 1);
    let mut client = worker.connect();
    client.send("GET /fixed HTTP/1.1\r\nHost: t\r\n\r\nGET /any HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().text(), "hello world\n");
    holding.reset();
    assert_eq!(client.response().text(), "plain");
}

#[test]
fn a_whole_exchange_has_its_time() {
    let origin = Origin::start();
    let any = Upstream { exchange_ms: Some(150), ..upstream(&[origin.address]) };
    let worker = start(any, &origin);
    assert_eq!(worker.connect().get("/any-hold").status(), 504);
}

#[test]
fn every_way_to_balance_serves() {
    let origins = [Origin::start(), Origin::start(), Origin::start()];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices, Balance::Hash]
    {
        let any = Upstream { balance, ..upstream(&addresses) };
        let worker = start(any, &origins[0]);
        let before: Vec<usize> =
            origins.iter().map(|origin| origin.connections.load(Ordering::SeqCst)).collect();
        for _ in 0..30 {
            assert_eq!(worker.connect().get("/any").status(), 200);
        }
        let used = origins.iter().zip(&before);
        let used =
            used.filter(|(origin, before)| origin.connections.load(Ordering::SeqCst) > **before);
        // All requests come from one address, and that is the key.
        let expected = if balance == Balance::Hash { 1 } else { 3 };
        assert_eq!(used.count(), expected, "{balance:?}");
    }
}

#[test]
fn one_client_holds_only_so_many_connections() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| settings.limits.client_connections = 2);
    let mut first = worker.connect();
    assert_eq!(first.get("/plain").status(), 200);
    let mut second = worker.connect();
    assert_eq!(second.get("/plain").status(), 200);
    let mut third = worker.connect();
    assert_eq!(third.response().status(), 503);
    drop(third);
    drop(second);
    wait_until("a place is free", || worker.connect().get("/plain").status() == 200);
    assert_eq!(first.get("/plain").status(), 200);
}

#[test]
fn a_body_that_dribbles_is_too_slow_and_one_that_a_slow_origin_holds_up_is_not() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |settings| {
        settings.timeouts.body_grace_ms = 200;
        settings.limits.request_body_rate = 1000;
    });
    let mut client = worker.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        // It fails once Kiln has closed.
        if std::io::Write::write_all(client.stream.get_mut(), b"x").is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
        client.stream.get_ref().set_nonblocking(true).unwrap();
        let answered = std::io::BufRead::fill_buf(&mut client.stream).is_ok();
        client.stream.get_ref().set_nonblocking(false).unwrap();
        if answered {
            break;
        }
    }
    assert_eq!(client.response().status(), 408);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// Content that was spliced leaves the connection as clean as content that was read.
#[test]
fn a_connection_that_carried_a_large_body_is_used_again() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    for _ in 0..10 {
        let body = client.get("/bytes?1000000").body;
        assert!(body == harness::pattern(1_000_000), "the body is not what was sent");
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// Content that is announced to HEAD may follow all the same, and would be taken for the next answer.
#[test]
fn a_connection_on_which_content_may_follow_an_answer_to_head_is_not_used_again() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    for (target, connections) in [("/plain", 1), ("/until-close", 2)] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_eq!(client.head().status(), 200);
        assert_eq!(client.get("/plain").text(), "plain");
        let opened = origin.connections.load(Ordering::SeqCst);
        assert!(opened > connections, "{target}: {opened} connections");
    }
}
