//! Field names that some origins take for others (`X_User` and `X-User`): what a client writes so never
//! passes for what Kiln or a script says.

use tests::{Kiln, Origin, Received};

/// Sets one field, removes one, and tells in a third what it sees itself.
const SCRIPT: &str = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    std::string seen;
    for (std::size_t i = 0; i < request.header_count(); ++i) {
        seen += request.header_at(i).name;
        seen += '/';
    }
    request.set_header("x-seen", seen);
    request.set_header("x-user-id", "guest");
    request.remove_header("x-internal");
    return kiln::forward("web");
}
"#;

/// What a client could try.
const TRIED: &str = "X_User_Id: admin\r\nx.user.id: admin\r\nX_Internal: 1\r\nX_Forwarded_Proto: https\r\n\
                     X_Forwarded_For: 9.9.9.9\r\nX_Forwarded_Host: evil\r\nX_Forwarded_Port: 1\r\n\
                     Content_Length: 7\r\nTransfer_Encoding: chunked\r\nKeep_Alive: 1\r\n";

fn start(origin: &Origin, config: &str) -> Kiln {
    Kiln::builder()
        .script(SCRIPT)
        .workers(1)
        .config(config)
        .upstream("web", &[origin.address()])
        .start()
}

/// What the origin gets of a request with these fields besides `Host`.
fn sent(kiln: &Kiln, origin: &Origin, fields: &str) -> Received {
    kiln.connect()
        .send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
        .response()
        .expect_status(200);
    origin.last()
}

/// The values that a server sees which makes variables of fields, as CGI does.
fn variable<'a>(received: &'a Received, name: &str) -> Vec<&'a str> {
    let of =
        |name: &str| name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let lines = received.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| of(found) == of(name)).map(|(_, value)| value).collect()
}

#[test]
fn fields_with_an_underscore_are_neither_shown_nor_forwarded() {
    let origin = Origin::echoing();
    let kiln = start(&origin, "");
    let received = sent(&kiln, &origin, &format!("{TRIED}X_Other: 1\r\nX-Plain: _\r\n"));
    assert_eq!(received.field("x-seen"), Some("Host/x.user.id/X-Plain/"));
    assert_eq!(variable(&received, "x-user-id"), ["guest"], "{}", received.head);
    assert!(!received.head.to_ascii_lowercase().contains("x_"), "{}", received.head);
    assert_eq!(received.field("x-plain"), Some("_"));
}

#[test]
fn with_underscores_taken_none_passes_for_a_field_of_kilns_or_of_the_script() {
    let origin = Origin::echoing();
    for trusted in ["", "trusted_proxies = [\"127.0.0.1\"]\n"] {
        let kiln = start(&origin, &format!("underscores_in_headers = true\n{trusted}"));
        let received = sent(&kiln, &origin, &format!("{TRIED}X_Other: 1\r\n"));
        assert_eq!(received.field("x_other"), Some("1"), "{}", received.head);
        for (name, values) in [
            ("x-user-id", vec!["guest"]),
            ("x-internal", vec![]),
            ("x-forwarded-proto", vec!["http"]),
            ("x-forwarded-for", vec!["127.0.0.1"]),
            ("x-forwarded-host", vec!["test"]),
            ("x-forwarded-port", vec![]),
            ("content-length", vec![]),
            ("transfer-encoding", vec![]),
            ("keep-alive", vec![]),
        ] {
            assert_eq!(variable(&received, name), values, "{name}: {}", received.head);
        }
        let seen = received.field("x-seen").expect("the script tells");
        assert_eq!(seen, "Host/X_User_Id/x.user.id/X_Internal/X_Other/");
    }
}

#[test]
fn a_script_may_not_set_a_framing_field_by_another_spelling() {
    let origin = Origin::echoing();
    let kiln = Kiln::builder()
        .script(
            r#"#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {
                request.set_header("Content_Length", "5");
                return kiln::forward("web");
            }"#,
        )
        .workers(1)
        .upstream("web", &[origin.address()])
        .start();
    kiln.get("/").expect_status(500);
    kiln.until_logged("not a valid header: Content_Length");
    assert!(origin.requests().is_empty());
}
