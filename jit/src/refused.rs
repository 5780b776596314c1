//! Why a worker does not have a symbol, and what to use instead: `pch/workers.refused`.

use crate::pattern::matches;

static LIST: &str = include_str!("../../pch/workers.refused");

/// Why a symbol is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The group's name, one word.
    pub group: &'static str,
    /// Why, as the end of a sentence.
    pub reason: &'static str,
    /// What there is instead.
    pub instead: Option<&'static str>,
}

/// Why a worker does not have this symbol; `None` for one that nobody thought of.
pub fn refused(symbol: &str) -> Option<Refused> {
    LIST.split("\n[").skip(1).find_map(|part| {
        let (group, reason) = part.lines().next()?.split_once("] ")?;
        let instead = part.lines().find_map(|line| line.strip_prefix("instead: "));
        let names = part.lines().skip(1).filter(|line| !line.starts_with(['#', 'i']));
        let mut patterns =
            names.filter_map(|line| line.split_once(": ")).flat_map(|(_, names)| names.split(' '));
        let refused = Refused { group, reason, instead };
        patterns.any(|pattern| matches(pattern, symbol)).then_some(refused)
    })
}
