//! Switching protocols, message by message (RFC 9110, sections 7.8, 9.3.6, 15.2.2 and 15.5.22). That
//! bytes go through once it is done is shown in `traffic`.

use tests::{Kiln, Origin};

use crate::site::{OK, Upstream, check, connect};

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";

const ASKING: &str = "Connection: Upgrade\r\nUpgrade: echo/1\r\n";

/// RFC 9110, section 7.8: what is offered is offered again, with the option that makes it count, and the
/// answer names what was chosen.
#[test]
fn an_offer_and_its_acceptance_are_relayed_with_their_option() {
    let origin = Upstream::replying(format!("{SWITCHED}raw"));
    let mut client = connect();
    let answer = client.send(origin.get_with(ASKING)).head().expect_status(101);
    assert_eq!(answer.values("upgrade"), ["echo/1"]);
    assert!(answer.values("connection").iter().any(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(client.exactly(3).expect("what follows"), b"raw");
    let received = origin.last();
    assert_eq!(received.values("upgrade"), ["echo/1"]);
    assert!(
        received.values("connection").iter().any(|value| value.eq_ignore_ascii_case("upgrade"))
    );
}

/// Other versions of HTTP, and TLS, would carry requests past the script (RFC 9113, section 3.1, has
/// deprecated the first). They are left out of an offer, in whatever spelling.
#[test]
fn protocols_that_could_hide_requests_are_left_out_of_an_offer() {
    let origin = Upstream::fine();
    for offer in
        ["h2c", "H2C", "h2c, h2c-14", "HTTP/2.0", "http/1.1", "TLS/1.2", "tls/1.0, HTTP/1.1"]
    {
        let fields = format!("Connection: Upgrade\r\nUpgrade: {offer}\r\n");
        check(origin.get_with(&fields), 200);
        assert!(origin.last().values("upgrade").is_empty(), "{offer}: {}", origin.last().head);
    }
    for offer in ["h2c, echo/1", "echo/1, h2c", "TLS/1.2,echo/1,HTTP/2.0"] {
        let fields = format!("Connection: Upgrade\r\nUpgrade: {offer}\r\n");
        check(origin.get_with(&fields), 200);
        assert_eq!(origin.last().values("upgrade"), ["echo/1"], "{offer}");
    }
}

/// RFC 9110, section 15.2.2: a 101 MUST say what is switched to, and section 7.8: with the option that
/// makes it count, which 1.0 does not have.
#[test]
fn a_switch_that_does_not_say_to_what_is_502() {
    expect_no_switch(&[
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n",
    ]);
}

/// Sends each of these as the answer to an offer of `echo/1`: 502 is what becomes of it.
#[track_caller]
fn expect_no_switch(answers: &[&str]) {
    let relayed = answers.iter().filter(|answer| {
        let origin = Upstream::replying(answer);
        connect().send(origin.get_with(ASKING)).head().status != 502
    });
    let relayed: Vec<&&str> = relayed.collect();
    assert!(relayed.is_empty(), "{relayed:#?}");
}

/// RFC 9110, section 7.8: a server MUST NOT switch to a protocol that the client has not asked for. For
/// its clients Kiln is that server.
#[test]
fn a_switch_to_a_protocol_that_was_not_offered_is_502() {
    expect_no_switch(&[
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other/1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1, other/1\r\n\r\n",
    ]);
}

/// Names of protocols are compared without regard to case (RFC 9110, section 7.8).
#[test]
fn a_switch_may_spell_the_protocol_in_its_own_way() {
    let origin = Upstream::replying(SWITCHED.replace("echo/1", "ECHO/1"));
    let mut client = connect();
    client.send(origin.get_with(ASKING)).head().expect_status(101);
}

/// A client that claims to switch and an origin that does not agree: what follows are requests, and Kiln
/// goes on looking at each of them.
#[test]
fn no_tunnel_opens_while_the_origin_answers_anything_but_101() {
    for answer in [
        OK,
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: other/2\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\
         Content-Length: 2\r\n\r\nno",
    ] {
        let origin = Upstream::replying(answer);
        let mut client = connect();
        client.send(origin.get_with(ASKING) + "GET /own HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut first = client.response();
        if first.status == 103 {
            first = client.response();
        }
        assert_ne!(first.status, 101, "{answer:?}");
        if first.status == 426 {
            // RFC 9110, section 15.5.22: it MUST say which protocols it wants.
            assert_eq!(first.values("upgrade"), ["other/2"], "{first:?}");
        }
        if first.field("connection").is_some_and(|value| value.contains("close")) {
            client.expect_closed();
        } else {
            client.response().expect(200, "GET /own test");
        }
        assert!(origin.requests().iter().all(|request| !request.head.contains("/own")));
    }
}

/// RFC 9110, section 7.8: the request is complete, with its content, before protocols are switched. Kiln
/// offers nothing where there is content, so that nobody disagrees about where it ends.
#[test]
fn a_request_with_content_does_not_confuse_what_follows() {
    let origin = Upstream::fine();
    for (framing, body) in
        [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")]
    {
        let mut client = connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\n{ASKING}{framing}\r\n\r\n{body}"
        ));
        client.response().expect(200, "ok");
        client.get("/after").expect(200, "GET /after test");
        assert_eq!(origin.last().body, b"abc");
    }
}

/// RFC 9112, section 3.2.3, and RFC 9110, section 9.3.6: the target of `CONNECT` is a host and a port, and
/// there is no content.
#[test]
fn connect_takes_a_host_and_a_port_and_nothing_else() {
    let origin = Origin::raw(|mut stream, _| {
        // It may be gone.
        let _ = std::io::Write::write_all(&mut stream, b"hello");
    });
    let config = format!("[upstreams.db]\nservers = [\"{}\"]\nconnect = true\n", origin.address());
    let script = "#include <kiln.h>
        kiln::Action on_request(kiln::Request&) { return kiln::forward(\"db\"); }";
    let kiln = Kiln::builder().script(script).workers(1).config(&config).start();
    let ask = |target: &str, fields: &str| {
        let mut client = kiln.connect();
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"));
        let answer = client.head();
        // RFC 9110, section 9.3.6: no framing fields in a 2xx.
        if answer.status == 200 {
            assert!(answer.values("content-length").is_empty(), "{answer:?}");
            assert!(answer.values("transfer-encoding").is_empty(), "{answer:?}");
            assert_eq!(client.exactly(5).expect("the server speaks"), b"hello");
        }
        answer.status
    };
    for target in ["db:5432", "db.internal:1", "127.0.0.1:65535", "[::1]:80"] {
        assert_eq!(ask(target, ""), 200, "{target}");
    }
    for target in [
        "db",
        "db:",
        ":80",
        "db:0x50",
        "db:65536",
        "db:80:80",
        "/",
        "*",
        "http://db:80/",
        "u@db:80",
        "db:80/",
        "db:80?a",
    ] {
        assert_eq!(ask(target, ""), 400, "{target}");
    }
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(ask("db:80", fields), 400, "{fields}");
    }
}
