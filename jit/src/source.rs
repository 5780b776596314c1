//! What is to be compiled: scripts or a program, their files, and which folders these may come from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fence::Unreadable;
use heritage::{Diagnostic, Severity};

use crate::arguments::Unit;
use crate::files::{self, ScriptFiles};
use crate::includes;
use crate::scripts::{SCRIPTS_MAX, is_script};

/// Source text.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Scripts of a worker.
    Scripts(Scripts<'a>),
    /// A C++ program with `main`.
    Program(Program<'a>),
}

/// Scripts, and where their headers are.
#[derive(Clone, Copy, Debug)]
pub struct Scripts<'a> {
    /// One script, or a folder of scripts that are asked in the order of their names. A script may be
    /// a link to a file anywhere.
    pub path: &'a Path,
    /// Folders where headers are looked for, before the standard ones; they may be read like the
    /// scripts' own.
    pub include: &'a [PathBuf],
}

/// A program, and what its author says about how to compile it.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Folders where headers are looked for, before the standard ones; they may be read like the
    /// program's own.
    pub include: &'a [PathBuf],
    /// Macros, in the form `NAME` or `NAME=VALUE`.
    pub define: &'a [String],
}

impl<'a> Source<'a> {
    pub(crate) fn path(&self) -> &'a Path {
        match self {
            Self::Scripts(scripts) => scripts.path,
            Self::Program(program) => program.path,
        }
    }

    /// Folders where headers are looked for beside its own.
    pub(crate) fn include(&self) -> &'a [PathBuf] {
        match self {
            Self::Scripts(scripts) => scripts.include,
            Self::Program(program) => program.include,
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        match self {
            Self::Scripts(_) => Unit::Script,
            Self::Program(_) => Unit::Program,
        }
    }

    /// What the author says to Clang, as it takes it.
    pub(crate) fn options(&self) -> Vec<String> {
        let include = self.include().iter().map(|folder| format!("-I{}", folder.display()));
        let define = match self {
            Self::Scripts(_) => &[],
            Self::Program(program) => program.define,
        };
        include.chain(define.iter().map(|define| format!("-D{define}"))).collect()
    }

    /// The source files, in order, or why there is none.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, String> {
        match self {
            Self::Scripts(scripts) => scripts.list(),
            Self::Program(program) => Ok(vec![program.path.to_owned()]),
        }
    }

    /// The folders that its own files are below.
    fn roots(&self) -> Vec<PathBuf> {
        let own = match self.path().is_dir() {
            true => self.path().to_path_buf(),
            false => parent(self.path()),
        };
        [own].into_iter().chain(self.include().iter().cloned()).collect()
    }

    /// Folders and files that a compile of it reads: its folders, and where links of its source files
    /// lead. A program is its user's, who may name any file in it: what it includes by a path that
    /// leaves its folders is read as well.
    pub fn reads(&self) -> Vec<PathBuf> {
        let roots = self.roots();
        let sources = self.files().unwrap_or_default();
        let links = sources.iter().filter(|path| path.is_symlink());
        let mut reads: Vec<PathBuf> = links
            .filter_map(|link| fs::canonicalize(link).ok())
            .filter(|real| real.is_file())
            .collect();
        if let Self::Program(program) = self {
            reads.extend(includes::outside(program.path, program.include, &roots));
        }
        reads.splice(0..0, roots);
        reads
    }

    /// What is wrong with its files and folders, before any is compiled.
    pub(crate) fn wrong(&self, paths: &[PathBuf], files: &ScriptFiles) -> Vec<Diagnostic> {
        let about = |path: &Path, message| {
            Diagnostic::about(Severity::Error, &path.display().to_string(), message)
        };
        let absent = self.include().iter().filter(|folder| !folder.is_dir()).map(|folder| {
            about(folder, "no such folder: `include` names folders with headers".to_owned())
        });
        let unreadable = paths.iter().filter_map(|path| {
            let wrong = match files.why_not(path) {
                Some(why) => Some(format!("it {why}")),
                // One that is not there is Clang's to tell.
                None => files::check_size(fs::metadata(path).map_or(0, |found| found.len())).err(),
            };
            wrong.map(|wrong| about(path, wrong))
        });
        absent.chain(unreadable).collect()
    }
}

impl Scripts<'_> {
    /// The scripts, in order: the file itself, or those in the folder. An error says what is wrong with
    /// the path.
    pub fn list(&self) -> Result<Vec<PathBuf>, String> {
        use Unreadable::{Dangling, Denied, Loop, NoFile};
        let path = self.path;
        let unreadable = |error: io::Error| {
            // A folder may be entered and not listed.
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let denied = denied.then(|| Denied { place: path.to_owned() });
            let why = Unreadable::of(path, |_| true).filter(|why| *why != NoFile).or(denied);
            match why {
                Some(why @ (Dangling { .. } | Loop { .. } | Denied { .. })) => {
                    format!("it {}", files::predicate(&why, path, Unit::Script))
                }
                _ => format!("cannot be read: {error}"),
            }
        };
        let found = fs::metadata(path).map_err(unreadable)?;
        if !found.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let entries = fs::read_dir(path).map_err(unreadable)?;
        let mut scripts = Vec::new();
        for entry in entries {
            let script = entry.map_err(unreadable)?.path();
            if is_script(&script) {
                // `./a.cc` is `a.cc` to everybody.
                scripts.push(script.strip_prefix(".").map(Path::to_owned).unwrap_or(script));
            }
        }
        scripts.sort();
        match scripts.len() {
            0 => Err("no script in this folder: their names end in .cc, .cpp or .cxx".into()),
            count if count > SCRIPTS_MAX => {
                Err(format!("{count} scripts, of {SCRIPTS_MAX} at most"))
            }
            _ => Ok(scripts),
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}
