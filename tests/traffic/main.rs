//! Kiln under traffic as it comes: large bodies, peers that are slow, networks that lose packets, tunnels,
//! and thousands of clients at once.
//!
//! These tests measure, so each that reads a clock or a memory figure takes [`alone`] first.

mod content;
mod faults;
mod load;
mod streaming;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Passes everything on to the upstream `web`.
const FORWARDING: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request&) { return kiln::forward(\"web\"); }
";

static MEASURING: Mutex<()> = Mutex::new(());

/// Keeps other measurements away until it is dropped.
fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has let go of it all the same.
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}
