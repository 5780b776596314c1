//! How well connections to the origin are reused, as the origin counts them.
//!
//! Each worker of Kiln and of nginx has a pool of its own, so the more workers there are, the less
//! likely one has the connection that another left idle. So each server starts cold and gets
//! several short loads of new client connections, which the kernel spreads over the workers
//! differently each time.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::figures::counted;
use crate::load::{self, Load, Pace};
use crate::peers::{Duty, HAPROXY, KILN, NGINX, Peer, STATUS_PATH, Server};
use crate::rounds::Bench;

/// Loads that each server gets; with one, each client connection would stay with one worker.
const LOADS: u32 = 5;
const LOAD: Duration = Duration::from_secs(1);

/// Who is measured, with which numbers of workers, all on the server's core. HAProxy's threads
/// share their connections, so more of them show nothing new; and on one core they were seen to
/// hold each other up for seconds.
const PEERS: [(&Peer, &[u32]); 3] = [(&KILN, &[1, 2, 4]), (&NGINX, &[1, 2, 4]), (&HAPROXY, &[1])];

/// How long it takes, but for the starts.
pub(crate) const DURATION: Duration = {
    let servers = PEERS[0].1.len() + PEERS[1].1.len() + PEERS[2].1.len();
    Duration::from_secs(LOAD.as_secs() * LOADS as u64 * servers as u64)
};

/// Connections that one server opened to the origin.
#[derive(Debug, Serialize)]
pub(crate) struct Reuse {
    pub(crate) peer: &'static str,
    pub(crate) workers: u32,
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) connections_per_1000_requests: f64,
}

/// What an origin has seen since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    connections: u64,
    requests: u64,
}

/// Measures all of it.
pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Reuse>> {
    let origin = bench.origin()?;
    let mut all = Vec::new();
    for (peer, numbers) in PEERS {
        for &workers in numbers {
            let what = format!("{} with {}", peer.name, counted(workers, "worker"));
            eprintln!("reuse: {what}");
            all.push(of(bench, &origin, peer, workers).context(what)?);
        }
    }
    Ok(all)
}

fn of(bench: &Bench, origin: &Server, peer: &Peer, workers: u32) -> anyhow::Result<Reuse> {
    let before = seen(origin)?;
    let mut site = bench.site(peer, Duty::Forward(origin.address))?;
    site.workers = workers;
    let server = peer.serve(&site)?;
    let load = Load::new(bench.cores.load, bench.folder.path(), Pace::Saturating)?;
    for _ in 0..LOADS {
        load.run(server.address, LOAD)?;
    }
    let after = seen(origin)?;
    // The later question is a connection and a request too.
    let connections = after.connections - before.connections - 1;
    let requests = after.requests - before.requests - 1;
    ensure!(requests > 0, "no request reached the origin");
    Ok(Reuse {
        peer: peer.name,
        workers,
        connections,
        requests,
        connections_per_1000_requests: connections as f64 * 1e3 / requests as f64,
    })
}

fn seen(origin: &Server) -> anyhow::Result<Seen> {
    let text = load::fetch(origin.address, STATUS_PATH)?;
    parse(&text).with_context(|| format!("nginx says of its connections: {text:?}"))
}

/// Reads nginx's `stub_status`.
fn parse(text: &str) -> Option<Seen> {
    let after = text.split_once("accepts handled requests")?.1;
    let mut counts = after.split_whitespace().map_while(|count| count.parse().ok());
    let (accepted, _handled, requests) = (counts.next()?, counts.next()?, counts.next()?);
    Some(Seen { connections: accepted, requests })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<Seen>) {
        assert_eq!(parse(text), expect, "{text:?}");
    }

    #[test]
    fn the_status_of_nginx_counts_connections_and_requests() {
        check(
            "Active connections: 1 \nserver accepts handled requests\n 7 7 90 \nReading: 0\n",
            Some(Seen { connections: 7, requests: 90 }),
        );
        check("Active connections: 1 \nserver accepts handled requests\n 7 7", None);
        check("<html>not found</html>", None);
    }
}
