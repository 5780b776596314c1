//! What a script author uses beside the load balancer: running programs on its engine, profiling
//! scripts, and a small origin to try them against. Also how diagnostics are printed, wherever they
//! come from.

#[allow(unsafe_code)] // fork, and what its children do first.
mod child;
pub mod origin;
mod perf_data;
pub mod print;
pub mod profile;
pub mod run;
