//! Diagnostics as SARIF 2.1.0, the form that code hosts and editors read (OASIS, "Static Analysis
//! Results Interchange Format").
//!
//! Only what Kiln has to say is here; the sections of the standard are named at each type. Columns
//! are characters there and bytes in a diagnostic, so that sources are read once more.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use heritage::{Diagnostic, Edit, Note, Position, Severity};
use serde::Serialize;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Name of the folder that relative locations start from.
const ROOT: &str = "ROOT";

/// Section 3.13.
#[derive(Serialize)]
pub(crate) struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

/// Section 3.14.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    original_uri_base_ids: HashMap<&'static str, ArtifactLocation>,
    column_kind: &'static str,
    artifacts: Vec<Artifact>,
    results: Vec<SarifResult>,
}

/// Section 3.18.
#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

/// Section 3.19.
#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

/// Section 3.49.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Message,
}

/// Section 3.20.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
}

/// Section 3.11.
#[derive(Serialize)]
struct Message {
    text: String,
}

/// Section 3.24.
#[derive(Serialize)]
struct Artifact {
    location: ArtifactLocation,
}

/// Section 3.4.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

/// Section 3.27.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Fix>,
}

/// Section 3.28.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

/// Section 3.29.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

/// Section 3.30: the end is behind the last character.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

/// Section 3.55.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fix {
    description: Message,
    artifact_changes: Vec<ArtifactChange>,
}

/// Section 3.56.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactChange {
    artifact_location: ArtifactLocation,
    replacements: Vec<Replacement>,
}

/// Section 3.57.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement {
    deleted_region: Region,
    inserted_content: Message,
}

/// The diagnostics of one check, whose relative paths start in `folder`.
pub(crate) fn log(diagnostics: &[Diagnostic], ok: bool, folder: &Path) -> Log {
    let mut report = Report { folder, sources: HashMap::new(), rules: vec![], artifacts: vec![] };
    let results = diagnostics.iter().map(|diagnostic| report.result(diagnostic)).collect();
    let root = ArtifactLocation {
        uri: format!("file://{}/", encoded(&folder.to_string_lossy()).trim_end_matches('/')),
        uri_base_id: None,
        index: None,
    };
    let rules = report.rules;
    Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver { name: "kiln", version: env!("CARGO_PKG_VERSION"), rules },
            },
            invocations: [Invocation { execution_successful: ok }],
            original_uri_base_ids: HashMap::from([(ROOT, root)]),
            column_kind: "unicodeCodePoints",
            artifacts: report.artifacts,
            results,
        }],
    }
}

/// A log in the making.
struct Report<'a> {
    folder: &'a Path,
    /// Texts of files, as far as they can be read.
    sources: HashMap<String, Option<String>>,
    rules: Vec<Rule>,
    artifacts: Vec<Artifact>,
}

impl Report<'_> {
    fn result(&mut self, diagnostic: &Diagnostic) -> SarifResult {
        let (rule_id, rule_index) = self.rule(diagnostic);
        let Diagnostic { file, line, column, end, notes, .. } = diagnostic;
        let (placed, unplaced): (Vec<&Note>, Vec<&Note>) =
            notes.iter().partition(|note| !note.file.is_empty());
        let unplaced: String = unplaced.iter().map(|note| format!("\n{}", note.message)).collect();
        let text = format!("{}{unplaced}", diagnostic.message);
        let own = (!file.is_empty()).then(|| self.location(file, *line, *column, *end));
        let mut related_locations = Vec::new();
        for (id, note) in placed.iter().enumerate() {
            let location = self.location(&note.file, note.line, note.column, note.end);
            let message = Some(Message { text: note.message.clone() });
            related_locations.push(Location { id: Some(id), message, ..location });
        }
        // A fix of a note is one of several that would do.
        let mut fixes = Vec::new();
        fixes.extend(self.fix(&diagnostic.message, &diagnostic.edits));
        for note in notes {
            fixes.extend(self.fix(&note.message, &note.edits));
        }
        let level = diagnostic.severity.name();
        let (message, locations) = (Message { text }, Vec::from_iter(own));
        SarifResult { rule_id, rule_index, level, message, locations, related_locations, fixes }
    }

    /// Id and index of the rule that a diagnostic breaks.
    fn rule(&mut self, diagnostic: &Diagnostic) -> (String, usize) {
        let of_severity = match diagnostic.severity {
            Severity::Note => "Note",
            Severity::Warning => "Warning",
            Severity::Error => "Error",
        };
        let category = diagnostic.category.as_deref().unwrap_or(of_severity);
        let id = match &diagnostic.option {
            Some(option) => option.clone(),
            None => category.to_lowercase().replace(' ', "-"),
        };
        let index = self.rules.iter().position(|rule| rule.id == id).unwrap_or_else(|| {
            let short_description = Message { text: category.to_owned() };
            self.rules.push(Rule { id: id.clone(), short_description });
            self.rules.len() - 1
        });
        (id, index)
    }

    fn location(&mut self, file: &str, line: u32, column: u32, end: Option<Position>) -> Location {
        let region = (line > 0).then(|| self.region(file, Position { line, column }, end));
        let artifact_location = self.artifact(file);
        let physical_location = PhysicalLocation { artifact_location, region };
        Location { id: None, physical_location, message: None }
    }

    fn region(&mut self, file: &str, start: Position, end: Option<Position>) -> Region {
        let end = end.filter(|_| start.column > 0);
        Region {
            start_line: start.line,
            start_column: self.column(file, start),
            end_line: end.map(|end| end.line),
            end_column: end.and_then(|end| self.column(file, end)),
        }
    }

    /// A column in characters; in bytes, as it came, where the source cannot be read.
    fn column(&mut self, file: &str, at: Position) -> Option<usize> {
        let bytes = (at.column as usize).checked_sub(1)?;
        let path = self.folder.join(file);
        let source =
            self.sources.entry(file.to_owned()).or_insert_with(|| fs::read_to_string(path).ok());
        let line = source.as_deref().and_then(|text| text.lines().nth(at.line as usize - 1));
        let before = line.and_then(|line| line.get(..bytes));
        Some(before.map_or(bytes, |before| before.chars().count()) + 1)
    }

    fn fix(&mut self, description: &str, edits: &[Edit]) -> Option<Fix> {
        let mut artifact_changes: Vec<(&str, ArtifactChange)> = Vec::new();
        for edit in edits {
            let deleted_region = self.region(&edit.file, edit.start, Some(edit.end));
            let inserted_content = Message { text: edit.text.clone() };
            let replacement = Replacement { deleted_region, inserted_content };
            match artifact_changes.iter_mut().find(|(file, _)| *file == edit.file) {
                Some((_, change)) => change.replacements.push(replacement),
                None => {
                    let artifact_location = self.artifact(&edit.file);
                    let replacements = vec![replacement];
                    let change = ArtifactChange { artifact_location, replacements };
                    artifact_changes.push((&edit.file, change));
                }
            }
        }
        let artifact_changes: Vec<_> =
            artifact_changes.into_iter().map(|(_, change)| change).collect();
        let description = Message { text: description.to_owned() };
        (!artifact_changes.is_empty()).then_some(Fix { description, artifact_changes })
    }

    /// Where a file is: relative to the folder if it is below it.
    fn artifact(&mut self, file: &str) -> ArtifactLocation {
        let path = Path::new(file);
        let relative = if path.is_relative() { Ok(path) } else { path.strip_prefix(self.folder) };
        let (uri, uri_base_id) = match relative {
            Ok(relative) => {
                let relative = relative.strip_prefix(".").unwrap_or(relative);
                (encoded(&relative.to_string_lossy()), Some(ROOT))
            }
            Err(_) => (format!("file://{}", encoded(file)), None),
        };
        let known = |artifact: &Artifact| artifact.location.uri == uri;
        let index = self.artifacts.iter().position(known).unwrap_or_else(|| {
            let location = ArtifactLocation { uri: uri.clone(), uri_base_id, index: None };
            self.artifacts.push(Artifact { location });
            self.artifacts.len() - 1
        });
        ArtifactLocation { uri, uri_base_id, index: Some(index) }
    }
}

/// A path in a URI (RFC 3986, section 3.3).
fn encoded(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' | b'+' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
