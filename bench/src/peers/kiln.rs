//! Kiln, with a script of one line.

use std::path::{Path, PathBuf};

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::BODY;

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
