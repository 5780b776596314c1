//! What an intermediary adds, removes and passes on (RFC 9110, sections 7.6 to 7.8; RFC 7239's
//! predecessors `X-Forwarded-*`).

use crate::site::{Upstream, check, connect};

/// RFC 9110, section 7.6.1: an intermediary MUST remove what `Connection` names, and the field itself,
/// before it forwards the message.
#[test]
fn what_connection_names_stays_on_its_connection_in_both_directions() {
    let origin = Upstream::replying(
        "HTTP/1.1 200 OK\r\nConnection: X-One,x-two\r\nX-One: 1\r\nX-Two: 1\r\nX-TWO: 2\r\n\
         Connection: x-three\r\nX-Three: 1\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = check(
        origin.get_with(
            "Connection: X-One,x-two\r\nX-One: 1\r\nX-Two: 1\r\nX-TWO: 2\r\nconnection: x-three ,,\r\n\
             X-Three: 1\r\nX-End: 1\r\n",
        ),
        200,
    );
    let received = origin.last();
    for name in ["connection", "x-one", "x-two", "x-three"] {
        assert!(received.values(name).is_empty(), "{}", received.head);
        assert!(answer.values(name).is_empty(), "{answer:?}");
    }
    assert_eq!((received.values("x-end"), answer.values("x-end")), (vec!["1"], vec!["1"]));
}

/// RFC 9110, section 7.6.1: the fields that are known to be for one connection SHOULD be removed even
/// if nobody names them.
#[test]
fn fields_of_one_connection_are_removed_even_if_nobody_names_them() {
    let origin = Upstream::replying(
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let answer = check(
        origin
            .get_with("Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n"),
        200,
    );
    for name in ["keep-alive", "proxy-connection"] {
        assert!(origin.last().values(name).is_empty(), "{}", origin.last().head);
        assert!(answer.values(name).is_empty(), "{answer:?}");
    }
}

/// RFC 9110, section 10.1.4: `TE` is for one connection, and whoever sends it MUST name it in
/// `Connection`.
#[test]
fn te_never_reaches_an_origin_without_being_named_in_connection() {
    let origin = Upstream::fine();
    for fields in
        ["TE: trailers\r\n", "TE: gzip\r\nConnection: TE\r\n", "TE: trailers\r\nConnection: te\r\n"]
    {
        check(origin.get_with(fields), 200);
        let received = origin.last();
        let is_named =
            received.values("connection").iter().any(|v| v.to_lowercase().contains("te"));
        assert!(received.values("te").is_empty() || is_named, "{}", received.head);
        // Kiln decodes no other coding than chunked.
        assert!(!received.values("te").contains(&"gzip"), "{}", received.head);
    }
}

/// A client that lists a field which frames or routes its message in `Connection` must not thereby
/// make Kiln forward a message without it (RFC 9110, section 7.6.1: what is needed by the recipient is
/// not to be listed).
#[test]
fn listing_framing_and_routing_fields_in_connection_does_not_remove_them() {
    let origin = Upstream::fine();
    for option in
        ["content-length", "transfer-encoding", "host", "via", "x-forwarded-for", "expect"]
    {
        for (framing, body) in
            [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")]
        {
            let mut client = connect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nConnection: {option}\r\n{framing}\
                 \r\n\r\n{body}"
            ));
            let answer = client.response();
            if answer.status == 400 {
                continue;
            }
            assert_eq!(answer.status, 200, "{option}: {answer:?}");
            let received = origin.last();
            assert_eq!(received.body, b"abc", "{option}: {}", received.head);
            assert_eq!(received.values("host"), ["test"], "{option}");
            assert_eq!(received.values("via").len(), 1, "{option}");
            assert_eq!(received.values("x-forwarded-for"), ["127.0.0.1"], "{option}");
        }
    }
}

/// RFC 9110, section 7.6.3: a gateway MUST add itself to `Via` in each request, after those that are
/// there already, with the version that it received.
#[test]
fn via_is_appended_in_order_with_the_version_that_was_received() {
    let origin =
        Upstream::replying("HTTP/1.0 200 OK\r\nVia: 1.1 behind\r\nContent-Length: 2\r\n\r\nok");
    let answer = check(
        origin.get_with("Via: 1.0 one, 1.1 two (comment, with comma)\r\nVia: 2 three\r\n"),
        200,
    );
    let sent = origin.last().values("via").join(", ");
    let before = "1.0 one, 1.1 two (comment, with comma), 2 three, 1.1 kiln (";
    assert!(sent.starts_with(before) && sent.ends_with(')'), "{sent}");
    assert_eq!(answer.values("via").join(", "), "1.1 behind, 1.0 kiln");
    check(format!("GET / HTTP/1.0\r\nHost: a\r\nX-Upstream: {origin}\r\n\r\n"), 200);
    let received = origin.last();
    assert!(matches!(received.values("via")[..], [via] if via.starts_with("1.0 kiln (")));
}

/// `X-Forwarded-For` gains the client's address at its end; earlier ones stay in order, so that an
/// origin can count back from the end to whom it trusts.
#[test]
fn x_forwarded_fields_tell_the_origin_about_the_client() {
    let origin = Upstream::fine();
    check(origin.get(), 200);
    assert_eq!(origin.last().values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(origin.last().values("x-forwarded-proto"), ["http"]);
    check(
        origin.get_with(
            "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-For: spoofed\r\n\
             X-Forwarded-Proto: https\r\n",
        ),
        200,
    );
    let received = origin.last();
    assert_eq!(
        received.values("x-forwarded-for").join(", "),
        "192.0.2.1, 192.0.2.2, spoofed, 127.0.0.1"
    );
    assert_eq!(received.values("x-forwarded-proto"), ["http"], "a client may claim anything");
}

/// RFC 9110, section 7.6.2: `Max-Forwards: 0` in TRACE and OPTIONS MUST NOT be forwarded; Kiln is then
/// the final recipient and answers by itself.
#[test]
fn max_forwards_of_nought_is_not_forwarded() {
    let origin = Upstream::fine();
    for method in ["TRACE", "OPTIONS"] {
        let mut client = connect();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nMax-Forwards: 0\r\n\r\n"
        ));
        let answer = client.response();
        // A TRACE may be refused: 405 or 501 (RFC 9110, section 9.3.8, is optional).
        assert!(matches!(answer.status, 200 | 204 | 405 | 501), "{method}: {answer:?}");
    }
    assert!(origin.requests().is_empty(), "it was forwarded: {}", origin.last().head);
}

/// RFC 9110, section 7.6.2: a larger value MUST be forwarded less one (or less, down to what the
/// recipient supports); none is made up where none came.
#[test]
fn max_forwards_is_counted_down_in_trace_and_options() {
    let origin = Upstream::fine();
    for method in ["TRACE", "OPTIONS"] {
        for (value, forwarded) in [("1", "0"), ("10", "9"), ("00002", "1")] {
            let mut client = connect();
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: test\r\nX-Upstream: {origin}\r\nMax-Forwards: {value}\r\n\r\n"
            ));
            let answer = client.response();
            if method == "TRACE" && matches!(answer.status, 405 | 501) {
                continue;
            }
            assert_eq!(answer.status, 200, "{method} {value}");
            assert_eq!(origin.last().values("max-forwards"), [forwarded], "{method} {value}");
        }
    }
    check(origin.get(), 200);
    assert!(origin.last().values("max-forwards").is_empty());
}

/// RFC 9110, section 7.6.2: in other methods `Max-Forwards` MAY be ignored.
#[test]
fn max_forwards_of_other_methods_is_no_reason_to_refuse() {
    let origin = Upstream::fine();
    check(origin.get_with("Max-Forwards: 0\r\n"), 200);
    check(origin.get_with("Max-Forwards: x\r\n"), 200);
    assert_eq!(origin.requests().len(), 2);
}

/// RFC 9110, section 7.8: an `Upgrade` that a 1.0 client sends MUST be ignored, and one that
/// `Connection` does not name is not meant for Kiln.
#[test]
fn an_upgrade_that_does_not_count_is_not_forwarded() {
    let origin = Upstream::fine();
    check(
        format!(
            "GET / HTTP/1.0\r\nHost: a\r\nX-Upstream: {origin}\r\nConnection: upgrade\r\nUpgrade: websocket\
             \r\n\r\n"
        ),
        200,
    );
    assert!(origin.last().values("upgrade").is_empty(), "{}", origin.last().head);
    check(origin.get_with("Upgrade: websocket\r\n"), 200);
    assert!(origin.last().values("upgrade").is_empty(), "{}", origin.last().head);
}

/// RFC 9110, section 7.8: a server MUST NOT switch to a protocol that was not asked for.
#[test]
fn a_101_that_nobody_asked_for_does_not_reach_a_client() {
    let origin = Upstream::replying(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
    );
    check(origin.get(), 502);
    check(origin.get_with("Connection: close\r\n"), 502);
}

/// RFC 9113, section 3.1: `h2c` by upgrade is deprecated; through an intermediary that relays it, its
/// client reaches around every rule (RFC 9110, section 7.8: it is for the next hop alone).
#[test]
fn an_upgrade_to_h2c_is_never_forwarded() {
    let origin = Upstream::fine();
    let mut client = connect();
    client.send(origin.get_with(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ));
    client.response().expect(200, "ok");
    let received = origin.last();
    assert!(received.values("upgrade").is_empty(), "{}", received.head);
    assert!(received.values("http2-settings").is_empty(), "{}", received.head);
}

/// RFC 9110, section 11.7: credentials for a proxy are consumed by the proxy that asked for them; a
/// gateway that asks for none relays them or not, but its own answers never ask.
#[test]
fn kiln_asks_nobody_for_credentials() {
    let answer =
        check("GET / HTTP/1.1\r\nHost: test\r\nProxy-Authorization: Basic QTpC\r\n\r\n", 200);
    assert_eq!(answer.field("proxy-authenticate"), None);
}
