//! The reference of `kiln.toml`, made from what `settings` declares: CONFIGURATION.md, and the same
//! for a terminal.

use std::fmt::Write;

use settings::{File, Kind, Setting};

/// A table of the file, as it is referred to.
struct Table {
    /// As it is headed in a file; empty for the top of it.
    heading: String,
    about: String,
    settings: &'static [Setting],
}

/// Every table, in the order of the reference.
fn tables() -> Vec<Table> {
    fn below(path: &str, settings: &'static [Setting], tables: &mut Vec<Table>) {
        for setting in settings {
            let mut inner = |heading: String, about: String, settings| {
                tables.push(Table { heading: heading.clone(), about, settings });
                below(&format!("{heading}."), settings, tables);
            };
            let heading = format!("{path}{}", setting.name);
            let about = setting.sentence.to_owned();
            match &setting.kind {
                Kind::Table { settings, .. } => inner(heading, about, settings),
                Kind::Named { settings, short_for, length_max } => {
                    let short = format!(
                        "{about} At most {length_max}. A list in the place of such a table is its \
                         `{short_for}`."
                    );
                    inner(format!("{heading}.NAME"), short, settings);
                }
                Kind::List { table: settings, .. } if !settings.is_empty() => {
                    let about = "One of the list, where a string does not say enough.".to_owned();
                    inner(heading, about, settings);
                }
                _ => {}
            }
        }
    }
    let about = "At the top of the file, before the first table. Paths are relative to its folder.";
    let mut tables =
        vec![Table { heading: String::new(), about: about.to_owned(), settings: File::SETTINGS }];
    below("", File::SETTINGS, &mut tables);
    tables
}

/// Those that are not described as tables of their own.
fn values(settings: &'static [Setting]) -> impl Iterator<Item = &'static Setting> {
    let is_table = |setting: &&Setting| {
        !matches!(setting.kind, Kind::Named { .. })
            && !matches!(&setting.kind, Kind::Table { default, .. } if *default != "none")
    };
    settings.iter().filter(is_table)
}

/// For a terminal.
pub(super) fn text() -> String {
    let mut text = String::new();
    for Table { heading, about, settings } in tables() {
        if !heading.is_empty() {
            let _ = writeln!(text, "\n[{heading}]");
        }
        let _ = writeln!(text, "{about}\n");
        for setting in values(settings) {
            let (name, takes, default) = (setting.name, setting.takes(), setting.default());
            let _ = writeln!(text, "  {name}: {takes} [default: {default}]");
            let _ = writeln!(text, "      {}", setting.sentence);
        }
    }
    text
}

/// The page CONFIGURATION.md.
pub(super) fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for Table { heading, about, settings } in tables() {
        match heading.as_str() {
            "" => page.push_str("\n## The file\n"),
            heading => drop(write!(page, "\n## [{heading}]\n")),
        }
        let about = about.replace(". ", ".\n");
        let _ = write!(page, "\n{about}\n\n| setting | default | takes | what it decides |\n");
        page.push_str("|---|---|---|---|\n");
        for setting in values(settings) {
            let default = setting.default();
            let is_word = default != "none" && !default.contains(' ');
            let written = is_word || default.starts_with(['"', '[']);
            let default = if written { format!("`{default}`") } else { default };
            let takes = setting.takes();
            let sentence = setting.sentence;
            let _ = writeln!(page, "| `{}` | {default} | {takes} | {sentence} |", setting.name);
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

Everything that `kiln.toml` may hold.
This page is the output of `kiln config reference --markdown`; a test fails when it is not.

    kiln serve -c kiln.toml
    kiln config check -c kiln.toml      # every error with line, column and the nearest valid name
    kiln config show -c kiln.toml       # what counts, defaults filled in
    kiln reload                         # or HUP: reads the file again

What the command line says wins over the file.
A reload applies everything but `listen`, `pid_file` and `control`, which need a restart; its answer and the log say so.
A file that is wrong refuses the reload, and everything stays as it was: scripts and settings change together or not at all.
Numbers have their unit last in the name; limits are of one worker.

```toml
listen = [\"0.0.0.0:8080\"]
script = \"scripts\"
trusted_proxies = [\"10.0.0.0/8\"]

[limits]
request_body_bytes = 1_048_576

[upstreams]
web = [\"10.0.0.1:80\", \"10.0.0.2:80\"]

[upstreams.api]
servers = [\"api.internal:8080\", { address = \"10.0.0.9:8080\", weight = 3 }]
balance = \"least-requests\"
health = { path = \"/healthz\", interval_ms = 1000 }
```
";
