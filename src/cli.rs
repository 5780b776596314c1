//! What can be typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A programmable HTTP load balancer: C++ scripts, compiled once, decide what happens to each
/// request.
#[derive(Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kiln demo                                 try it: example scripts, two workers, origins of its own
  kiln serve --script site.cc --upstream web=10.0.0.1:80,10.0.0.2:80
  kiln check scripts/                       say what is wrong with scripts
  kiln config check -c kiln.toml            say what is wrong with a configuration
  kiln reload                               compile the scripts again and swap them in
  kiln rollback                             go back to the generation before
  kiln run hello.cc                         any C++ program on the same engine";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve HTTP: compile the scripts, fork the workers, supervise them.
    Serve(Serve),
    /// Read the configuration, compile the scripts again and swap both in; wait, and say what
    /// happened.
    Reload(Reload),
    /// Go back at once to a generation that served before; nothing is compiled.
    Rollback(Rollback),
    /// Show the generations: what each did, and which can be rolled back to.
    Generations(Ask),
    /// Show the master, the generations and the workers.
    Status(Ask),
    /// Compile scripts as a reload does, serve nothing, and say what is wrong with them.
    Check(Check),
    /// Check a configuration file, or say what there is to set.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Record with perf what the workers do, so that perf report knows the scripts.
    Profile(Profile),
    /// Compile and run a C++20 program on Kiln's engine.
    Run(Run),
    /// Serve the example scripts with small origins of its own, and print what to try.
    Demo(Demo),
    /// Run a small origin that answers with what it was asked, to try scripts against.
    Origin(Origin),
}

#[derive(Args, Clone, Default)]
pub(crate) struct Control {
    /// Unix socket of `kiln reload`, `kiln status` and the like [default: /run/kiln.sock, or kiln.sock in
    /// $XDG_RUNTIME_DIR when not root].
    #[arg(id = "control", long = "control", value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Args, Clone, Default)]
pub(crate) struct Serve {
    /// Configuration file; options given here override what it says.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How many workers; one for each CPU if not given.
    #[arg(short, long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Address and port to listen on; may be repeated [default: 127.0.0.1:8080].
    #[arg(short, long, value_name = "ADDRESS", value_parser = listen)]
    pub(crate) listen: Vec<SocketAddr>,
    /// A script, or a folder of scripts that are asked in the order of their names.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) script: Option<PathBuf>,
    /// Folder where headers of scripts are looked for, before the standard ones; may be repeated.
    #[arg(short = 'I', long, value_name = "FOLDER")]
    pub(crate) include: Vec<PathBuf>,
    /// Servers that scripts forward to by this name; may be repeated.
    #[arg(short, long, value_name = "NAME=ADDRESS[,ADDRESS...]")]
    pub(crate) upstream: Vec<String>,
    /// Processor to make the code for: `host`, or LLVM's name for one, as in x86-64-v3
    /// [default: host].
    #[arg(long, value_name = "NAME")]
    pub(crate) cpu: Option<String>,
    /// Write the master's process id here, and remove the file at the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) control: Control,
}

// A command to a running master.
#[derive(Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    pub(crate) control: Control,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = RELOAD_CODES)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// Wait until the new generation is past its probation (faults.probation_s), or was rolled back
    /// from.
    #[arg(long)]
    pub(crate) probation: bool,
}

const RELOAD_CODES: &str = "\
Exit codes:
  0  the new generation serves; with --probation: and is past its probation, or was replaced in it
  1  the reload was refused: the generation before serves on
  2  no kiln answers
  3  with --probation: the new generation failed at too many requests, or was rolled back from";

#[derive(Args)]
#[command(after_help = ROLLBACK_CODES)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// Number of a generation, as `kiln generations` shows it [default: the last good one before the
    /// active one].
    #[arg(value_name = "N")]
    pub(crate) generation: Option<u64>,
}

const ROLLBACK_CODES: &str = "\
What is on disk stays as it is: the next reload compiles that.

Exit codes:
  0  the generation serves again
  1  it cannot be had, or a worker could not load it: the active one serves on
  2  no kiln answers";

#[derive(Args)]
pub(crate) struct Profile {
    #[command(flatten)]
    pub(crate) control: Control,
    /// For how long; ctrl-C ends it sooner.
    #[arg(short, long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Index of a worker to record, as `kiln status` shows it; may be repeated [default: all].
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) worker: Vec<usize>,
    /// File to write.
    #[arg(short, long, value_name = "FILE", default_value = "perf.data")]
    pub(crate) output: PathBuf,
    /// Options for perf record, for instance --event=cache-misses.
    #[arg(last = true, value_name = "OPTIONS")]
    pub(crate) options: Vec<OsString>,
}

/// Exit code: 0 when the scripts would be taken, 2 when not.
#[derive(Args)]
pub(crate) struct Check {
    /// A script, or a folder of scripts; with --symbols, what to look for among them [default: the
    /// script of the configuration].
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Configuration file, which is checked too [default: kiln.toml, if no PATH is given].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder where headers are looked for, before the standard ones; may be repeated.
    #[arg(short = 'I', long, value_name = "FOLDER")]
    pub(crate) include: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print SARIF 2.1.0, for code hosts and editors.
    #[arg(long, conflicts_with = "json")]
    pub(crate) sarif: bool,
    /// Refuse what has warnings, too.
    #[arg(long)]
    pub(crate) deny_warnings: bool,
    /// List what scripts may link against, by group, each with its reason; or what programs under
    /// `kiln run` may.
    #[arg(
        long,
        value_name = "WHOSE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "workers",
        conflicts_with_all = ["config", "include", "sarif", "deny_warnings"]
    )]
    pub(crate) symbols: Option<Symbols>,
    /// Print the page SYMBOLS.md: what of the C++ library scripts may not use, by header.
    #[arg(long, requires = "symbols", conflicts_with_all = ["path", "json"])]
    pub(crate) markdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Symbols {
    /// Scripts in a worker.
    Workers,
    /// Programs under `kiln run`.
    Programs,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with a file, with line and column.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a file comes to, defaults filled in.
    Show(ConfigFile),
    /// Print every setting with its default, its range and what it decides.
    Reference {
        /// Print the page CONFIGURATION.md.
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Args)]
pub(crate) struct ConfigFile {
    /// Configuration file.
    #[arg(
        id = "config",
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "kiln.toml"
    )]
    pub(crate) path: PathBuf,
}

#[derive(Args)]
#[command(override_usage = "kiln run [OPTIONS] FILE.cc [ARGUMENTS]...")]
pub(crate) struct Run {
    /// Folder where headers are looked for, before the standard ones; may be repeated. Beside these
    /// folders, its own and the files that it includes by name, a program sees no file while it is
    /// compiled.
    #[arg(short = 'I', long, value_name = "FOLDER")]
    pub(crate) include: Vec<PathBuf>,
    /// Macro that is defined before the first line; may be repeated.
    #[arg(short = 'D', long, value_name = "NAME[=VALUE]")]
    pub(crate) define: Vec<String>,
    /// C++20 source file with a main(), and the arguments of the program.
    // One list: what follows the file is the program's, also when it looks like an option.
    #[arg(value_name = "FILE.cc", required = true, trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Address and port to listen on.
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8080",
          value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// Folder of example scripts.
    #[arg(short, long, value_name = "PATH", default_value = "scripts")]
    pub(crate) script: PathBuf,
    /// How many workers.
    #[arg(short, long, value_name = "N", default_value_t = 2)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) control: Control,
}

#[derive(Args)]
pub(crate) struct Origin {
    /// Address and port to listen on; port 0 lets the system choose. The address is printed.
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:0",
          value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// Name that it answers with.
    #[arg(short, long, default_value = "origin")]
    pub(crate) name: String,
    /// End when the process that started this one does.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

/// Where to listen, in the words that `kiln config check` has for what is none.
fn listen(text: &str) -> Result<SocketAddr, String> {
    settings::check_listen(text).map_err(|wrong| format!("it {wrong}"))?;
    text.parse().map_err(|error| format!("{error}"))
}
