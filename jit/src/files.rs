//! The file system that Clang sees: embedded headers, the precompiled header, and the script roots.
//!
//! Nothing else of the machine can be read by a script: `#include "/etc/shadow"` is refused, and told
//! to be outside of the folders.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use fence::Unreadable;

use crate::SEARCH;
use crate::arguments::{KILN_INCLUDE, Unit};
use crate::ffi::{Files, Status};
use crate::headers::Headers;
use crate::pch;

/// Whether a path is one of the embedded headers, by where it is: a header that a script includes, and
/// nobody's who wrote a script.
pub fn is_header(path: &str) -> bool {
    header_folders().any(|folder| Path::new(path).starts_with(folder))
}

fn header_folders() -> impl Iterator<Item = &'static str> {
    SEARCH.split(':').chain([KILN_INCLUDE])
}

/// Where the precompiled header is.
pub(crate) const PCH_PATH: &str = "/kiln/kiln.pch";

/// Largest source file or private header.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of one compile.
pub(crate) struct ScriptFiles {
    /// The index takes milliseconds to read, and a compile that is remembered needs none.
    headers: LazyLock<Headers>,
    /// Real paths of the folders below which a script's own files are, and of single files.
    roots: Vec<PathBuf>,
    /// Whose they are.
    unit: Unit,
    working_folder: String,
    /// Threads that unpack the precompiled header.
    threads: usize,
    /// Read once, so that a file that changes under the compiler is one file all the same.
    contents: Mutex<HashMap<String, Found>>,
}

/// What reading a path came to.
#[derive(Clone, Copy)]
enum Found {
    Content(&'static [u8]),
    /// So many bytes that it was not read.
    TooLarge(u64),
    Nothing,
}

impl ScriptFiles {
    /// These files, those below these folders, and the embedded ones, which `threads` unpack.
    pub(crate) fn new(unit: Unit, roots: &[PathBuf], threads: usize) -> Self {
        let canonical = |root: &PathBuf| fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self {
            headers: LazyLock::new(Headers::open),
            roots: roots.iter().map(canonical).collect(),
            unit,
            working_folder: folder.to_string_lossy().into_owned(),
            threads,
            contents: Mutex::default(),
        }
    }

    /// Whether a file is the script author's, rather than an embedded header.
    pub(crate) fn is_own(&self, path: &str) -> bool {
        self.headers.size(path).is_none() && !path.starts_with(KILN_INCLUDE)
    }

    /// Whether the binary alone says what is at a path, and the machine does not matter.
    pub(crate) fn is_embedded(&self, path: &str) -> bool {
        let path = Path::new(path);
        let is_near =
            |folder: &str| path.starts_with(folder) || Path::new(folder).starts_with(path);
        path == Path::new(PCH_PATH)
            || (header_folders().any(is_near)
                && !self.roots.iter().any(|root| path.starts_with(root)))
    }

    /// A file as the operator would name it: relative to the working folder if `named` is.
    pub(crate) fn as_named(&self, file: &str, named: &Path) -> String {
        let relative = Path::new(file).strip_prefix(&self.working_folder).ok();
        let relative = relative.filter(|_| named.is_relative());
        relative.map_or_else(|| file.to_owned(), |relative| relative.display().to_string())
    }

    /// A line of one of the author's files, from 1, as debug information names it.
    pub(crate) fn line(&self, file: &str, number: u32) -> Option<&'static str> {
        let path = Path::new(&self.working_folder).join(file);
        let content = std::str::from_utf8(self.read(path.to_str()?)?).ok()?;
        content.lines().nth(number.checked_sub(1)? as usize)
    }

    /// The real file behind a path, if it is below a root once every link is followed.
    fn real(&self, path: &str) -> Option<PathBuf> {
        fs::canonicalize(path).ok().filter(|real| self.is_open(real))
    }

    fn is_open(&self, real: &Path) -> bool {
        self.roots.iter().any(|root| real.starts_with(root))
    }

    /// Why a path is not to be had, if there is something at it: the end of a sentence that begins with
    /// its name.
    pub(crate) fn why_not(&self, path: &Path) -> Option<String> {
        let path = Path::new(&self.working_folder).join(path);
        Unreadable::of(&path, |real| self.is_open(real))
            .map(|why| predicate(&why, &path, self.unit))
    }

    /// What there is to say of a file that Clang did not find by the name in an include directive of
    /// this file.
    pub(crate) fn why_not_included(
        &self,
        name: &str,
        file: &str,
        include: &[PathBuf],
    ) -> Option<String> {
        let beside = Path::new(file).parent().unwrap_or(Path::new(""));
        let folders = [beside].into_iter().chain(include.iter().map(PathBuf::as_path));
        folders.map(|folder| folder.join(name)).find_map(|path| match self.unit {
            Unit::Script => self.why_not(&normal(&path)),
            Unit::Program => self.why_not(&path),
        })
    }

    /// Files of the author's that were asked for and are too large, with a sentence each.
    pub(crate) fn too_large(&self) -> BTreeMap<String, String> {
        let contents = self.contents.lock().expect("nobody panics while reading a file");
        let too_large = contents.iter().filter_map(|(path, found)| match found {
            Found::TooLarge(bytes) => Some((path.clone(), too_large(*bytes))),
            Found::Content(_) | Found::Nothing => None,
        });
        too_large.collect()
    }

    /// Reads a path once, so that a file that changes meanwhile is one file all the same.
    fn find(&self, path: &str) -> Found {
        let mut contents = self.contents.lock().expect("nobody panics while reading a file");
        *contents.entry(path.to_owned()).or_insert_with(|| self.read_own(path))
    }

    fn read_own(&self, path: &str) -> Found {
        let Some(real) = self.real(path) else { return Found::Nothing };
        match read_file(&real) {
            Ok(Ok(mut content)) => {
                content.push(0);
                let content: &'static [u8] = Vec::leak(content);
                Found::Content(&content[..content.len() - 1])
            }
            Ok(Err(bytes)) => Found::TooLarge(bytes),
            Err(_) => Found::Nothing,
        }
    }
}

/// The end of a sentence that begins with the name of a file that is not to be had, with what to do.
pub(crate) fn predicate(why: &Unreadable, path: &Path, unit: Unit) -> String {
    let (who, include) = match unit {
        Unit::Script => ("scripts", "add `include = [\"FOLDER\"]` to kiln.toml"),
        Unit::Program => ("the program", "add -I FOLDER"),
    };
    let predicate = why.predicate(path, who);
    match (why, unit) {
        (Unreadable::Outside { real, .. }, _) => {
            let folder = real.parent().unwrap_or(real).display().to_string();
            format!("{predicate}; {}", include.replace("FOLDER", &folder))
        }
        (Unreadable::Denied { .. }, Unit::Script) => {
            format!("{predicate}; process.user in kiln.toml says who reads scripts")
        }
        _ => predicate,
    }
}

/// A path without `.` and `..`, as Clang asks for it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// The content of a regular file at a path that has no links, or its size if that is too large.
/// Whatever was put there in place of what was looked at before is not followed or waited for.
fn read_file(real: &Path) -> io::Result<Result<Vec<u8>, u64>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(real)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut content = Vec::new();
    if found.len() <= FILE_BYTES_MAX {
        // It may grow while it is read.
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    }
    let bytes = found.len().max(content.len() as u64);
    Ok(if bytes <= FILE_BYTES_MAX { Ok(content) } else { Err(bytes) })
}

/// What is wrong with a file of so many bytes, if something is.
pub(crate) fn check_size(bytes: u64) -> Result<(), String> {
    if bytes > FILE_BYTES_MAX { Err(too_large(bytes)) } else { Ok(()) }
}

fn too_large(bytes: u64) -> String {
    let most_mib = FILE_BYTES_MAX >> 20;
    format!("{} MiB are more than the {most_mib} MiB of a source file", bytes.div_ceil(1 << 20))
}

impl Files for ScriptFiles {
    fn status(&self, path: &str) -> Status {
        if path == PCH_PATH {
            return Status::File(pch::size());
        }
        if self.is_embedded(path) {
            return match self.headers.size(path) {
                Some(bytes) => Status::File(bytes),
                None if self.headers.is_folder(path) => Status::Folder,
                None => Status::Absent,
            };
        }
        let is_above = |path: &Path| {
            self.roots.iter().any(|root| root.starts_with(path) && root.as_path() != path)
        };
        if is_above(Path::new(path)) {
            return Status::Folder;
        }
        let Ok(real) = fs::canonicalize(path) else { return Status::Absent };
        if is_above(&real) {
            return Status::Folder;
        }
        if !self.is_open(&real) {
            return Status::Absent;
        }
        if real.is_dir() {
            return Status::Folder;
        }
        match self.find(path) {
            Found::Content(content) => Status::File(content.len() as u64),
            // It is there, and reading it fails with the reason.
            Found::TooLarge(bytes) => Status::File(bytes),
            Found::Nothing => Status::Absent,
        }
    }

    fn read(&self, path: &str) -> Option<&'static [u8]> {
        if path == PCH_PATH {
            return Some(pch::read(self.threads));
        }
        if self.is_embedded(path) {
            return self.headers.read(path);
        }
        match self.find(path) {
            Found::Content(content) => Some(content),
            Found::TooLarge(_) | Found::Nothing => None,
        }
    }

    fn working_folder(&self) -> &str {
        &self.working_folder
    }
}
