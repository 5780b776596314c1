//! Files by path: landlock, which any process may ask for.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest that is asked for; an older kernel does what it can.
const NEWEST: ABI = ABI::V7;

/// What is left open. Every other path is closed, and so are abstract sockets and signals to other
/// processes. A path that does not exist is left out: whoever wants to read it will say so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open<'a> {
    /// Folders and files that may be read, with all that is below them.
    pub(crate) reads: &'a [PathBuf],
    /// A folder whose files may be read, written, made, renamed and removed.
    pub(crate) keeps: Option<&'a Path>,
    /// Whether TCP connections may be opened. Nobody may listen.
    pub(crate) connects: bool,
}

/// Leaves this open to the calling process and closes the rest, as far as the kernel can.
pub(crate) fn only(open: Open<'_>) {
    match restrict(open) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(status) => tracing::debug!(?status, "this kernel's landlock is older or off"),
        Err(error) => tracing::debug!(%error, "landlock does not fence this process"),
    }
}

fn restrict(open: Open<'_>) -> Result<RulesetStatus, RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let keep =
        read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let network = match open.connects {
        true => AccessNet::BindTcp.into(),
        false => AccessNet::from_all(NEWEST),
    };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(network)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let reads = open.reads.iter().map(|path| (path.as_path(), read));
    for (path, wanted) in reads.chain(open.keeps.map(|path| (path, keep))) {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Of a file there is no folder to read.
        let wanted = if path.is_dir() { wanted } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(opened, wanted))?;
    }
    rules.restrict_self().map(|status| status.ruleset)
}
