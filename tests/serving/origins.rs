//! Origins that fail: what clients get, and what is tried again.

use std::io::{Read, Write};

use tests::{Kiln, Nginx, Origin};

use crate::FORWARDING;

#[test]
fn an_origin_that_refuses_connections_is_502() {
    let kiln = Kiln::forwarding_to(&[Origin::nowhere()]);
    let mut client = kiln.connect();
    client.get("/").expect_status(502);
    // The connection of the client has done nothing wrong.
    client.get("/").expect_status(502);
}

#[test]
fn a_server_that_refuses_is_passed_over_for_one_that_does_not() {
    let origin = Nginx::start();
    let kiln = Kiln::forwarding_to(&[Origin::nowhere(), origin.address()]);
    let mut client = kiln.connect();
    for _ in 0..6 {
        client.get("/echo").expect_status(200);
    }
}

#[test]
fn requests_are_spread_over_the_servers_of_an_upstream() {
    let servers = [Nginx::start(), Nginx::start()];
    for (number, server) in servers.iter().enumerate() {
        server.write("name", number.to_string());
    }
    let kiln = Kiln::forwarding_to(&[servers[0].address(), servers[1].address()]);
    let mut client = kiln.connect();
    let mut shares = [0; 2];
    for _ in 0..20 {
        let name = client.get("/files/name").expect_status(200).text();
        shares[name.parse::<usize>().expect("a number")] += 1;
    }
    assert_eq!(shares, [10, 10]);
}

#[test]
fn an_answer_that_is_none_is_502() {
    for nonsense in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 42 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let origin = Origin::replying(nonsense);
        let kiln = Kiln::forwarding_to(&[origin.address()]);
        let answer = kiln.get("/");
        assert_eq!(answer.status, 502, "{nonsense:?} became {answer:?}");
    }
}

#[test]
fn an_origin_that_closes_without_an_answer_is_502() {
    let origin = Origin::closing();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    kiln.get("/").expect_status(502);
    assert_eq!(origin.requests().len(), 1, "on a new connection nothing is tried twice");
}

#[test]
fn an_origin_that_does_not_answer_in_time_is_504() {
    let origin = Origin::holding();
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config("timeouts.response_head_ms = 200")
        .start();
    let mut client = kiln.connect();
    client.get("/").expect_status(504);
    assert_eq!(origin.requests().len(), 1);
    origin.release_all();
    // What the origin answers late is not taken for the answer to the next request.
    client.get("/second").expect(200, "held\n");
    assert_eq!(origin.connections(), 2);
}

/// Half an answer must look like half an answer.
#[test]
fn a_response_that_breaks_off_never_looks_whole() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let start = if head.starts_with('C') { "half" } else { "64\r\nhalf" };
        let response = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{start}");
        let origin = Origin::answering(move |_, stream| {
            stream.write_all(response.as_bytes()).map(|()| false)
        });
        let kiln = Kiln::forwarding_to(&[origin.address()]);
        let mut client = kiln.connect();
        let answer = client.send_get("/").try_response();
        assert!(answer.is_err(), "{head} became {answer:?}");
    }
}

#[test]
fn a_response_that_stalls_is_broken_off() {
    let origin = Origin::raw(|mut stream, _| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
        // Stays until the other side gives up.
        if stream.read(&mut [0; 1024]).is_ok() && stream.write_all(answer).is_ok() {
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config("timeouts.body_ms = 200")
        .start();
    let mut client = kiln.connect();
    assert!(client.send_get("/").try_response().is_err());
}

/// An origin may close a pooled connection at any time, also just when it is used again.
#[test]
fn a_request_on_a_dead_pooled_connection_is_repeated_only_if_that_is_safe() {
    // Answers the first request of each connection, and closes on reading a second one.
    let origin = Origin::raw(|mut stream, _| {
        let mut part = [0; 4096];
        if stream.read(&mut part).is_ok_and(|read| read > 0) {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            // The other side may be gone.
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut part);
        }
    });
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    client.get("/").expect(200, "ok");
    client.get("/").expect(200, "ok");
    assert_eq!(origin.connections(), 2);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    client.response().expect_status(502);
    assert_eq!(origin.connections(), 2, "a POST may have had its effect");
}

#[test]
fn a_client_that_breaks_off_takes_its_request_along() {
    let origin = Origin::holding();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let mut client = kiln.connect();
    client.send_get("/");
    origin.until_requests(1);
    client.reset();
    tests::until_true("the worker has let go of the client", || {
        kiln.workers()[0]["connections"] == 0
    });
    origin.release_all();
    kiln.get("/").expect(200, "held\n");
}

/// Many clients, one worker: each gets the answer to its own request.
#[test]
fn answers_are_never_mixed_up_between_clients() {
    let origin = Origin::echoing();
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let address = kiln.address();
    let clients: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = tests::Client::connect(address);
                for request in 0..50 {
                    let target = format!("/{number}/{request}");
                    let answer = client.get(&target).expect_status(200).text();
                    assert!(answer.starts_with(&format!("GET {target} ")), "{target}: {answer}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every answer was its own");
    }
    assert_eq!(origin.requests().len(), 400);
}
