//! `kiln config show`: the configuration that a file comes to, with defaults filled in, as a file.

use std::fmt::Write;

use anyhow::Context;
use serde_json::{Map, Value};
use settings::{File, Kind, Setting};

/// The configuration as TOML. What has no value stands in a comment with what counts instead.
pub(super) fn toml(file: &File) -> anyhow::Result<String> {
    let file = serde_json::to_value(file)?;
    let mut text = String::new();
    table(&mut text, "", File::SETTINGS, file.as_object().context("a file is a table")?)?;
    Ok(text)
}

fn table(
    text: &mut String,
    path: &str,
    settings: &[Setting],
    values: &Map<String, Value>,
) -> anyhow::Result<()> {
    let mut tables = Vec::new();
    for setting in settings {
        let (name, value) = (setting.name, &values[setting.name]);
        match (&setting.kind, value) {
            (_, Value::Null) => writeln!(text, "# {name}: {}", setting.default())?,
            (Kind::Table { settings, .. }, Value::Object(inner)) => {
                tables.push((format!("{path}{name}"), *settings, inner));
            }
            (Kind::Named { settings, .. }, Value::Object(named)) => {
                for (key, inner) in named {
                    let inner = inner.as_object().context("it is a table of tables")?;
                    tables.push((format!("{path}{name}.{}", quoted(key)), *settings, inner));
                }
            }
            _ => writeln!(text, "{name} = {}", toml::Value::try_from(value)?)?,
        }
    }
    for (heading, settings, inner) in tables {
        writeln!(text, "\n[{heading}]")?;
        table(text, &format!("{heading}."), settings, inner)?;
    }
    Ok(())
}

/// A key as TOML wants it.
fn quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) {
        return key.to_owned();
    }
    toml::Value::from(key).to_string()
}
