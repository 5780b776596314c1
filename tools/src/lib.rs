//! What a script author uses beside the load balancer: running programs on its engine, and a small
//! origin to try scripts against.

#[allow(unsafe_code)] // fork, and what its children do first.
mod child;
pub mod origin;
pub mod run;
