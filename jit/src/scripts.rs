//! Which files of a folder are scripts, and which look as if they were meant to be.

use std::fs;
use std::path::{Path, PathBuf};

/// Most scripts of one generation.
pub(crate) const SCRIPTS_MAX: usize = 1024;

/// Files that are told to be passed over: whoever has more has one reason for all of them.
const PASSED_OVER_MAX: usize = 16;

/// How the names of scripts end.
const ENDINGS: [&str; 3] = ["cc", "cpp", "cxx"];

/// How else names of C and C++ sources end, as compilers and editors know them, in lower case.
const OTHER_ENDINGS: [&str; 12] =
    ["c", "c++", "cp", "cc", "cpp", "cxx", "ccm", "cppm", "cxxm", "c++m", "ixx", "ii"];

/// A file or folder that is no script, though somebody may have meant it to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is none, and what to do: the end of a sentence that begins with "it".
    pub why: String,
}

/// What in a folder of scripts looks like one and is none, in the order of names. What can't be read is
/// not told here.
pub fn passed_over(folder: &Path) -> Vec<PassedOver> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let told = paths.into_iter().filter_map(|path| Some(PassedOver { why: why(&path)?, path }));
    told.take(PASSED_OVER_MAX).collect()
}

fn why(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    if is_aside(path) || is_script(path) {
        return None;
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let has_scripts = entries.take(SCRIPTS_MAX).any(|entry| is_script(&entry.path()));
        return has_scripts.then(|| {
            "is not looked into, and has scripts: move them up, or name them .h if scripts include \
             them"
                .to_owned()
        });
    }
    let ending = path.extension()?.to_string_lossy();
    if ENDINGS.contains(&&*ending) {
        return match fs::metadata(path) {
            Ok(_) => Some("is no script, since it is no regular file".to_owned()),
            Err(error) => Some(format!("is no script, since it can't be opened: {error}")),
        };
    }
    let stem = name.strip_suffix(&*ending)?;
    OTHER_ENDINGS.contains(&&*ending.to_lowercase()).then(|| {
        format!(
            "is no script, since its name does not end in .cc, .cpp or .cxx: rename it to {stem}cc, or \
             to {stem}h if scripts include it"
        )
    })
}

/// Whether it is a script, rather than a header or a script's test. A link that leads nowhere is one:
/// that it is left out would show only in what is served.
pub(crate) fn is_script(path: &Path) -> bool {
    let is_source = path.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
    is_source
        && !is_aside(path)
        && fs::metadata(path).map_or(path.is_symlink(), |found| found.is_file())
}

/// Whether its name says that it is not meant: a script's test, or what editors and version control
/// leave.
fn is_aside(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.ends_with("_test") || stem.starts_with('.')
}
