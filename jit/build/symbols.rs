//! Turns the symbol lists of `pch/` into tables that the linker fills with addresses.
//!
//! Each list becomes a file of names, one a line, one of its groups, and an assembler file with as
//! many addresses as there are names, in the same order. The linker does the rest: what is named is linked in, and nothing is looked up at
//! run time. Names that Kiln itself provides go to a file of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol, SymbolKind};

use crate::pattern::matches;
use crate::toolchain::{Toolchain, gcc_file};

/// What each library defines.
pub(crate) struct Libraries(BTreeMap<&'static str, Names>);

/// Names, each with the version that a shared library gives it.
type Names = BTreeMap<String, Option<String>>;

impl Libraries {
    /// Reads the machine's libraries.
    pub(crate) fn read(_toolchain: &Toolchain) -> Self {
        Self(BTreeMap::from([
            ("libstdc++", archive("libstdc++.a")),
            ("libgcc", archive("libgcc.a")),
            ("libgcc_s", shared("libgcc_s.so.1")),
            ("libatomic", archive("libatomic.a")),
            ("libc", archive("libc_nonshared.a").into_iter().chain(shared("libc.so.6")).collect()),
            ("libm", shared("libm.so.6")),
        ]))
    }
}

/// Names of one group of a list.
#[derive(Default)]
struct Group {
    /// `[name] reason`, as it stands in the list.
    head: String,
    names: Names,
    /// Names of Kiln's own.
    own: BTreeSet<String>,
}

/// Reads `pch/LIST`: groups of names that the libraries have.
fn read_list(libraries: &Libraries, list: &Path) -> Vec<Group> {
    let text =
        fs::read_to_string(list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let mut groups: Vec<Group> = Vec::new();
    let mut unknown = String::new();
    for part in text.split("\n[").skip(1) {
        let mut group = Group::default();
        let mut excluded = Vec::new();
        let mut lines = part.lines();
        group.head = format!("[{}", lines.next().expect("a part has a first line"));
        let is_comment = |line: &&str| line.is_empty() || line.starts_with('#');
        for line in lines.filter(|line| !is_comment(line) && !line.starts_with("instead: ")) {
            let place = format!("{}: {line}", list.display());
            let (library, patterns) =
                line.split_once(": ").unwrap_or_else(|| panic!("{place}: expected LIBRARY: NAME"));
            if library == "kiln" {
                group.own.extend(patterns.split_whitespace().map(str::to_owned));
                continue;
            }
            let defined =
                libraries.0.get(library).unwrap_or_else(|| panic!("{place}: no library {library}"));
            for pattern in patterns.split_whitespace() {
                let exclusion = pattern.strip_prefix('!');
                let pattern = exclusion.unwrap_or(pattern);
                let mut matching =
                    defined.iter().filter(|(name, _)| matches(pattern, name)).peekable();
                if matching.peek().is_none() {
                    unknown += &format!("\n{place}: {library} has no symbol {pattern}");
                }
                if exclusion.is_some() {
                    excluded.push(pattern.to_owned());
                } else {
                    group.names.extend(matching.map(|(name, of)| (name.clone(), of.clone())));
                }
            }
        }
        let is_excluded = |name: &String| excluded.iter().any(|pattern| matches(pattern, name));
        group.names.retain(|name, _| !is_excluded(name));
        groups.push(group);
    }
    assert!(unknown.is_empty(), "{unknown}");
    groups
}

/// Writes `OUT/SET.names`, `OUT/SET.own`, `OUT/SET.groups` and `OUT/SET.s` from `pch/SET.symbols`.
pub(crate) fn write_table(libraries: &Libraries, pch: &Path, set: &str, out: &Path) {
    let groups = read_list(libraries, &pch.join(format!("{set}.symbols")));
    let own: BTreeSet<&String> = groups.iter().flat_map(|group| &group.own).collect();
    let mut names: BTreeMap<&String, &Option<String>> =
        groups.iter().flat_map(|group| &group.names).collect();
    names.retain(|name, _| !own.contains(name));

    let mut assembly = format!(
        "    .section .data.rel.ro.kiln_{set},\"aw\"\n    .balign 8\n    .globl kiln_table_{set}\nkiln_table_{set}:\n"
    );
    for (number, (name, version)) in names.iter().enumerate() {
        let written = match version {
            // With its version it is the library's: Rust has a few of libm's functions of its own,
            // hidden in the binary, which set no errno and round otherwise.
            Some(version) => {
                let alias = format!("kiln_{set}_{number}");
                writeln!(assembly, "    .symver {alias}, {name}@{version}\n    .quad {alias}")
            }
            None => writeln!(assembly, "    .quad \"{name}\""),
        };
        written.expect("a string is writable");
    }
    assembly += "    .section .note.GNU-stack,\"\",@progbits\n";
    let lines = |names: &mut dyn Iterator<Item = &String>| -> String {
        names.map(|name| format!("{name}\n")).collect()
    };
    // The numbers of names in the table, since the names themselves are there already.
    let number = |name: &String| names.keys().position(|known| *known == name);
    let grouped = groups.iter().map(|group| {
        let numbers: Vec<String> =
            group.names.keys().filter_map(number).map(|number| number.to_string()).collect();
        let own: Vec<&str> = group.own.iter().map(String::as_str).collect();
        format!("{}\n{}\n{}\n", group.head, own.join(" "), numbers.join(" "))
    });
    for (suffix, content) in [
        ("names", lines(&mut names.keys().copied())),
        ("own", lines(&mut own.iter().copied())),
        ("groups", grouped.collect()),
        ("s", assembly),
    ] {
        fs::write(out.join(format!("{set}.{suffix}")), content).expect("OUT_DIR is writable");
    }
}

/// Checks that `pch/workers.refused` explains what exists, and what a worker does not have.
pub(crate) fn check_refused(libraries: &Libraries, pch: &Path) {
    let allowed = read_list(libraries, &pch.join("workers.symbols"));
    for group in read_list(libraries, &pch.join("workers.refused")) {
        for name in group.names.keys() {
            let has = |with: &&Group| with.names.contains_key(name) || with.own.contains(name);
            if let Some(with) = allowed.iter().find(has) {
                panic!("{name} is refused in {} and allowed in {}", group.head, with.head);
            }
        }
    }
}

/// Assembles the tables into the crate.
pub(crate) fn compile_tables(out: &Path) {
    let mut build = cc::Build::new();
    build.file(out.join("workers.s")).file(out.join("programs.s")).compile("kilntables");
}

/// Functions and data that others may link against. Thread-locals have no one address.
fn linkable<'a>(symbol: &impl ObjectSymbol<'a>) -> bool {
    symbol.is_global()
        && !symbol.is_undefined()
        && !matches!(symbol.kind(), SymbolKind::Tls | SymbolKind::File | SymbolKind::Section)
}

fn archive(name: &str) -> Names {
    let data = fs::read(gcc_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let archive = ArchiveFile::parse(&*data).expect("it is an archive");
    let mut names = Names::new();
    for member in archive.members() {
        let content = member.expect("it is whole").data(&*data).expect("it is whole");
        let Ok(file) = object::File::parse(content) else { continue };
        let defined = file.symbols().filter(linkable);
        names.extend(defined.filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), None))));
    }
    names
}

/// Dynamic symbols of the default version.
fn shared(name: &str) -> Names {
    use object::read::elf::ElfFile64;
    let data = fs::read(gcc_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file: ElfFile64<'_> = ElfFile64::parse(&*data).expect("it is a shared library");
    let versions = file
        .elf_section_table()
        .versions(file.endian(), &*data)
        .expect("its version tables are whole")
        .expect("it has versions");
    let mut names = Names::new();
    for symbol in file.dynamic_symbols().filter(linkable) {
        let index = versions.version_index(file.endian(), symbol.index());
        let version = versions.version(index.into()).ok().flatten();
        let version = version.map(|version| String::from_utf8_lossy(version.name()).into_owned());
        if !index.is_hidden() && version.as_deref() != Some("GLIBC_PRIVATE") {
            names.insert(symbol.name().expect("names are text").to_owned(), version);
        }
    }
    names
}
