//! What each kind of process may do: limits, no new privileges, files by path, system calls by name.
//!
//! A process is fenced by itself, after its fork and before it looks at anything that somebody else
//! has written. It cannot take a fence down again, and neither can what takes it over.
//!
//! Every kind has a module with its limits and its list of calls, and one function here that applies
//! them in the order that works. The modules beside them are the means: `paths` (landlock), `calls`
//! (seccomp). What a kernel does not offer is left out, and the log says so at debug level; the
//! limits and the filter of system calls must work, or the process does not start.
//!
//! Nothing here opens, forks or waits.

mod calls;
mod compiler;
mod names;
mod paths;

pub use compiler::{Compiler, compiler};
pub use names::call_name;
