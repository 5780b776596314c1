//! The modules of the crates that a request goes through stand in layers: none imports in a circle.
//!
//! A module is a file, and what it takes from others by their names in the crate; what the files of a
//! folder and its `mod.rs` have of each other, and what is only for tests, does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules each module imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Modules named behind each `crate::` of a source: one, or a list in braces.
fn named(source: &str) -> impl Iterator<Item = &str> {
    source.split("crate::").skip(1).flat_map(|rest| {
        let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let list = list.map_or(rest, |(list, _)| list);
        let is_list = rest.starts_with('{');
        let items = list.split(',').take(if is_list { usize::MAX } else { 1 });
        items.filter_map(|item| {
            item.trim().split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').next()
        })
    })
}

fn imports(source_folder: &Path) -> Imports {
    let mut files = Vec::new();
    sources(source_folder, &mut files);
    let module_of = |path: &Path| -> String {
        let below = path.strip_prefix(source_folder).expect("it was found there");
        let name = below.to_string_lossy().trim_end_matches(".rs").to_owned();
        name.strip_suffix("/mod").map(str::to_owned).unwrap_or(name)
    };
    let mut imports = Imports::new();
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        imports.entry(module_of(path)).or_default();
    }
    imports.remove("lib");
    let modules: BTreeSet<String> = imports.keys().cloned().collect();
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        let module = module_of(path);
        let Some(known) = imports.get_mut(&module) else { continue };
        let text = fs::read_to_string(path).expect("a source");
        let code: String = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        let found = named(&code).filter(|name| modules.contains(*name) && *name != module);
        known.extend(found.map(str::to_owned));
    }
    imports
}

/// The first circle that is found from this module on.
fn circle(imports: &Imports, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<String> {
    let at = way.last().expect("it begins somewhere").clone();
    for next in &imports[&at] {
        if let Some(begin) = way.iter().position(|passed| passed == next) {
            return Some(format!("{} -> {next}", way[begin..].join(" -> ")));
        }
        if done.contains(next) {
            continue;
        }
        way.push(next.clone());
        if let Some(found) = circle(imports, way, done) {
            return Some(found);
        }
        way.pop();
    }
    done.insert(at);
    None
}

#[test]
fn no_module_imports_in_a_circle() {
    for name in ["worker", "hook", "http"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let imports = imports(&folder);
        assert!(imports.len() > 10, "{name} has so many modules: {imports:?}");
        assert!(imports.values().any(|imported| !imported.is_empty()), "{name}: {imports:?}");
        let mut done = BTreeSet::new();
        for module in imports.keys() {
            let found = circle(&imports, &mut vec![module.clone()], &mut done);
            assert_eq!(found, None, "in {name}");
        }
    }
}

#[test]
fn a_circle_is_found() {
    let imports = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"])];
    let imports: Imports = imports
        .into_iter()
        .map(|(name, used)| (name.to_owned(), used.into_iter().map(str::to_owned).collect()))
        .collect();
    let found = circle(&imports, &mut vec!["a".to_owned()], &mut BTreeSet::new());
    assert_eq!(found.as_deref(), Some("b -> c -> b"));
    let names: Vec<&str> = named("use crate::{a, b::C};\nuse crate::d::E;").collect();
    assert_eq!(names, ["a", "b", "d"]);
}
