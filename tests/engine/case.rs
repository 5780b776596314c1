//! A case is a file, and its directives stand in its leading comment.
//!
//!     // A sentence that says which question the case answers?
//!     // status: 200
//!
//! Lines of the form `key: value` are directives, in order; others are for the reader. A directive
//! that nobody knows fails the case, so that none is passed over because it is misspelt.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

/// Cases at work at a time: each keeps a CPU busy, compiling.
const AT_ONCE: usize = 2;

/// Who has the CPUs. A Kiln compiles with idle priority, so that its workers come first: beside
/// programs that keep every CPU busy it would never begin to serve.
static CPUS: RwLock<()> = RwLock::new(());

/// To be held while a Kiln is started or reloads its scripts.
pub(crate) fn some_cpu() -> RwLockReadGuard<'static, ()> {
    CPUS.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held by whoever keeps every CPU busy.
pub(crate) fn every_cpu() -> RwLockWriteGuard<'static, ()> {
    CPUS.write().unwrap_or_else(PoisonError::into_inner)
}

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file, or a folder of files that belong together.
    pub(crate) path: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// Keys and values, in order.
    pub(crate) directives: Vec<(String, String)>,
}

impl Case {
    fn read(path: PathBuf, keys: &[&str]) -> Self {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let head = if path.is_dir() { sources(&path).remove(0) } else { path.clone() };
        let text = fs::read_to_string(&head).unwrap_or_else(|error| panic!("{name}: {error}"));
        let comment = text.lines().map_while(|line| line.strip_prefix("//"));
        let comment: Vec<&str> =
            comment.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        assert!(
            comment.iter().any(|line| line.ends_with('?')),
            "{name}: it does not say which question it answers"
        );
        let mut directives = Vec::new();
        for (key, value) in comment.iter().filter_map(|line| line.split_once(':')) {
            if keys.contains(&key) {
                let value = value.strip_prefix(' ').unwrap_or(value);
                directives.push((key.to_owned(), value.to_owned()));
            } else {
                assert!(key.contains(' '), "{name}: there is no directive {key:?}");
            }
        }
        Self { path, name, directives }
    }

    /// Values of every directive of this name.
    pub(crate) fn values(&self, key: &str) -> Vec<&str> {
        let named = self.directives.iter().filter(|(name, _)| name == key);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Value of a directive that stands there once at most.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let values = self.values(key);
        assert!(values.len() <= 1, "{}: {key:?} stands there twice", self.name);
        values.first().copied()
    }
}

/// A folder of this package.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The C++ files of a folder, in the order of their names.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut paths = entries(folder);
    paths.retain(|path| path.extension().is_some_and(|end| end == "cc"));
    paths
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
    paths.sort();
    paths
}

/// Checks every case of a folder, and then panics with all that failed. `keys` are its directives.
pub(crate) fn check_all(
    name: &str,
    keys: &[&str],
    check: impl Fn(&Case) -> Result<(), String> + Sync,
) {
    let is_case = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "cc")
            || (path.is_dir() && !sources(path).is_empty())
    };
    let paths = entries(&folder(name)).into_iter().filter(is_case);
    let cases: Vec<Case> = paths.map(|path| Case::read(path, keys)).collect();
    assert!(!cases.is_empty(), "no case in {name}");
    let failures = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The harness panics; the other cases are to be checked all the same.
                    let checked = catch_unwind(AssertUnwindSafe(|| check(case)));
                    let failed = match checked {
                        Ok(Ok(())) => continue,
                        Ok(Err(why)) => why,
                        Err(panic) => panic_text(panic.as_ref()),
                    };
                    let mut failures = failures.lock().expect("no holder panics");
                    failures.insert(case.name.clone(), failed);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no holder panics");
    let told: String = failures.iter().map(|(name, why)| format!("\n== {name}\n{why}\n")).collect();
    assert!(failures.is_empty(), "{} of {} cases failed:\n{told}", failures.len(), cases.len());
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// A value in which `\n`, `\r`, `\t` and `\\` stand for one character.
pub(crate) fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        text.push(match (character, character == '\\') {
            (_, true) => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            },
            (plain, false) => plain,
        });
    }
    text
}
