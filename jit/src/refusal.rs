//! Why scripts do not link, in their authors' terms: what nobody defines, and what a worker does not
//! have.

use std::collections::HashMap;

use heritage::{Diagnostic, Severity};

use crate::demangle::{demangled, demangled_name};
use crate::files::ScriptFiles;
use crate::names::Names;
use crate::place::Place;
use crate::refused::{self, Refused};
use crate::{Source, symbols, told};

/// Names that a note lists of what one line wants beside.
const ALSO_MAX: usize = 5;

/// What is known of the sources once they are an object.
pub(crate) struct Known<'a> {
    pub(crate) files: &'a ScriptFiles,
    pub(crate) names: &'a Names,
    /// Where symbols are used that nobody has.
    pub(crate) places: &'a HashMap<String, Place>,
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
            None => {
                written_otherwise(symbol, why, what, known).unwrap_or((symbol.to_owned(), None))
            }
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
        self.why.is_some()
            && group(self) == group(other)
            && (line(self) == line(other) || self.is_destructor())
    }
}

/// A diagnostic for each symbol that is not to be had, in the order of the sources.
pub(crate) fn refusals(missing: &[&str], what: Source<'_>, known: &Known<'_>) -> Vec<Diagnostic> {
    let mut told = Vec::new();
    let mut libraries = Vec::new();
    for symbol in missing {
        let used = used(symbol, what, known);
        match known.names.undefined(known.files, symbol, used.as_ref()) {
            Some(undefined) if !symbols::is_library(symbol) => told.push(undefined),
            _ => libraries.push(Library::of(symbol, used, what, known)),
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
    let mut places: Vec<_> = alike.map(|other| (used(other, what, known), other)).collect();
    places.sort();
    places.into_iter().next().map(|(place, other)| (other.clone(), place))
}

/// Where a symbol is used, as the operator names files.
fn used(symbol: &str, what: Source<'_>, known: &Known<'_>) -> Option<Place> {
    let path = what.path();
    let place = known.places.get(symbol)?;
    let file = known.files.as_named(&place.file, path);
    Some(Place { file, ..place.clone() })
}

fn refusal(library: &Library, what: Source<'_>, known: &Known<'_>) -> Diagnostic {
    let path = what.path();
    let Library { symbol, used, why, also } = library;
    let is_library = symbols::is_library(symbol);
    let is_script = matches!(what, Source::Scripts(_)) && is_library;
    let message = match why {
        _ if !is_script => format!("`{}` is not defined", demangled(symbol)),
        Some(why) => {
            format!("a script may not use `{}` in a worker: {}", demangled_name(symbol), why.reason)
        }
        None => format!(
            "a script may not use `{}` in a worker: it is not among what scripts need",
            demangled_name(symbol)
        ),
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
