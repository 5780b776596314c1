//! Files by path: landlock, which any process may ask for.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest that is asked for; an older kernel does what it can.
const NEWEST: ABI = ABI::V7;

/// Leaves these folders and files to be read, with all that is below them, and closes every other
/// path; and TCP, abstract sockets and signals to other processes besides. A path that does not
/// exist is left out: whoever wants to read it will say so.
pub(crate) fn read_only(paths: &[PathBuf]) {
    match restrict(paths) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(status) => tracing::debug!(?status, "this kernel's landlock is older or off"),
        Err(error) => tracing::debug!(%error, "landlock does not fence this process"),
    }
}

fn restrict(paths: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in paths {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Of a file there is no folder to read.
        let wanted = if path.is_dir() { read } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(opened, wanted))?;
    }
    rules.restrict_self().map(|status| status.ruleset)
}
