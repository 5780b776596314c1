//! Kiln, with a script of one line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::BODY;

/// For the master's answer: the first compile takes some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Kiln.
pub(crate) const KILN: Peer = Peer {
    name: "kiln",
    replies_by: "a script that replies",
    forwards_by: "a script that forwards",
    moves_by: "a script that forwards",
    worker: Worker::OnlyChild,
    command,
};

/// Its control socket.
pub(crate) fn control(folder: &Path) -> PathBuf {
    folder.join("kiln.sock")
}

/// Gives it a cache from its next reload on: a server of this bench has none otherwise, and each reload
/// is a compile.
pub(crate) fn remember(site: &Site) -> anyhow::Result<()> {
    let cache = site.folder.join("cache").display().to_string();
    site.file("kiln.toml", &format!("[compile]\ncache = {cache:?}\n")).map(drop)
}

/// Reloads over the control socket: a command for each reload would take longer to start than the
/// reload.
pub(crate) fn reload(control: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"{\"command\":\"reload\"}\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("\"reply\":\"reloaded\""), "the master said: {answer}");
    Ok(())
}

fn command(site: &Site) -> anyhow::Result<Line> {
    let (action, upstream) = match site.duty {
        Duty::Reply => (format!("kiln::reply(200, \"{}\")", BODY.escape_default()), None),
        Duty::Forward(origin) | Duty::Move(origin) => {
            ("kiln::forward(\"origin\")".to_owned(), Some(format!("origin={origin}")))
        }
    };
    let script = format!(
        "#include <kiln.h>\n\nkiln::Action on_request(kiln::Request&) {{ return {action}; }}\n"
    );
    let script = site.file("script.cc", &script)?;
    // What is measured here is compiling, and not what an earlier run left of it.
    let config = site.file("kiln.toml", "[compile]\ncache_bytes = 0\n")?;
    let mut line = Line::new(site.kiln, ["serve", "-c"]);
    line.arguments.push(config.into());
    line.arguments.extend(["--script".into(), script.into()]);
    line.arguments.extend(["--control".into(), control(&site.folder).into()]);
    line.arguments.extend(["--workers".into(), site.workers.to_string().into()]);
    line.arguments.extend(["--listen".into(), site.address.to_string().into()]);
    if let Some(upstream) = upstream {
        line.arguments.extend(["--upstream".into(), upstream.into()]);
    }
    Ok(line)
}
