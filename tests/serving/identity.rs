//! `Via`: what Kiln calls itself, whether scripts may change it, and what it knows by it.

use std::io;
use std::net::TcpStream;

use tests::{FORWARDING, Kiln, Nginx, Origin};

/// Forwards to the upstream that the path names.
const BY_PATH: &str = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) { return kiln::forward(request.path().substr(1)); }
"#;

fn start(script: &str, config: &str, origin: &Origin) -> Kiln {
    Kiln::builder()
        .script(script)
        .workers(1)
        .config(config)
        .upstream("web", &[origin.address()])
        .start()
}

/// `GET target` with a `Via` that came with it.
fn get(target: &str, via: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\nVia: {via}\r\n\r\n")
}

#[test]
fn via_is_on_or_off_or_a_name_in_both_directions() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (config, sent, relayed) in [
        ("", Some("1.1 kiln ("), Some("1.1 kiln")),
        ("via = \"on\"", Some("1.1 kiln ("), Some("1.1 kiln")),
        ("via = \"edge-7\"", Some("1.1 edge-7 ("), Some("1.1 edge-7")),
        ("via = \"off\"", None, None),
    ] {
        let kiln = start(FORWARDING, config, &origin);
        let answer = kiln.get("/").expect_status(200);
        assert_eq!(answer.values("via"), Vec::from_iter(relayed), "{config}");
        let received = origin.last();
        let via = received.field("via");
        assert_eq!(via.is_some(), sent.is_some(), "{config}: {}", received.head);
        assert!(via.unwrap_or_default().starts_with(sent.unwrap_or_default()), "{via:?}");
        // What others wrote stays.
        kiln.connect().send(get("/", "1.0 front")).response().expect_status(200);
        assert_eq!(origin.last().values("via").first(), Some(&"1.0 front"), "{config}");
    }
}

#[test]
fn a_via_that_is_no_name_is_refused() {
    for via in ["", "a b", "a (b)", "a,b"] {
        let config = format!("via = \"{via}\"");
        Kiln::builder()
            .script(FORWARDING)
            .config(&config)
            .refused()
            .expect(&["via", "is not a name"]);
    }
}

#[test]
fn a_script_removes_via_and_sets_it() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let script = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/removed") request.remove_header("Via");
    if (request.path() == "/set") request.set_header("via", "1.1 mine");
    return kiln::forward("web");
}
"#;
    let kiln = start(script, "", &origin);
    let mut client = kiln.connect();
    client.send(get("/removed", "1.0 front")).response().expect_status(200);
    assert!(origin.last().values("via").is_empty(), "{}", origin.last().head);
    client.send(get("/set", "1.0 front")).response().expect_status(200);
    assert_eq!(origin.last().values("via"), ["1.1 mine"]);
}

/// What the reference says of nginx, and both ways out.
#[test]
fn nginx_with_its_defaults_compresses_where_via_is_off() {
    let origin = Nginx::start();
    origin.write("page", "a page\n".repeat(1000));
    let removing = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    request.remove_header("via");
    return kiln::forward("web");
}
"#;
    for (script, config, expect) in [
        (FORWARDING, "", None),
        (FORWARDING, "via = \"off\"", Some("gzip")),
        (removing, "", Some("gzip")),
    ] {
        let kiln = Kiln::builder()
            .script(script)
            .workers(1)
            .config(config)
            .upstream("web", &[origin.address()])
            .start();
        let request = "GET /shy/page HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n";
        let answer = kiln.connect().send(request).response().expect_status(200);
        assert_eq!(answer.field("content-encoding"), expect, "{config}");
    }
}

/// An upstream that is Kiln's own port: the second time round it is told.
#[test]
fn an_upstream_that_leads_back_to_kiln_is_508_and_is_told() {
    // Through something that passes bytes on, since a start would see what leads to its own port.
    let own = Origin::nowhere();
    let detour = Origin::raw(move |client, _| {
        let Ok(kiln) = TcpStream::connect(own) else { return };
        let (Ok(mut from), Ok(mut to)) = (client.try_clone(), kiln.try_clone()) else { return };
        let back = std::thread::spawn(move || io::copy(&mut &kiln, &mut &client));
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
        let _ = back.join();
    });
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(2)
        .without_listen()
        .config(&format!("listen = [\"{own}\"]\n"))
        .upstream("web", &[detour.address()])
        .start();
    let mut client = kiln.connect();
    for _ in 0..5 {
        let answer = client.get("/").expect(508, "Loop Detected\n");
        assert_eq!(answer.values("via"), ["1.1 kiln"], "it went round once");
    }
    tests::until_true("each is counted", || kiln.status()["reasons"]["loop"] == 5);
    kiln.expect_logged(&[
        "A request came back",
        "reason=\"loop\"",
        "upstream=\"web\"",
        "Name other servers in upstreams.NAME.servers",
    ]);
}

#[test]
fn two_kilns_in_a_row_and_one_on_both_sides_of_a_cache_are_no_loop() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let inner = start(FORWARDING, "", &origin);
    let outer = Kiln::builder()
        .script(BY_PATH)
        .workers(1)
        .upstream("web", &[inner.address()])
        .upstream("cache", &[origin.address()])
        .start();
    outer.get("/web").expect_status(200);
    let through_both = origin.last().values("via").join(", ");
    assert_eq!(through_both.matches("1.1 kiln (").count(), 2, "{through_both}");
    // A cache that Kiln forwards to, and which asks Kiln for what it does not have.
    outer.get("/cache").expect_status(200);
    let through_cache = origin.last().values("via").join(", ");
    let via = format!("{through_cache}, 1.1 varnish");
    outer.connect().send(get("/web", &via)).response().expect_status(200);
    outer.connect().send(get("/cache", &via)).response().expect_status(508);
    outer.connect().send(get("/cache", &through_both)).response().expect_status(200);
    // An unrelated Kiln, and a client that writes what it likes.
    outer
        .connect()
        .send(get("/web", "1.1 kiln, 1.1 kiln (0123456789abcdef)"))
        .response()
        .expect_status(200);
}

/// With another name the mark stays; with `via = "off"` there is none, and scripts that remove the field
/// remove the mark as well.
#[test]
fn a_loop_is_seen_under_any_name_and_not_without_one() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let kiln = start(BY_PATH, "via = \"edge\"", &origin);
    kiln.get("/web").expect_status(200);
    let via = origin.last().values("via").join(", ");
    kiln.connect().send(get("/web", &via)).response().expect_status(508);
    let kiln = start(BY_PATH, "via = \"off\"", &origin);
    kiln.connect().send(get("/web", &via)).response().expect_status(200);
}

/// The identity is the master's: it survives reloads and is the same in every worker.
#[test]
fn a_request_is_known_after_a_reload_and_by_every_worker() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let kiln =
        Kiln::builder().script(BY_PATH).workers(3).upstream("web", &[origin.address()]).start();
    kiln.get("/web").expect_status(200);
    let via = origin.last().values("via").join(", ");
    kiln.reload().expect_taken();
    for _ in 0..20 {
        kiln.connect().send(get("/web", &via)).response().expect_status(508);
    }
}
