//! `kiln config`: checks a file, prints what it comes to, or prints what there is to set.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use heritage::diagnostic::counted;
use heritage::{Diagnostic, Severity};
use serde::Serialize;
use settings::File;

use super::check::{self, Read};
use super::{Given, load, machine, print_errors, reference, show, text_of};
use crate::{EXIT_USAGE, cli};

/// Runs one of the commands.
pub(crate) fn run(command: &cli::ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        cli::ConfigCommand::Check { config, json } => check(&config.path, *json),
        cli::ConfigCommand::Show(config) => match load(&config.path, &Given::default()) {
            Ok(file) => {
                print(&show::toml(&file)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(errors) => Ok(refuse(&errors)),
        },
        cli::ConfigCommand::Reference { markdown } => {
            let reference = if *markdown { reference::markdown() } else { reference::text() };
            print(&reference)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What `kiln config check --json` prints.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    diagnostics: Vec<Diagnostic>,
}

fn check(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (file, diagnostics) = look(path);
    if json {
        let checked = Checked { ok: file.is_some(), diagnostics: diagnostics.clone() };
        print(&format!("{}\n", serde_json::to_string_pretty(&checked)?))?;
    }
    match file {
        Some(file) => {
            if !json {
                print_errors(&diagnostics);
                print(&format!("{}: ok: {}\n", path.display(), summary(&file)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        None if json => Ok(ExitCode::from(EXIT_USAGE)),
        None => Ok(refuse(&diagnostics)),
    }
}

/// What a file comes to on this machine, if a start would take it, and the messages about it.
fn look(path: &Path) -> (Option<File>, Vec<Diagnostic>) {
    let text = match text_of(path) {
        Ok(text) => text,
        Err(errors) => return (None, errors),
    };
    let Read { file, mut document, root } = match check::read(path, &text, &Given::default()) {
        Ok(read) => read,
        Err(errors) => return (None, errors),
    };
    machine::look(&mut document, root.get_ref(), &file);
    (document.is_right().then_some(file), document.into_diagnostics())
}

/// Prints to whoever still listens: a pager may have seen enough.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn refuse(errors: &[Diagnostic]) -> ExitCode {
    print_errors(errors);
    let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
    let count = errors.iter().filter(is_error).count();
    eprintln!("kiln: {} in the configuration", counted(count, "error"));
    ExitCode::from(EXIT_USAGE)
}

fn summary(file: &File) -> String {
    let listen: Vec<String> = file.listen.iter().map(ToString::to_string).collect();
    let workers = match file.workers {
        Some(workers) => counted(workers as usize, "worker"),
        None => "a worker for each CPU".to_owned(),
    };
    let servers: usize = file.upstreams.values().map(|upstream| upstream.servers.len()).sum();
    let script = match &file.script {
        Some(script) => format!("script {}", script.display()),
        None => "no script".to_owned(),
    };
    format!(
        "listens on {}, {workers}, {} with {}, {script}",
        listen.join(" and "),
        counted(file.upstreams.len(), "upstream"),
        counted(servers, "server")
    )
}
