//! The clocks of the system, for code that signals may interrupt.

use nix::time::{ClockId, clock_gettime};

/// What a clock says, in nanoseconds. Signal handlers ask too, which clock_gettime(2) allows.
pub(crate) fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("Linux has both clocks");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
