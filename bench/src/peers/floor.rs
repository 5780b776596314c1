//! The floor: a relay in C that only reads and writes, compiled when it is needed.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::{Duty, Line, Peer, Site, Worker};

/// What copying the bytes costs at least. It can't reply, having nothing to say.
pub(crate) const FLOOR: Peer = Peer {
    name: "floor",
    replies_by: "nothing",
    forwards_by: "read() and write()",
    moves_by: "read() and write()",
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bodies::{Direction, Transfers};
    use crate::machine::Cores;
    use crate::origin;

    /// One body or more goes through the relay to the origin or back.
    fn check(direction: Direction) {
        let cores = Cores::choose().expect("two cores");
        let folder = tempfile::tempdir().expect("a folder");
        let duty = Duty::Move(origin::start(cores.load).expect("an origin"));
        let site =
            Site::new("kiln".as_ref(), cores.server.to_string(), folder.path().to_owned(), duty);
        let floor = FLOOR.serve(&site.expect("a port")).expect("it answers as the origin does");
        let transfers = Transfers { direction, body_bytes: 1_000_000, connections: 2 };
        let moved = transfers.run(cores.load, floor.address, Duration::from_millis(20));
        let bytes = moved.expect("every body arrives").bytes;
        assert!(bytes >= 2_000_000 && bytes.is_multiple_of(1_000_000), "{bytes}");
    }

    #[test]
    fn bodies_go_through_the_floor_down_and_up() {
        check(Direction::Download);
        check(Direction::Upload);
    }
}
