//! RFC 9112, HTTP/1.1: what it requires of a server and of a client that can be shown without sockets,
//! a test for each rule, in the order of its sections.
//!
//! Every input is parsed at once and byte by byte (`support`), with the same outcome.

#[path = "../support/mod.rs"]
mod support;

mod chunks;
mod connections;
mod framing;
mod lines;

use http::RequestError;

use support::refused;

/// A request with these field lines besides `Host`.
pub(crate) fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// A request with this line.
pub(crate) fn line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

/// That a request is refused with a reason, whose status is also 400.
pub(crate) fn refused_with_400(input: &str, expect: RequestError) {
    refused(input, expect);
    assert_eq!(expect.status(), 400);
}
