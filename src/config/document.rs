//! The text of a configuration, and what is wrong with it: each error with line, column, the source
//! line and a caret, as compilers say it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use heritage::{Diagnostic, Position, Severity};

/// Messages that are kept of one file. Whoever has more starts with these.
const MESSAGES_MAX: usize = 50;

/// Characters that are shown of a source line.
const LINE_CHARACTERS_MAX: usize = 160;

/// A text with what was found in it so far.
pub(super) struct Document<'t> {
    path: &'t Path,
    text: &'t str,
    /// The bytes that each message is about, and the message.
    found: Vec<(Range<usize>, Severity, String)>,
}

impl<'t> Document<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str) -> Self {
        Document { path, text, found: Vec::new() }
    }

    /// Where the text is from.
    pub(super) fn path(&self) -> &'t Path {
        self.path
    }

    /// Notes what is wrong with these bytes.
    pub(super) fn error(&mut self, bytes: Range<usize>, message: impl Into<String>) {
        self.found.push((bytes, Severity::Error, message.into()));
    }

    /// Notes what may be wrong with these bytes, or come to be.
    pub(super) fn warning(&mut self, bytes: Range<usize>, message: impl Into<String>) {
        self.found.push((bytes, Severity::Warning, message.into()));
    }

    /// Notes what is right, and may not be what was meant.
    pub(super) fn note(&mut self, bytes: Range<usize>, message: impl Into<String>) {
        self.found.push((bytes, Severity::Note, message.into()));
    }

    pub(super) fn is_right(&self) -> bool {
        self.found.iter().all(|(_, severity, _)| *severity != Severity::Error)
    }

    /// Everything that was found, in the order of the text.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(bytes, ..)| bytes.start);
        let total = found.len();
        // Of too many, errors are the last to go.
        if total > MESSAGES_MAX {
            found.sort_by_key(|(_, severity, _)| *severity != Severity::Error);
        }
        let first = found.into_iter().take(MESSAGES_MAX);
        let mut told: Vec<Diagnostic> =
            first.map(|(bytes, severity, text)| self.diagnostic(bytes, severity, text)).collect();
        if total > MESSAGES_MAX {
            let message = format!("there are {} more messages", total - MESSAGES_MAX);
            told.push(Diagnostic::about(Severity::Note, &self.path.display().to_string(), message));
        }
        told
    }

    fn diagnostic(&self, bytes: Range<usize>, severity: Severity, message: String) -> Diagnostic {
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
        let mut rendered = format!("{file}:{line}:{column}: {}: {message}\n", severity.name());
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
            ..Diagnostic::about(severity, &file, message)
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
