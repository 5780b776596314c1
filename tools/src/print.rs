//! Colours for diagnostics: the text that Clang, or Kiln in its form, has made of them.
//!
//! The text travels without colours, since most of its ways end in a log, in JSON or in a pipe. Who
//! prints to a terminal asks here; `anstream` takes the colours out again where nobody wants them.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};
use heritage::Diagnostic;

const PLACE: Style = Style::new().bold();
const MESSAGE: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Magenta.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
const CARET: Style = AnsiColor::Green.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// What a first line has between place and message, longest first.
const SEVERITIES: [(&str, Style); 4] =
    [("fatal error: ", ERROR), ("error: ", ERROR), ("warning: ", WARNING), ("note: ", NOTE)];

/// Diagnostics with colours, each at the beginning of a line.
pub fn painted(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for line in diagnostics.iter().flat_map(|found| found.rendered.trim_end().lines()) {
        paint(line, &mut text);
        text.push('\n');
    }
    text
}

/// Prints diagnostics to standard error.
pub fn to_stderr(diagnostics: &[Diagnostic]) {
    anstream::eprint!("{}", painted(diagnostics));
}

/// Prints to standard output, in colour where that is wanted. A pager may have seen enough.
pub fn to_stdout(text: &str) -> io::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn paint(line: &str, text: &mut String) {
    if let Some((gutter, source)) = gutter(line) {
        let has_number = gutter.contains(|character: char| character.is_ascii_digit());
        let style = if has_number { Style::new() } else { CARET };
        write!(text, "{FAINT}{gutter}{FAINT:#}{style}{source}{style:#}")
    } else if let Some((place, severity, style, message)) = head(line) {
        let plain = Style::new();
        let words = if style == NOTE { plain } else { MESSAGE };
        write!(text, "{PLACE}{place}{PLACE:#}{style}{severity}{style:#}{words}{message}{words:#}")
    } else {
        write!(text, "{line}")
    }
    .expect("a string is writable");
}

/// The gutter of a line of source text, `   12 | `, and what stands behind it.
fn gutter(line: &str) -> Option<(&str, &str)> {
    let at = line.find(" |")?;
    let number = line[..at].trim_start();
    let is_gutter = number.bytes().all(|byte| byte.is_ascii_digit());
    is_gutter.then(|| line.split_at((at + 3).min(line.len())))
}

/// A first line in its parts: place, severity and its colour, message.
fn head(line: &str) -> Option<(&str, &str, Style, &str)> {
    let found = SEVERITIES.iter().filter_map(|(severity, style)| {
        let at = line.find(severity)?;
        let begins = at == 0 || line[..at].ends_with(": ");
        begins.then_some((at, *severity, *style))
    });
    // The message may be about the word `error: `.
    let (at, severity, style) = found.min_by_key(|(at, ..)| *at)?;
    Some((&line[..at], severity, style, &line[at + severity.len()..]))
}
