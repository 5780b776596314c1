//! What LLVM says of the scripts after the front end: about inline assembly, above all.

use std::path::Path;

use heritage::{CompileOutcome, Diagnostic, Severity};

use crate::files::ScriptFiles;
use crate::memory::Said;
use crate::place::Place;
use crate::{Refused, told};

/// How LLVM's assembler says that it did not get a file: it gets none.
const NO_FILE: [(&str, &str); 2] =
    [("Could not find incbin file ", ".incbin"), ("Could not find include file ", ".include")];

/// Puts complaints into the outcome in the form of other diagnostics. `Refused` if one is an error.
/// Of assembly that a macro of the assembler made LLVM knows no place: that is at `otherwise`.
pub(crate) fn tell(
    said: Said,
    otherwise: Option<&Place>,
    named: &Path,
    files: &ScriptFiles,
    outcome: &mut CompileOutcome,
) -> Result<(), Refused> {
    outcome.counts.errors += said.unseen.errors;
    outcome.counts.warnings += said.unseen.warnings;
    let is_error = |found: &Diagnostic| found.severity == Severity::Error;
    let refused = said.unseen.errors > 0 || said.diagnostics.iter().any(is_error);
    let told = said.diagnostics.into_iter();
    outcome.diagnostics.extend(told.map(|found| readable(found, otherwise, named, files)));
    if refused { Err(Refused) } else { Ok(()) }
}

/// A complaint as it comes from the shim, where `rendered` begins with a line of assembly.
fn readable(
    complaint: Diagnostic,
    otherwise: Option<&Place>,
    named: &Path,
    files: &ScriptFiles,
) -> Diagnostic {
    let Diagnostic { severity, file, line, column, message, category, .. } = complaint;
    let files_of_assembly = NO_FILE.iter().find_map(|(begin, directive)| {
        let name = message.strip_prefix(begin)?;
        Some(format!("assembly may not read a file: `{directive}` of {name}"))
    });
    let message = files_of_assembly.unwrap_or(message);
    let known = line > 0 && !file.is_empty() && !file.starts_with('<');
    let known = known.then_some(Place { file, line, column });
    let mut told = told::found(files, known.as_ref().or(otherwise), named, severity, message);
    told.category = category;
    let code = complaint.rendered.lines().next().unwrap_or_default().trim();
    if !code.is_empty() {
        told.remark(format!("the assembly is: {code}"));
    }
    for note in complaint.notes {
        told.remark(note.message);
    }
    told
}
