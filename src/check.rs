//! `kiln check`: what a reload would say of the scripts, said without serving anything.
//!
//! For people at a terminal, for editors (`--json`) and for code hosts (`--sarif`). Standard output
//! has all of it, since it is what was asked for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use anyhow::bail;
use heritage::diagnostic::counted;
use heritage::{CompileOutcome, CompileSteps, Counts, Diagnostic};
use serde::Serialize;
use tools::print::{painted, to_stdout};

use crate::config::Config;
use crate::symbols::page;
use crate::{EXIT_USAGE, cli, sarif, serve, symbols};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Magenta.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Configuration that is meant where nothing is named.
const CONFIG: &str = "kiln.toml";

/// What `kiln check --json` prints.
#[derive(Serialize)]
struct Checked {
    /// Whether a reload would take the scripts; with `--deny-warnings`, whether it would in silence.
    ok: bool,
    /// Files that were compiled.
    scripts: usize,
    /// All there are, be they shown or not.
    #[serde(flatten)]
    counts: Counts,
    /// Milliseconds from the command to its answer.
    total_ms: f64,
    /// How long each step of the compile took.
    steps: CompileSteps,
    diagnostics: Vec<Diagnostic>,
}

/// Checks scripts, or lists what they may use. The exit code is 0 for what a reload would take.
pub(crate) fn check(arguments: &cli::Check) -> anyhow::Result<ExitCode> {
    if arguments.markdown {
        to_stdout(&page::markdown())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(whose) = arguments.symbols {
        return symbols::list(whose, arguments.path.as_deref(), arguments.json);
    }
    let began = Instant::now();
    let outcome = compile(arguments)?;
    let ok = outcome.compiled && !(arguments.deny_warnings && outcome.counts.warnings > 0);
    let checked = Checked {
        ok,
        scripts: outcome.steps.scripts,
        counts: outcome.counts,
        total_ms: began.elapsed().as_micros() as f64 / 1e3,
        steps: outcome.steps,
        diagnostics: outcome.diagnostics,
    };
    if arguments.json {
        to_stdout(&format!("{}\n", serde_json::to_string_pretty(&checked)?))?;
    } else if arguments.sarif {
        let log = sarif::log(&checked.diagnostics, ok, &std::env::current_dir()?);
        to_stdout(&format!("{}\n", serde_json::to_string_pretty(&log)?))?;
    } else {
        to_stdout(&format!("{}{}", painted(&checked.diagnostics), summary(&checked)))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) })
}

/// Compiles what the arguments name. What is wrong with the configuration is an outcome too.
fn compile(arguments: &cli::Check) -> anyhow::Result<CompileOutcome> {
    let config = Config::load(&cli::Serve {
        config: config_path(arguments)?,
        script: arguments.path.clone(),
        include: arguments.include.clone(),
        ..cli::Serve::default()
    });
    let config = match config {
        Ok(config) => config,
        Err(diagnostics) => return Ok(refused(diagnostics)),
    };
    let outcome = serve::compile(config)?;
    Ok(outcome.unwrap_or_else(|failed| refused(vec![*failed])))
}

fn config_path(arguments: &cli::Check) -> anyhow::Result<Option<PathBuf>> {
    match (&arguments.config, &arguments.path) {
        (Some(config), _) => Ok(Some(config.clone())),
        (None, Some(_)) => Ok(None),
        (None, None) if Path::new(CONFIG).exists() => Ok(Some(CONFIG.into())),
        (None, None) => bail!(
            "no script: name one, as in `kiln check scripts/`, or a configuration that does, with -c"
        ),
    }
}

/// The outcome of what never came to be compiled.
fn refused(diagnostics: Vec<Diagnostic>) -> CompileOutcome {
    let mut counts = Counts::default();
    diagnostics.iter().for_each(|found| counts.add(found.severity));
    CompileOutcome { diagnostics, counts, ..CompileOutcome::default() }
}

/// "2 scripts, 1 error, 1 warning in 180 ms".
fn summary(checked: &Checked) -> String {
    let Checked { ok, scripts, counts, total_ms, .. } = checked;
    let style = match (ok, counts.warnings) {
        (false, _) => BAD,
        (true, 0) => GOOD,
        (true, _) => DOUBTFUL,
    };
    let scripts = counted(*scripts, "script");
    format!("{style}{scripts}, {}{style:#} in {total_ms:.0} ms\n", counts.text())
}
