//! Which fields a script may set: valid ones that don't decide where a message ends.

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
    !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        && !HOST_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

/// `tchar` (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Where a name is in `abi.h`'s list of common fields.
pub(crate) fn common_index(name: &[u8]) -> Option<usize> {
    crate::abi::COMMON_FIELDS.iter().position(|common| name.eq_ignore_ascii_case(common.as_bytes()))
}

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
    }

    #[test]
    fn common_fields_are_found_without_case() {
        assert_eq!(common_index(b"HOST"), Some(0));
        assert_eq!(common_index(b"X-Forwarded-For"), Some(10));
        assert_eq!(common_index(b"x-other"), None);
    }
}
