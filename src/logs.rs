//! Where log lines go: standard error, coloured on a terminal.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Variable that chooses levels, in the form of tracing's `EnvFilter`: `debug`, `info,script=debug`.
const LEVELS: &str = "KILN_LOG";

/// Starts logging. One write a line, from whichever process it is in; no thread.
pub(crate) fn start() {
    let levels = EnvFilter::try_from_env(LEVELS).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
