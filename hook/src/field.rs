//! Which fields a script may set: valid ones that don't decide where a message ends.

use crate::abi::COMMON_FIELDS;

/// Fields that belong to the connection or frame the message (RFC 9110, section 7.6.1; RFC 9112,
/// section 6): the host writes them.
const HOST_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Whether a script may put this field line into a message.
pub(crate) fn may_set(name: &[u8], value: &[u8]) -> bool {
    is_name(name)
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        && !HOST_FIELDS.iter().any(|field| is_taken_for(name, field.as_bytes()))
}

/// Whether a script may ask for the removal of this field. A name that only looks like one of the host's
/// is one that a client may have sent.
pub(crate) fn may_remove(name: &[u8]) -> bool {
    is_name(name) && !HOST_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_token(byte))
}

/// Whether some origins take `name` for `field`, which is in lower case: those that make variables of
/// fields write `_` for `-`, and often for any other character (RFC 3875, section 4.1.18).
fn is_taken_for(name: &[u8], field: &[u8]) -> bool {
    let is_same = |(&one, &other): (&u8, &u8)| match other {
        b'-' => !one.is_ascii_alphanumeric(),
        _ => one.to_ascii_lowercase() == other,
    };
    name.len() == field.len() && name.iter().zip(field).all(is_same)
}

/// `tchar` (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    // A match, not a search in a string: it becomes a test of one bit.
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            | b'`' | b'|' | b'~'
    )
}

/// Where a name is in `abi.h`'s list of common fields.
pub(crate) fn common_index(name: &[u8]) -> Option<usize> {
    let mut candidates = *COMMON_OF_LENGTH.get(name.len())?;
    while candidates != 0 {
        let index = candidates.trailing_zeros() as usize;
        if name.eq_ignore_ascii_case(COMMON_FIELDS[index].as_bytes()) {
            return Some(index);
        }
        candidates &= candidates - 1;
    }
    None
}

/// Longest name of a common field.
const COMMON_BYTES_MAX: usize = 15;

/// For each length of a name the common fields that have it, a bit each: every field line of every
/// request is looked up, and a length leaves three names to compare at most.
const COMMON_OF_LENGTH: [u16; COMMON_BYTES_MAX + 1] = {
    let mut fields = [0; COMMON_BYTES_MAX + 1];
    let mut index = 0;
    while index < COMMON_FIELDS.len() {
        fields[COMMON_FIELDS[index].len()] |= 1 << index;
        index += 1;
    }
    fields
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_set_only_valid_fields_that_frame_nothing() {
        let check = |name: &str, value: &str, expect: bool| {
            assert_eq!(may_set(name.as_bytes(), value.as_bytes()), expect, "{name:?}: {value:?}");
        };
        check("x-user-id", "42", true);
        check("X-Empty", "", true);
        check("x-text", "a\tb \u{e9}", true);
        check("", "x", false);
        check("x user", "x", false);
        check("x-user:", "x", false);
        check("x-user", "a\r\nx-evil: 1", false);
        check("x-user", "a\nb", false);
        check("x-user", "a\0b", false);
        check("Content-Length", "3", false);
        check("transfer-encoding", "chunked", false);
        check("Connection", "close", false);
        check("Content_Length", "3", false);
        check("TRANSFER_ENCODING", "chunked", false);
        check("Proxy.Connection", "close", false);
        check("contentxlength", "3", true);
        check("x_user_id", "42", true);
        check("Via", "1.1 edge", true);
    }

    #[test]
    fn scripts_remove_whatever_the_host_does_not_write() {
        let check =
            |name: &str, expect| assert_eq!(may_remove(name.as_bytes()), expect, "{name:?}");
        check("x-user-id", true);
        check("Content_Length", true);
        check("via", true);
        check("Content-Length", false);
        check("connection", false);
        check("", false);
        check("a b", false);
    }

    #[test]
    fn common_fields_are_found_without_case() {
        assert_eq!(common_index(b"HOST"), Some(0));
        assert_eq!(common_index(b"X-Forwarded-For"), Some(10));
        assert_eq!(common_index(b"x-other"), None);
        assert_eq!(common_index(b"accept-encodinG"), Some(3));
        assert_eq!(common_index(b""), None);
        assert_eq!(common_index(&[b'x'; 100]), None);
        for (index, name) in COMMON_FIELDS.iter().enumerate() {
            assert_eq!(common_index(name.as_bytes()), Some(index), "{name}");
        }
    }
}
