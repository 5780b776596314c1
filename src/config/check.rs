//! Reads `kiln.toml`: compares every table and value with what `settings` declares, then checks
//! what several values say together, and reports all errors at once.
//!
//! Names of servers are only looked at here, never looked up: that takes time, and may have another
//! outcome a minute later.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use heritage::Diagnostic;
use settings::{File, Health, Kind, Limits, Setting};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Given;
use super::document::{Document, beside};

/// How alike two names must be (Jaro-Winkler) for one to be offered in place of the other.
const LIKENESS_MIN: f64 = 0.8;

/// A value with its place in the text.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A text that was read, with the warnings about it.
pub(super) struct Read<'t> {
    pub(super) file: File,
    pub(super) document: Document<'t>,
    /// The text by its parts.
    pub(super) root: Spanned<DeTable<'t>>,
}

/// Reads the text of a configuration, or says everything that is wrong with it. `given` is what the
/// command line says in its place.
pub(super) fn read<'t>(
    path: &'t Path,
    text: &'t str,
    given: &Given<'_>,
) -> Result<Read<'t>, Vec<Diagnostic>> {
    let mut document = Document::new(path, text);
    let (root, malformed) = DeTable::parse_recoverable(text);
    for error in malformed {
        document.error(error.span().unwrap_or(0..0), error.message());
    }
    // A table that was only half understood would have errors that are none.
    if document.is_right() {
        let mut check = Check { document: &mut document };
        check.table("", root.get_ref(), File::SETTINGS);
        check.together(root.get_ref(), given);
    }
    if !document.is_right() {
        return Err(document.into_diagnostics());
    }
    match toml::from_str::<File>(text) {
        Ok(mut file) => {
            let cache = &mut file.compile.cache;
            for named in [&mut file.script, &mut file.pid_file, &mut file.control, cache] {
                *named = named.as_deref().map(|named| beside(path, named));
            }
            for folder in &mut file.include {
                *folder = beside(path, folder);
            }
            Ok(Read { file, document, root })
        }
        Err(error) => {
            document.error(error.span().unwrap_or(0..0), error.message());
            Err(document.into_diagnostics())
        }
    }
}

pub(super) struct Check<'d, 't> {
    pub(super) document: &'d mut Document<'t>,
}

impl Check<'_, '_> {
    /// Compares a table with what may be in it. `path` is its name, empty for the file itself.
    fn table(&mut self, path: &str, table: &DeTable<'_>, settings: &[Setting]) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            match settings.iter().find(|setting| setting.name == name) {
                Some(setting) => self.value(&below(path, name), setting, value),
                None => self.document.error(key.span(), unknown(path, name, settings)),
            }
        }
    }

    fn value(&mut self, path: &str, setting: &Setting, value: &Value<'_>) {
        match (&setting.kind, value.get_ref()) {
            (
                Kind::Number { range, unit, .. } | Kind::OptionalNumber { range, unit, .. },
                DeValue::Integer(_),
            ) => self.number(path, setting, range, unit, value),
            (Kind::Flag { .. }, DeValue::Boolean(_)) => {}
            (Kind::Word { words, .. }, DeValue::String(text)) => {
                if !words.contains(&&**text) {
                    let mut message =
                        format!("{path} = \"{text}\" is not one of {}", setting.takes());
                    offer(&mut message, nearest(text, words.iter().copied()));
                    self.document.error(value.span(), message);
                }
            }
            (Kind::Text { check, .. }, DeValue::String(text)) => {
                if let Err(wrong) = check(text) {
                    self.document.error(value.span(), format!("{path}: {text:?} {wrong}"));
                }
            }
            (Kind::List { .. }, DeValue::Array(items)) => {
                let items: Vec<&Value<'_>> = items.iter().collect();
                self.list(path, setting, &items, value.span());
            }
            (Kind::Table { settings, .. }, DeValue::Table(table)) => {
                self.table(path, table, settings);
            }
            (Kind::Named { .. }, DeValue::Table(table)) => self.named(path, setting, table),
            (_, other) => self.mismatch(path, setting, &a(other.type_str()), value.span()),
        }
    }

    fn mismatch(&mut self, path: &str, setting: &Setting, is: &str, bytes: Range<usize>) {
        let (takes, default) = (setting.takes(), setting.default());
        let message = format!("{path} is {is}, but takes {takes}; the default is {default}");
        self.document.error(bytes, message);
    }

    fn number(
        &mut self,
        path: &str,
        setting: &Setting,
        range: &RangeInclusive<u64>,
        unit: &str,
        value: &Value<'_>,
    ) {
        if integer(value).is_some_and(|number| range.contains(&number)) {
            return;
        }
        let written = value.get_ref().as_integer().map(ToString::to_string).unwrap_or_default();
        let (first, last, default) = (range.start(), range.end(), setting.default());
        let message = format!(
            "{path} = {written} is not between {first} and {last} {unit}; the default is {default}"
        );
        self.document.error(value.span(), message);
    }

    fn list(&mut self, path: &str, setting: &Setting, items: &[&Value<'_>], bytes: Range<usize>) {
        let Kind::List { check, table, length_max, takes, .. } = &setting.kind else { return };
        if items.len() > *length_max {
            let length = items.len();
            self.document
                .error(bytes, format!("{path} has {length} entries; {length_max} at most"));
        }
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    if let Err(wrong) = check(text) {
                        self.document.error(item.span(), format!("{path}: {text:?} {wrong}"));
                    }
                }
                // A status, say, is a number to whoever writes one.
                DeValue::Integer(number) if check(number.as_str()).is_ok() => {}
                DeValue::Table(found) if !table.is_empty() => self.table(path, found, table),
                other => {
                    let is = a(other.type_str());
                    self.document.error(item.span(), format!("{path} takes {takes}, not {is}"));
                }
            }
        }
    }

    /// Tables under names of the operator's choice, or lists in their place.
    fn named(&mut self, path: &str, setting: &Setting, tables: &DeTable<'_>) {
        let Kind::Named { settings, short_for, length_max } = &setting.kind else { return };
        if let Some((key, _)) = tables.iter().nth(*length_max) {
            let length = tables.len();
            let message = format!("{path} has {length} entries; {length_max} at most");
            self.document.error(key.span(), message);
        }
        for (key, value) in tables {
            let path = below(path, key.get_ref());
            if key.get_ref().is_empty() {
                self.document.error(key.span(), "this needs a name, as in upstreams.web");
            } else if let Err(wrong) = settings::check_upstream_name(key.get_ref()) {
                self.document.error(key.span(), format!("{:?} {wrong}", key.get_ref()));
            }
            match value.get_ref() {
                DeValue::Table(table) => self.table(&path, table, settings),
                DeValue::Array(items) => {
                    let listed = settings.iter().find(|setting| setting.name == *short_for);
                    let listed = listed.expect("the short form is for a setting of the table");
                    let items: Vec<&Value<'_>> = items.iter().collect();
                    self.list(&below(&path, short_for), listed, &items, value.span());
                }
                other => {
                    let is = a(other.type_str());
                    let message =
                        format!("{path} takes a table or a list of {short_for}, not {is}");
                    self.document.error(value.span(), message);
                }
            }
        }
    }

    /// What is wrong between values that are each right.
    fn together(&mut self, root: &DeTable<'_>, given: &Given<'_>) {
        self.addresses(root, given);
        self.open_policy(root, given);
        self.budgets(root);
        self.paths(root);
        if let Some(limits) = table(root, "limits") {
            let head_bytes = number(limits, "head_bytes", Limits::default().head_bytes);
            let line_bytes = number(limits, "line_bytes", 0);
            if let (true, Some(value)) = (line_bytes > head_bytes, limits.get("line_bytes")) {
                let message = format!(
                    "limits.line_bytes = {line_bytes} is more than limits.head_bytes = {head_bytes}, \
                     and a request line is part of its head"
                );
                self.document.error(value.span(), message);
            }
        }
        if let Some(value) = table(root, "faults").and_then(|faults| faults.get("strict"))
            && value.get_ref().as_bool() == Some(true)
            && !fence::strict::is_available()
        {
            let message = "faults.strict needs Syscall User Dispatch, which this kernel does not have: \
                           Linux has it since 5.11, where it is not disabled";
            self.document.error(value.span(), message);
        }
        for (key, value) in table(root, "upstreams").into_iter().flatten() {
            match value.get_ref() {
                DeValue::Array(_) => self.servers(key.get_ref(), value),
                DeValue::Table(upstream) => self.upstream(key, upstream),
                _ => {}
            }
        }
    }

    fn upstream(&mut self, key: &Spanned<toml::de::DeString<'_>>, upstream: &DeTable<'_>) {
        let name: &str = key.get_ref();
        match upstream.get("servers") {
            Some(servers) => self.servers(name, servers),
            None => self.document.error(key.span(), no_server(name)),
        }
        let hashes = upstream.get("balance").and_then(text) == Some("hash");
        if let (true, Some(value)) = (hashes, upstream.get("slow_start_ms"))
            && integer(value) != Some(0)
        {
            let message = format!(
                "upstreams.{name}.slow_start_ms has no effect with balance = \"hash\", which gives \
                 each server its keys at once"
            );
            self.document.error(value.span(), message);
        }
        if let Some(health) = table(upstream, "health") {
            let Health { status_min, status_max, .. } = Health::default();
            let min = number(health, "status_min", status_min);
            let max = number(health, "status_max", status_max);
            let written = health.get("status_min").or(health.get("status_max"));
            if let (true, Some(value)) = (min > max, written) {
                let message = format!(
                    "upstreams.{name}.health: status_min = {min} is more than status_max = {max}"
                );
                self.document.error(value.span(), message);
            }
        }
    }

    fn servers(&mut self, name: &str, servers: &Value<'_>) {
        let Some(list) = servers.get_ref().as_array() else { return };
        if list.is_empty() {
            self.document.error(servers.span(), no_server(name));
        }
        let mut addresses = Vec::new();
        for server in list.iter() {
            match server.get_ref() {
                DeValue::Table(table) => match table.get("address") {
                    Some(address) => {
                        addresses.extend(text(address).map(|text| (text, address.span())));
                    }
                    None => {
                        let message = format!("a server of upstream {name} has no address");
                        self.document.error(server.span(), message);
                    }
                },
                _ => addresses.extend(text(server).map(|text| (text, server.span()))),
            }
        }
        let mut seen = BTreeSet::new();
        for (text, bytes) in addresses {
            if !seen.insert(settings::canonical_server(text)) {
                self.document.error(bytes, format!("upstream {name}: {text:?} is given twice"));
            }
        }
    }
}

fn no_server(name: &str) -> String {
    format!("upstream {name} has no server: name them as in servers = [\"10.0.0.1:80\"]")
}

/// A type of TOML's with its article.
fn a(is: &str) -> String {
    let article = if is.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {is}")
}

/// Name of a value for people.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn integer(value: &Value<'_>) -> Option<u64> {
    let integer = value.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

pub(super) fn text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    value.get_ref().as_str()
}

pub(super) fn table<'a, 't>(parent: &'a DeTable<'t>, name: &str) -> Option<&'a DeTable<'t>> {
    parent.get(name)?.get_ref().as_table()
}

/// The number of this name in a table, or what counts if it is not there.
pub(super) fn number(table: &DeTable<'_>, name: &str, default: u64) -> u64 {
    table.get(name).and_then(integer).unwrap_or(default)
}

/// What is said about a name that means nothing here.
fn unknown(path: &str, name: &str, settings: &[Setting]) -> String {
    let table = if path.is_empty() { String::new() } else { format!(" in {path}") };
    let mut message = format!("unknown setting `{name}`{table}");
    let known = || settings.iter().map(|setting| setting.name);
    if let Some(place) = place_of(name) {
        let _ = write!(message, "; it belongs {place}");
        return message;
    }
    match nearest(name, known()) {
        near @ Some(_) => offer(&mut message, near),
        None => {
            let _ = write!(message, "; there are {}", known().collect::<Vec<_>>().join(", "));
        }
    }
    message
}

/// Where a setting of exactly this name stands.
fn place_of(name: &str) -> Option<String> {
    fn find(path: &str, name: &str, settings: &[Setting]) -> Option<String> {
        if settings.iter().any(|setting| setting.name == name) {
            let top = "at the top of the file, before the first [table]";
            return Some(if path.is_empty() { top.to_owned() } else { format!("in [{path}]") });
        }
        settings.iter().find_map(|setting| match &setting.kind {
            Kind::Table { settings, .. } => find(&below(path, setting.name), name, settings),
            Kind::Named { settings, .. } => {
                find(&below(&below(path, setting.name), "NAME"), name, settings)
            }
            _ => None,
        })
    }
    find("", name, File::SETTINGS)
}

/// The known name that is most like this one, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let like = |known: &'a str| (strsim::jaro_winkler(name, known), known);
    let alike = known.map(like).filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

pub(super) fn offer(message: &mut String, near: Option<&str>) {
    if let Some(near) = near {
        let _ = write!(message, "; did you mean `{near}`?");
    }
}
