//! What the tests of this crate share: heads parsed whole and byte by byte, bodies decoded in pieces,
//! and heads encoded for the other side.

// Each test file uses its own part of it.
#![allow(dead_code)]

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use http::encode::{self, Edit, Forwarded, Reply, ResponseFrame};
use http::{
    BodyDecoder, BodyError, Date, Framing, Output, RequestError, RequestHead, RequestLimits,
    ResponseError, ResponseHead, ResponseLimits, Scan, Version, Via,
};

/// Limits that are easily exceeded.
pub(crate) const LIMITS: RequestLimits = RequestLimits {
    head_bytes_max: 4096,
    line_bytes_max: 1024,
    fields_max: 10,
    takes_connect: false,
    takes_underscores: false,
};

/// The same for responses.
pub(crate) const RESPONSE_LIMITS: ResponseLimits =
    ResponseLimits { head_bytes_max: LIMITS.head_bytes_max, fields_max: LIMITS.fields_max };

/// Limits with tunnels.
pub(crate) const TUNNEL_LIMITS: RequestLimits = RequestLimits { takes_connect: true, ..LIMITS };

/// How Kiln names itself unless told otherwise.
pub(crate) static KILN: Via = Via::new(Cow::Borrowed("kiln"), None);

/// A client that is not believed, and offers nothing.
pub(crate) const STRANGER: Forwarded<'static> = Forwarded {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    default_host: b"default",
    upgrades: false,
    keeps_forwarded: false,
    via: &KILN,
    mark: None,
};

/// Room for any head of these tests.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Bytes as an escaped string, for messages.
pub(crate) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Feeds growing prefixes until something comes out; `None` if nothing ever does.
fn grown<T, E>(
    input: &[u8],
    mut parse: impl FnMut(&[u8]) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    for end in 1..=input.len() {
        match parse(&input[..end]) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

/// A request's head and its length. The outcome is the same at once and byte by byte, or a peer could
/// choose by its packets what a message means.
pub(crate) fn request_within(
    input: &[u8],
    limits: &RequestLimits,
) -> Result<Option<(usize, RequestHead)>, RequestError> {
    let mut head = RequestHead::default();
    let whole = head.parse(input, &mut Scan::default(), limits);
    // One head after another is parsed into the same place, and nothing is left of the one before.
    let (mut other, mut scan) = (used_request(), Scan::default());
    let split = grown(input, |bytes| other.parse(bytes, &mut scan, limits));
    assert_eq!(whole, split, "{}", show(input));
    if let Ok(Some(_)) = whole {
        assert_eq!(format!("{head:?}"), format!("{other:?}"), "{}", show(input));
    }
    Ok(whole?.map(|length| (length, head)))
}

/// A head that says all that one can say.
fn used_request() -> RequestHead {
    let message = b"OPTIONS http://used/a?b HTTP/1.0\r\nConnection: keep-alive, x\r\n\
                    Max-Forwards: 7\r\nContent-Length: 9\r\n\r\n";
    let mut head = RequestHead::default();
    head.parse(message, &mut Scan::default(), &LIMITS).expect("a head of this file's own");
    RequestHead { expects_continue: true, wants_upgrade: true, ..head }
}

/// A request's head that is taken; it ends where `input` has its first empty line.
pub(crate) fn taken_within(input: &str, limits: &RequestLimits) -> RequestHead {
    let outcome = request_within(input.as_bytes(), limits);
    let Ok(Some((length, head))) = outcome else { panic!("{input:?}: {outcome:?}") };
    assert!(input[..length].ends_with("\r\n\r\n"), "{input:?}");
    head
}

/// A request's head that is taken, without tunnels.
pub(crate) fn taken(input: &str) -> RequestHead {
    taken_within(input, &LIMITS)
}

/// A request that is refused for that reason.
pub(crate) fn refused(input: &str, expect: RequestError) {
    let error = request_within(input.as_bytes(), &LIMITS).map(|head| head.is_some());
    assert_eq!(error, Err(expect), "{input:?}");
}

/// A response's head and its length, at once and byte by byte.
pub(crate) fn response(input: &[u8]) -> Result<Option<(usize, ResponseHead)>, ResponseError> {
    let mut head = ResponseHead::default();
    let whole = head.parse(input, &mut Scan::default(), &RESPONSE_LIMITS);
    let (mut other, mut scan) = (used_response(), Scan::default());
    let split = grown(input, |bytes| other.parse(bytes, &mut scan, &RESPONSE_LIMITS));
    assert_eq!(whole, split, "{}", show(input));
    if let Ok(Some(_)) = whole {
        assert_eq!(format!("{head:?}"), format!("{other:?}"), "{}", show(input));
    }
    Ok(whole?.map(|length| (length, head)))
}

/// A head that says all that one can say.
fn used_response() -> ResponseHead {
    let message = b"HTTP/1.0 304 Used\r\nConnection: x\r\nContent-Length: 9\r\n\r\n";
    let mut head = ResponseHead::default();
    head.parse(message, &mut Scan::default(), &RESPONSE_LIMITS).expect("a head of this file's own");
    ResponseHead { is_chunked: true, switches: true, requires_upgrade: true, ..head }
}

/// A response's head that is taken.
pub(crate) fn taken_response(input: &str) -> ResponseHead {
    match response(input.as_bytes()) {
        Ok(Some((_, head))) => head,
        outcome => panic!("{input:?}: {outcome:?}"),
    }
}

/// An answer to a GET that is refused for that reason.
pub(crate) fn refused_response(input: &str, expect: ResponseError) {
    let head = response(input.as_bytes());
    let framing = head.and_then(|head| head.map(|(_, head)| head.framing(false)).transpose());
    assert_eq!(framing, Err(expect), "{input:?}");
}

/// The content of a body, what of the input is behind it, and whether it has ended.
pub(crate) type Body = (Vec<u8>, Vec<u8>, bool);

/// Decodes a body that comes in pieces.
pub(crate) fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::from(framing);
    let (mut content, mut rest) = (Vec::new(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while !decoder.is_done() && !piece.is_empty() {
            let step = decoder.decode(piece)?;
            assert!(step.consumed > 0, "no progress");
            content.extend_from_slice(&piece[step.content.clone()]);
            piece = &piece[step.consumed..];
        }
        rest.extend_from_slice(piece);
    }
    Ok((content, rest, decoder.is_done()))
}

/// Decodes a body whole, byte by byte, and cut in two anywhere: the outcome is the same.
pub(crate) fn decode_anyhow(framing: Framing, input: &[u8]) -> Result<Body, BodyError> {
    let whole = decode(framing, &[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(framing, &bytes), whole, "{} by bytes", show(input));
    for cut in 0..input.len() {
        let (first, second) = input.split_at(cut);
        let pieces = [first, second];
        assert_eq!(decode(framing, &pieces), whole, "{} cut at {cut}", show(input));
    }
    whole
}

/// What `write` writes.
pub(crate) fn written(write: impl FnOnce(&mut Output<'_>) -> Result<(), http::Full>) -> Vec<u8> {
    let mut bytes = vec![0; OUTPUT_BYTES];
    let mut out = Output::new(&mut bytes);
    write(&mut out).expect("there is room for any head of a test");
    let filled = out.filled();
    bytes.truncate(filled);
    bytes
}

/// The head that goes to an origin.
pub(crate) fn upstream(
    head: &RequestHead,
    input: &[u8],
    forwarded: Forwarded<'_>,
    edits: &[Edit<'_>],
) -> Vec<u8> {
    written(|out| encode::upstream_request(out, head, input, forwarded, edits.iter().copied()))
}

/// The lines of the head that goes to an origin for this request, without the empty one.
pub(crate) fn forwarded_lines(
    input: &str,
    forwarded: Forwarded<'_>,
    edits: &[Edit<'_>],
) -> Vec<String> {
    let head = taken(input);
    lines(upstream(&head, input.as_bytes(), forwarded, edits))
}

/// A frame for a 1.1 client whose connection lives on.
pub(crate) const fn frame(framing: Framing) -> ResponseFrame {
    ResponseFrame { framing, version: Version::Http11, closes: false }
}

/// The head that goes to a client.
pub(crate) fn relayed(head: &ResponseHead, input: &[u8], frame: ResponseFrame) -> Vec<u8> {
    written(|out| encode::relayed_response(out, head, input, frame, &date(), &KILN))
}

/// The lines of the head that goes to a client for this response, without the empty one.
pub(crate) fn relayed_lines(input: &str, frame: ResponseFrame) -> Vec<String> {
    lines(relayed(&taken_response(input), input.as_bytes(), frame))
}

/// The lines of a reply of Kiln's own, without the empty one.
pub(crate) fn reply_lines(
    status: u16,
    fields: &[(&[u8], &[u8])],
    frame: ResponseFrame,
) -> Vec<String> {
    let reply = Reply { status, fields, content_bytes: 5 };
    lines(written(|out| encode::reply(out, &reply, frame, &date())))
}

/// The beginning of time, as `Date` has it.
pub(crate) const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT";

/// The line above.
pub(crate) fn date() -> Date {
    Date::at(SystemTime::UNIX_EPOCH + Duration::ZERO)
}

/// The lines of a head, without the empty one.
fn lines(bytes: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(bytes).expect("these tests write text");
    let text = text.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("{text:?} has no end"));
    text.split("\r\n").map(str::to_owned).collect()
}
