//! Files that a program includes by paths that leave its folders: `#include "../x.h"`.
//!
//! The fence of a compile is put up before Clang reads the first line, and so its text is looked at
//! before: for directives that name a file, in the program and in whatever they lead to. A name that
//! only a macro makes is not found; the compile then says which folder `-I` has to name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::files::FILE_BYTES_MAX;

/// Most files that are looked at: as many as the largest libraries of headers have in one program.
const FILES_MAX: usize = 4096;

/// Directives that name a file.
const DIRECTIVES: [&str; 4] = ["include_next", "include", "import", "embed"];

/// Real paths of files that a program includes, by name, and that are not below `roots`. What is
/// looked for beside the including file only, or in `include` as well, is as in C++.
pub(crate) fn outside(program: &Path, include: &[PathBuf], roots: &[PathBuf]) -> Vec<PathBuf> {
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
    let mut seen = BTreeSet::new();
    let mut outside = Vec::new();
    let mut queue = vec![program.to_owned()];
    while let Some(path) = queue.pop() {
        // By both: the folder of the path as it is named is where its own headers are looked for.
        let Ok(real) = fs::canonicalize(&path) else { continue };
        if seen.len() == FILES_MAX || !seen.insert((path.clone(), real.clone())) {
            continue;
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for (name, is_quoted) in names(&text(&real)) {
            let beside = is_quoted.then_some(&folder);
            let folders = beside.into_iter().chain(include);
            queue.extend(folders.map(|folder| folder.join(&name)).find(|path| path.is_file()));
        }
        if !roots.iter().any(|root| real.starts_with(root)) {
            outside.push(real);
        }
    }
    outside.sort();
    outside.dedup();
    outside
}

fn text(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // What cannot be read Clang will tell.
        let _ = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Names of files in directives, and whether each is in quotes.
fn names(text: &str) -> Vec<(String, bool)> {
    let named = text.lines().filter_map(|line| {
        let directive = line.trim_start().strip_prefix('#')?.trim_start();
        let rest = DIRECTIVES.iter().find_map(|word| directive.strip_prefix(word))?.trim_start();
        let (open, close) = if rest.starts_with('<') { ('<', '>') } else { ('"', '"') };
        let (name, _) = rest.strip_prefix(open)?.split_once(close)?;
        (!name.is_empty()).then(|| (name.to_owned(), open == '"'))
    });
    named.collect()
}
