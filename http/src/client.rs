//! Whom a chain of proxies names as the client: what `X-Forwarded-For`, or else `Forwarded` (RFC 7239),
//! says as far as those are trusted who said it.
//!
//! Each proxy adds at the end whom it had the request from. So the chain is read from the end, and what
//! stands before the first address that is not a trusted proxy's may be anybody's invention.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::encode::is_end_to_end;
use crate::fields::{FieldSpan, Known};
use crate::request::RequestHead;

/// Addresses of one chain that are looked at: more proxies than any request passes.
const CHAIN_MAX: usize = 32;

/// The client of a request that `peer`, which is trusted, has sent: the last address in its chain that
/// `is_trusted` does not know, or the first of all. Where an entry is no address (`unknown`, a name), it
/// is the one after it: nobody knows who is behind that.
pub fn named_client(
    head: &RequestHead,
    bytes: &[u8],
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for entry in chain(head, bytes) {
        if !is_trusted(client) {
            break;
        }
        match entry {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// The chain from its end on: an address, or none where there is something else.
fn chain(head: &RequestHead, bytes: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = |known| {
        let is_it = move |field: &&FieldSpan| {
            field.known == known && is_end_to_end(field, &head.connection_options, bytes)
        };
        head.fields.iter().rev().filter(is_it).map(|field| field.value.of(bytes))
    };
    let has_list = lines(Known::XForwardedFor).next().is_some();
    let listed = lines(Known::XForwardedFor).flat_map(|line| line.rsplit(|byte| *byte == b','));
    let listed = listed.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
    let elements = lines(Known::Forwarded).filter(move |_| !has_list).flat_map(elements_from_end);
    listed.map(address).chain(elements).take(CHAIN_MAX)
}

/// What the elements of a `Forwarded` line say of `for`, the last one first.
fn elements_from_end(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let elements: Vec<&[u8]> = split_unquoted(line, b',').collect();
    elements.into_iter().rev().map(|element| {
        let pairs = split_unquoted(element, b';').map(<[u8]>::trim_ascii);
        let mut named = pairs.filter_map(|pair| {
            let (name, value) = pair.split_at_checked(4)?;
            name.eq_ignore_ascii_case(b"for=").then_some(value)
        });
        address(unquoted(named.next()?))
    })
}

/// Parts between separators that are not in quotes (RFC 9110, section 5.6.4).
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |&byte| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && !was_escaped => is_escaped = true,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        byte == separator && !is_quoted
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = text.parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    Some(address.or_else(|| Some(in_brackets()?.into()))?.to_canonical())
}
