//! Networks that lose packets, and servers that nothing is heard of.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use tests::{Client, Kiln, Network, Origin};

use crate::{FORWARDING, alone, beside_others};

/// An address of the loopback network that only one origin has, so that rules can name it.
const FAR: &str = "127.0.0.9";

const CONNECT_MS: u64 = 400;
const RESPONSE_HEAD_MS: u64 = 600;

/// What a timeout may be late: a tick of the timers, and a busy machine.
const LATE_MS: u64 = 1500;

fn far() -> Origin {
    let listener = TcpListener::bind((FAR, 0)).expect("all of 127.0.0.0/8 is this machine");
    Origin::answering_at(listener, |_, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar";
        std::io::Write::write_all(stream, answer).map(|()| true)
    })
}

fn near() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnear")
}

fn forwarding_to(servers: &[SocketAddr]) -> Kiln {
    Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", servers)
        .config(&format!(
            "[timeouts]\nconnect_ms = {CONNECT_MS}\nresponse_head_ms = {RESPONSE_HEAD_MS}\n"
        ))
        .start()
}

/// Five packets of a hundred are lost on both sides of Kiln, and nobody notices but by the time it takes.
#[test]
fn requests_succeed_though_packets_are_lost() {
    let _beside = beside_others();
    Network::isolated(|network| {
        let origin = Origin::mirroring();
        let kiln = Kiln::builder()
            .script(FORWARDING)
            .workers(2)
            .upstream("web", &[origin.address()])
            .start();
        let address = kiln.address();
        network.rules(&["numgen random mod 100 < 5 drop"]);
        let clients: Vec<_> = (0..8)
            .map(|number| {
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    for request in 0..12 {
                        let body = format!("{number} {request} ").repeat(2000);
                        let length = body.len();
                        client.send(format!(
                            "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
                        ));
                        client.response().expect(200, &body);
                    }
                })
            })
            .collect();
        let ended: Vec<bool> = clients.into_iter().map(|client| client.join().is_ok()).collect();
        network.rules(&[]);
        assert!(ended.iter().all(|is_fine| *is_fine), "{ended:?}");
    });
}

/// No answer to a SYN, not even a refusal.
#[test]
fn a_server_that_nothing_is_heard_of_is_504_within_the_connect_timeout() {
    let _alone = alone();
    Network::isolated(|network| {
        let origin = far();
        let kiln = forwarding_to(&[origin.address()]);
        network.rules(&[&format!("ip daddr {FAR} drop")]);
        let mut client = kiln.connect();
        for _ in 0..2 {
            let begun = Instant::now();
            client.get("/").expect_status(504);
            let taken = begun.elapsed();
            assert!(taken >= Duration::from_millis(CONNECT_MS - 50), "{taken:?}");
            assert!(taken < Duration::from_millis(CONNECT_MS + LATE_MS), "{taken:?}");
        }
        network.rules(&[]);
        client.get("/").expect(200, "far");
    });
}

#[test]
fn another_server_answers_for_one_that_nothing_is_heard_of() {
    let _alone = alone();
    Network::isolated(|network| {
        let (far, near) = (far(), near());
        let kiln = forwarding_to(&[far.address(), near.address()]);
        network.rules(&[&format!("ip daddr {FAR} drop")]);
        let mut client = kiln.connect();
        for _ in 0..4 {
            let begun = Instant::now();
            client.get("/").expect(200, "near");
            let taken = begun.elapsed();
            assert!(taken < Duration::from_millis(CONNECT_MS + LATE_MS), "{taken:?}");
        }
        network.rules(&[]);
    });
}

/// A connection of the pool goes dead without a word: the request on it may have arrived, and what the
/// client gets is a 504 after the timeout for heads. The next one goes elsewhere or on a new connection.
#[test]
fn a_pooled_connection_that_goes_dead_in_silence_costs_one_timeout() {
    let _alone = alone();
    Network::isolated(|network| {
        let far = far();
        let kiln = forwarding_to(&[far.address()]);
        let mut client = kiln.connect();
        client.get("/").expect(200, "far");
        network.rules(&[&format!("ip daddr {FAR} drop")]);
        let begun = Instant::now();
        client.get("/").expect_status(504);
        let taken = begun.elapsed();
        assert!(taken < Duration::from_millis(RESPONSE_HEAD_MS + LATE_MS), "{taken:?}");
        network.rules(&[]);
        client.get("/").expect(200, "far");
        assert_eq!(far.connections(), 2, "the dead one is not used again");
    });
}

/// A firewall that refuses is no black hole: the other server is asked at once.
#[test]
fn a_server_behind_a_refusing_firewall_is_passed_over_at_once() {
    let _alone = alone();
    Network::isolated(|network| {
        let (far, near) = (far(), near());
        let kiln = forwarding_to(&[far.address(), near.address()]);
        for refusal in ["tcp reset", "icmp port-unreachable", "icmp host-unreachable"] {
            let with = match refusal {
                "tcp reset" => "reject with tcp reset".to_owned(),
                icmp => format!("reject with {}", icmp.replacen(' ', " type ", 1)),
            };
            network.rules(&[&format!("ip daddr {FAR} meta l4proto tcp {with}")]);
            let mut client = kiln.connect();
            for _ in 0..4 {
                client.get("/").expect(200, "near");
            }
        }
        network.rules(&[]);
    });
}
