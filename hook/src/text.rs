//! Texts of a fault, which have a limit.

use heritage::FAULT_TEXT_BYTES_MAX;

/// A text of at most so many bytes.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > FAULT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAULT_TEXT_BYTES_MAX - 3));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = shortened("\u{e9}".repeat(FAULT_TEXT_BYTES_MAX));
        assert!(text.len() <= FAULT_TEXT_BYTES_MAX && text.ends_with("\u{e9}..."), "{text}");
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
