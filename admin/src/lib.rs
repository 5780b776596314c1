//! The broker: the process that does what workers may not.
//!
//! It resolves the names of upstreams' servers and asks servers whether they are well, once for all
//! workers, and tells the master what it finds out. It serves nobody and decides nothing: when it
//! dies, workers go on with what they know, and the next broker is told what this one had found
//! out.
//!
//! Reading order: `survey` (what is known of which server), below it `names` and `checks` (when to
//! look, and what an answer changes; time is an argument), then `event_loop`, `resolver` and
//! `probe`, which have the sockets and the threads.
#![forbid(unsafe_code)]

mod checks;
mod event_loop;
mod jitter;
mod names;
mod probe;
mod resolver;
mod survey;

use std::net::SocketAddr;

use heritage::Channel;

/// The master is gone, or wants no broker any more.
const EXIT_DONE: i32 = 0;
/// It could not start, or its event loop failed.
const EXIT_FAILED: i32 = 1;

/// Whether there is anything to find out about these servers.
pub fn is_needed(settings: &settings::Worker) -> bool {
    settings.upstreams.values().any(|upstream| {
        let is_name = |server: &settings::Server| literal(server).is_none();
        let has_servers = !upstream.servers.is_empty();
        (upstream.health.is_some() && has_servers) || upstream.servers.iter().any(is_name)
    })
}

/// Finds out about servers until the channel ends. Gives the exit code of the process, which it has
/// for itself: it starts threads.
pub fn broker(settings: &settings::Worker, channel: Channel) -> i32 {
    let _span = tracing::error_span!("broker").entered();
    match event_loop::EventLoop::new(settings, channel).and_then(event_loop::EventLoop::run) {
        Ok(()) => EXIT_DONE,
        Err(error) => {
            tracing::error!(%error, "the event loop failed");
            EXIT_FAILED
        }
    }
}

/// The address of a server that is not configured by name.
fn literal(server: &settings::Server) -> Option<SocketAddr> {
    server.address.parse().ok()
}
