//! Why scripts do not link, in their authors' terms: what nobody defines, and what a worker does not
//! have.

use std::collections::HashMap;

use heritage::{Diagnostic, Severity};

use crate::demangle::demangled_name;
use crate::files::ScriptFiles;
use crate::names::Names;
use crate::place::Place;
use crate::refused::{self, Refused};
use crate::{Source, lowered, symbols, told};

/// Names that a note lists of what one line wants beside.
const ALSO_MAX: usize = 5;

/// What is known of the sources once they are an object.
pub(crate) struct Known<'a> {
    pub(crate) files: &'a ScriptFiles,
    pub(crate) names: &'a Names,
    /// Where symbols are used that nobody has.
    pub(crate) places: &'a HashMap<String, Place>,
    /// Where the generated code uses them; that knows only how they are called there.
    pub(crate) in_code: HashMap<String, Place>,
}

/// A symbol of a library that a worker does not have.
struct Library {
    symbol: String,
    used: Option<Place>,
    why: Option<Refused>,
    /// Others of the same group, on the same line: an object of the library has several functions.
    also: Vec<String>,
}

impl Library {
    fn of(symbol: &str, used: Option<Place>, what: Source<'_>, known: &Known<'_>) -> Self {
        let why = refused::refused(symbol);
        let (symbol, used) = match used {
            Some(used) => (symbol.to_owned(), Some(used)),
            None => written_otherwise(symbol, why, what, known)
                .unwrap_or_else(|| (symbol.to_owned(), known.use_in_code(symbol, what))),
        };
        Library { symbol, used, why, also: Vec::new() }
    }

    fn is_destructor(&self) -> bool {
        demangled_name(&self.symbol).contains("::~")
    }

    /// Whether this one says nothing that the other does not: it is of the same group, and on the
    /// same line, or the end of what was made elsewhere.
    fn is_told_by(&self, other: &Library) -> bool {
        let line = |of: &Library| of.used.as_ref().map(|place| (place.file.clone(), place.line));
        let group = |of: &Library| of.why.map(|why| why.group);
        let is_known = self.why.is_some();
        let is_library = self.used.is_some() && symbols::is_library(&self.symbol);
        group(self) == group(other)
            && (is_known || is_library)
            && (line(self) == line(other) || (is_known && self.is_destructor()))
    }
}

/// A diagnostic for each symbol that is not to be had, in the order of the sources.
pub(crate) fn refusals(missing: &[&str], what: Source<'_>, known: &Known<'_>) -> Vec<Diagnostic> {
    let mut told = Vec::new();
    let mut libraries = Vec::new();
    // What the author wrote first, and then what was made of it, which says the same.
    let (made, written): (Vec<&str>, Vec<&str>) =
        missing.iter().copied().partition(|symbol| lowered::is_made(symbol));
    for symbol in written.into_iter().chain(made) {
        let source = match known.names.wants(symbol) {
            true => symbol.to_owned(),
            false => lowered::source_symbol(symbol),
        };
        let used = known.used(symbol, what).or_else(|| known.used(&source, what));
        if symbols::is_library(symbol) || refused::is_inline(symbol) {
            libraries.push(Library::of(symbol, used, what, known));
            continue;
        }
        let used = used.or_else(|| known.use_in_code(symbol, what));
        match known.names.undefined(known.files, &source, used.as_ref()) {
            Some(undefined) => {
                if !told.iter().any(|it: &Diagnostic| it.message == undefined.message) {
                    told.push(undefined);
                }
            }
            None => libraries.push(Library::of(&source, used, what, known)),
        }
    }
    let order = |library: &Library| {
        let place = library.used.clone();
        (library.is_destructor(), place.map(|place| (place.file, place.line, place.column)))
    };
    libraries.sort_by_key(order);
    let mut first: Vec<Library> = Vec::new();
    for library in libraries {
        match first.iter_mut().find(|told| library.is_told_by(told)) {
            Some(told) => told.also.push(demangled_name(&library.symbol)),
            None => first.push(library),
        }
    }
    told.extend(first.iter().map(|library| refusal(library, what, known)));
    told.sort_by_key(|told| (told.file.clone(), told.line, told.column));
    told
}

/// What the author wrote where the optimiser has chosen this symbol, as it takes `putchar` for
/// `printf`: the first use of something else of its group.
fn written_otherwise(
    symbol: &str,
    why: Option<Refused>,
    what: Source<'_>,
    known: &Known<'_>,
) -> Option<(String, Option<Place>)> {
    let group = why?.group;
    let is_alike = |other: &&String| {
        *other != symbol && refused::refused(other).is_some_and(|why| why.group == group)
    };
    let alike = known.places.keys().filter(is_alike);
    let mut places: Vec<_> = alike.map(|other| (known.used(other, what), other)).collect();
    places.sort();
    places.into_iter().next().map(|(place, other)| (other.clone(), place))
}

impl Known<'_> {
    /// Where the author uses a symbol, as the operator names files.
    fn used(&self, symbol: &str, what: Source<'_>) -> Option<Place> {
        self.places.get(symbol).map(|place| self.as_named(place, what))
    }

    /// Where the generated code uses it.
    fn use_in_code(&self, symbol: &str, what: Source<'_>) -> Option<Place> {
        self.in_code.get(symbol).map(|place| self.as_named(place, what))
    }

    fn as_named(&self, place: &Place, what: Source<'_>) -> Place {
        let file = self.files.as_named(&place.file, what.path());
        Place { file, ..place.clone() }
    }
}

/// That nobody has a symbol which no author declares.
fn undefined(symbol: &str) -> String {
    match lowered::arithmetic_of(symbol) {
        Some(of) => format!(
            "arithmetic of `{of}` needs `{symbol}`, which the processor that this is compiled for does \
             not have, and neither does Kiln"
        ),
        None => format!("{} is not defined", lowered::written(symbol)),
    }
}

fn refusal(library: &Library, what: Source<'_>, known: &Known<'_>) -> Diagnostic {
    let path = what.path();
    let Library { symbol, used, why, also } = library;
    let is_known = symbols::is_library(symbol) || refused::is_inline(symbol);
    let is_script = matches!(what, Source::Scripts(_)) && is_known;
    let called = why.and_then(|why| why.called).map(str::to_owned);
    let called = called.unwrap_or_else(|| demangled_name(symbol));
    let reason = why.map_or("it is not among what scripts need", |why| why.reason);
    let message = match is_script {
        true => format!("a script may not use `{called}` in a worker: {reason}"),
        false => undefined(symbol),
    };
    let mut told = match used {
        Some(place) => told::error(known.files, place, message),
        None => Diagnostic::about(Severity::Error, &path.display().to_string(), message),
    };
    if !is_script {
        told.category = Some("Undefined Name".to_owned());
        return told;
    }
    told.category = Some("Symbol Not Allowed".to_owned());
    let instead = why.and_then(|why| why.instead);
    told.remark(instead.unwrap_or("`kiln check --symbols` lists what there is"));
    if !also.is_empty() {
        let shown: Vec<String> =
            also.iter().take(ALSO_MAX).map(|name| format!("`{name}`")).collect();
        let more = also.len().saturating_sub(ALSO_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        told.remark(format!("the same holds for {}{more}", shown.join(", ")));
    }
    told
}
