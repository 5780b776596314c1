//! The folder as readers see it: opened once, trusted only if nobody else can write to it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Uid, geteuid};

use crate::{DIGEST_BYTES, FILE_BYTES_MAX, MAGIC, Name, digest_of};

/// How old a file may look that is in use: its time is set anew no more often than this.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It can't be opened, or a folder above it can't be looked at.
    #[error("the cache {path} cannot be opened: {error}", path = .path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: Errno,
    },
    /// Somebody else could put machine code there.
    #[error(
        "the cache is not used: {path} {what}; choose a folder that only this user can write to, \
         with compile.cache",
        path = .path.display()
    )]
    Unsafe {
        /// The cache, or a folder above it.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
}

/// A file that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What was kept.
    pub content: Vec<u8>,
    /// Whether the folder should be told that it is in use.
    pub is_old: bool,
}

impl Folder {
    /// Opens it; none if there is none yet.
    pub fn open(path: &Path) -> Result<Option<Self>, Unusable> {
        Self::open_for(path, geteuid())
    }

    /// Opens a folder that belongs to this user alone. The caller need not be that user yet.
    pub fn open_for(path: &Path, user: Uid) -> Result<Option<Self>, Unusable> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        let folder = match open(path, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(Unusable::Open { path: path.to_owned(), error }),
        };
        let found = fstat(&folder).map_err(|error| Unusable::Open { path: path.into(), error })?;
        let unsafe_because = |what| Unusable::Unsafe { path: path.to_owned(), what };
        check_own(&found, user).map_err(unsafe_because)?;
        check_above(path, user)?;
        Ok(Some(Self { folder }))
    }

    /// What is kept under a name. A file that is damaged or not only ours does not exist.
    pub fn read(&self, name: &Name) -> Option<Found> {
        // Never a device or a pipe that would hold the reader up, nor what a link points to.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = openat(&self.folder, name.to_string().as_str(), flags, Mode::empty()).ok()?;
        let found = fstat(&file).ok()?;
        let is_file = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if !is_file
            || check_own(&found, geteuid()).is_err()
            || found.st_size as u64 > FILE_BYTES_MAX
        {
            return None;
        }
        // One copy: what was checked is what is used, whatever becomes of the file.
        let mut bytes = Vec::with_capacity(found.st_size as usize);
        File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let content = content(bytes)?;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(found.st_mtime.max(0) as u64);
        let is_old = changed.elapsed().is_ok_and(|age| age > FRESH);
        Some(Found { content, is_old })
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// What a file holds behind its head; none if it is not whole.
fn content(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let head = bytes.get(..MAGIC.len() + DIGEST_BYTES)?;
    let (magic, digest) = head.split_at(MAGIC.len());
    let is_whole = magic == MAGIC && digest == digest_of(&bytes[head.len()..]);
    if !is_whole {
        return None;
    }
    bytes.drain(..MAGIC.len() + DIGEST_BYTES);
    Some(bytes)
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// What may not be true of the folder and the files in it.
fn check_own(found: &FileStat, user: Uid) -> Result<(), &'static str> {
    if found.st_uid != user.as_raw() {
        return Err("belongs to another user");
    }
    if found.st_mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err("can be written by others");
    }
    Ok(())
}

/// The same of every folder above it: whoever can rename one can put another in its place.
fn check_above(path: &Path, user: Uid) -> Result<(), Unusable> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for folder in whole.ancestors().skip(1) {
        let here = nix::fcntl::AT_FDCWD;
        let found = fstatat(here, folder, AtFlags::empty())
            .map_err(|error| Unusable::Open { path: folder.to_owned(), error })?;
        let owner = Uid::from_raw(found.st_uid);
        let what = if !owner.is_root() && owner != user {
            "belongs to another user"
        } else if found.st_mode & GROUP_OR_OTHERS_WRITE != 0 && found.st_mode & STICKY == 0 {
            "can be written by others"
        } else {
            continue;
        };
        return Err(Unusable::Unsafe { path: folder.to_owned(), what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::{Kind, Leavings, Namer, keep};

    fn kept(path: &Path, what: &[u8]) -> Name {
        let name = Namer::default().part(what).name(Kind::Object);
        let mut leavings = Leavings::default();
        leavings.leave(name, what.to_vec());
        let file = tempfile::tempfile().unwrap();
        leavings.write(&file).unwrap();
        keep(path, 1 << 20, &file).unwrap();
        name
    }

    fn read(path: &Path, name: &Name) -> Option<Vec<u8>> {
        Folder::open(path).unwrap().unwrap().read(name).map(|found| found.content)
    }

    fn private(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_was_kept_is_read_and_what_was_damaged_is_not_there() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("cache");
        assert!(Folder::open(&path).unwrap().is_none());
        let name = kept(&path, b"code");
        assert_eq!(read(&path, &name).as_deref(), Some(&b"code"[..]));
        let file = path.join(name.to_string());
        let whole = fs::read(&file).unwrap();
        for at in [0, MAGIC.len(), whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, damaged).unwrap();
            assert_eq!(read(&path, &name), None, "byte {at}");
        }
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&path, &name), None);
        // It is written anew by whoever compiles the same again.
        kept(&path, b"code");
        assert_eq!(read(&path, &name).as_deref(), Some(&b"code"[..]));
    }

    #[test]
    fn what_others_can_write_is_not_there() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("cache");
        let name = kept(&path, b"code");
        let file = path.join(name.to_string());
        private(&file, 0o662);
        assert_eq!(read(&path, &name), None);
        private(&file, 0o600);
        assert!(read(&path, &name).is_some());
        let elsewhere = above.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(read(&path, &name), None);

        private(&path, 0o777);
        assert!(matches!(Folder::open(&path), Err(Unusable::Unsafe { .. })));
        private(&path, 0o700);
        private(above.path(), 0o777);
        assert!(matches!(Folder::open(&path), Err(Unusable::Unsafe { .. })));
        private(above.path(), 0o1777);
        assert!(Folder::open(&path).is_ok());
        private(above.path(), 0o700);
    }
}
