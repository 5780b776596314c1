//! A real HAProxy as an origin that says what it saw.

use std::net::SocketAddr;
use std::process::Command;

use crate::server::{Server, write};

impl Server {
    /// An HAProxy that answers everything by itself with a 200 whose
    /// field `X-Seen` is the request line.
    /// It logs `<BADREQ>` where it could not read one.
    #[track_caller]
    pub fn haproxy() -> Self {
        Server::start("HAProxy", |address, folder| {
            write(folder, "haproxy.cfg", &configuration(address));
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f", "haproxy.cfg"]);
            command
        })
    }
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format %r
    timeout client 30s
    timeout http-keep-alive 60s
    timeout http-request 30s
    option dontlognull
    option http-buffer-request
frontend all
    bind {address}
    http-request return status 200 hdr X-Seen \"%[method] %[url] HTTP/%[req.ver]\" \
content-type text/plain string \"ok\"
"
    )
}
