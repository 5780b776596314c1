//! `kiln config`: checks a file, prints what it comes to, or prints what there is to set.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use heritage::Diagnostic;
use heritage::diagnostic::counted;
use serde::Serialize;
use settings::File;

use super::{load, print_errors, reference, show};
use crate::{EXIT_USAGE, cli};

/// Runs one of the commands.
pub(crate) fn run(command: &cli::ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        cli::ConfigCommand::Check { config, json } => check(&config.path, *json),
        cli::ConfigCommand::Show(config) => match load(&config.path) {
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
    let (file, diagnostics) = match load(path) {
        Ok(file) => (Some(file), Vec::new()),
        Err(errors) => (None, errors),
    };
    if json {
        let checked = Checked { ok: file.is_some(), diagnostics: diagnostics.clone() };
        print(&format!("{}\n", serde_json::to_string_pretty(&checked)?))?;
    }
    match file {
        Some(file) => {
            if !json {
                print(&format!("{}: ok: {}\n", path.display(), summary(&file)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        None if json => Ok(ExitCode::from(EXIT_USAGE)),
        None => Ok(refuse(&diagnostics)),
    }
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
    eprintln!("kiln: {} in the configuration", counted(errors.len(), "error"));
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
