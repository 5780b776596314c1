//! The master: what it can do without.
//!
//! It has no filter of system calls and no landlock, since every child would inherit them and could
//! never do more than the master: they would have to allow what a compile, a resolver and a cache
//! need, all together, and paths that the next configuration may name. It stays dumpable, as its
//! children would inherit the contrary, and then only root could look at them with GDB or perf.
//! What keeps the master is what it does not do: it reads no byte of a request, runs no script and no
//! compiler, and checks what its children say as if strangers did.

use std::io;

use nix::sys::prctl::set_no_new_privs;

use crate::limits;

/// Fences the calling process and all that it will fork: no program that any of them might start gets
/// more rights than it has (setuid, file capabilities), and none leaves a core, unless
/// [`crate::worker`] allows it to.
pub fn master() -> io::Result<()> {
    limits::core(0)?;
    set_no_new_privs()?;
    Ok(())
}
