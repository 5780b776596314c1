//! The machine that the figures are of, and its two cores.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// Cores that don't disturb each other: one for the server, one for load and origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two that this process may use.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let (Some(server), Some(load)) = (cores.next(), cores.next()) else {
            anyhow::bail!("two cores are needed: one for the server, one for the load");
        };
        Ok(Cores { server, load })
    }

    /// Both of them, as taskset takes them.
    pub(crate) fn both(self) -> String {
        format!("{},{}", self.server, self.load)
    }
}

/// Pins this thread, and those that it starts, to a core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).with_context(|| format!("core {core}"))
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Processes that wanted to run in the minute before, beside this program.
    pub(crate) load_average: f64,
    pub(crate) kiln: String,
    pub(crate) nginx: String,
    pub(crate) haproxy: String,
    pub(crate) wrk: String,
}

impl Machine {
    /// Asks the system, and each program for its version; `kiln` is the binary that is measured.
    pub(crate) fn read(kiln: &Path) -> anyhow::Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let named = |key: &str| {
            let line = cpus.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
        };
        let uname = nix::sys::utsname::uname()?;
        let kiln = kiln.to_string_lossy();
        Ok(Machine {
            cpu: named("model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: format!("{} {}", uname.sysname().display(), uname.release().display()),
            load_average: load_average()?,
            kiln: version_of(&kiln, "--version")?,
            nginx: version_of("nginx", "-v")?,
            haproxy: version_of("haproxy", "-v")?,
            wrk: version_of("wrk", "-v")?,
        })
    }
}

fn load_average() -> anyhow::Result<f64> {
    let path = "/proc/loadavg";
    let text = std::fs::read_to_string(path).context(path)?;
    text.split(' ').next().unwrap_or_default().parse().context(path)
}

/// The first line of what a program says of its version, on either stream.
fn version_of(program: &str, option: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(option)
        .output()
        .with_context(|| format!("{program} does not start; `make packages-test` installs it"))?;
    // wrk exits with 1 after it has said its version.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    ensure!(!line.is_empty(), "{program} {option} says nothing");
    Ok(without_prose(line).to_owned())
}

/// A version without what only introduces it or thanks for it.
fn without_prose(line: &str) -> &str {
    let line = line.trim_start_matches("nginx version: ");
    [" Copyright", " - http"].iter().fold(line, |line, end| line.split(end).next().unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &str) {
        assert_eq!(without_prose(line), expect);
    }

    #[test]
    fn a_version_is_shown_without_prose() {
        check("nginx version: nginx/1.22.1", "nginx/1.22.1");
        check("wrk 4.1.0 [epoll] Copyright (C) 2012 Will Glozer", "wrk 4.1.0 [epoll]");
        check(
            "HAProxy version 2.6.12 2026/10/17 - https://haproxy.org/",
            "HAProxy version 2.6.12 2026/10/17",
        );
    }
}
