//! `kiln generations`, `kiln rollback`, and what comes of a probation.

use std::process::ExitCode;
use std::time::Duration;

use anstream::{print, println};
use anstyle::Style;
use anyhow::bail;
use heritage::diagnostic::counted;
use master::control::{
    ControlReply, ControlRequest, GenerationState, GenerationStatus, ProbationOutcome,
    ProbationStatus, RecordStatus, RollbackStatus, RolledBackStatus, call,
};
use tools::print::painted;

use crate::cli;
use crate::control::{BAD, FAINT, GOOD, HEAD, STATUS_TIMEOUT, duration, path, tell_refused};

/// It may wait for a generation that is on its way to the workers, and for names of servers.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A probation takes a day at most (`faults.probation_s`), and then there may be a rollback.
const PROBATION_TIMEOUT: Duration = Duration::from_secs(25 * 60 * 60);

/// Exit code of a reload whose generation did not get through its probation.
const EXIT_ROLLED_BACK: u8 = 3;

/// Digits of a digest in the table: enough to tell hundreds apart.
const DIGEST_SHOWN: usize = 12;

/// Prints the generations, newest first.
pub(crate) fn generations(arguments: &cli::Ask) -> anyhow::Result<ExitCode> {
    let status = match call(&path(&arguments.control), &ControlRequest::Status, STATUS_TIMEOUT)? {
        ControlReply::Status(status) => status,
        ControlReply::Invalid { reason } => bail!("the master refused the command: {reason}"),
        _ => bail!("the master answered another command"),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status.generations)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{HEAD}generation  state      digest        age          requests    faults   image  \
         rollback{HEAD:#}"
    );
    for generation in status.generations.iter().rev() {
        print_generation(generation);
    }
    if status.generation_serving.is_none() {
        println!("\n{BAD}no generation serves:{BAD:#} requests get the failure policy");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_generation(generation: &GenerationStatus) {
    let (style, state) = styled(generation.state);
    let digest = generation.digest.as_deref().unwrap_or("-");
    let image = match generation.image_bytes {
        0 => "-".to_owned(),
        bytes => format!("{} KiB", bytes.div_ceil(1024)),
    };
    let rollback = match &generation.cannot_return {
        None if generation.is_good => "yes",
        None => "when told its number",
        Some(reason) => reason,
    };
    println!(
        "{:>10}  {style}{state:<9}{style:#}  {:<DIGEST_SHOWN$}  {:<8}  {:>11}  {:>8}  {image:>8}  \
         {rollback}",
        generation.number,
        &digest[..digest.len().min(DIGEST_SHOWN)],
        duration(generation.age_s),
        generation.decided,
        generation.faults,
    );
    if let Some(note) = note(generation) {
        println!("            {FAINT}{note}{FAINT:#}");
    }
}

/// A state as it is shown.
pub(crate) fn styled(state: GenerationState) -> (Style, String) {
    let style = match state {
        GenerationState::Active => GOOD,
        GenerationState::Refused => BAD,
        _ => FAINT,
    };
    (style, format!("{state:?}").to_lowercase())
}

/// What is to be said of a generation beside numbers.
pub(crate) fn note(generation: &GenerationStatus) -> Option<String> {
    if let Some(RolledBackStatus { age_s, by_itself, record }) = &generation.rolled_back {
        let who = if *by_itself { " by the master itself" } else { "" };
        let age = duration(*age_s);
        return Some(format!("rolled back from{who} {age} ago, {}", told(record)));
    }
    if let Some(reason) = &generation.refusal {
        return Some(format!("refused: {}", reason.lines().next().unwrap_or_default()));
    }
    if let Some(record) = &generation.broken {
        return Some(format!("failed its probation, {}", told(record)));
    }
    let ProbationStatus { faults, faults_max, left_s } = generation.probation.as_ref()?;
    Some(format!("on probation for another {}: {faults} of {faults_max} faults", duration(*left_s)))
}

fn told(record: &RecordStatus) -> String {
    faults_in(record.faults, record.active_s)
}

fn faults_in(faults: u64, seconds: f64) -> String {
    format!("{} in {}", counted(faults as usize, "fault"), duration(seconds.round() as u64))
}

/// That what is on disk is not what serves.
pub(crate) fn print_rollback(rollback: &RollbackStatus) {
    let RollbackStatus { from, to, by_itself, age_s, faults, active_s } = rollback;
    let from = from.map_or("none".to_owned(), |from| from.to_string());
    let who = if *by_itself { " by the master itself" } else { "" };
    println!(
        "\n{BAD}rolled back{BAD:#}  {} ago{who}, from generation {from} to {to}; {from} had {}",
        duration(*age_s),
        faults_in(*faults, *active_s as f64)
    );
}

/// Goes back, and prints what came of it.
pub(crate) fn rollback(arguments: &cli::Rollback) -> anyhow::Result<ExitCode> {
    let cli::Rollback { ask, generation } = arguments;
    let request = ControlRequest::Rollback { generation: *generation };
    let reply = call(&path(&ask.control), &request, ROLLBACK_TIMEOUT)?;
    if ask.json {
        println!("{}", serde_json::to_string_pretty(&reply)?);
    }
    match reply {
        ControlReply::RolledBack { generation, from, total_ms, workers, diagnostics, .. } => {
            if !ask.json {
                print!("{}", painted(&diagnostics));
                let workers = counted(workers, "worker");
                let before = from.map(|from| format!(", {from} did before"));
                println!(
                    "{GOOD}generation {generation}{GOOD:#} serves in {workers}{}",
                    before.unwrap_or_default()
                );
                println!("  {FAINT}{:<10}{FAINT:#}{total_ms:>9.2} ms", "total");
            }
            Ok(ExitCode::SUCCESS)
        }
        ControlReply::Refused { generation_serving, diagnostics, reason } => {
            if !ask.json {
                tell_refused(generation_serving, &diagnostics, &reason);
            }
            Ok(ExitCode::FAILURE)
        }
        ControlReply::Invalid { reason } => bail!("the master refused the command: {reason}"),
        _ => bail!("the master answered another command"),
    }
}

/// Waits for the end of the probation of a generation that was just loaded.
pub(crate) fn await_probation(
    ask: &cli::Ask,
    generation: u64,
    reloaded: &ControlReply,
) -> anyhow::Result<ExitCode> {
    let request = ControlRequest::Probation { generation };
    let reply = call(&path(&ask.control), &request, PROBATION_TIMEOUT)?;
    let (outcome, serving) = match &reply {
        ControlReply::Probation { outcome, serving, .. } => (*outcome, *serving),
        ControlReply::Invalid { reason } => bail!("the master refused the command: {reason}"),
        _ => bail!("the master answered another command"),
    };
    let code = match outcome {
        ProbationOutcome::Passed | ProbationOutcome::Replaced => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_ROLLED_BACK),
    };
    if ask.json {
        let both = [("reload", reloaded), ("probation", &reply)];
        let both: std::collections::BTreeMap<_, _> = both.into_iter().collect();
        println!("{}", serde_json::to_string_pretty(&both)?);
        return Ok(code);
    }
    let serves = serving.map_or("none".to_owned(), |serving| format!("generation {serving}"));
    match outcome {
        ProbationOutcome::Passed => {
            println!("{GOOD}generation {generation}{GOOD:#} is past its probation");
        }
        ProbationOutcome::Replaced => {
            println!("generation {generation} does not serve any more: {serves} does");
        }
        ProbationOutcome::Broken { faults, within_s } => println!(
            "{BAD}generation {generation} failed its probation:{BAD:#} {}; it serves on, since \
             there is no good one to go back to",
            faults_in(faults, within_s)
        ),
        ProbationOutcome::RolledBack { faults, within_s, .. } => println!(
            "{BAD}generation {generation} was rolled back from:{BAD:#} {}; {serves} serves again",
            faults_in(faults, within_s)
        ),
    }
    Ok(code)
}
