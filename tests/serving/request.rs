//! What a script and Kiln itself answer.

use tests::{Kiln, Nginx};

/// A script answers by itself, and passes on to an origin what it does not answer.
#[test]
fn a_script_answers_or_forwards() {
    let origin = Nginx::start();
    let kiln = Kiln::builder()
        .script(
            r#"#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {
                if (request.path() == "/hello") return kiln::reply(200, "hello world\n");
                request.set_header("x-user-id", request.query("id"));
                return kiln::forward("web");
            }"#,
        )
        .workers(2)
        .upstream("web", &[origin.address()])
        .start();
    kiln.get("/hello").expect(200, "hello world\n");
    let echoed = kiln.get("/echo?id=42").expect_status(200).text();
    assert!(echoed.contains("x-user-id=42"), "{echoed}");
}
