//! The fields whose place in a head the host notes, so that scripts need not search for them.

/// `kiln_common_field`, in its order: names whose place the host notes.
pub(crate) const COMMON_FIELDS: [&str; 11] = [
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cookie",
    "content-type",
    "content-length",
    "referer",
    "x-forwarded-for",
];

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
