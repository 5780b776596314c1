//! `kiln check --symbols`: what scripts, or programs, may link against, and what they may not.
//!
//! The lists are `pch/*.symbols`, which say why each group is there; `pch/workers.refused` says of
//! what scripts often want why it is not, and what there is instead.

pub(crate) mod page;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use heritage::diagnostic::counted;
use jit::{SymbolGroup, demangled};
use serde::Serialize;
use tools::print::to_stdout;

use crate::{EXIT_USAGE, cli};

const HEAD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Refused symbols that are shown of a search: `std::filesystem` has hundreds.
const REFUSED_MAX: usize = 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Listed {
    groups: Vec<Group>,
    /// What a search found that is not allowed.
    refused: Vec<Refused>,
    /// Of those, how many are not listed.
    refused_more: usize,
}

#[derive(Serialize)]
struct Group {
    name: &'static str,
    reason: &'static str,
    symbols: Vec<Symbol>,
}

#[derive(Clone, Serialize)]
struct Symbol {
    /// As linkers know it.
    symbol: &'static str,
    /// As people write it.
    name: String,
}

#[derive(Serialize)]
struct Refused {
    #[serde(flatten)]
    symbol: Symbol,
    group: Option<&'static str>,
    reason: Option<&'static str>,
    instead: Option<&'static str>,
}

/// Lists what is allowed, or what has to do with `wanted`. The exit code is 2 where a search finds
/// nothing that is allowed.
pub(crate) fn list(
    whose: cli::Symbols,
    wanted: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let wanted = wanted.map(Path::to_string_lossy);
    let groups = match whose {
        cli::Symbols::Workers => jit::worker_groups(),
        cli::Symbols::Programs => jit::program_groups(),
    };
    let listed = search(groups, wanted.as_deref(), whose);
    if json {
        to_stdout(&format!("{}\n", serde_json::to_string_pretty(&listed)?))?;
    } else {
        to_stdout(&text(&listed, wanted.as_deref(), whose))?;
    }
    let found = wanted.is_none() || !listed.groups.is_empty();
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) })
}

fn search(groups: Vec<SymbolGroup>, wanted: Option<&str>, whose: cli::Symbols) -> Listed {
    let allowed: Vec<&str> = groups.iter().flat_map(|group| group.names.clone()).collect();
    let symbol = |symbol: &&'static str| Symbol { symbol, name: demangled(symbol) };
    let fits = |symbol: &Symbol| wanted.is_none_or(|wanted| symbol.fits(wanted));
    let groups = groups.iter().map(|group| Group {
        name: group.name,
        reason: group.reason,
        symbols: group.names.iter().map(symbol).filter(fits).collect(),
    });
    let groups: Vec<Group> = groups.filter(|group| !group.symbols.is_empty()).collect();
    let mut refused: Vec<Refused> = Vec::new();
    if let (cli::Symbols::Workers, Some(wanted)) = (whose, wanted) {
        let all = jit::program_groups().into_iter().flat_map(|group| group.names);
        let others = all.filter(|name| !allowed.contains(name)).map(|name| symbol(&name));
        let others: Vec<Symbol> = others.collect();
        refused.extend(others.iter().filter(|symbol| symbol.fits(wanted)).map(Refused::new));
        // What people know by a name of a header is often several functions of C: `std::mutex`.
        if groups.is_empty() && refused.is_empty() {
            let akin = others.iter().filter(|symbol| symbol.has_word(wanted));
            refused.extend(akin.map(Refused::new).filter(|refused| refused.reason.is_some()));
        }
    }
    let refused_more = refused.len().saturating_sub(REFUSED_MAX);
    refused.truncate(REFUSED_MAX);
    Listed { groups, refused, refused_more }
}

impl Refused {
    fn new(symbol: &Symbol) -> Self {
        let why = jit::refused_symbol(symbol.symbol);
        Self {
            symbol: symbol.clone(),
            group: why.map(|why| why.group),
            reason: why.map(|why| why.reason),
            instead: why.and_then(|why| why.instead),
        }
    }
}

impl Symbol {
    /// Whether this is what somebody looks for: the name itself, a function of it whatever its
    /// parameters, a member of it, or whatever matches a pattern with `*`.
    fn fits(&self, wanted: &str) -> bool {
        if wanted.contains('*') {
            return jit::matches(wanted, self.symbol) || jit::matches(wanted, &self.name);
        }
        let wanted = wanted.trim_end_matches("()");
        let whole = |text: &str| {
            let rest = text.strip_prefix(wanted);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(['(', '<', '[']) || rest.starts_with("::")
            })
        };
        let named = |text: &str| whole(text) || text.strip_prefix("std::").is_some_and(whole);
        // Before the parameters, a function template has its result.
        let head = self.name.split_once('(').map_or("", |(head, _)| head);
        self.symbol == wanted
            || named(&self.name)
            || head.split(' ').any(named)
            || wanted.strip_prefix("std::") == Some(self.symbol)
    }

    /// Whether this is a function of C, and one of the words of its name the last part of `wanted`.
    fn has_word(&self, wanted: &str) -> bool {
        let wanted = wanted.trim_end_matches("()");
        let wanted = wanted.rsplit_once("::").map_or(wanted, |(_, last)| last);
        !self.symbol.starts_with("_Z") && self.symbol.split('_').any(|word| word == wanted)
    }
}

fn text(listed: &Listed, wanted: Option<&str>, whose: cli::Symbols) -> String {
    let mut text = String::new();
    let ok = "a string is writable";
    for Group { name, reason, symbols } in &listed.groups {
        let count = counted(symbols.len(), "symbol");
        writeln!(text, "{HEAD}[{name}]{HEAD:#} {reason} {FAINT}{count}{FAINT:#}").expect(ok);
        for symbol in symbols {
            writeln!(text, "  {}", symbol.name).expect(ok);
        }
    }
    let place = match whose {
        cli::Symbols::Workers => "a worker",
        cli::Symbols::Programs => "a program under `kiln run`",
    };
    let mut said = None;
    for Refused { symbol, reason, instead, .. } in &listed.refused {
        writeln!(text, "{BAD}not allowed in {place}:{BAD:#} {}", symbol.name).expect(ok);
        if said != Some(reason) {
            let none = "it is not among what scripts need";
            writeln!(text, "  {}", reason.unwrap_or(none)).expect(ok);
            instead
                .iter()
                .for_each(|it| writeln!(text, "  {GOOD}instead:{GOOD:#} {it}").expect(ok));
        }
        said = Some(reason);
    }
    if listed.refused_more > 0 {
        writeln!(text, "and {} more that are not allowed", listed.refused_more).expect(ok);
    }
    match wanted {
        Some(wanted) if listed.groups.is_empty() && listed.refused.is_empty() => {
            writeln!(
                text,
                "{BAD}no library has `{wanted}`{BAD:#}: what is whole in a header needs no symbol; a \
                 pattern has *, as in `*stream*`"
            )
        }
        Some(_) => Ok(()),
        None => {
            let total: usize = listed.groups.iter().map(|group| group.symbols.len()).sum();
            writeln!(
                text,
                "{HEAD}{} in {}{HEAD:#}",
                counted(total, "symbol"),
                counted(listed.groups.len(), "group")
            )
        }
    }
    .expect(ok);
    text
}
