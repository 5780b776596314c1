//! HAProxy with the defaults of its version, connections kept and reused on both sides.
//!
//! For large bodies it splices, always and through pipes of 1 MB, which moves two to three times as
//! much for the same CPU time as its buffers do. `option splice-auto` would leave it to a heuristic
//! that hardly ever splices here, and the kernel's pipes of 64 KB gain little.

use std::path::Path;

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::BODY;

/// HAProxy. A worker of it is a thread.
pub(crate) const HAPROXY: Peer = Peer {
    name: "haproxy",
    replies_by: "http-request return",
    forwards_by: "http-reuse always",
    moves_by: "splicing, 1 MB pipes",
    worker: Worker::Itself,
    command,
};

fn command(site: &Site) -> anyhow::Result<Line> {
    let configuration = site.file("haproxy.cfg", &configuration(site))?;
    // -db: in the foreground, without a master.
    Ok(Line::new("haproxy", [Path::new("-db"), Path::new("-f"), &configuration]))
}

fn configuration(site: &Site) -> String {
    let Site { address, workers, .. } = site;
    let (pipes, splice) = match site.duty {
        Duty::Move(_) => (
            "    tune.pipesize 1048576\n",
            "    option splice-request\n    option splice-response\n",
        ),
        Duty::Reply | Duty::Forward(_) => ("", ""),
    };
    let duty = match site.duty {
        Duty::Reply => {
            let body = BODY.escape_default();
            format!(
                "    http-request return status 200 content-type text/plain string \"{body}\"\n"
            )
        }
        Duty::Forward(origin) | Duty::Move(origin) => format!(
            "    default_backend origin

backend origin
    http-reuse always
    server origin {origin}
"
        ),
    };
    format!(
        "global
    nbthread {workers}
{pipes}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{splice}
frontend bench
    bind {address} backlog 1024
{duty}"
    )
}
