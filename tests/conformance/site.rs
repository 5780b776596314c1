//! The Kiln that all of these tests share, and origins that each of them has for itself.
//!
//! Its script forwards to the upstream that a request names in `X-Upstream`, and answers every other
//! request by itself. So whatever Kiln's own parser refuses needs no origin, and what it wrongly lets
//! pass is seen by its 200.

use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::{LazyLock, Mutex};

use tests::{Client, Kiln, Origin, Received, Response};

const SCRIPT: &str = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    std::string upstream(request.header("x-upstream"));
    if (!upstream.empty()) {
        request.remove_header("x-upstream");
        return kiln::forward(upstream);
    }
    std::string text(request.method());
    text += ' ';
    text += request.target();
    text += ' ';
    text += request.host();
    return kiln::reply(200, text);
}
"#;

/// Origins that the tests of one run may have, each on a port that Kiln knows from its start.
const ORIGINS_MAX: usize = 300;

/// A Kiln, and the ports of its upstreams that nobody has taken yet.
struct Site {
    kiln: Kiln,
    free: Mutex<Vec<(String, TcpListener)>>,
}

impl Site {
    fn start(config: &str) -> Self {
        let listeners = (0..ORIGINS_MAX).map(|number| {
            (format!("o{number}"), TcpListener::bind("127.0.0.1:0").expect("a port"))
        });
        let free: Vec<(String, TcpListener)> = listeners.collect();
        let mut builder = Kiln::builder().script(SCRIPT).workers(2).config(config);
        for (name, listener) in &free {
            builder = builder.upstream(name, &[listener.local_addr().expect("it is bound")]);
        }
        Site { kiln: builder.start_shared(), free: Mutex::new(free) }
    }

    fn take(&self) -> (String, TcpListener) {
        let taken = self.free.lock().expect("no holder panics").pop();
        taken.expect("ORIGINS_MAX is enough")
    }
}

/// The usual one: no timeout is met in it.
static SITE: LazyLock<Site> = LazyLock::new(|| Site::start(""));

/// One that waits for nobody for long.
static HASTY: LazyLock<Site> = LazyLock::new(|| {
    Site::start(
        "[timeouts]\nhead_ms = 300\nbody_ms = 300\nresponse_head_ms = 300\nkeep_alive_ms = 300",
    )
});

/// A new connection to the Kiln of all tests.
#[track_caller]
pub(crate) fn connect() -> Client {
    SITE.kiln.connect()
}

/// A new connection to a Kiln with timeouts of 300 ms.
#[track_caller]
pub(crate) fn connect_hasty() -> Client {
    HASTY.kiln.connect()
}

/// An origin of one test. Its name, which is how it prints, goes into `X-Upstream`.
pub(crate) struct Upstream {
    name: String,
    origin: Origin,
}

impl Upstream {
    /// Reads whole requests, and answers each with what this writes, while it says `true`.
    pub(crate) fn answering(
        answer: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let (name, listener) = SITE.take();
        Upstream { name, origin: Origin::answering_at(listener, answer) }
    }

    /// The same behind the Kiln of [`connect_hasty`].
    pub(crate) fn answering_hasty(
        answer: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let (name, listener) = HASTY.take();
        Upstream { name, origin: Origin::answering_at(listener, answer) }
    }

    /// Does this with each connection.
    pub(crate) fn raw(converse: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let (name, listener) = SITE.take();
        Upstream { name, origin: Origin::raw_at(listener, converse) }
    }

    /// Answers each request with these bytes, as they are.
    pub(crate) fn replying(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::answering(move |_, stream| io::Write::write_all(stream, &bytes).map(|()| true))
    }

    /// Answers each request with these bytes and closes.
    pub(crate) fn replying_once(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::answering(move |_, stream| io::Write::write_all(stream, &bytes).map(|()| false))
    }

    /// Answers each request with 200 and `ok`.
    pub(crate) fn fine() -> Self {
        Self::replying(OK)
    }

    /// `GET /` for it, with these further field lines, each ended by CR LF.
    pub(crate) fn get_with(&self, fields: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: test\r\nX-Upstream: {self}\r\n{fields}\r\n")
    }

    /// `GET /` for it.
    pub(crate) fn get(&self) -> String {
        self.get_with("")
    }
}

impl Deref for Upstream {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The simplest answer.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a request on a connection of its own, and checks the status of what comes back.
#[track_caller]
pub(crate) fn check(request: impl AsRef<[u8]>, status: u16) -> Response {
    let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
    let answer = connect().send(request).try_response();
    let answer = answer.unwrap_or_else(|error| panic!("{shown:?} got no answer: {error}"));
    assert_eq!(answer.status, status, "{shown:?} got {answer:?}");
    answer
}

/// Sends what must be refused with this status, followed by a good request. What comes back has to be
/// one answer that says that the connection closes, and then its end: whoever goes on reading after a
/// doubtful message answers requests that nobody made (RFC 9112, sections 6.3 and 11.2).
#[track_caller]
pub(crate) fn refused(request: impl AsRef<[u8]>, status: u16) {
    let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
    let mut client = connect();
    let hidden = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send([request.as_ref(), hidden].concat());
    let answer = client.try_response();
    let answer = answer.unwrap_or_else(|error| panic!("{shown:?} got no answer: {error}"));
    assert_eq!(answer.status, status, "{shown:?} got {answer:?}");
    assert_eq!(answer.field("connection"), Some("close"), "{shown:?} got {answer:?}");
    let rest = client.try_rest().unwrap_or_default();
    assert!(rest.is_empty(), "{shown:?}: more came: {}", String::from_utf8_lossy(&rest));
}
