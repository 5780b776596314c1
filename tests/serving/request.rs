//! What becomes of requests that are as they should be: decisions of scripts, connections, fields.

use tests::{Client, Kiln, Nginx, Origin, kiln_command, run};

use crate::{FORWARDING, replying};

/// The spelling of the API that is promised: reply, close, forward with a header set from the query.
const PROMISED: &str = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/hello") return kiln::reply(200, "hello world\n");
    if (request.header("x-blocked") == "yes") return kiln::close();
    request.set_header("x-user-id", request.query("id"));
    return kiln::forward("web");
}
"#;

#[test]
fn a_script_answers_closes_or_forwards() {
    let origin = Nginx::start();
    let kiln =
        Kiln::builder().script(PROMISED).workers(2).upstream("web", &[origin.address()]).start();
    kiln.get("/hello").expect(200, "hello world\n");
    let echoed = kiln.get("/echo?id=42").expect_status(200).text();
    assert!(echoed.starts_with("GET /echo?id=42 HTTP/1.1 host=test "), "{echoed}");
    assert!(echoed.contains(" x-user-id=42 "), "{echoed}");
    let mut blocked = kiln.connect();
    blocked.send("GET /echo HTTP/1.1\r\nHost: test\r\nX-Blocked: yes\r\n\r\n").expect_closed();
    kiln.get("/hello").expect(200, "hello world\n");
}

#[test]
fn a_reply_carries_its_headers_and_the_fields_that_every_answer_has() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request&) {
            return kiln::reply(418, "short and stout\n")
                .header("X-Spout", "left").header("X-Spout", "right");
        }"#,
    );
    let answer = kiln.get("/").expect(418, "short and stout\n");
    assert_eq!(answer.line, "HTTP/1.1 418 I'm a teapot");
    let mut spouts = answer.values("x-spout");
    spouts.sort_unstable();
    assert_eq!(spouts, ["left", "right"]);
    assert_eq!(answer.values("content-length"), ["16"]);
    assert_eq!(answer.field("connection"), None);
    assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
}

/// What would break the framing of an answer fails that one request, and says so.
#[test]
fn a_reply_with_a_header_that_kiln_writes_itself_is_a_500_that_names_the_reason() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            return kiln::reply(200, "text").header(request.query("name"), request.query("value"));
        }"#,
    );
    let mut client = kiln.connect();
    client.get("/?name=x-good&value=1").expect(200, "text");
    for query in
        ["name=content-length&value=1", "name=transfer-encoding&value=chunked", "name=&value=1"]
    {
        client.get(&format!("/?{query}")).expect_status(500);
    }
    kiln.until_logged_times(
        "a reply with a header that is not valid, or that Kiln itself writes",
        3,
    );
    client.get("/?name=x-good&value=1").expect(200, "text");
}

#[test]
fn scripts_read_everything_that_a_request_says() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            std::string text;
            for (std::string_view part :
                 {request.method(), request.target(), request.path(), request.query(),
                  request.query("b"), request.host(), request.client_address(),
                  request.header("x-one"), request.header(kiln::Field::user_agent)}) {
                text += part;
                text += '\n';
            }
            text += std::to_string(request.client_port()) + "\n";
            text += std::to_string(request.header_count()) + "\n";
            text += request.has_header("X-EMPTY") && !request.has_header("x-none") ? "yes" : "no";
            return kiln::reply(200, text);
        }"#,
    );
    let mut client = kiln.connect();
    let port = client.local_address().port();
    let answer = client
        .send(
            "DELETE /a%20b?a=1&b=2 HTTP/1.1\r\nHost: example.org:81\r\nX-One:  first \r\n\
             x-one: second\r\nUser-Agent: test/1\r\nX-Empty:\r\n\r\n",
        )
        .response();
    let expected = format!(
        "DELETE\n/a%20b?a=1&b=2\n/a%20b\na=1&b=2\n2\nexample.org:81\n127.0.0.1\nfirst\ntest/1\n\
         {port}\n5\nyes"
    );
    answer.expect(200, &expected);
}

#[test]
fn scripts_of_a_folder_are_asked_in_the_order_of_their_names_until_one_decides() {
    let first = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/first") return kiln::reply(200, "first");
            return kiln::next();
        }"#;
    let second = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/first") return kiln::reply(200, "never");
            if (request.path() == "/second") return kiln::reply(200, "second");
            return kiln::next();
        }"#;
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin");
    let kiln = Kiln::builder()
        .scripts(&[("20-second.cc", second), ("10-first.cc", first), ("readme.txt", "no script")])
        .workers(1)
        .upstream("only", &[origin.address()])
        .start();
    let mut client = kiln.connect();
    client.get("/first").expect(200, "first");
    client.get("/second").expect(200, "second");
    // Nobody decided, and there is one upstream.
    client.get("/third").expect(200, "origin");
}

/// The examples that come with Kiln, with the origins that they name.
#[test]
fn the_example_scripts_do_what_their_comments_say() {
    let [web, api, files] = ["web", "api", "static"].map(|name| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        Origin::replying(head)
    });
    let kiln = Kiln::builder()
        .script_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts"))
        .workers(2)
        .upstream("web", &[web.address()])
        .upstream("api", &[api.address()])
        .upstream("static", &[files.address()])
        .start();
    kiln.get("/hello").expect(200, "hello world\n");
    kiln.get("/hello?name=Ada+L%2E").expect(200, "hello Ada L.\n");
    kiln.get("/user?url=https://example.org/profile/42?tab=photos").expect(200, "web");
    assert_eq!(web.last().field("x-user-id"), Some("42"));
    kiln.get("/user?url=nonsense").expect_status(400);
    kiln.get("/api/orders").expect(200, "api");
    kiln.get("/logo.png").expect(200, "static");
    kiln.get("/").expect(200, "web");
    let beta = "GET / HTTP/1.1\r\nHost: test\r\nX-Beta: yes\r\n\r\n";
    kiln.connect().send(beta).response().expect(200, "api");
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let origin = Nginx::start();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    for number in 0..50 {
        let echoed = client.get(&format!("/echo?{number}")).expect_status(200).text();
        assert!(echoed.starts_with(&format!("GET /echo?{number} ")), "{echoed}");
    }
    assert_eq!(kiln.workers()[0]["connections"], 1);
    // One connection to the origin was enough for all of them.
    let log = origin.access_log();
    let connections: std::collections::BTreeSet<&str> = log
        .iter()
        .filter(|line| line.contains("/echo?"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(connections.len(), 1, "{log:?}");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = Nginx::start();
    origin.write("large", vec![b'x'; 300_000]);
    let script = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/own") return kiln::reply(200, request.query());
            return kiln::forward("web");
        }"#;
    let kiln =
        Kiln::builder().script(script).workers(2).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    let mut requests = String::new();
    for number in 0..30 {
        for target in [&format!("/own?{number}"), &format!("/echo?{number}"), "/files/large"] {
            requests += &format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        }
    }
    client.send(requests);
    for number in 0..30 {
        client.response().expect(200, &number.to_string());
        let echoed = client.response().expect_status(200).text();
        assert!(echoed.starts_with(&format!("GET /echo?{number} ")), "{echoed}");
        assert_eq!(client.response().expect_status(200).body.len(), 300_000);
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let kiln = Kiln::start(&replying("whole"));
    let mut client = kiln.connect();
    for byte in "GET / HTTP/1.1\r\nHost: test\r\n\r\n".bytes() {
        client.send([byte]);
    }
    client.response().expect(200, "whole");
}

#[test]
fn connection_close_is_obeyed_and_told() {
    let origin = Nginx::start();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    client.send("GET /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answer = client.response().expect_status(200);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(answer.text().contains(" connection= "), "it went on to the origin: {answer:?}");
    client.expect_closed();
}

#[test]
fn old_clients_get_a_connection_that_closes_unless_they_ask() {
    let kiln = Kiln::start(&replying("old"));
    let mut client = kiln.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.response().expect(200, "old").field("connection"), Some("keep-alive"));
    client.send("GET / HTTP/1.0\r\n\r\n").response().expect(200, "old");
    client.expect_closed();
}

#[test]
fn fields_of_one_connection_stay_on_it_in_both_directions() {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\nok",
    );
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\nProxy-Connection: close\r\n\
         X-End: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    );
    let answer = client.response().expect(200, "ok");
    for name in ["connection", "x-hop", "keep-alive", "upgrade"] {
        assert_eq!(answer.field(name), None, "{answer:?}");
    }
    assert_eq!(answer.field("x-end"), Some("1"));
    let received = origin.last();
    for name in ["connection", "x-mine", "keep-alive", "te", "upgrade", "proxy-connection"] {
        assert_eq!(received.field(name), None, "{}", received.head);
    }
    assert_eq!(received.field("x-end"), Some("1"));
    assert_eq!(received.field("host"), Some("test"));
    assert_eq!(received.field("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    assert!(received.field("via").is_some_and(|via| via.starts_with("1.1 kiln (")));
}

#[test]
fn curl_is_content() {
    let origin = Nginx::start();
    origin.write("page", "a page\n".repeat(5000));
    let kiln =
        Kiln::builder().script(FORWARDING).workers(2).upstream("web", &[origin.address()]).start();
    let url = format!("http://{}", kiln.address());
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--fail", "--max-time", "30", "--compressed"]);
    // Twice, on one connection.
    curl.arg(format!("{url}/files/page")).arg(format!("{url}/gzip/page"));
    let fetched = run(&mut curl);
    assert_eq!((fetched.code(), fetched.stderr.as_str()), (Some(0), ""));
    assert_eq!(fetched.stdout, "a page\n".repeat(10_000));
}

/// A client that sends all its requests and then shuts its side is still owed the answers.
#[test]
fn a_client_that_sends_no_more_still_gets_its_answers() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    client.send_get("/").shut();
    origin.until_requests(1);
    origin.release_all();
    client.response().expect(200, "held\n");
    client.expect_closed();
}

#[test]
fn every_address_is_listened_on() {
    let kiln = Kiln::builder()
        .script(&replying("here"))
        .workers(2)
        .argument("--listen=127.0.0.1:0")
        .argument("--listen=[::1]:0")
        .start();
    let addresses = kiln.addresses();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for address in addresses {
        Client::connect(address).get("/").expect(200, "here");
    }
    assert_eq!(kiln.status()["listen"].as_array().map(Vec::len), Some(3));
}

#[test]
fn an_exception_in_a_script_costs_one_request() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/throw") throw std::runtime_error("what went wrong");
            return kiln::reply(200, "fine");
        }"#,
    );
    let before = kiln.worker_pids();
    let mut client = kiln.connect();
    client.get("/throw").expect_status(500);
    client.get("/").expect(200, "fine");
    kiln.until_logged("what went wrong");
    assert_eq!(kiln.worker_pids(), before);
}

#[test]
fn what_scripts_log_is_in_the_log_with_their_generation() {
    let kiln = Kiln::start(
        r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            kiln::log("path is " + std::string(request.path()));
            return kiln::reply(200);
        }"#,
    );
    kiln.get("/some/where").expect(200, "");
    let log = kiln.until_logged("path is /some/where");
    let line = log.lines().find(|line| line.contains("path is /some/where")).expect("above");
    assert!(line.contains("generation=1"), "{line}");
}

#[test]
fn help_and_version_are_printed() {
    let version = run(kiln_command().arg("--version"));
    assert_eq!(version.code(), Some(0));
    assert!(version.stdout.starts_with("kiln "), "{version:?}");
    let help = run(kiln_command().args(["serve", "--help"]));
    for option in ["--listen", "--script", "--upstream", "--workers", "--pid-file", "--control"] {
        assert!(help.stdout.contains(option), "{option} is missing:\n{}", help.stdout);
    }
}
