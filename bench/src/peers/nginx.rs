//! nginx as its documentation advises: connections kept on both sides, no access log, bodies passed
//! on as they come and never through a file.
//!
//! For large bodies its buffers are such that larger ones were no better; they move twice as much
//! for the same CPU time as those of 4 and 16 KB that it has without being told. `proxy_buffering
//! off` reads and writes by turns through one buffer: no better, and far worse with a small one.

use std::path::Path;

use super::{Duty, Line, Peer, Site, Worker};
use crate::load::{BODY, CONNECTIONS};

/// nginx.
pub(crate) const NGINX: Peer = Peer {
    name: "nginx",
    replies_by: "return 200",
    forwards_by: "proxy_pass, keepalive 64",
    moves_by: "proxy_buffers 8 64k",
    worker: Worker::OnlyChild,
    command,
};

/// Where it says how many connections it has accepted.
pub(crate) const STATUS_PATH: &str = "/status";

fn command(site: &Site) -> anyhow::Result<Line> {
    let configuration = site.file("nginx.conf", &configuration(site))?;
    let arguments = [Path::new("-c"), &configuration, Path::new("-e"), Path::new("stderr")];
    Ok(Line::new("nginx", arguments))
}

fn configuration(site: &Site) -> String {
    let Site { address, workers, .. } = site;
    let folder = site.folder.display();
    let buffers = match site.duty {
        Duty::Move(_) => BUFFERS,
        Duty::Reply | Duty::Forward(_) => "",
    };
    let (upstream, location) = match site.duty {
        Duty::Reply => {
            let body = BODY.escape_default();
            (String::new(), format!("default_type text/plain; return 200 \"{body}\";"))
        }
        Duty::Forward(origin) | Duty::Move(origin) => (
            format!(
                "upstream origin {{
        server {origin};
        keepalive {CONNECTIONS};
        keepalive_requests 1000000000;
    }}"
            ),
            FORWARD.to_owned(),
        ),
    };
    format!(
        "daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {buffers}
    {upstream}
    server {{
        listen {address} backlog=1024;
        location / {{ {location} }}
        location = {STATUS_PATH} {{ stub_status; }}
    }}
}}
"
    )
}

const FORWARD: &str = "
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_request_buffering off;
            client_max_body_size 0;
            proxy_max_temp_file_size 0;
";

const BUFFERS: &str = "
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
    client_body_buffer_size 256k;
";
