//! Kiln behind trusted proxies: the client is whom they name, and not the proxy.

use std::collections::BTreeSet;

use tests::{FORWARDING, Kiln, Origin, until_true};

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

fn request_of(client: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.{client}\r\n\r\n")
}

/// A hundred clients behind one proxy are a hundred keys.
#[test]
fn a_hash_without_a_key_is_of_the_client_that_a_trusted_proxy_names() {
    let origins: [Origin; 4] = std::array::from_fn(|_| Origin::echoing());
    let servers: Vec<String> =
        origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    for trusted in [TRUSTING, ""] {
        let config = format!(
            "{trusted}[upstreams.web]\nbalance = \"hash\"\nservers = [{}]\n",
            servers.join(", ")
        );
        let kiln = Kiln::builder().script(FORWARDING).workers(1).config(&config).start();
        let counts = || origins.iter().map(|origin| origin.requests().len()).collect::<Vec<_>>();
        let before = counts();
        let mut proxy = kiln.connect();
        for client in 1..=100 {
            proxy.send(request_of(client)).response().expect_status(200);
        }
        let gained =
            counts().iter().zip(&before).map(|(now, before)| now - before).collect::<Vec<_>>();
        match trusted.is_empty() {
            // What a stranger writes counts for nothing.
            true => assert_eq!(gained.iter().filter(|count| **count > 0).count(), 1, "{gained:?}"),
            false => assert!(gained.iter().all(|count| *count > 8), "{gained:?}"),
        }
        // The same client, the same server.
        let before = counts();
        (0..5).for_each(|_| drop(proxy.send(request_of(7)).response().expect_status(200)));
        let used: BTreeSet<usize> =
            counts().iter().zip(&before).map(|(now, before)| now - before).collect();
        assert_eq!(used, BTreeSet::from([0, 5]));
    }
}

/// The limit is each client's, however many connections the proxy has, and a place is free again when
/// its request is over.
#[test]
fn client_connections_are_counted_for_whom_a_trusted_proxy_names() {
    let origin = Origin::holding();
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[origin.address()])
        .config(&format!("{TRUSTING}limits.client_connections = 2"))
        .start();
    let mut held: Vec<_> = (0..6).map(|_| kiln.connect()).collect();
    for (number, proxy) in held.iter_mut().enumerate() {
        proxy.send(request_of(1 + number / 2));
    }
    origin.until_requests(6);
    let mut third = kiln.connect();
    third.send(request_of(1)).response().expect_status(503);
    until_true("it is counted", || kiln.status()["reasons"]["client-connections"] == 1);
    third.send(request_of(9));
    origin.until_requests(7);
    origin.release_all();
    third.response().expect_status(200);
    held.iter_mut().for_each(|proxy| drop(proxy.response().expect_status(200)));
    // Idle connections of the proxy are nobody's.
    for _ in 0..5 {
        third.send(request_of(1)).response().expect_status(200);
    }
    // A place goes with a client that goes.
    let gone = kiln.connect();
    drop(gone);
    until_true("it is gone", || kiln.workers()[0]["connections"] == 7);
}
