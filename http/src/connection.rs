//! What a head says about the connection that it came on: options that concern it alone, whether it
//! lives on, and the protocols that it could switch to (RFC 9110, sections 7.6.1 and 7.8; RFC 9112,
//! section 9.3).
//!
//! None of it is passed on by itself. An upgrade is offered to the other side as an offer of Kiln's
//! own, and never one to another version of HTTP: what follows such a switch would be requests that
//! Kiln does not see.

use crate::Version;
use crate::fields::{self, FieldSpan, Known, Span};

/// Options that the `Connection` fields of one head may list. Honest senders list a few. Each is compared
/// with every field, so that without a limit a head of nothing but options would cost the square of its
/// length.
pub(crate) const OPTIONS_MAX: usize = 100;

/// How the line begins that names protocols, in heads that are written here.
pub(crate) const OFFER: &[u8] = b"Upgrade: ";

/// What `Connection` fields say, gathered over the head.
#[derive(Default)]
pub(crate) struct ConnectionFields {
    closes: bool,
    keeps_alive: bool,
    upgrades: bool,
}

/// An option that is no token, or too many options.
#[derive(Debug)]
pub(crate) struct BadOptions;

impl ConnectionFields {
    /// Adds one field's value, which is a part of `bytes`, and its options to `options`.
    pub(crate) fn add(
        &mut self,
        bytes: &[u8],
        value: &[u8],
        options: &mut Vec<Span>,
    ) -> Result<(), BadOptions> {
        for option in fields::list(value) {
            let is = |known: &[u8]| option.eq_ignore_ascii_case(known);
            if options.len() == OPTIONS_MAX {
                return Err(BadOptions);
            } else if is(b"keep-alive") {
                self.keeps_alive = true;
            } else if is(b"close") {
                self.closes = true;
            } else if is(b"upgrade") {
                self.upgrades = true;
            } else if !fields::is_token(option) {
                return Err(BadOptions);
            }
            options.push(Span::locate(bytes, option));
        }
        Ok(())
    }

    /// Whether the connection lives on after a message of this version.
    pub(crate) fn is_persistent(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.closes,
            Version::Http10 => self.keeps_alive && !self.closes,
        }
    }

    /// Whether a request asks for an upgrade that may be offered to an origin. A server ignores
    /// `Upgrade` in 1.0, and without its option (RFC 9110, section 7.8).
    pub(crate) fn wants_upgrade(
        &self,
        version: Version,
        fields: &[FieldSpan],
        bytes: &[u8],
    ) -> bool {
        self.upgrades
            && version == Version::Http11
            && protocols(fields, bytes).all(is_protocol)
            && offered_protocols(fields, bytes).next().is_some()
    }

    /// Whether a response names the protocols of a switch, and none that is never offered.
    pub(crate) fn names_protocols(
        &self,
        version: Version,
        fields: &[FieldSpan],
        bytes: &[u8],
    ) -> bool {
        self.wants_upgrade(version, fields, bytes) && !protocols(fields, bytes).any(is_http_or_tls)
    }
}

/// The protocols of the `Upgrade` fields that may be offered to an origin, in their order.
pub(crate) fn offered_protocols<'a>(
    fields: &'a [FieldSpan],
    bytes: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    protocols(fields, bytes).filter(|protocol| !is_http_or_tls(protocol))
}

/// Whether the protocols that an origin switches to are among those that it was offered in `sent`, a
/// head that was written here: with one line of them, whose name is spelt as it is below.
pub(crate) fn are_offered(fields: &[FieldSpan], bytes: &[u8], sent: &[u8]) -> bool {
    let offer = sent.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(OFFER));
    let offer = offer.and_then(|offer| offer.strip_suffix(b"\r")).unwrap_or_default();
    let is_offered = |switched: &[u8]| {
        fields::list(offer).any(|protocol| protocol.eq_ignore_ascii_case(switched))
    };
    protocols(fields, bytes).all(is_offered)
}

fn protocols<'a>(fields: &'a [FieldSpan], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let upgrades = fields.iter().filter(|field| field.known == Known::Upgrade);
    upgrades.flat_map(|field| fields::list(field.value.of(bytes)))
}

/// A name, and perhaps a version: tokens both.
fn is_protocol(protocol: &[u8]) -> bool {
    match memchr::memchr(b'/', protocol) {
        None => fields::is_token(protocol),
        Some(slash) => {
            fields::is_token(&protocol[..slash]) && fields::is_token(&protocol[slash + 1..])
        }
    }
}

/// Whether requests could follow a switch to this protocol: HTTP by its name and by those of its
/// second version and its drafts (`h2c`, `h2c-14`), and TLS (RFC 2817), which could hide any.
fn is_http_or_tls(protocol: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    is(b"http")
        || is(b"tls")
        || name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(b"h2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_tokens_with_a_version_or_without() {
        let check = |protocol: &str, expect| {
            assert_eq!(is_protocol(protocol.as_bytes()), expect, "{protocol:?}");
        };
        for protocol in ["websocket", "IRC/6.9", "a/b"] {
            check(protocol, true);
        }
        for protocol in ["", "/", "a/", "/1", "a/b/c", "a b", "a;b", "\"a\""] {
            check(protocol, false);
        }
    }

    #[test]
    fn versions_of_http_and_tls_are_known_whatever_their_case() {
        let check = |protocol: &str, expect| {
            assert_eq!(is_http_or_tls(protocol.as_bytes()), expect, "{protocol:?}");
        };
        for protocol in ["h2c", "H2C", "h2", "h2c-14", "HTTP/2.0", "http", "HTTP/3", "TLS/1.2"] {
            check(protocol, true);
        }
        for protocol in ["websocket", "h", "", "httpx", "tls2", "connect-udp"] {
            check(protocol, false);
        }
    }
}
