//! Why a worker does not have a symbol, and what to use instead: `pch/workers.refused`.

use std::sync::LazyLock;

use crate::pattern::matches;

static LIST: &str = include_str!("../../pch/workers.refused");

/// Functions of headers that are refused: no library has them.
static INLINE: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let lines = LIST.lines().filter_map(|line| line.strip_prefix("inline: "));
    lines.flat_map(|patterns| patterns.split(' ')).collect()
});

/// Why a symbol is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The group's name, one word.
    pub group: &'static str,
    /// Why, as the end of a sentence.
    pub reason: &'static str,
    /// What there is instead.
    pub instead: Option<&'static str>,
    /// What an author calls a function of a header that only headers call.
    pub called: Option<&'static str>,
}

/// Why a worker does not have this symbol; `None` for one that nobody thought of.
pub fn refused(symbol: &str) -> Option<Refused> {
    LIST.split("\n[").skip(1).find_map(|part| {
        let (group, reason) = part.lines().next()?.split_once("] ")?;
        let word = |word: &str| part.lines().find_map(|line| line.strip_prefix(word));
        let names = part.lines().skip(1).filter(|line| !line.starts_with('#'));
        let names = names.filter_map(|line| line.split_once(": "));
        let names = names.filter(|(library, _)| !["instead", "called"].contains(library));
        let mut patterns = names.flat_map(|(_, names)| names.split(' '));
        let called = word("called: ").filter(|_| is_inline(symbol));
        let refused = Refused { group, reason, instead: word("instead: "), called };
        patterns.any(|pattern| matches(pattern, symbol)).then_some(refused)
    })
}

/// Whether it is a function of a header that is refused: then it is called and not compiled, so that
/// what is missing has its name, and not that of what it would call.
pub(crate) fn is_inline(symbol: &str) -> bool {
    INLINE.iter().any(|pattern| matches(pattern, symbol))
}
