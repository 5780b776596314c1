//! What only one master may have: its pid file and its control socket.
//!
//! Both are claimed before anything else happens, so that a second Kiln with the same configuration
//! goes away without having touched the first. Both are given back at the end, unless something else
//! lies at their path by then.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, umask};
use nix::unistd::Gid;

use crate::StartError;

/// A file that names the master's pid and is locked while it lives.
///
/// The lock, and not the number, says whether a Kiln runs: numbers are used again, and a lock goes
/// with the process that holds it, however it dies.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: Flock<File>,
    path: PathBuf,
}

impl PidFile {
    /// Locks the file and writes this process's pid to it.
    pub(crate) fn claim(path: &Path) -> Result<Self, StartError> {
        let failed = |error| StartError::PidFile { path: path.to_owned(), error };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // A link planted in a folder that others may write to must not choose our file.
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((mut theirs, Errno::EWOULDBLOCK)) => {
                let pid = read_pid(&mut theirs);
                return Err(StartError::PidFileTaken { path: path.to_owned(), pid });
            }
            Err((_, error)) => return Err(failed(error.into())),
        };
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(PidFile { file, path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Ok(ours) = self.file.metadata() {
            unlink_if_same(&self.path, &ours);
        }
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The listening control socket.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    made: fs::Metadata,
}

impl ControlSocket {
    /// Listens at this path, which only the owner may connect to, and members of `group` if there is
    /// one. Replaces a socket that nobody listens on any more.
    pub(crate) fn claim(path: &Path, group: Option<Gid>) -> Result<Self, StartError> {
        let failed = |error| StartError::Control { path: path.to_owned(), error };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(StartError::ControlNotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(StartError::ControlTaken(path.to_owned()));
            }
            // Left behind by a Kiln that was killed.
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // The umask, since a chmod after the bind would come late. Nobody else creates files
        // meanwhile: the master has one thread.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        if let Some(group) = group {
            // First the group, so that no other ever has the right.
            lchown(path, None, Some(group.as_raw())).map_err(failed)?;
            let here = nix::fcntl::AT_FDCWD;
            let mode = Mode::from_bits_truncate(0o660);
            fchmodat(here, path, mode, FchmodatFlags::FollowSymlink)
                .map_err(|error| failed(error.into()))?;
        }
        let made = fs::symlink_metadata(path).map_err(failed)?;
        Ok(ControlSocket { listener, path: path.to_owned(), made })
    }

    /// The next client, if one waits.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        let (client, _) = self.listener.accept()?;
        client.set_nonblocking(true)?;
        Ok(client)
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        unlink_if_same(&self.path, &self.made);
    }
}

/// Removes what lies at this path if it is still the file that we made.
fn unlink_if_same(path: &Path, ours: &fs::Metadata) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if (found.dev(), found.ino()) == (ours.dev(), ours.ino())
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file of this master");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test alone, removed when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kiln-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_control_socket_is_the_owners_alone_and_goes_with_its_master() {
        let folder = Folder::new("control");
        let path = folder.0.join("socket");
        let socket = ControlSocket::claim(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(ControlSocket::claim(&path, None), Err(StartError::ControlTaken(_))));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_control_socket_of_a_group_is_for_its_members_too() {
        let folder = Folder::new("group");
        let path = folder.0.join("socket");
        let group = Gid::from_raw(54321);
        if !nix::unistd::geteuid().is_root() {
            // A group of somebody else's cannot be given, and the socket is not had without it.
            assert!(matches!(
                ControlSocket::claim(&path, Some(group)),
                Err(StartError::Control { .. })
            ));
            return;
        }
        let _socket = ControlSocket::claim(&path, Some(group)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o777, found.gid()), (0o660, 54321));
    }

    #[test]
    fn a_control_socket_that_was_left_behind_is_replaced_and_a_file_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves the file");
        drop(ControlSocket::claim(&path, None).unwrap());
        fs::write(&path, "somebody's file").unwrap();
        assert!(matches!(ControlSocket::claim(&path, None), Err(StartError::ControlNotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's file");
    }

    #[test]
    fn a_pid_file_is_held_by_its_lock_and_not_by_what_it_says() {
        let folder = Folder::new("pid");
        let path = folder.0.join("pid");
        fs::write(&path, "1\n").unwrap();
        let held = PidFile::claim(&path).expect("pid 1 lives, but holds no lock");
        let pid = std::process::id();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
        match PidFile::claim(&path) {
            Err(StartError::PidFileTaken { pid: Some(named), .. }) => {
                assert_eq!(u32::try_from(named).unwrap(), pid);
            }
            other => panic!("expected the file to be taken, got {other:?}"),
        }
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_in_a_missing_folder_names_its_path() {
        let error = PidFile::claim(Path::new("/nowhere/kiln.pid")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the pid file /nowhere/kiln.pid: "), "{error}");
    }
}
