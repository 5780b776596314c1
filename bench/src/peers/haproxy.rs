//! HAProxy with the defaults of its version, connections kept and reused on both sides.

use std::path::Path;

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::BODY;

/// HAProxy. A worker of it is a thread.
pub(crate) const HAPROXY: Peer = Peer {
    name: "haproxy",
    replies_by: "http-request return",
    forwards_by: "http-reuse always",
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
    let duty = match site.duty {
        Duty::Reply => {
            let body = BODY.escape_default();
            format!(
                "    http-request return status 200 content-type text/plain string \"{body}\"\n"
            )
        }
        Duty::Forward(origin) => format!(
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
