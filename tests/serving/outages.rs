//! Servers that are down, fail fast or send what Kiln does not take: who is asked, and who is spared.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::{Client, FORWARDING, Kiln, Origin};

/// A Kiln with one worker whose upstream `web` has these servers and settings.
fn kiln(servers: &[SocketAddr], settings: &str) -> Kiln {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let config = format!("[upstreams.web]\nservers = [{}]\n{settings}\n", servers.join(", "));
    Kiln::builder().script(FORWARDING).workers(1).config(&config).start()
}

/// Servers that get no requests, as the status lists them.
fn out(kiln: &Kiln) -> Vec<Value> {
    kiln.status()["upstreams"]["out"].as_array().expect("a list").clone()
}

/// One that answers with this status after so long.
fn answering(status: u16, after: Duration) -> Origin {
    Origin::answering(move |_, stream| {
        thread::sleep(after);
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").map(|()| true)
    })
}

/// With all settings as they are by default: no request fails while one server is well, however many
/// others refuse connections, from the first request on.
#[test]
fn none_fails_while_one_server_is_well() {
    for dead in [1, 2, 9] {
        let well = Origin::echoing();
        let mut servers: Vec<SocketAddr> = (0..dead).map(|_| Origin::nowhere()).collect();
        servers.insert(dead / 2, well.address());
        let kiln = kiln(&servers, "");
        let mut client = kiln.connect();
        for _ in 0..30 * dead {
            client.get("/").expect_status(200);
        }
        // A POST as well: none of it was sent.
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok");
        client.response().expect_status(200);
        let out = out(&kiln);
        assert_eq!(out.len(), dead, "{out:?}");
        assert!(out.iter().all(|out| out["ejected_why"] == "unreachable"), "{out:?}");
    }
}

/// A client that keeps several requests in flight.
fn ask(address: SocketAddr, clients: usize, requests: usize) {
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                (0..requests).for_each(|_| drop(client.get("/")));
            });
        }
    });
}

/// Errors must not count as speed: a server that fails at once would have the least to do of all.
#[test]
fn a_server_that_fails_fast_gets_no_more_than_its_share() {
    for balance in ["round-robin", "least-requests", "two-choices"] {
        let failing = answering(500, Duration::ZERO);
        let well = [(); 2].map(|()| answering(200, Duration::from_millis(20)));
        let servers = [well[0].address(), failing.address(), well[1].address()];
        let kiln = kiln(&servers, &format!("balance = \"{balance}\""));
        ask(kiln.address(), 10, 60);
        let share = failing.requests().len();
        assert!(share <= 600 * 40 / 100, "{share} of 600, {balance}");
        assert_eq!(out(&kiln), [] as [Value; 0], "a 500 is no failure of the server by default");
    }
}

#[test]
fn a_setting_says_for_which_statuses_a_server_is_ejected() {
    let (failing, well) = (answering(500, Duration::ZERO), answering(200, Duration::ZERO));
    let servers = [failing.address(), well.address()];
    let kiln = kiln(&servers, "eject_statuses = [\"500-599\"]\neject_failures = 3");
    let mut client = kiln.connect();
    let statuses: Vec<u16> = (0..20).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    assert_eq!(out(&kiln)[0]["ejected_why"], "failing");
}

/// What is whole, but beyond Kiln's own limits, does not speak against the server: whoever knows one
/// heavy page could take servers out.
#[test]
fn a_page_that_is_too_heavy_ejects_nobody() {
    let fields = |count: usize, bytes: usize| -> String {
        (0..count).map(|number| format!("X-{number}: {}\r\n", "x".repeat(bytes))).collect()
    };
    for heavy in [fields(201, 1), fields(80, 900), fields(1, 65 << 10)] {
        let heavy = move || {
            let heavy = heavy.clone();
            Origin::answering(move |request, stream| {
                let heavy = if request.line().starts_with("GET /heavy ") { &*heavy } else { "" };
                let head = format!("HTTP/1.1 200 OK\r\n{heavy}Content-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).map(|()| true)
            })
        };
        let servers = [heavy(), heavy()];
        let kiln = kiln(&[servers[0].address(), servers[1].address()], "");
        for _ in 0..20 {
            kiln.get("/heavy").expect_status(502);
        }
        assert_eq!(out(&kiln), [] as [Value; 0]);
        let before = servers.iter().map(|server| server.requests().len());
        let before: Vec<usize> = before.collect();
        assert_eq!(before, [10, 10], "both were asked for it");
        kiln.get("/").expect_status(200);
    }
}
