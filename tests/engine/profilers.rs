//! Scripts under perf: names, lines and callers, of every generation that was recorded.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::killpg;
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::{Kiln, Signal, Wrk, kiln_command, run, until_true};

use crate::case::every_cpu;

/// Keeps a CPU busy in a function of this name.
fn busy(function: &str) -> String {
    format!(
        "#include <kiln.h>
namespace shop {{
[[gnu::noinline]] unsigned {function}(std::string_view text) {{
    unsigned value = 2166136261u;
    for (int round = 0; round < 5000; ++round)
        for (char c : text) value = (value ^ static_cast<unsigned char>(c)) * 16777619u;
    return value;
}}
}}
kiln::Action on_request(kiln::Request& request) {{
    return kiln::reply(200, std::to_string(shop::{function}(request.path())));
}}
"
    )
}

/// perf on a recording, with a cache of its own.
fn perf(home: &TempDir, arguments: &[&str]) -> String {
    let mut perf = Command::new("perf");
    perf.env("HOME", home.path()).current_dir(home.path()).args(arguments);
    let finished = run(&mut perf);
    assert!(finished.status.success(), "{finished:?}");
    finished.stdout
}

/// Children of a process that this test started, and what they are.
fn children(pid: u32) -> Vec<(u32, String)> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(|pid: u32| (pid, name(pid).trim().to_owned())).collect()
}

/// Waits until the worker has answered some more.
fn until_busy(kiln: &Kiln) {
    let answered = || kiln.workers()[0]["requests"].as_u64().expect("a number");
    let before = answered();
    until_true("the worker is busy", || answered() > before + 300);
}

#[test]
fn a_profile_across_a_reload_names_the_functions_lines_and_callers_of_both_generations() {
    let _cpu = every_cpu();
    let kiln = Kiln::builder().script(&busy("first_digest")).workers(1).start();
    let home = tempfile::tempdir().expect("a folder");
    let load = Wrk::start(kiln.address(), "/some/path/of/a/shop", 2);

    let mut profile = kiln_command();
    profile.args(["profile", "--seconds", "60", "--control"]).arg(kiln.control_path());
    profile.args(["--", "--event=cpu-clock"]).env("HOME", home.path()).current_dir(home.path());
    let profile = profile.process_group(0).stdout(Stdio::piped()).spawn().expect("kiln runs");
    // perf has its command run once it records.
    until_true("perf records", || {
        let mut below = children(profile.id()).into_iter().flat_map(|(perf, _)| children(perf));
        below.any(|(_, name)| name == "sleep")
    });
    until_busy(&kiln);
    kiln.reload_with(&busy("second_digest"));
    until_busy(&kiln);
    // As a terminal does it: to the whole group.
    killpg(Pid::from_raw(profile.id() as i32), Signal::SIGINT).expect("it runs");
    let finished = profile.wait_with_output().expect("it ends");
    assert!(finished.status.success(), "{finished:?}");
    let said = String::from_utf8_lossy(&finished.stdout);
    assert!(said.contains("perf report -i perf.data"), "{said}");
    load.stop();

    let report = perf(&home, &["report", "--stdio", "--no-children", "--call-graph=none"]);
    for function in ["shop::first_digest", "shop::second_digest"] {
        assert!(report.contains(function), "no {function} in:\n{report}");
        let lines = perf(&home, &["annotate", "--stdio", "--print-line", function]);
        assert!(lines.contains("site.cc:6"), "{function}:\n{lines}");
    }
    let chains = perf(&home, &["script", "--no-inline", "--fields=ip,sym"]);
    let whole = chains.split("\n\n").find(|chain| {
        let mut symbols = chain.lines();
        ["second_digest", "on_request", "kiln_call_hook", "hook::scripts::Scripts::on_request"]
            .iter()
            .all(|wanted| symbols.any(|symbol| symbol.contains(wanted)))
    });
    assert!(whole.is_some(), "no chain leads from the script to its caller:\n{chains}");
}
