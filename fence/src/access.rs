//! Why a file is not to be had, where a compiler would only say that it is not there.
//!
//! A fence, a user without rights, a link that leads nowhere: each of them surfaces as a file that
//! does not exist. Looking at a path takes no right to read what is there, so that the reason can be
//! found out after the fact, behind the fence too.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

/// Why a file is not to be had, though there is something at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not below the folders that may be read.
    Outside {
        /// The file itself.
        real: PathBuf,
        /// Whether a link led there.
        link: bool,
    },
    /// A link to nothing.
    Dangling {
        /// The path itself, or a beginning of it.
        link: PathBuf,
        /// As the link says it.
        target: PathBuf,
    },
    /// A link that leads back to itself.
    Loop {
        /// The path itself, or a beginning of it.
        link: PathBuf,
    },
    /// This user may not read it.
    Denied {
        /// The file, or the folder on the way to it that may not be entered.
        place: PathBuf,
    },
    /// A folder, a pipe, a device.
    NoFile,
    /// Whatever else the system says.
    Failed(String),
}

impl Unreadable {
    /// What is wrong with this path, if there is anything at it; `is_open` says which real paths may be
    /// read.
    pub fn of(path: &Path, is_open: impl Fn(&Path) -> bool) -> Option<Self> {
        match fs::canonicalize(path) {
            Ok(real) if !is_open(&real) => {
                // Only the last name, or one on the way: either leads out.
                let link = first_link(path).is_some();
                Some(Self::Outside { real, link })
            }
            Ok(real) => Self::of_real(&real),
            Err(error) => Self::of_error(path, &error),
        }
    }

    fn of_real(real: &Path) -> Option<Self> {
        match fs::metadata(real) {
            Ok(found) if !found.is_file() => return Some(Self::NoFile),
            Ok(_) => {}
            Err(error) => return Self::of_error(real, &error),
        }
        File::open(real).err().and_then(|error| Self::of_error(real, &error))
    }

    fn of_error(path: &Path, error: &io::Error) -> Option<Self> {
        let link = || first_failing(path, |it| it.is_symlink() && fs::metadata(it).is_err());
        match error.kind() {
            ErrorKind::PermissionDenied => Some(Self::Denied { place: denied_place(path) }),
            ErrorKind::NotFound => {
                let link = link()?;
                let target = fs::read_link(&link).ok()?;
                Some(Self::Dangling { link, target })
            }
            ErrorKind::NotADirectory => None,
            _ if error.raw_os_error() == Some(nix::libc::ELOOP) => {
                Some(Self::Loop { link: link().unwrap_or_else(|| path.to_owned()) })
            }
            _ => Some(Self::Failed(error.to_string())),
        }
    }

    /// The end of a sentence that begins with the file that was looked for at `path`, by or on behalf of
    /// `who`.
    pub fn predicate(&self, path: &Path, who: &str) -> String {
        let through = |link: &Path| match link == path {
            true => String::new(),
            false => format!("is behind {}, which ", link.display()),
        };
        match self {
            Self::Outside { real, link: true } => {
                let real = real.display();
                format!("leads to {real}, which is outside of the folders that {who} may read")
            }
            Self::Outside { .. } => format!("is outside of the folders that {who} may read"),
            Self::Dangling { link, target } => {
                format!("{}is a link to {}, where nothing is", through(link), target.display())
            }
            Self::Loop { link } => format!("{}is a link that leads back to itself", through(link)),
            Self::Denied { place } => {
                let what = match place.is_dir() {
                    true => format!("the folder {}", place.display()),
                    false => "it".to_owned(),
                };
                let (user, group) = (geteuid(), getegid());
                format!(
                    "cannot be read by user {user} and group {group}: permission denied for {what}"
                )
            }
            Self::NoFile => "is no regular file".to_owned(),
            Self::Failed(error) => format!("cannot be read: {error}"),
        }
    }
}

/// The path's beginnings, shortest first, itself included.
fn beginnings(path: &Path) -> Vec<&Path> {
    let mut beginnings: Vec<&Path> = path.ancestors().filter(|it| *it != Path::new("")).collect();
    beginnings.reverse();
    beginnings
}

fn first_failing(path: &Path, fails: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    beginnings(path).into_iter().find(|it| fails(it)).map(Path::to_owned)
}

fn first_link(path: &Path) -> Option<PathBuf> {
    first_failing(path, Path::is_symlink)
}

/// What of a path permission is denied for: the folder that cannot be entered, or the file itself.
fn denied_place(path: &Path) -> PathBuf {
    let real = |it: &Path| fs::canonicalize(it).unwrap_or_else(|_| it.to_owned());
    let mut entered: Option<PathBuf> = None;
    for it in beginnings(path) {
        let denied = fs::metadata(it).err().map(|error| error.kind());
        if denied == Some(ErrorKind::PermissionDenied) {
            // Its name cannot be looked up: the folder that it is in is closed, or, of a link, one on
            // the way to where it leads.
            return match fs::read_link(it) {
                Ok(target) => denied_place(&entered.unwrap_or_default().join(target)),
                Err(_) => entered.unwrap_or_else(|| it.to_owned()),
            };
        }
        entered = Some(real(it));
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(folder: &Path, name: &str, expect: &str) {
        let path = folder.join(name);
        let told = Unreadable::of(&path, |real| real.starts_with(folder.join("own")));
        let told = told.map(|why| why.predicate(&path, "it")).unwrap_or_default();
        assert_eq!(told.replace(&folder.display().to_string(), "ROOT"), expect);
    }

    #[test]
    fn each_reason_has_its_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = fs::canonicalize(folder.path()).expect("it is there");
        fs::create_dir(folder.join("own")).expect("a folder");
        for file in ["own/file", "foreign"] {
            fs::write(folder.join(file), "text").expect("a file");
        }
        for (target, link) in [
            ("../foreign", "own/out"),
            ("gone", "own/dangling"),
            ("dangling", "own/twice"),
            ("loop", "own/loop"),
            ("gone", "own/folder"),
        ] {
            symlink(target, folder.join(link)).expect("a link");
        }
        check(&folder, "own/file", "");
        check(&folder, "own/nothing", "");
        check(&folder, "own/file/below", "");
        check(&folder, "foreign", "is outside of the folders that it may read");
        check(
            &folder,
            "own/out",
            "leads to ROOT/foreign, which is outside of the folders that it may read",
        );
        check(&folder, "own/dangling", "is a link to gone, where nothing is");
        check(&folder, "own/twice", "is a link to dangling, where nothing is");
        check(&folder, "own/loop", "is a link that leads back to itself");
        check(
            &folder,
            "own/folder/file",
            "is behind ROOT/own/folder, which is a link to gone, where nothing is",
        );
        check(&folder, "own", "is no regular file");
    }
}
