//! From symbols that compiling makes to what the author wrote: a thread-local variable becomes a control
//! block, a class with virtual functions a table, a division of `__float128` a call.
//!
//! Names: the Itanium C++ ABI, section 5.1.4 ("other special functions and entities"); GCC's emulated
//! thread-local storage (`-femulated-tls`); libgcc's routines ("Routines for floating point emulation"
//! in GCC Internals), whose modes stand at the end of their names.

use crate::demangle::{demangled, demangled_name};

/// Control blocks of emulated thread-local variables, and what these begin as.
const EMULATED: [&str; 2] = ["__emutls_v.", "__emutls_t."];

/// What a variable has beside itself: a function that initialises it on its first use in a thread, one
/// that then returns it, a flag whether it was initialised.
const OF_VARIABLE: [&str; 3] = ["_ZTH", "_ZTW", "_ZGV"];

/// What a class with virtual functions has: its table, the tables of its bases, its type, its name.
const OF_CLASS: [&str; 4] = ["_ZTV", "_ZTT", "_ZTI", "_ZTS"];

/// Whether a symbol is made of something else that an author wrote.
pub(crate) fn is_made(symbol: &str) -> bool {
    source_symbol(symbol) != symbol || OF_CLASS.iter().any(|prefix| symbol.starts_with(prefix))
}

/// The symbol of what the author wrote, of which this one was made; the same if nobody made it.
pub(crate) fn source_symbol(symbol: &str) -> String {
    let emulated = EMULATED.iter().find_map(|prefix| symbol.strip_prefix(prefix));
    let symbol = emulated.unwrap_or(symbol);
    // Versions for several processors: `f().avx2`, `f().resolver`.
    let symbol = symbol.split_once('.').map_or(symbol, |(name, _)| name);
    if let Some(variable) = OF_VARIABLE.iter().find_map(|prefix| symbol.strip_prefix(prefix)) {
        return of_variable(variable);
    }
    match thunk(symbol) {
        Some(function) => format!("_Z{function}"),
        None => symbol.to_owned(),
    }
}

/// A variable's own symbol. One in no namespace has the name that it was given.
fn of_variable(encoded: &str) -> String {
    let digits = encoded.bytes().take_while(u8::is_ascii_digit).count();
    let (length, name) = encoded.split_at(digits);
    match length.parse::<usize>() {
        Ok(length) if name.len() == length => name.to_owned(),
        _ => format!("_Z{encoded}"),
    }
}

/// The function that a thunk adjusts `this` for: `Th` and an offset, `Tv` and two, or `Tc` and an
/// adjustment of `this` and one of the result.
fn thunk(symbol: &str) -> Option<&str> {
    let rest = symbol.strip_prefix("_ZT")?;
    match rest.strip_prefix('c') {
        Some(rest) => call_offset(call_offset(rest)?),
        None => call_offset(rest),
    }
}

fn call_offset(text: &str) -> Option<&str> {
    let number = |text: &'_ str| -> Option<usize> {
        let digits = text.strip_prefix('n').unwrap_or(text);
        let end = digits.bytes().take_while(u8::is_ascii_digit).count();
        (end > 0 && digits[end..].starts_with('_')).then_some(text.len() - digits.len() + end + 1)
    };
    if let Some(rest) = text.strip_prefix('h') {
        return Some(&rest[number(rest)?..]);
    }
    let rest = text.strip_prefix('v')?;
    let rest = &rest[number(rest)?..];
    Some(&rest[number(rest)?..])
}

/// What an author wrote that this symbol is for, in words that end "... is not defined"; the name itself
/// if that says it.
pub(crate) fn written(symbol: &str) -> String {
    let class = OF_CLASS.iter().find_map(|prefix| symbol.strip_prefix(prefix));
    match class {
        Some(class) => format!("the first virtual function of `{}`", type_name(class)),
        None => format!("`{}`", demangled(symbol)),
    }
}

fn type_name(encoded: &str) -> String {
    // A demangler takes functions: of one that has the type as its parameter it names both.
    let function = demangled(&format!("_Z1f{encoded}"));
    let parameter = function.strip_prefix("f(").and_then(|rest| rest.strip_suffix(')'));
    parameter.map_or_else(|| demangled_name(encoded), str::to_owned)
}

/// Modes of libgcc's routines, and the types that they are for.
const MODES: [(&str, &str); 8] = [
    ("tf", "__float128"),
    ("tc", "_Complex __float128"),
    ("ti", "__int128"),
    ("xf", "long double"),
    ("xc", "_Complex long double"),
    ("hf", "_Float16"),
    ("bf", "__bf16"),
    ("hc", "_Complex _Float16"),
];

/// The type whose arithmetic takes this routine of the compiler's own, if it is one.
pub(crate) fn arithmetic_of(symbol: &str) -> Option<&'static str> {
    let routine = symbol.strip_prefix("__")?;
    let routine = routine.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_routine = !routine.is_empty() && routine.bytes().all(|c| c.is_ascii_lowercase());
    // `truncsfbf` is from one to the other: the rarer one is what it is about.
    let from = routine.get(..routine.len() - 2).unwrap_or_default();
    let has = |mode: &str| routine.ends_with(mode) || from.ends_with(mode);
    MODES.iter().find(|(mode, _)| is_routine && has(mode)).map(|(_, name)| *name)
}
