//! What a compile, or the check of a configuration, has to say: parts for programs, text for people.
//!
//! One form from the compile child to the terminal, the log, the control socket, JSON and SARIF. It
//! knows no colours; who prints adds them.

use serde::{Deserialize, Serialize};

/// Diagnostics that are kept of one compile, the gravest first: whoever has more starts with these.
pub const DIAGNOSTICS_MAX: usize = 200;

/// Bytes of JSON that they may take, so that a report fits the master's limit for one of 1 MiB.
pub const DIAGNOSTICS_BYTES_MAX: usize = 768 << 10;

/// Bytes of one text: a type that fills more screens than this explains nothing.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Notes of one diagnostic, and includes of one place. Clang's own limits on candidates and
/// backtraces come first.
pub const NOTES_MAX: usize = 64;

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Says something about the others.
    Note,
    /// The script loads all the same.
    Warning,
    /// The script is refused.
    Error,
}

impl Severity {
    /// As compilers print it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A position in a file: line and column from 1, the column in bytes as Clang counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// The line that includes a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// File that has the line.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// A change of a file that would mend what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// File to change.
    pub file: String,
    /// Where what is replaced begins.
    pub start: Position,
    /// Behind what is replaced; the start for an insertion.
    pub end: Position,
    /// What stands there instead; nothing for a removal.
    pub text: String,
}

/// What explains a diagnostic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// File; empty when the note is about no file.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
    /// Behind what it is about.
    pub end: Option<Position>,
    /// The message alone.
    pub message: String,
    /// Where the file is included, innermost first.
    pub included_from: Vec<Include>,
    /// What would mend it.
    pub edits: Vec<Edit>,
}

/// One message about a script or a configuration, with the place it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// File, as the operator named it; empty when the message is about no file.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
    /// Behind what it is about.
    #[serde(default)]
    pub end: Option<Position>,
    /// The message alone.
    pub message: String,
    /// The option that switches it, as in `-Wunused-variable`.
    #[serde(default)]
    pub option: Option<String>,
    /// What kind of mistake it is, as in `Semantic Issue`; Clang's categories and Kiln's own.
    #[serde(default)]
    pub category: Option<String>,
    /// Where the file is included, innermost first.
    #[serde(default)]
    pub included_from: Vec<Include>,
    /// What explains it.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What would mend it.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// All of it as Clang prints it, with source text, carets and notes; without colours.
    pub rendered: String,
}

impl Diagnostic {
    /// One about a file as a whole, or about none if `file` is empty.
    pub fn about(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let place = if file.is_empty() { String::new() } else { format!("{file}: ") };
        Diagnostic {
            severity,
            file: file.to_owned(),
            line: 0,
            column: 0,
            end: None,
            rendered: format!("{place}{}: {message}\n", severity.name()),
            message,
            option: None,
            category: None,
            included_from: Vec::new(),
            notes: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// The same, made graver than it was found.
    pub fn promoted(mut self) -> Self {
        self.rendered = self.rendered.replacen(": warning: ", ": error: ", 1);
        self.severity = Severity::Error;
        self
    }

    /// Adds a note, and its text while there is room for text.
    pub fn note(&mut self, mut note: Note, rendered: &str) {
        if self.notes.len() < NOTES_MAX {
            clip(&mut note.message);
            if self.rendered.len() < TEXT_BYTES_MAX {
                let mut rendered = rendered.to_owned();
                clip(&mut rendered);
                self.rendered.push_str(&rendered);
            }
            self.notes.push(note);
        }
    }

    /// Cuts texts that nobody would read to their end, as [`limit`] does in any case: who collects
    /// many keeps little of each.
    pub fn clip(&mut self) {
        clip(&mut self.message);
        clip(&mut self.rendered);
        self.notes.iter_mut().for_each(|note| clip(&mut note.message));
    }

    /// Adds a note about no place.
    pub fn remark(&mut self, message: impl Into<String>) {
        let note = Note { message: message.into(), ..Note::default() };
        let rendered = format!("note: {}\n", note.message);
        self.note(note, &rendered);
    }
}

/// How many diagnostics there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// That refuse the script.
    pub errors: usize,
    /// That do not.
    pub warnings: usize,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, severity: Severity) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Note => {}
        }
    }

    /// "1 error, 2 warnings".
    pub fn text(&self) -> String {
        format!("{}, {}", counted(self.errors, "error"), counted(self.warnings, "warning"))
    }
}

/// "1 error", "2 errors".
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Keeps what fits the limits, errors before warnings, in the order that they have. What is left out
/// is said at the end; `unseen` was left out before.
pub fn limit(diagnostics: &mut Vec<Diagnostic>, unseen: Counts) {
    diagnostics.iter_mut().for_each(Diagnostic::clip);
    let mut kept = vec![false; diagnostics.len()];
    let (mut count, mut bytes) = (0, 0);
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        for (diagnostic, kept) in diagnostics.iter().zip(&mut kept) {
            let size = serde_json::to_vec(diagnostic).map_or(usize::MAX, |json| json.len());
            if diagnostic.severity == severity
                && count < DIAGNOSTICS_MAX
                && size <= DIAGNOSTICS_BYTES_MAX.saturating_sub(bytes)
            {
                (*kept, count, bytes) = (true, count + 1, bytes + size);
            }
        }
    }
    let mut left_out = unseen;
    let mut kept = kept.into_iter();
    diagnostics.retain(|diagnostic| {
        let keep = kept.next().expect("there is one for each");
        if !keep {
            left_out.add(diagnostic.severity);
        }
        keep
    });
    let more = left_out.errors + left_out.warnings;
    if more > 0 {
        let message = format!("and {more} more that are not shown: {}", left_out.text());
        diagnostics.push(Diagnostic::about(Severity::Note, "", message));
    }
}

/// Cuts a text that nobody would read to its end, and says so.
fn clip(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        // With room for what is said about it: a text is cut once.
        let kept = text.floor_char_boundary(TEXT_BYTES_MAX - 64);
        let more = text.len() - kept;
        text.truncate(kept);
        text.push_str(&format!("... (and {more} more bytes)\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(errors: usize, warnings: usize, text: &str, expect: &str) {
        let of =
            |severity, count| std::iter::repeat_n(Diagnostic::about(severity, "a.cc", text), count);
        // Warnings come first, as they may.
        let mut found: Vec<Diagnostic> =
            of(Severity::Warning, warnings).chain(of(Severity::Error, errors)).collect();
        limit(&mut found, Counts::default());
        let json = serde_json::to_vec(&found).unwrap();
        assert!(json.len() < DIAGNOSTICS_BYTES_MAX + 4096, "{} bytes", json.len());
        let last = found.last().filter(|last| last.severity == Severity::Note);
        assert_eq!(last.map_or("", |last| &last.message), expect);
        let kept = found.iter().filter(|found| found.severity == Severity::Error).count();
        assert!(kept == errors || kept + 1 == found.len(), "errors come before warnings");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        check(2, 3, "short", "");
        check(DIAGNOSTICS_MAX, 0, "short", "");
        check(
            DIAGNOSTICS_MAX,
            31,
            "short",
            "and 31 more that are not shown: 0 errors, 31 warnings",
        );
        check(DIAGNOSTICS_MAX + 1, 1, "short", "and 2 more that are not shown: 1 error, 1 warning");
    }

    #[test]
    fn bytes_are_limited_as_json_has_them() {
        // Each takes six bytes in JSON, in message and text.
        let text = "\u{1}".repeat(30_000);
        check(4, 0, &text, "and 2 more that are not shown: 2 errors, 0 warnings");
    }

    #[test]
    fn a_text_without_end_is_cut_and_says_so() {
        let mut found = vec![Diagnostic::about(Severity::Error, "", "ä".repeat(1 << 20))];
        limit(&mut found, Counts::default());
        assert!(found[0].message.len() <= TEXT_BYTES_MAX);
        assert!(found[0].message.ends_with(" more bytes)\n"), "{}", found[0].message);
    }
}
