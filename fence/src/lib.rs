//! What each kind of process may do: who it is, limits, no new privileges, files by path, system calls
//! by name.
//!
//! A process is fenced by itself, after its fork and before it looks at anything that somebody else
//! has written. It cannot take a fence down again, and neither can what takes it over.
//!
//! Every kind has a module with its limits and its list of calls, and one function here that applies
//! them in the order that works. The modules beside them are the means: `identity` (users), `paths`
//! (landlock), `network`, `calls` (seccomp), `strict` (Syscall User Dispatch), `scheduling` (who
//! waits for whom). What a kernel does not offer is left out, and the log says so at debug level; the
//! user, the limits and the filter of system calls must work, or the process does not start.
//!
//! Nothing here forks or waits.

mod access;
mod broker;
mod calls;
mod compiler;
mod identity;
mod keeper;
mod limits;
mod master;
mod names;
mod network;
mod paths;
mod scheduling;
#[allow(unsafe_code)] // The kernel reads a byte of ours at each call.
pub mod strict;
#[cfg(test)]
mod trial;
mod violation;
mod worker;

pub use access::Unreadable;
pub use broker::{Broker, broker};
pub use compiler::{Compiler, compiler};
pub use identity::{Identity, NoIdentity, find_group};
pub use keeper::{Keeper, keeper};
pub use master::master;
pub use names::call_name;
pub use network::EmptyNetwork;
pub use scheduling::give_way;
pub use violation::{Violated, Violation};
pub use worker::{Worker, worker};
