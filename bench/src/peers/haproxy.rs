//! HAProxy with the defaults of its version, connections kept and reused on both sides; but for large
//! bodies with buffers of 64 KB, which move half as much again for the same CPU time as its 16 KB;
//! 128 KB move less. Splicing (`option splice-auto`) was no better with either.

use std::path::Path;

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::BODY;

/// HAProxy. A worker of it is a thread.
pub(crate) const HAPROXY: Peer = Peer {
    name: "haproxy",
    replies_by: "http-request return",
    forwards_by: "http-reuse always",
    moves_by: "tune.bufsize 65536",
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
    let buffers = match site.duty {
        Duty::Move(_) => "    tune.bufsize 65536\n",
        Duty::Reply | Duty::Forward(_) => "",
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
{buffers}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend bench
    bind {address} backlog 1024
{duty}"
    )
}
