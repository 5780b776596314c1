//! HTTP/1.1 without sockets and without clocks: bytes in, typed heads and body runs out, and back.
//!
//! Kiln speaks HTTP in two roles, server to clients and client to origins, and both stand on this
//! crate. It decides what a message *is*; whoever calls it decides when to read, write or give up.
//! What is ambiguous is refused and never repaired (RFC 9112, section 11.2): a front end that guesses
//! differently from the origin behind it is how requests are smuggled.
//!
//! Reading order: `fields` (the alphabet), `scan` (where a head ends), `request` and `response` (what
//! it says), `connection` (what it says about the connection), `body` and
//! `chunks` (where content ends), `encode` (typed values to bytes; the only place that makes
//! bytes for a peer), `edit` (what scripts may change), `via` (how Kiln names itself, and knows a loop).
#![forbid(unsafe_code)]

pub mod body;
mod chunks;
mod client;
mod connection;
mod edit;
pub mod encode;
mod error;
pub mod fields;
mod lines;
mod output;
mod request;
mod response;
mod scan;
mod status;
mod step;
mod target;
mod via;

pub use body::{BodyDecoder, Framing};
pub use chunks::Chunks;
pub use client::named_client;
pub use edit::{Edit, is_reply_field};
pub use encode::{Date, Full, Mark, Output, Via};
pub use error::{BodyError, RequestError, ResponseError};
pub use fields::{FieldSpan, Known, Span};
pub use request::{RequestHead, RequestLimits};
pub use response::{ResponseHead, ResponseLimits};
pub use scan::Scan;
pub use status::reason;
pub use step::Step;

/// Protocol version of a message, as far as it changes how Kiln treats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: connections close unless asked otherwise, and there is no chunked coding.
    Http10,
    /// HTTP/1.1, and what later minor versions are treated as (RFC 9110, section 2.5).
    #[default]
    Http11,
}

impl Version {
    /// The version that a start line names, if it is a 1.x.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"HTTP/1.0" => Some(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Self::Http11),
            _ => None,
        }
    }
}

/// Most field lines of a head, whatever its limits say: about as many as the shortest lines of some
/// sense need to fill 64 KiB. Each costs 32 bytes while a head is parsed.
pub const FIELDS_MAX: usize = 4000;
