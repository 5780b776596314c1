//! Patterns of the symbol lists in `pch/`. Shared with the build script.

/// Whether `name` is of the form of `pattern`, in which `*` stands for any characters.
#[allow(unreachable_pub)] // The library exports it; the build script has it too.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    rest.is_empty()
        || (0..=tail.len()).any(|from| tail.is_char_boundary(from) && matches(rest, &tail[from..]))
}
