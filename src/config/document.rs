//! The text of a configuration, and what is wrong with it: each error with line, column, the source
//! line and a caret, as compilers say it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use heritage::{Diagnostic, Position, Severity};

/// Errors that are kept of one file. Whoever has more starts with these.
const ERRORS_MAX: usize = 50;

/// Characters that are shown of a source line.
const LINE_CHARACTERS_MAX: usize = 160;

/// A text with the errors found in it so far.
pub(super) struct Document<'t> {
    path: &'t Path,
    text: &'t str,
    /// The bytes that each is about, and what is wrong with them.
    found: Vec<(Range<usize>, String)>,
}

impl<'t> Document<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str) -> Self {
        Document { path, text, found: Vec::new() }
    }

    /// Notes what is wrong with these bytes.
    pub(super) fn error(&mut self, bytes: Range<usize>, message: impl Into<String>) {
        self.found.push((bytes, message.into()));
    }

    pub(super) fn is_right(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything that was found, in the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<Diagnostic> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(bytes, _)| bytes.start);
        let total = found.len();
        let first = found.into_iter().take(ERRORS_MAX);
        let mut errors: Vec<Diagnostic> =
            first.map(|(bytes, message)| self.diagnostic(bytes, message)).collect();
        if total > ERRORS_MAX {
            errors.push(about(self.path, format!("there are {} more errors", total - ERRORS_MAX)));
        }
        errors
    }

    fn diagnostic(&self, bytes: Range<usize>, message: String) -> Diagnostic {
        let start = self.boundary(bytes.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |end| start + end);
        let end = self.boundary(bytes.end).clamp(start, line_end);
        let line = self.text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let before = &self.text[line_start..start];
        let column = before.chars().count() + 1;
        let source: String =
            self.text[line_start..line_end].chars().take(LINE_CHARACTERS_MAX).collect();
        // A tab of the line is a tab below it, so that the caret stands under its character.
        let indent: String =
            before.chars().map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        let width = self.text[start..end].chars().count().max(1);
        let shown = LINE_CHARACTERS_MAX.saturating_sub(column);
        let underline = format!("^{}", "~".repeat((width - 1).min(shown)));
        let file = self.path.display().to_string();
        let mut rendered = format!("{file}:{line}:{column}: error: {message}\n");
        rendered.push_str(&format!("{line:5} | {}\n", source.trim_end()));
        if column <= LINE_CHARACTERS_MAX {
            rendered.push_str(&format!("      | {indent}{underline}\n"));
        }
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let end = Position { line: number(line), column: number(column + width) };
        Diagnostic {
            line: number(line),
            column: number(column),
            end: Some(end),
            rendered,
            ..Diagnostic::about(Severity::Error, &file, message)
        }
    }

    /// The nearest position before that is not within a character.
    fn boundary(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.min(self.text.len()))
    }
}

/// An error about a file as a whole.
pub(super) fn about(path: &Path, message: String) -> Diagnostic {
    Diagnostic::about(Severity::Error, &path.display().to_string(), message)
}

/// An error about the command line.
pub(super) fn about_arguments(message: String) -> Diagnostic {
    Diagnostic::about(Severity::Error, "", message)
}

/// A path as the file means it: relative to the folder of the file.
pub(super) fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}
