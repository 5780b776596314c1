//! Typed values to bytes: the only place that makes bytes for a peer.
//!
//! A head that goes out is generated line by line from fields that were checked when they came in; a
//! head that came in is never copied through. What belongs to one connection alone (RFC 9110, section
//! 7.6.1) is left behind here, in both directions. What others than a parser hand in, the edits and
//! replies of scripts, is looked at once more, by the list that it was refused by before (`edit`): what
//! is not valid is without effect.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::Version;
use crate::body::Framing;
use crate::connection;
pub use crate::edit::Edit;
use crate::edit::is_reply_field;
use crate::fields::{FieldSpan, Known, Span, collide};
pub use crate::output::{Full, Output};
use crate::request::RequestHead;
use crate::response::ResponseHead;
use crate::status::reason;
pub use crate::via::{Mark, Via};

/// The line of a `Date` field, formatted once a second rather than once a response.
#[derive(Clone, Debug)]
pub struct Date(Vec<u8>);

impl Date {
    /// The line for `now`, which the caller read from its clock.
    pub fn at(now: SystemTime) -> Self {
        Date(format!("Date: {}\r\n", httpdate::fmt_http_date(now)).into_bytes())
    }
}

/// What a request that goes upstream tells that its head does not.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// Address of the client.
    pub client: IpAddr,
    /// `Host` for a request that has none: one of 1.0, since many servers refuse an empty one, and one
    /// whose host a script removed.
    pub default_host: &'a [u8],
    /// Whether an upgrade that the client wants is offered to the origin.
    pub upgrades: bool,
    /// Whether what the peer says about the client is believed: its `Forwarded` and `X-Forwarded-*` are
    /// passed on. A client that is not believed could claim to have come by TLS.
    pub keeps_forwarded: bool,
    /// How Kiln names itself.
    pub via: &'a Via,
    /// What tells the request when it comes back.
    pub mark: Option<Mark>,
}

/// Writes the head of a request to an origin: origin form, version 1.1, `Host`, the end-to-end fields
/// with `edits` applied in their order, `Via` and `X-Forwarded-*`. Edits of fields that frame the
/// message or belong to the connection are without effect. There is one `Host`, whatever the edits: the
/// last one says which, unless it is none. Kiln adds nothing of its own to a field that an edit set or
/// removed.
///
/// `CONNECT` and a request that no more intermediary may pass on are not for an origin.
pub fn upstream_request<'e, E>(
    out: &mut Output<'_>,
    head: &RequestHead,
    bytes: &[u8],
    forwarded: Forwarded<'_>,
    edits: E,
) -> Result<(), Full>
where
    E: Iterator<Item = Edit<'e>> + Clone,
{
    assert!(!head.is_method(bytes, "CONNECT"), "a tunnel is no request to pass on");
    push_request_line(out, head, bytes)?;
    let is_edited = |name: &[u8]| edits.clone().any(|edit| edit.replaces(name));
    let authority = Some(head.authority.of(bytes)).filter(|authority| !authority.is_empty());
    let host = edits.clone().filter_map(Edit::host).last().unwrap_or(authority);
    out.field(b"Host", host.unwrap_or(forwarded.default_host))?;
    for field in &head.fields {
        let name = field.name.of(bytes);
        let is_ours = match field.known {
            Known::Host | Known::XForwardedFor => true,
            Known::Forwarded
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XForwardedPort => !forwarded.keeps_forwarded,
            Known::MaxForwards => head.max_forwards.is_some(),
            // An expectation that nobody waits for, or one from a 1.0 client.
            Known::Expect => !head.expects_continue,
            _ => false,
        };
        let is_hidden = edits.clone().any(|edit| edit.hides(name));
        if is_ours || !is_end_to_end(field, &head.connection_options, bytes) || is_hidden {
            continue;
        }
        out.field(name, field.value.of(bytes))?;
    }
    if !is_edited(b"x-forwarded-for") {
        push_forwarded_for(out, head, bytes, forwarded.client)?;
    }
    let is_told = |known| {
        let is_it = |field: &&FieldSpan| field.known == known;
        let mut told = head.fields.iter().filter(is_it);
        forwarded.keeps_forwarded
            && told.any(|field| is_end_to_end(field, &head.connection_options, bytes))
    };
    if !is_told(Known::XForwardedProto) && !is_edited(b"x-forwarded-proto") {
        out.field(b"X-Forwarded-Proto", b"http")?;
    }
    if let Some(authority) = authority.filter(|_| !is_told(Known::XForwardedHost))
        && !is_edited(b"x-forwarded-host")
    {
        out.field(b"X-Forwarded-Host", authority)?;
    }
    if let Some(count) = head.max_forwards.filter(|_| !is_edited(b"max-forwards")) {
        push_max_forwards(out, count)?;
    }
    let mut later = edits.clone();
    while let Some(edit) = later.next() {
        let (Edit::Set(name, value) | Edit::Add(name, value)) = edit else { continue };
        let is_undone = later.clone().any(|edit| edit.undoes(name));
        if !is_undone && Known::of(name) != Known::Host && edit.is_valid() {
            out.field(name, value)?;
        }
    }
    if forwarded.upgrades && head.wants_upgrade {
        push_upgrade(out, &head.fields, bytes)?;
    }
    if !is_edited(b"via") {
        forwarded.via.push(out, head.version, forwarded.mark)?;
    }
    match head.framing {
        Framing::Length(length) => out.content_length(length)?,
        Framing::Chunked => out.push(b"Transfer-Encoding: chunked\r\n")?,
        Framing::None | Framing::UntilClose => {}
    }
    out.push(b"\r\n")
}

/// How a response goes to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseFrame {
    /// How the client finds the end of the body.
    pub framing: Framing,
    /// Version of the client's request.
    pub version: Version,
    /// Whether the connection closes after this response.
    pub closes: bool,
}

/// Writes the head of a response that an origin made. One that switches protocols has its fields for
/// that, and what belongs to a body or to a connection that lives on has no place in it.
pub fn relayed_response(
    out: &mut Output<'_>,
    head: &ResponseHead,
    bytes: &[u8],
    frame: ResponseFrame,
    date: &Date,
    via: &Via,
) -> Result<(), Full> {
    push_status_line(out, head.status, head.reason.of(bytes))?;
    let mut has_date = false;
    for field in &head.fields {
        if is_end_to_end(field, &head.connection_options, bytes) {
            has_date |= field.known == Known::Date;
            out.field(field.name.of(bytes), field.value.of(bytes))?;
        }
    }
    via.push(out, head.version, None)?;
    if head.switches || head.requires_upgrade {
        push_upgrade(out, &head.fields, bytes)?;
    }
    if head.is_interim() || head.switches {
        return out.push(b"\r\n");
    }
    if !has_date {
        out.push(&date.0)?;
    }
    // Without a body the length is what `GET` would have had, as far as the origin said it.
    let length = match (frame.framing, head.status) {
        (Framing::Length(length), _) => Some(length),
        (Framing::None, 204) => None,
        (Framing::None, _) => head.content_length,
        _ => None,
    };
    if let Some(length) = length {
        out.content_length(length)?;
    }
    if frame.framing == Framing::Chunked {
        assert!(frame.version == Version::Http11, "a 1.0 client knows no chunks");
        out.push(b"Transfer-Encoding: chunked\r\n")?;
    }
    push_connection(out, frame)
}

/// A response that Kiln makes itself.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Fields; those that [`is_reply_field`] refuses are without effect.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    /// Bytes of content that follow, or would follow if the request were not `HEAD`.
    pub content_bytes: u64,
}

/// Writes the head of a response that Kiln makes itself. The caller appends the content, if there is
/// to be any ([`reply_has_content`]).
pub fn reply(
    out: &mut Output<'_>,
    reply: &Reply<'_>,
    frame: ResponseFrame,
    date: &Date,
) -> Result<(), Full> {
    push_status_line(out, reply.status, reason(reply.status).as_bytes())?;
    out.push(&date.0)?;
    for &(name, value) in reply.fields {
        if is_reply_field(name, value) {
            out.field(name, value)?;
        }
    }
    match reply.status {
        204 | 304 => {}
        // Unlike these two it is framed, as empty (RFC 9110, section 15.3.6).
        205 => out.content_length(0)?,
        _ => out.content_length(reply.content_bytes)?,
    }
    push_connection(out, frame)
}

/// Whether a reply of this status to a method other than `HEAD` has content.
pub fn reply_has_content(status: u16) -> bool {
    !matches!(status, 204 | 205 | 304)
}

/// The answer to `CONNECT` after which the connection is a tunnel.
pub const CONNECT_ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// Fields that carry what lets somebody in. A reflected request would show them to scripts of a page
/// that must not see them (RFC 9110, section 9.3.8).
const SECRET_NAMES: [&[u8]; 8] = [
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"cookie2",
    b"x-api-key",
    b"x-auth-token",
    b"x-csrf-token",
    b"x-forwarded-client-cert",
];

/// Writes the content that answers a `TRACE`, of type `message/http`: the request's head as it was
/// received, without its secrets.
pub fn trace_reply(out: &mut Output<'_>, head: &RequestHead, bytes: &[u8]) -> Result<(), Full> {
    out.push(head.line(bytes))?;
    out.push(b"\r\n")?;
    for field in &head.fields {
        let name = field.name.of(bytes);
        if !SECRET_NAMES.iter().any(|secret| collide(name, secret)) {
            out.field(name, field.value.of(bytes))?;
        }
    }
    out.push(b"\r\n")
}

/// The interim response that tells a client to send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes that [`chunk`] adds to its content, at most: 8 digits and two line ends.
pub const CHUNK_OVERHEAD_MAX: usize = 12;

/// Writes `content`, which is not empty, as one chunk.
pub fn chunk(out: &mut Output<'_>, content: &[u8]) -> Result<(), Full> {
    assert!(!content.is_empty(), "an empty chunk would end the body");
    out.formatted(format_args!("{:x}\r\n", content.len()))?;
    out.push(content)?;
    out.push(b"\r\n")
}

fn push_request_line(out: &mut Output<'_>, head: &RequestHead, bytes: &[u8]) -> Result<(), Full> {
    // A query may be there and be empty.
    let has_query = !head.query.is_empty() || head.target.of(bytes).ends_with(b"?");
    out.push(head.method.of(bytes))?;
    out.push(b" ")?;
    match head.path.is_empty() {
        // An absolute target without a path (RFC 9112, section 3.2.4).
        true if head.is_method(bytes, "OPTIONS") && !has_query => out.push(b"*")?,
        true => out.push(b"/")?,
        false => out.push(head.path.of(bytes))?,
    }
    if has_query {
        out.push(b"?")?;
        out.push(head.query.of(bytes))?;
    }
    out.push(b" HTTP/1.1\r\n")
}

/// Whether a field may leave the connection that it came from.
pub(crate) fn is_end_to_end(field: &FieldSpan, connection_options: &[Span], bytes: &[u8]) -> bool {
    let name = field.name.of(bytes);
    let is_option = |option: &Span| collide(option.of(bytes), name);
    !field.known.is_generated() && !connection_options.iter().any(is_option)
}

/// One `X-Forwarded-For` line: the addresses that came with the request, then the client's.
fn push_forwarded_for(
    out: &mut Output<'_>,
    head: &RequestHead,
    bytes: &[u8],
    client: IpAddr,
) -> Result<(), Full> {
    out.push(b"X-Forwarded-For: ")?;
    for field in head.fields.iter().filter(|field| field.known == Known::XForwardedFor) {
        if !field.value.is_empty() && is_end_to_end(field, &head.connection_options, bytes) {
            out.push(field.value.of(bytes))?;
            out.push(b", ")?;
        }
    }
    out.address(client)?;
    out.push(b"\r\n")
}

fn push_max_forwards(out: &mut Output<'_>, count: u64) -> Result<(), Full> {
    assert!(count > 0, "a request that nobody may pass on was to be answered");
    out.push(b"Max-Forwards: ")?;
    out.number(count - 1)?;
    out.push(b"\r\n")
}

/// What asks for an upgrade, or grants it: the protocols and the option that belongs to them.
fn push_upgrade(out: &mut Output<'_>, fields: &[FieldSpan], bytes: &[u8]) -> Result<(), Full> {
    out.push(b"Connection: upgrade\r\n")?;
    out.push(connection::OFFER)?;
    for (index, protocol) in connection::offered_protocols(fields, bytes).enumerate() {
        if index > 0 {
            out.push(b", ")?;
        }
        out.push(protocol)?;
    }
    out.push(b"\r\n")
}

fn push_status_line(out: &mut Output<'_>, status: u16, reason: &[u8]) -> Result<(), Full> {
    if (status, reason) == (200, b"OK") {
        // What nearly every response has.
        return out.push(b"HTTP/1.1 200 OK\r\n");
    }
    out.push(b"HTTP/1.1 ")?;
    out.number(u64::from(status))?;
    out.push(b" ")?;
    out.push(reason)?;
    out.push(b"\r\n")
}

fn push_connection(out: &mut Output<'_>, frame: ResponseFrame) -> Result<(), Full> {
    // What ends with the connection ends it.
    if frame.closes || frame.framing == Framing::UntilClose {
        out.push(b"Connection: close\r\n")?;
    } else if frame.version == Version::Http10 {
        out.push(b"Connection: keep-alive\r\n")?;
    }
    out.push(b"\r\n")
}
