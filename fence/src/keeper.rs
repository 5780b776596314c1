//! The keeper: it writes what a compile left into the cache, and may do nothing else.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::sys::prctl::set_no_new_privs;

use crate::{Identity, calls, limits, paths};

/// What the keeper may use.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// The only folder that it may look into and write to.
    pub folder: PathBuf,
    /// Who it becomes; none if it stays who it is.
    pub identity: Option<Identity>,
}

/// Fences the calling process, which has one thread, for writing to the cache. A folder that is not
/// there is made first, and belongs to whoever the process becomes.
pub fn keeper(may: &Keeper) -> io::Result<()> {
    make(&may.folder, may.identity)?;
    limits::core(0)?;
    if let Some(identity) = may.identity {
        identity.assume()?;
    }
    set_no_new_privs()?;
    paths::only(paths::Open { reads: &[], keeps: Some(&may.folder), connects: false });
    calls::allow(&allowed()?)
}

/// Makes the folder if it is not there.
fn make(folder: &Path, identity: Option<Identity>) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    // Whoever the process becomes has to get through.
    let mode = if identity.is_some() { 0o755 } else { 0o700 };
    above.map_or(Ok(()), |above| DirBuilder::new().recursive(true).mode(mode).create(above))?;
    match DirBuilder::new().mode(0o700).create(folder) {
        // Another master was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let Some(Identity { user, group }) = identity else { return Ok(()) };
    // What was put into its place meanwhile is not given away.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let made: File = OpenOptions::new().read(true).custom_flags(flags).open(folder)?;
    fchown(made, Some(user.as_raw()), Some(group.as_raw()))
}

/// Calls that writing, naming and removing files takes.
fn allowed() -> io::Result<calls::Allowed> {
    let mut allowed = calls::Allowed::of_any_process()?;
    allowed.always(&[
        // Files. Which ones landlock says.
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_readv,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_mkdir,
        libc::SYS_mkdirat,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlink,
        libc::SYS_unlinkat,
        libc::SYS_utimensat,
        // The log, which may be a socket, or may have no room.
        libc::SYS_sendto,
        libc::SYS_poll,
    ]);
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpStream;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use nix::unistd::{Gid, Uid, geteuid};

    use super::*;
    use crate::trial::{self, Outcome, check};

    const TRIAL: &str = "keeper::tests::trial_in_a_process_of_its_own";
    const SOMEBODY: Identity = Identity { user: Uid::from_raw(54321), group: Gid::from_raw(54322) };

    /// What is tried behind the fence, if this process was started for that.
    #[test]
    fn trial_in_a_process_of_its_own() {
        let Some(trial) = trial::asked() else { return };
        let folder = trial::folder();
        let identity = geteuid().is_root().then_some(SOMEBODY);
        let cache = folder.join("cache");
        keeper(&Keeper { folder: cache.clone(), identity }).expect("the fence holds");
        trial::end(match trial.as_str() {
            "keep" => fs::write(cache.join("new"), "text")
                .and_then(|()| fs::rename(cache.join("new"), cache.join("kept")))
                .and_then(|()| fs::read_dir(&cache).map(drop))
                .and_then(|()| fs::remove_file(cache.join("kept"))),
            "file" => fs::read(folder.join("file")).map(drop),
            "passwd" => fs::read("/etc/passwd").map(drop),
            "write" => fs::write(folder.join("new"), "text"),
            "link" => std::os::unix::fs::symlink("/etc/passwd", cache.join("link")),
            "connect" => TcpStream::connect("127.0.0.1:1").map(drop),
            "run" => Command::new("/bin/true").status().map(drop),
            other => panic!("what is {other}?"),
        })
    }

    #[test]
    fn the_keeper_writes_to_its_folder_and_does_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("it is ours");
        fs::write(folder.path().join("file"), "text").expect("a file");
        check(TRIAL, folder.path(), &["keep"], Outcome::Done);
        let made = fs::metadata(folder.path().join("cache")).expect("it was made");
        assert_eq!(made.mode() & 0o777, 0o700);
        let owner = if geteuid().is_root() { SOMEBODY.user } else { geteuid() };
        assert_eq!(made.uid(), owner.as_raw(), "it belongs to whoever keeps");
        check(TRIAL, folder.path(), &["file", "passwd", "write"], Outcome::Refused);
        let ended = Outcome::Killed(libc::SIGSYS);
        check(TRIAL, folder.path(), &["link", "connect", "run"], ended);
    }
}
