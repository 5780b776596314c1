//! `kiln reload`, `kiln status` and `kiln profile`: commands to a running master. What they say of
//! single generations is in `generations`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstream::{print, println};
use anstyle::{AnsiColor, Style};
use anyhow::{Context, bail};
use heritage::diagnostic::counted;
use heritage::{Blame, CompileSteps, Diagnostic, Ejection, Frame, Reason};
use master::control::{
    ControlReply, ControlRequest, DeathStatus, FaultStatus, GenerationState, HeldStatus,
    NameStatus, OutStatus, RefusalStatus, Status, UpstreamsStatus, WorkerActivity, WorkerStatus,
    call,
};
use tools::print::painted;

use crate::generations::{await_probation, note, print_rollback, styled};
use crate::{cli, config};

/// A reload may wait for one that is under way, and each may use the compile timeout.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(300);
pub(crate) const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Faults and deaths that the tables show: as many as leave the rest on the screen.
const SHOWN_MAX: usize = 8;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const HEAD: Style = Style::new().bold();

pub(crate) fn path(control: &cli::Control) -> PathBuf {
    control.path.clone().unwrap_or_else(config::control_default)
}

/// Reloads and prints what came of it, and what comes of the probation if that is asked for.
pub(crate) fn reload(arguments: &cli::Reload) -> anyhow::Result<ExitCode> {
    let cli::Reload { ask, probation } = arguments;
    let reply = call(&path(&ask.control), &ControlRequest::Reload, RELOAD_TIMEOUT)?;
    let loaded = match &reply {
        ControlReply::Reloaded { generation, .. } => Some(*generation),
        _ => None,
    };
    // One document: where there is more to come, that has all.
    if ask.json && !(*probation && loaded.is_some()) {
        println!("{}", serde_json::to_string_pretty(&reply)?);
    }
    let code = tell_reloaded(&reply, ask.json)?;
    match loaded {
        Some(generation) if *probation => await_probation(ask, generation, &reply),
        _ => Ok(code),
    }
}

fn tell_reloaded(reply: &ControlReply, quiet: bool) -> anyhow::Result<ExitCode> {
    match reply {
        ControlReply::Reloaded { generation, steps, map_ms, total_ms, workers, diagnostics } => {
            if !quiet {
                print!("{}", painted(diagnostics));
                println!(
                    "{GOOD}generation {generation}{GOOD:#} serves in {}",
                    counted(*workers, "worker")
                );
                print_steps(steps, *map_ms, *total_ms);
            }
            Ok(ExitCode::SUCCESS)
        }
        ControlReply::Refused { generation_serving, diagnostics, reason } => {
            if !quiet {
                tell_refused(*generation_serving, diagnostics, reason);
            }
            Ok(ExitCode::FAILURE)
        }
        ControlReply::Invalid { reason } => bail!("the master refused the command: {reason}"),
        _ => bail!("the master answered another command"),
    }
}

/// Says why everything stays as it was.
pub(crate) fn tell_refused(serving: Option<u64>, diagnostics: &[Diagnostic], reason: &str) {
    print!("{}", painted(diagnostics));
    println!("{BAD}refused:{BAD:#} {reason}");
    match serving {
        Some(serving) => println!("generation {serving} serves on"),
        None => println!("no generation serves: requests get what faults.policy says"),
    }
}

fn print_steps(steps: &CompileSteps, map_ms: f64, total_ms: f64) {
    let CompileSteps { scripts, compiled, front_end_ms, optimise_ms, code_ms, link_ms } = *steps;
    let of = match (scripts, compiled) {
        (1, 0) => "the script is from the cache".to_owned(),
        (1, _) => "compiled the script".to_owned(),
        (_, 0) => format!("all {scripts} scripts are from the cache"),
        (_, _) => format!("compiled {compiled} of {scripts} scripts"),
    };
    println!("  {of}");
    let named = [
        ("front end", front_end_ms),
        ("optimise", optimise_ms),
        ("code", code_ms),
        ("link", link_ms),
        ("map", map_ms),
        ("total", total_ms),
    ];
    for (name, milliseconds) in named {
        println!("  {FAINT}{name:<10}{FAINT:#}{milliseconds:>9.2} ms");
    }
}

/// Prints how things are.
pub(crate) fn status(arguments: &cli::Ask) -> anyhow::Result<ExitCode> {
    match call(&path(&arguments.control), &ControlRequest::Status, STATUS_TIMEOUT)? {
        ControlReply::Status(status) if arguments.json => {
            println!("{}", serde_json::to_string_pretty(&status)?);
        }
        ControlReply::Status(status) => print_status(&status),
        ControlReply::Invalid { reason } => bail!("the master refused the command: {reason}"),
        _ => bail!("the master answered another command"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Records the workers that serve, all or those that are named.
pub(crate) fn profile(arguments: &cli::Profile) -> anyhow::Result<ExitCode> {
    let reply = call(&path(&arguments.control), &ControlRequest::Status, STATUS_TIMEOUT)?;
    let ControlReply::Status(status) = reply else { bail!("the master answered another command") };
    let (indices, mut workers) = (&arguments.worker, Vec::new());
    for index in indices {
        let found = status.workers.iter().find(|worker| worker.index == *index);
        let pid = found.and_then(|worker| worker.pid);
        workers.push(pid.with_context(|| format!("there is no worker {index}"))?);
    }
    if indices.is_empty() {
        workers.extend(status.workers.iter().filter_map(|worker| worker.pid));
    }
    let code = tools::profile::profile(&tools::profile::Profile {
        master: status.master.pid,
        workers,
        seconds: arguments.seconds,
        output: arguments.output.clone(),
        options: arguments.options.clone(),
    })?;
    Ok(ExitCode::from(code as u8))
}

fn print_status(status: &Status) {
    let master = &status.master;
    let listen: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    println!(
        "{HEAD}kiln {}{HEAD:#}  master {}  up {}  listening on {}\n",
        master.version,
        master.pid,
        duration(master.uptime_s),
        listen.join(", ")
    );
    if status.generation_serving.is_none() {
        println!(
            "{BAD}no generation serves:{BAD:#} requests get the failure policy (faults.policy)\n"
        );
    }
    println!("{HEAD}generation  state       age      compiled in  workers{HEAD:#}");
    for generation in &status.generations {
        let (style, state) = styled(generation.state);
        let steps = &generation.build;
        let compiled = steps.front_end_ms + steps.optimise_ms + steps.code_ms + steps.link_ms;
        println!(
            "{:>10}  {style}{state:<10}{style:#}  {:<7}  {compiled:>8.1} ms  {:>7}",
            generation.number,
            duration(generation.age_s),
            generation.workers
        );
        if generation.state == GenerationState::Draining {
            generation.held.iter().for_each(print_held);
        }
        if generation.state == GenerationState::Active
            && let Some(note) = note(generation)
        {
            println!("            {BAD}{note}{BAD:#}");
        }
    }
    println!(
        "\n{HEAD}worker      pid  state     generation    requests  connections  restarts  up{HEAD:#}"
    );
    let workers = status.workers.iter().map(|worker| (worker, false));
    for (worker, is_tainted) in workers.chain(status.tainted.iter().map(|one| (one, true))) {
        let style = if worker.state == WorkerActivity::Serving { GOOD } else { BAD };
        let state = match is_tainted {
            true => "tainted".to_owned(),
            false => format!("{:?}", worker.state).to_lowercase(),
        };
        let pid = worker.pid.map_or("-".to_owned(), |pid| pid.to_string());
        println!(
            "{:>6}  {pid:>7}  {style}{state:<8}{style:#}  {:>10}  {:>10}  {:>11}  {:>8}  {}",
            worker.index,
            worker.generation,
            worker.requests,
            worker.connections,
            worker.restarts,
            duration(worker.uptime_s)
        );
    }
    print_forwarding(status);
    print_reasons(&status.reasons);
    print_upstreams(status);
    print_faults(&status.faults);
    print_deaths(&status.deaths);
    if let Some(rollback) = &status.rollback {
        print_rollback(rollback);
    }
    if let Some(RefusalStatus { age_s, reason, diagnostics }) = &status.refused {
        println!("\n{BAD}last reload refused{BAD:#}  {} ago: {reason}", duration(*age_s));
        print!("{}", painted(diagnostics));
    }
}

/// What keeps a generation that drains.
fn print_held(held: &HeldStatus) {
    let HeldStatus { worker, requests, oldest_ms, oldest_target, .. } = held;
    let requests = counted(*requests as usize, "request");
    let age = oldest_ms.map(|age_ms| format!(", for {} now", duration(age_ms / 1000)));
    let target = oldest_target.as_ref().map(|target| format!(": {target}"));
    println!(
        "            {FAINT}kept in worker {worker} by {requests}{}{}{FAINT:#}",
        age.unwrap_or_default(),
        target.unwrap_or_default()
    );
}

/// How requests get to origins: by the processes that run now, together.
fn print_forwarding(status: &Status) {
    let processes = || status.workers.iter().chain(&status.tainted);
    let sum = |count: fn(&WorkerStatus) -> u64| processes().map(count).sum::<u64>();
    let forwarded = sum(|worker| worker.forwarded);
    let turned_away = sum(|worker| worker.turned_away);
    if forwarded + turned_away == 0 {
        return;
    }
    let opened = sum(|worker| worker.origin_connections);
    let reused = 100.0 * (1.0 - opened as f64 / forwarded.max(1) as f64);
    let retries = sum(|worker| worker.retries);
    let style = if turned_away > 0 { BAD } else { FAINT };
    println!(
        "\n{HEAD}to origins{HEAD:#}  {forwarded} requests over {opened} connections \
         ({reused:.1}% reused one), {retries} sent again, {style}{turned_away} answered 503{style:#}"
    );
}

/// What workers answered or cut off by themselves, most first.
fn print_reasons(reasons: &BTreeMap<String, u64>) {
    if reasons.is_empty() {
        return;
    }
    println!("\n{HEAD}     times  answered or cut off by Kiln itself    status{HEAD:#}");
    let mut known: Vec<(u64, Reason)> = (Reason::ALL.iter())
        .filter_map(|reason| Some((*reasons.get(reason.name())?, *reason)))
        .collect();
    known.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    for (count, reason) in known {
        let style = if reason.blame() == Blame::Client { FAINT } else { BAD };
        let status = match reason.status() {
            0 => "cut".to_owned(),
            status => status.to_string(),
        };
        println!(
            "{count:>10}  {style}{:<35}{style:#}  {status:>6}  {FAINT}{}{FAINT:#}",
            reason.name(),
            reason.sentence()
        );
    }
}

/// What is known of servers beside the configuration, if anything is.
fn print_upstreams(status: &Status) {
    if let Some(broker) = &status.broker {
        let (style, pid) = match broker.pid {
            Some(pid) => (GOOD, pid.to_string()),
            None => (BAD, "dead".to_owned()),
        };
        println!("\n{HEAD}broker{HEAD:#}  {style}{pid}{style:#}  restarts {}", broker.restarts);
    }
    let UpstreamsStatus { names, out } = &status.upstreams;
    if !names.is_empty() {
        println!("\n{HEAD}name                      addresses{HEAD:#}");
    }
    for NameStatus { name, addresses } in names {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        match addresses.is_empty() {
            true => println!("{name:<24}  {BAD}does not resolve{BAD:#}"),
            false => println!("{name:<24}  {}", addresses.join(" ")),
        }
    }
    if !out.is_empty() {
        println!("\n{HEAD}upstream          server                    gets no requests{HEAD:#}");
    }
    for OutStatus { upstream, server, is_down, ejected_ms, ejected_why } in out {
        let reason = match (is_down, ejected_ms) {
            (true, _) => "its health check fails".to_owned(),
            (false, Some(left_ms)) => {
                let why = ejected_why.map_or("", Ejection::sentence);
                format!("ejected for {}: {why}", duration(left_ms.div_ceil(1000)))
            }
            (false, None) => String::new(),
        };
        println!("{upstream:<16}  {:<24}  {BAD}{reason}{BAD:#}", server.to_string());
    }
}

/// What scripts failed at, the latest last.
fn print_faults(faults: &[FaultStatus]) {
    if !faults.is_empty() {
        println!("\n{HEAD}fault                 ago      generation  hook        place{HEAD:#}");
    }
    let before = faults.len().saturating_sub(SHOWN_MAX);
    for FaultStatus { age_s, fault, .. } in &faults[before..] {
        let place = fault.place().map_or("-".to_owned(), Frame::location);
        println!(
            "{BAD}{:<20}{BAD:#}  {:<7}  {:>10}  {:<10}  {place}",
            fault.kind.name(),
            duration(*age_s),
            fault.generation,
            fault.hook
        );
        let at = fault.request.as_ref();
        let at = at.map(|request| format!("at {} {}: ", request.method, request.target));
        let message = fault.printable_message();
        println!("    {FAINT}{}{message}{FAINT:#}", at.unwrap_or_default());
    }
    print_before(before);
}

/// Workers that died, the latest last.
fn print_deaths(deaths: &[DeathStatus]) {
    if !deaths.is_empty() {
        println!("\n{HEAD}worker      pid  died     generation  how{HEAD:#}");
    }
    let before = deaths.len().saturating_sub(SHOWN_MAX);
    for death in &deaths[before..] {
        let since = death.killed_since.as_ref().map(|reason| format!(": {reason}"));
        let at = death.target.as_ref().map(|target| format!(", in a script at {target}"));
        println!(
            "{:>6}  {:>7}  {:<7}  {:>10}  {BAD}{}{BAD:#}{}{}",
            death.worker,
            death.pid,
            duration(death.age_s),
            death.generation,
            death.how,
            since.unwrap_or_default(),
            at.unwrap_or_default()
        );
    }
    print_before(before);
}

fn print_before(before: usize) {
    if before > 0 {
        println!("    {FAINT}and {before} before: --json shows them{FAINT:#}");
    }
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}
