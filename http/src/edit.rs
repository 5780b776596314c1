//! What scripts may change in messages: the edits of a request, and the fields of a reply.
//!
//! This is the one place that says which fields a script may not write. Whoever calls scripts asks here
//! and tells the script what is refused; `encode` asks again, and writes nothing that is not valid.

use crate::fields::{self, Known, collide};
use crate::target;

/// One change to the fields of a request that goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Remove every field of this name, then append one with this value.
    Set(&'a [u8], &'a [u8]),
    /// Append a field, whatever there is of that name.
    Add(&'a [u8], &'a [u8]),
    /// Remove every field of this name.
    Remove(&'a [u8]),
}

impl<'a> Edit<'a> {
    /// Whether a script may ask for it. Fields that frame the message or belong to the connection are
    /// Kiln's (RFC 9110, section 7.6.1; RFC 9112, section 6), and so is `Expect`, whose answer Kiln waits
    /// for. A name that only some origins take for one of these can be removed, since a client may have
    /// sent it, but not set. A `Host` is one (RFC 9112, section 3.2).
    #[inline]
    pub fn is_valid(self) -> bool {
        match self {
            Edit::Set(name, value) | Edit::Add(name, value) => {
                let known = Known::of(name);
                is_line(name, value)
                    && !is_kilns(known)
                    && (known != Known::Host || target::is_host(value))
            }
            Edit::Remove(name) => {
                let known = Known::of(name);
                fields::is_token(name) && (known == Known::DisguisedFraming || !is_kilns(known))
            }
        }
    }

    pub(crate) fn name(self) -> &'a [u8] {
        match self {
            Edit::Set(name, _) | Edit::Add(name, _) | Edit::Remove(name) => name,
        }
    }

    /// The host that the request is for after this edit, if it is one of `Host`: its own, or none.
    pub(crate) fn host(self) -> Option<Option<&'a [u8]>> {
        match self {
            Edit::Set(name, host) | Edit::Add(name, host) => {
                (Known::of(name) == Known::Host && target::is_host(host)).then_some(Some(host))
            }
            Edit::Remove(name) => (Known::of(name) == Known::Host).then_some(None),
        }
    }

    /// Whether a field that an earlier edit made is not sent after this one.
    pub(crate) fn undoes(self, name: &[u8]) -> bool {
        !matches!(self, Edit::Add(..)) && self.name().eq_ignore_ascii_case(name)
    }

    /// Whether it takes the place of a field that Kiln writes.
    pub(crate) fn replaces(self, name: &[u8]) -> bool {
        !matches!(self, Edit::Add(..)) && collide(self.name(), name)
    }

    /// Whether a client's field is not sent after it: one that it removes, and one that some origins take
    /// for the same. What a script says of `x-user` holds for `X_User` too.
    pub(crate) fn hides(self, name: &[u8]) -> bool {
        let is_beside = matches!(self, Edit::Add(..)) && self.name().eq_ignore_ascii_case(name);
        collide(self.name(), name) && !is_beside
    }
}

/// Whether a script may put this field line into a reply. Beside what no message may have of a script,
/// Kiln writes the `Date` there (RFC 9110, section 6.6.1).
pub fn is_reply_field(name: &[u8], value: &[u8]) -> bool {
    let known = Known::of(name);
    is_line(name, value) && !is_kilns(known) && known != Known::Date
}

/// Whether it makes one field line (RFC 9110, sections 5.1 and 5.5).
fn is_line(name: &[u8], value: &[u8]) -> bool {
    fields::is_token(name) && value.iter().all(|&byte| fields::is_value_byte(byte))
}

/// Whether Kiln writes this field, and nobody else.
fn is_kilns(known: Known) -> bool {
    known.is_generated() || known == Known::Expect
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILNS: [&str; 10] = [
        "Connection",
        "content-length",
        "Keep-Alive",
        "proxy-connection",
        "TE",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
        "HTTP2-Settings",
        "Expect",
    ];

    #[test]
    fn scripts_set_valid_fields_that_kiln_does_not_write() {
        let check = |name: &str, value: &str, expect: bool| {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            for edit in [Edit::Set(name, value), Edit::Add(name, value)] {
                assert_eq!(edit.is_valid(), expect, "{edit:?}");
            }
            assert_eq!(is_reply_field(name, value), expect, "{name:?}: {value:?}");
        };
        for name in ["x-user-id", "x_user_id", "contentxlength", "Via", "X_Forwarded_For"] {
            check(name, "1.1 edge", true);
        }
        for value in ["", "42", "a\tb \u{e9}"] {
            check("x-text", value, true);
        }
        for value in ["a\r\nx-evil: 1", "a\nb", "a\0b", "\u{7f}"] {
            check("x-text", value, false);
        }
        for name in ["", "x user", "x-user:", "\u{e9}"] {
            check(name, "x", false);
        }
        for name in KILNS {
            check(name, "x", false);
        }
        for name in ["Content_Length", "TRANSFER_ENCODING", "Proxy.Connection", "http2_settings"] {
            check(name, "x", false);
        }
    }

    #[test]
    fn a_script_sets_a_host_that_is_one_and_the_date_of_requests() {
        let check = |name: &str, value: &str, in_request, in_reply| {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            assert_eq!(Edit::Set(name, value).is_valid(), in_request, "{name:?}: {value:?}");
            assert_eq!(is_reply_field(name, value), in_reply, "{name:?}: {value:?}");
        };
        check("host", "example.org:8", true, true);
        check("HOST", "two words", false, true);
        check("Host", "", false, true);
        check("date", "Tue, 15 Nov 1994 08:12:31 GMT", true, false);
    }

    #[test]
    fn scripts_remove_whatever_kiln_does_not_write() {
        let check = |name: &str, expect| {
            assert_eq!(Edit::Remove(name.as_bytes()).is_valid(), expect, "{name:?}");
        };
        for name in ["x-user-id", "Content_Length", "via", "Host", "X-Forwarded-For"] {
            check(name, true);
        }
        for name in ["", "a b"] {
            check(name, false);
        }
        for name in KILNS {
            check(name, false);
        }
    }
}
