//! The alphabet of heads: tokens, values, lists, and the fields that Kiln itself must understand.
//!
//! Heads are kept as spans into the buffer they were parsed from, so that parsing copies nothing and
//! allocates nothing. A field's name is classified once, while parsing.

/// A part of the buffer that a head was parsed from, as offsets from the head's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The span of `part` in `whole`, which it must be a slice of unless it is empty.
    pub(crate) fn locate(whole: &[u8], part: &[u8]) -> Self {
        if part.is_empty() {
            return Span::default();
        }
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        assert!(
            start <= whole.len() && part.len() <= whole.len() - start,
            "not a part of the head"
        );
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// The bytes, given the buffer that the head was parsed from.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// Offset of its first byte.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// Offset past its last byte.
    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line of a head.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpan {
    /// Name as the peer spelt it.
    pub name: Span,
    /// Value without surrounding whitespace.
    pub value: Span,
    /// Which field it is.
    pub known: Known,
}

impl FieldSpan {
    /// The field line that httparse found in `head`.
    #[inline]
    pub(crate) fn of(head: &[u8], field: &httparse::Header<'_>) -> Self {
        FieldSpan {
            name: Span::locate(head, field.name.as_bytes()),
            value: Span::locate(head, trim(field.value)),
            known: Known::of(field.name.as_bytes()),
        }
    }
}

/// The fields that change what Kiln does. Every other one is carried without being understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Host of the request (RFC 9110, section 7.2).
    Host,
    /// Length of the content.
    ContentLength,
    /// Transfer codings of the message.
    TransferEncoding,
    /// Options for this connection alone, naming fields that stay on it.
    Connection,
    /// Protocols that the connection could switch to (RFC 9110, section 7.8).
    Upgrade,
    /// Never leaves the connection: `Keep-Alive`, `Proxy-Connection`, `TE`, `HTTP2-Settings`; and
    /// `Trailer`, because trailers are not relayed.
    HopByHop,
    /// Behaviour that the client wants from the server.
    Expect,
    /// How many more intermediaries may pass the request on (RFC 9110, section 7.6.2).
    MaxForwards,
    /// What proxies in front tell about the request, by RFC 7239.
    Forwarded,
    /// Addresses that the request came through.
    XForwardedFor,
    /// Scheme that the client used.
    XForwardedProto,
    /// Host that the client asked for.
    XForwardedHost,
    /// Port that the client connected to.
    XForwardedPort,
    /// When the message was made.
    Date,
    /// Intermediaries that the message came through (RFC 9110, section 7.6.3).
    Via,
    /// Spelt so that some origins take it for one of those that Kiln generates: `Content_Length`.
    DisguisedFraming,
    /// Spelt so that some origins take it for another of those above: `X_Forwarded_For`.
    Disguised,
    /// None of these.
    Other,
}

impl Known {
    /// Bytes of the longest name that is known.
    pub(crate) const NAME_BYTES_MAX: usize = "transfer-encoding".len();

    /// Classifies a field name.
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let Some(first) = name.first() else { return Self::Other };
        // By length and first letter first: most names are none of these, and are done with here.
        match (name.len(), first.to_ascii_lowercase()) {
            (2, b't') if is("te") => Self::HopByHop,
            (3, b'v') if is("via") => Self::Via,
            (4, b'h') if is("host") => Self::Host,
            (4, b'd') if is("date") => Self::Date,
            (6, b'e') if is("expect") => Self::Expect,
            (7, b'u') if is("upgrade") => Self::Upgrade,
            (7, b't') if is("trailer") => Self::HopByHop,
            (9, b'f') if is("forwarded") => Self::Forwarded,
            (10, b'c') if is("connection") => Self::Connection,
            (10, b'k') if is("keep-alive") => Self::HopByHop,
            (12, b'm') if is("max-forwards") => Self::MaxForwards,
            (14, b'c') if is("content-length") => Self::ContentLength,
            (14, b'h') if is("http2-settings") => Self::HopByHop,
            (15, b'x') if is("x-forwarded-for") => Self::XForwardedFor,
            (16, b'p') if is("proxy-connection") => Self::HopByHop,
            (16, b'x') if is("x-forwarded-host") => Self::XForwardedHost,
            (16, b'x') if is("x-forwarded-port") => Self::XForwardedPort,
            (17, b't') if is("transfer-encoding") => Self::TransferEncoding,
            (17, b'x') if is("x-forwarded-proto") => Self::XForwardedProto,
            _ => Self::disguised(name, *first),
        }
    }

    /// Classifies a name that is none of those above, but may be taken for one with a hyphen.
    fn disguised(name: &[u8], first: u8) -> Self {
        let is = |known: &str| collide(name, known.as_bytes());
        match (name.len(), first.to_ascii_lowercase()) {
            (10, b'k') if is("keep-alive") => Self::DisguisedFraming,
            (12, b'm') if is("max-forwards") => Self::Disguised,
            (14, b'c') if is("content-length") => Self::DisguisedFraming,
            (14, b'h') if is("http2-settings") => Self::DisguisedFraming,
            (15, b'x') if is("x-forwarded-for") => Self::Disguised,
            (16, b'p') if is("proxy-connection") => Self::DisguisedFraming,
            (16, b'x') if is("x-forwarded-host") => Self::Disguised,
            (16, b'x') if is("x-forwarded-port") => Self::Disguised,
            (17, b't') if is("transfer-encoding") => Self::DisguisedFraming,
            (17, b'x') if is("x-forwarded-proto") => Self::Disguised,
            _ => Self::Other,
        }
    }

    /// Whether Kiln generates this field itself, so that nobody's copy of it passes through.
    pub fn is_generated(self) -> bool {
        matches!(
            self,
            Self::ContentLength
                | Self::TransferEncoding
                | Self::Connection
                | Self::Upgrade
                | Self::HopByHop
                | Self::DisguisedFraming
        )
    }

    /// Whether it is spelt so that some origins take it for a field that Kiln acts on.
    pub(crate) fn is_disguised(self) -> bool {
        matches!(self, Self::Disguised | Self::DisguisedFraming)
    }

    /// Whether no sender may send it as a trailer, since it frames or routes a message, or manages its
    /// connection (RFC 9110, section 6.5.1).
    pub(crate) fn is_never_a_trailer(self) -> bool {
        self.is_generated() || matches!(self, Self::Host | Self::Expect | Self::MaxForwards)
    }
}

/// Whether some origins take two field names for one.
///
/// Interfaces that hand fields over as variables (CGI, WSGI, Rack, FastCGI and what came after them)
/// know letters and digits, and write `_` for `-` (RFC 3875, section 4.1.18), many of them for any other
/// character too. The case does not count (RFC 9110, section 5.1).
pub(crate) fn collide(one: &[u8], other: &[u8]) -> bool {
    let as_variable = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'_',
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|(&one, &other)| as_variable(one) == as_variable(other))
}

/// Whether there is a `_` in a field name.
#[inline]
pub(crate) fn has_underscore(name: &[u8]) -> bool {
    // Eight bytes at once, since the name of every field is looked at; the last eight overlap.
    let (words, _) = name.as_chunks();
    match name.last_chunk() {
        Some(last) => is_in_word(*last) || words.iter().any(|word| is_in_word(*word)),
        None => name.contains(&b'_'),
    }
}

/// Whether a `_` is among eight bytes: those that are one become zero, and only from a zero can one be
/// taken without a carry into its highest bit (Warren, Hacker's Delight, section 6-1).
#[inline]
fn is_in_word(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zeroed = u64::from_ne_bytes(word) ^ (ONES * b'_' as u64);
    zeroed.wrapping_sub(ONES) & !zeroed & (ONES << 7) != 0
}

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    // A match, not a search in a string: it becomes a test of one bit.
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            | b'`' | b'|' | b'~'
    )
}

/// Whether `text` is a token: not empty, and token bytes alone.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a field value, quoted or not (RFC 9110, section 5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `value` without the spaces and tabs around it.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The members of a comma-separated list, without empty ones (RFC 9110, section 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// A decimal number without sign or blanks, as `Content-Length` has it.
pub fn decimal(value: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for byte in value {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!value.is_empty()).then_some(number)
}

/// A decimal number as [`decimal`] takes it, but the greatest there is for any that is greater.
pub(crate) fn decimal_or_max(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| decimal(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_and_trimmed() {
        let members: Vec<&[u8]> = list(b" a,, b\t, c d ,").collect();
        assert_eq!(members, [&b"a"[..], b"b", b"c d"]);
    }

    #[test]
    fn decimals_are_digits_alone_and_fit_64_bits() {
        let check =
            |value: &str, expect| assert_eq!(decimal(value.as_bytes()), expect, "{value:?}");
        check("0", Some(0));
        check("0042", Some(42));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        check("", None);
        check("+1", None);
        check("-1", None);
        check("1 ", None);
        check("0x10", None);
        check("1,1", None);
    }

    #[test]
    fn names_are_classified_whatever_their_case() {
        let check = |name: &str, expect| assert_eq!(Known::of(name.as_bytes()), expect, "{name}");
        check("Content-Length", Known::ContentLength);
        check("TRANSFER-ENCODING", Known::TransferEncoding);
        check("te", Known::HopByHop);
        check("tE", Known::HopByHop);
        check("ta", Known::Other);
        check("content-lengthy", Known::Other);
        check("upgrade", Known::Upgrade);
        check("Http2-Settings", Known::HopByHop);
        check("MAX-FORWARDS", Known::MaxForwards);
        check("forwarded", Known::Forwarded);
        check("x-forwarded-HOST", Known::XForwardedHost);
        check("x-forwarded-port", Known::XForwardedPort);
        check("x-forwarded-by", Known::Other);
        check("VIA", Known::Via);
    }

    #[test]
    fn names_that_only_some_origins_take_for_known_ones_are_disguised() {
        let check = |name: &str, expect| assert_eq!(Known::of(name.as_bytes()), expect, "{name}");
        for name in [
            "content_length",
            "Transfer_Encoding",
            "transfer.encoding",
            "keep~alive",
            "Proxy_Connection",
            "http2_settings",
        ] {
            check(name, Known::DisguisedFraming);
        }
        for name in ["MAX_FORWARDS", "X_Forwarded-For", "x-forwarded_port", "X.FORWARDED.HOST"] {
            check(name, Known::Disguised);
        }
        for name in ["content__length", "contentlength", "content_type", "x_user", "_ost", "_"] {
            check(name, Known::Other);
        }
    }

    #[test]
    fn an_underscore_is_found_anywhere_in_a_name() {
        for length in 0..=40 {
            // Bytes that are nearly a `_` are none.
            for other in [b'a', b'-', b'^', b'`', 0, 0x7f, 0xdf, 0xff] {
                let mut name = vec![other; length];
                assert!(!has_underscore(&name), "{name:?}");
                for at in 0..length {
                    name[at] = b'_';
                    assert!(has_underscore(&name), "{name:?}");
                    name[at] = other;
                }
            }
        }
    }

    #[test]
    fn names_collide_that_are_one_variable() {
        let check = |one: &str, other: &str, expect| {
            assert_eq!(collide(one.as_bytes(), other.as_bytes()), expect, "{one} {other}");
            assert_eq!(collide(other.as_bytes(), one.as_bytes()), expect, "{other} {one}");
        };
        check("X-User-Id", "x_user_id", true);
        check("X-User-Id", "x.user!id", true);
        check("x_user_id", "X_USER_ID", true);
        check("x-user", "x-user-id", false);
        check("x-user", "x-uses", false);
        check("x-user", "xxuser", false);
        check("x-1", "x_1", true);
        check("x-1", "x_2", false);
    }
}
