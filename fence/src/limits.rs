//! Limits of a process (setrlimit(2)).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sets a limit, or leaves a lower one that whoever started this process has set for good.
pub(crate) fn lower(resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(resource)?;
    setrlimit(resource, soft.min(most), hard.min(most))
}

/// Bytes of the core that this process leaves. Who debugs it may allow more while it runs
/// (`prlimit --core`); the process itself may not, behind its filter.
pub(crate) fn core(bytes: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, bytes.min(most), most)
}
