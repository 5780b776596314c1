//! The floor: a relay in C that only reads and writes, compiled when it is needed.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::{Duty, Line, Peer, Site, Worker};

/// What moving the bytes costs at least. It can't reply, having nothing to say.
pub(crate) const FLOOR: Peer = Peer {
    name: "floor",
    replies_by: "nothing",
    forwards_by: "a relay in C that only reads and writes",
    moves_by: "a relay in C that only reads and writes",
    worker: Worker::Itself,
    command,
};

const SOURCE: &str = include_str!("../../floor/relay.c");

fn command(site: &Site) -> anyhow::Result<Line> {
    let (Duty::Forward(origin) | Duty::Move(origin)) = site.duty else {
        bail!("the floor only forwards")
    };
    let program = site.folder.join("relay");
    let mut compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-x", "c", "-", "-o"])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .context("cc does not start; it is in Debian's gcc")?;
    // Dropped after the write, which ends the compiler's input.
    compiler.stdin.take().context("cc has no input")?.write_all(SOURCE.as_bytes())?;
    let status = compiler.wait()?;
    ensure!(status.success(), "cc ended with {status}");
    let ports = [site.address.port(), origin.port()];
    Ok(Line::new(program, ports.map(|port| port.to_string())))
}
