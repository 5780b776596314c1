//! What an operator can set of a worker: upstreams, limits and timeouts.
//!
//! Each setting stands here once, with its unit, its default and the reason for it. Whoever reads
//! configuration files maps them to this type; a worker reads none.

use std::net::SocketAddr;
use std::time::Duration;

use crate::buffers::BUFFER_BYTES;

/// A named group of servers that answer the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name that scripts forward to.
    pub name: String,
    /// Its servers, tried in turn.
    pub servers: Vec<SocketAddr>,
}

/// Settings of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests can be forwarded to.
    pub upstreams: Vec<Upstream>,
    /// Client connections open at once in one worker. Default 16384: with a descriptor for each and one
    /// for its origin this is half of the usual hard limit of 65536. One more is answered 503.
    pub connections_max: usize,
    /// Bytes of a request head. Default 15 KiB: a buffer, less what Kiln adds when it forwards.
    pub head_bytes_max: usize,
    /// Bytes of a request line; a longer one is answered 414. Default 8000, which RFC 9112, section 3,
    /// asks for at least.
    pub line_bytes_max: usize,
    /// Field lines of a head; more is answered 431. Default 100, as nginx and Apache httpd have it.
    pub fields_max: usize,
    /// Bytes of a request body; more is answered 413. Default 16 GiB: bodies stream through bounded
    /// memory, so this stops a sender without end and nobody else.
    pub request_body_bytes_max: u64,
    /// Bytes of a request body that are read and thrown away, after an answer that did not need it, to
    /// keep the connection. Default 64 KiB: beyond that a new connection costs less.
    pub discard_bytes_max: u64,
    /// Requests on one client connection before it is closed. Default 100000: often enough for
    /// connections to spread over workers again after a reload of their number.
    pub requests_per_connection_max: u64,
    /// Idle connections kept to each server. Default 64: more than a worker's usual concurrency to one.
    pub idle_origins_max: usize,
    /// Time for a connection to an origin to open. Default 3 s: one lost SYN is sent again after 1 s.
    pub connect_timeout: Duration,
    /// Time from the end of a request to the end of the response's head. Default 60 s, as nginx has it.
    pub response_head_timeout: Duration,
    /// Time without a byte in the middle of a body, sent or received, on either side. Default 30 s.
    pub body_timeout: Duration,
    /// Time for a request head to arrive, from its first byte or from the connection. Default 10 s: a
    /// head is a few packets, and slow senders hold a buffer each.
    pub head_timeout: Duration,
    /// Time that a client connection stays open between requests. Default 75 s: browsers keep theirs
    /// for about a minute.
    pub keep_alive_timeout: Duration,
    /// Time that an idle connection to a server is kept. Default 55 s: below the 60 to 75 s after which
    /// common servers close theirs, so that the race between close and reuse is rare.
    pub origin_idle_timeout: Duration,
    /// Time that an origin has to answer `Expect: 100-continue` before Kiln itself tells the client to
    /// go on. Default 1 s: what curl waits, and enough for an origin that knows the field.
    pub continue_timeout: Duration,
    /// Time to read and throw away what a client still sends after its last answer. Default 2 s: one
    /// resent packet.
    pub linger_timeout: Duration,
    /// Time for requests to finish once the worker drains. Default 60 s.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            upstreams: Vec::new(),
            connections_max: 16 * 1024,
            head_bytes_max: BUFFER_BYTES - 1024,
            line_bytes_max: 8000,
            fields_max: http::FIELDS_MAX,
            request_body_bytes_max: 16 << 30,
            discard_bytes_max: 64 * 1024,
            requests_per_connection_max: 100_000,
            idle_origins_max: 64,
            connect_timeout: Duration::from_secs(3),
            response_head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            origin_idle_timeout: Duration::from_secs(55),
            continue_timeout: Duration::from_secs(1),
            linger_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Limits on request heads. A head must fit a buffer, whatever was asked for.
    pub(crate) fn request_limits(&self) -> http::Limits {
        http::Limits {
            head_bytes_max: self.head_bytes_max.min(BUFFER_BYTES - 1),
            line_bytes_max: self.line_bytes_max,
            fields_max: self.fields_max.min(http::FIELDS_MAX),
        }
    }

    /// Limits on response heads: the room that there is. Origins are the operator's own.
    pub(crate) fn response_limits(&self) -> http::Limits {
        http::Limits {
            head_bytes_max: BUFFER_BYTES - 1,
            line_bytes_max: BUFFER_BYTES,
            fields_max: http::FIELDS_MAX,
        }
    }
}
