//! Kiln under traffic as it comes: large bodies, peers that are slow, networks that lose packets, tunnels,
//! thousands of clients at once, what a request costs, and what generations leave behind.
//!
//! Those that read a clock or a memory figure, or take the whole machine, begin with [`alone`], the others with [`beside_others`].

mod chaos;
mod clients;
mod content;
mod faults;
mod hot_path;
mod load;
mod retirement;
mod streaming;
mod tunnels;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tests::FORWARDING;

static MEASURING: RwLock<()> = RwLock::new(());

/// Keeps every other test of this program away until it is dropped.
fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed has let go of it all the same.
    MEASURING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps those away that are to be alone.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MEASURING.read().unwrap_or_else(PoisonError::into_inner)
}
