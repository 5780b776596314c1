//! Scripts in a worker, each case with a Kiln of its own.
//!
//! Directives of `scripts/*.cc`, or of the first file of a folder there:
//!
//!     refused: TEXT            the script is refused at start, with this among the words
//!     request: REQUEST-LINE    one more request on the same connection; what follows is about it
//!     sends: NAME: VALUE       a field of it
//!     content: TEXT            its content
//!     status: CODE             of the answer
//!     body: TEXT               the content of the answer; \n is a new line
//!     body-length: BYTES       its length
//!     header: NAME: VALUE      one field of the answer
//!     no-header: NAME          the answer has no such field
//!     closed: YES              the connection is closed without an answer
//!     upstream: NAME           the upstream that got the request: `web` or `blue`; without this, none
//!     upstream-saw: NAME: VALUE    a field of the request there
//!     upstream-saw-no: NAME    the request there has no such field
//!     log: TEXT                is logged

use tests::{Client, Kiln, Origin, Response};

use crate::case::{Case, check_all, some_cpu, unescaped};

const KEYS: [&str; 14] = [
    "refused",
    "request",
    "sends",
    "content",
    "status",
    "body",
    "body-length",
    "header",
    "no-header",
    "closed",
    "upstream",
    "upstream-saw",
    "upstream-saw-no",
    "log",
];

/// Names of the upstreams that every case has.
const UPSTREAMS: [&str; 2] = ["web", "blue"];

#[test]
fn scripts_decide_as_their_cases_say() {
    let _cpu = some_cpu();
    check_all("scripts", &KEYS, |case| {
        let refusals = case.values("refused");
        if refusals.is_empty() {
            serve(case);
        } else {
            assert_eq!(refusals.len(), case.directives.len(), "a refused script answers nothing");
            let kiln = Kiln::builder().script_path(&case.path).workers(1).start_without_scripts();
            kiln.expect_logged(&refusals);
        }
        Ok(())
    });
}

/// A request of a case, and what is to become of it.
type Exchange<'a> = &'a [(String, String)];

fn serve(case: &Case) {
    let origins = UPSTREAMS.map(|_| Origin::mirroring());
    let mut builder = Kiln::builder().script_path(&case.path).workers(1);
    for (name, origin) in UPSTREAMS.iter().zip(&origins) {
        builder = builder.upstream(name, &[origin.address()]);
    }
    let kiln = builder.start();
    let mut client = kiln.connect();
    let mut rest = case.directives.as_slice();
    assert!(!rest.is_empty(), "it asks nothing");
    while let Some((first, after)) = rest.split_first() {
        assert_eq!(first.0, "request", "an exchange begins with its request");
        let end = after.iter().position(|(key, _)| key == "request").unwrap_or(after.len());
        exchange(&kiln, &mut client, &origins, &first.1, &after[..end]);
        rest = &after[end..];
    }
}

fn exchange(
    kiln: &Kiln,
    client: &mut Client,
    origins: &[Origin; 2],
    line: &str,
    parts: Exchange<'_>,
) {
    let values = |key: &str| -> Vec<&str> {
        parts.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    };
    let before = [0, 1].map(|origin| origins[origin].requests().len());
    client.send(request(line, &values("sends"), values("content").first().copied()));
    if values("closed").is_empty() {
        assert_eq!(values("status").len(), 1, "{line}: a case says which status it expects");
        check_response(line, &client.response(), parts);
    } else {
        client.expect_closed();
        *client = kiln.connect();
    }
    for text in values("log") {
        kiln.until_logged(text);
    }
    let wanted = values("upstream").first().copied();
    for (index, name) in UPSTREAMS.iter().enumerate() {
        let got = origins[index].requests().len() - before[index];
        assert_eq!(got, usize::from(wanted == Some(name)), "{line}: requests at {name}");
        if got == 0 {
            continue;
        }
        let seen = origins[index].last();
        for (name, value) in values("upstream-saw").iter().map(|line| pair(line)) {
            assert_eq!(seen.field(name), Some(value), "{line}: {name} in\n{}", seen.head);
        }
        for name in values("upstream-saw-no") {
            assert!(seen.values(name).is_empty(), "{line}: {name} in\n{}", seen.head);
        }
    }
}

fn check_response(line: &str, response: &Response, parts: Exchange<'_>) {
    for (key, value) in parts {
        match key.as_str() {
            "status" => assert_eq!(response.status.to_string(), *value, "{line}: {response:?}"),
            "body" => assert_eq!(response.text(), unescaped(value), "{line}"),
            "body-length" => assert_eq!(response.body.len().to_string(), *value, "{line}"),
            "header" => {
                let (name, value) = pair(value);
                assert!(response.values(name).contains(&value), "{line}: {name} in {response:?}");
            }
            "no-header" => assert!(response.field(value).is_none(), "{line}: {response:?}"),
            _ => {}
        }
    }
}

fn request(line: &str, fields: &[&str], content: Option<&str>) -> String {
    let mut request = format!("{line}\r\n");
    if !fields.iter().any(|field| field.to_ascii_lowercase().starts_with("host:")) {
        request += "Host: test\r\n";
    }
    for field in fields {
        request += &format!("{field}\r\n");
    }
    let content = content.map(unescaped);
    if let Some(content) = &content {
        request += &format!("Content-Length: {}\r\n", content.len());
    }
    request + "\r\n" + content.as_deref().unwrap_or("")
}

fn pair(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no field"));
    (name, value.trim())
}
