//! A worker: one thread that accepts connections, asks scripts what to do, and does it.
//!
//! A worker is forked with everything it needs ([`heritage::Inheritance`]). It never forks, compiles,
//! opens a path or resolves a name, and it knows nothing of Clang; what HTTP means is in the `http`
//! crate, and how a script is called in `hook`.
//!
//! Reading order: `worker` (what it owns) and `event_loop` (whose turn it is), `connection` (a client
//! connection's states), `exchange` (a request and its response, from a head to its end), `origin` (a
//! connection to a server), `upstreams` (which server), `survey` (what generations hold), `notices`
//! (what Kiln did by itself); below these `ids`, `table`, `timers`, `wire`, `buffers`, `pipes`,
//! `listener`, `clients`.
#![forbid(unsafe_code)]

mod buffers;
mod clients;
mod close_reason;
mod connection;
mod context;
mod event_loop;
mod exchange;
mod hooks;
mod ids;
mod label;
mod listener;
mod notices;
mod orders;
mod origin;
mod pipes;
mod reasons;
mod survey;
mod table;
mod timers;
mod upstreams;
mod wire;
mod worker;

use heritage::{Inheritance, Report, WorkerState};

pub use close_reason::CloseReason;
pub use hooks::Hooks;

/// The worker did what it was told, and ended because it was told to.
const EXIT_DONE: i32 = 0;
/// It could not start, or its event loop failed.
const EXIT_FAILED: i32 = 1;

/// Serves with the inherited image until the worker is told to end. Gives the exit code. `names`
/// are for backtraces.
pub fn run(arena: hook::Arena, inheritance: Inheritance, names: hook::Names) -> i32 {
    match hook::Scripts::new(arena, names) {
        Ok(scripts) => serve(scripts, inheritance),
        Err(error) => {
            tracing::error!(worker = inheritance.index, %error, "cannot prepare for scripts");
            EXIT_FAILED
        }
    }
}

/// Like [`run`], with anything in the place of scripts that decides like them.
pub fn serve<H: Hooks>(hooks: H, inheritance: Inheritance) -> i32 {
    let Inheritance { index, channel, page, listeners, image, settings } = inheritance;
    let _span = tracing::error_span!("worker", worker = index).entered();
    page.enter(WorkerState::Starting);
    let mut worker = match worker::Worker::new(hooks, channel, page) {
        Ok(worker) => worker,
        Err(error) => {
            tracing::error!(%error, "cannot make the event loop");
            return EXIT_FAILED;
        }
    };
    let first = match image {
        Some(image) => worker.load(image, &settings),
        None => worker.begin_without_scripts(&settings),
    };
    match first {
        Report::Loaded { generation, map_us } => {
            worker.reports.push_back(Report::Ready { generation, map_us });
        }
        failed => {
            worker.tell_faults();
            worker.reports.push_back(failed);
            worker.send_reports();
            return EXIT_FAILED;
        }
    }
    for (id, socket) in listeners {
        worker.listen(id, socket);
    }
    worker.page.enter(WorkerState::Serving);
    worker.send_reports();
    match worker.run() {
        Ok(()) => EXIT_DONE,
        Err(error) => {
            tracing::error!(%error, "the event loop failed");
            EXIT_FAILED
        }
    }
}
