//! Names that scripts have for each other: what a linker would complain about, said of sources.
//!
//! A linker knows symbols and modules. The front end says of each symbol of the author's own where
//! it is declared and how it is written, so that two definitions of one name, a declaration that
//! means another type, and a name that nobody defines are told with file, line and remedy.

use std::collections::HashMap;

use heritage::Diagnostic;

use crate::ffi::Named;
use crate::files::ScriptFiles;
use crate::ir::ON_REQUEST;
use crate::place::Place;
use crate::told;

const REMEDY: &str = "each script that wants its own makes it static, or puts it into an anonymous \
     namespace; what all share is inline, in a header, or defined in one and declared in the others";

/// The names of all files so far, by symbol.
#[derive(Default)]
pub(crate) struct Names {
    /// Defined, for all files to use.
    defined: HashMap<String, Named>,
    /// Declared and used; the first declaration of each.
    wanted: HashMap<String, Named>,
    /// Defined for one file alone. Other files may have their own of the same symbol.
    internal: HashMap<String, Named>,
}

impl Names {
    /// Adds those of one file, and says what does not fit those of the files before.
    pub(crate) fn add(
        &mut self,
        names: &[Named],
        files: &ScriptFiles,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        // Every script may define the hook.
        let is_shared = |name: &&Named| name.symbol != ON_REQUEST || !name.is_defined;
        for name in names.iter().filter(is_shared) {
            let (symbol, name) = (name.symbol.clone(), name.clone());
            if name.is_internal {
                self.internal.entry(symbol).or_insert(name);
                continue;
            }
            if let Some(other) = self.defined.get(&symbol) {
                if name.is_defined {
                    diagnostics.push(clash(files, &name, other));
                    continue;
                }
                diagnostics.extend(mismatch(files, &name, other));
            }
            if !name.is_defined {
                self.wanted.entry(symbol).or_insert(name);
                continue;
            }
            if let Some(declared) = self.wanted.get(&symbol) {
                diagnostics.extend(mismatch(files, declared, &name));
            }
            self.defined.insert(symbol, name);
        }
    }

    /// Where something is defined that may hold the address of a symbol.
    pub(crate) fn place(&self, symbol: &str) -> Option<&Place> {
        let name = self.defined.get(symbol).or_else(|| self.internal.get(symbol));
        name.map(|name| &name.place)
    }

    /// Whether a script declares this symbol and uses it.
    pub(crate) fn wants(&self, symbol: &str) -> bool {
        self.wanted.contains_key(symbol)
    }

    /// A name that a script declares and nobody defines; none if no script declares it. `used` is
    /// where it is used.
    pub(crate) fn undefined(
        &self,
        files: &ScriptFiles,
        symbol: &str,
        used: Option<&Place>,
    ) -> Option<Diagnostic> {
        let name = self.wanted.get(symbol)?;
        let message = match symbol {
            ON_REQUEST => "only Kiln calls hooks: what scripts share is a function of another name",
            _ => &format!("`{}` is not defined", name.written),
        };
        let message = message.to_owned();
        let mut diagnostic = told::error(files, used.unwrap_or(&name.place), message);
        if used.is_some() {
            told::note(&mut diagnostic, files, &name.place, "it is declared here".to_owned());
        }
        for other in self.alike(name) {
            let message = match other.is_internal {
                true => format!("`{}` is for its own file alone", other.written),
                false => format!("`{}` is another one, which is defined", other.written),
            };
            told::note(&mut diagnostic, files, &other.place, message);
        }
        diagnostic.category = Some("Undefined Name".to_owned());
        Some(diagnostic)
    }

    /// What was defined and may have been meant, in the order of files and lines.
    fn alike(&self, wanted: &Named) -> Vec<&Named> {
        let base = |name: &Named| name.written.split('(').next().unwrap_or_default().to_owned();
        let hidden = self.internal.values().filter(|other| other.written == wanted.written);
        let others = self.defined.values().filter(|other| base(other) == base(wanted));
        let mut alike: Vec<&Named> = hidden.chain(others).collect();
        alike.sort_by_key(|other| (&other.place.file, other.place.line));
        alike
    }
}

fn clash(files: &ScriptFiles, name: &Named, other: &Named) -> Diagnostic {
    let message = if name.place == other.place {
        // Where else than in a header can one line be in two scripts?
        format!("`{}` is defined in a header that several scripts include", name.written)
    } else {
        format!("`{}` is defined in two scripts", name.written)
    };
    let mut diagnostic = told::error(files, &name.place, message);
    if name.place == other.place {
        diagnostic.remark("make it inline");
    } else {
        told::note(&mut diagnostic, files, &other.place, "the other definition".to_owned());
        diagnostic.remark(REMEDY);
    }
    diagnostic.category = Some("Duplicate Definition".to_owned());
    diagnostic
}

/// A declaration that takes a definition for something else.
fn mismatch(files: &ScriptFiles, declared: &Named, defined: &Named) -> Option<Diagnostic> {
    if declared.of_type == defined.of_type && declared.is_variable == defined.is_variable {
        return None;
    }
    let what = if declared.is_variable { "has the type" } else { "returns" };
    let message =
        format!("`{}` {what} '{}' in this declaration", declared.written, declared.of_type);
    let mut diagnostic = told::error(files, &declared.place, message);
    let what = if defined.is_variable { "has the type" } else { "returns" };
    let message = format!("it {what} '{}' where it is defined", defined.of_type);
    told::note(&mut diagnostic, files, &defined.place, message);
    diagnostic.remark("both should include one header that declares it");
    diagnostic.category = Some("Type Mismatch".to_owned());
    Some(diagnostic)
}
