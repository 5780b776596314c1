//! Diagnostics of Kiln's own about a place in a source, in the form of Clang's.

use std::path::Path;

use heritage::{Diagnostic, Note, Position, Severity};

use crate::files::ScriptFiles;
use crate::place::Place;

/// Bytes that are shown of a source line, as many as Clang shows.
const LINE_BYTES_MAX: usize = 4096;

/// An error about a place.
pub(crate) fn error(files: &ScriptFiles, place: &Place, message: String) -> Diagnostic {
    about(files, place, Severity::Error, message)
}

/// About a place as debug information has it, or about the scripts as the operator names them where
/// it knows none.
pub(crate) fn found(
    files: &ScriptFiles,
    place: Option<&Place>,
    named: &Path,
    severity: Severity,
    message: String,
) -> Diagnostic {
    match place {
        Some(place) => {
            let file = files.as_named(&place.file, named);
            about(files, &Place { file, ..place.clone() }, severity, message)
        }
        None => Diagnostic::about(severity, &named.display().to_string(), message),
    }
}

fn about(files: &ScriptFiles, place: &Place, severity: Severity, message: String) -> Diagnostic {
    let (file, line, column) = (place.file.clone(), place.line, place.column);
    let (rendered, end) = render(files, place, severity, &message);
    let about = Diagnostic::about(severity, &file, message);
    Diagnostic { line, column, end, rendered, ..about }
}

/// Adds a note about a place.
pub(crate) fn note(
    diagnostic: &mut Diagnostic,
    files: &ScriptFiles,
    place: &Place,
    message: String,
) {
    let (rendered, end) = render(files, place, Severity::Note, &message);
    let (file, line, column) = (place.file.clone(), place.line, place.column);
    let note = Note { file, line, column, end, message, ..Note::default() };
    diagnostic.note(note, &rendered);
}

/// The text, with the source line and a caret; and where the name ends that stands there.
fn render(
    files: &ScriptFiles,
    place: &Place,
    severity: Severity,
    message: &str,
) -> (String, Option<Position>) {
    let Place { file, line, column } = place;
    let mut text = format!("{file}:{line}:");
    if *column > 0 {
        text += &format!("{column}:");
    }
    text += &format!(" {}: {message}\n", severity.name());
    let Some(source) = files.line(file, *line) else { return (text, None) };
    let source = &source[..source.floor_char_boundary(LINE_BYTES_MAX)];
    text += &format!("{line:>5} | {source}\n");
    // Debug information knows of some things only the line.
    let Some(before) = column.checked_sub(1).and_then(|at| source.get(..at as usize)) else {
        return (text, None);
    };
    // A tab of the line is a tab below it, so that the caret stands under its character.
    let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let name = source[before.len()..].find(|c: char| !c.is_alphanumeric() && c != '_');
    let length = name.unwrap_or(source.len() - before.len()).max(1);
    text += &format!("      | {indent}^{}\n", "~".repeat(length - 1));
    (text, Some(Position { line: *line, column: column + length as u32 }))
}
