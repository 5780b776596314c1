//! Turns the symbol lists of `pch/` into tables that the linker fills with addresses.
//!
//! Each list becomes a file of names, one a line, and an assembler file with as many addresses in
//! the same order. The linker does the rest: what is named is linked in, and nothing is looked up at
//! run time. Names that Kiln itself provides go to a file of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol, SymbolKind};

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

/// Writes `OUT/SET.names`, `OUT/SET.own` and `OUT/SET.s` from `pch/SET.symbols`.
pub(crate) fn write_table(libraries: &Libraries, pch: &Path, set: &str, out: &Path) {
    let list = pch.join(format!("{set}.symbols"));
    let text =
        fs::read_to_string(&list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let (mut names, mut own) = (Names::new(), BTreeSet::new());
    let mut unknown = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let place = format!("{}:{}", list.display(), number + 1);
        let (library, patterns) =
            line.split_once(": ").unwrap_or_else(|| panic!("{place}: expected LIBRARY: NAME..."));
        if library == "kiln" {
            own.extend(patterns.split_whitespace().map(str::to_owned));
            continue;
        }
        let defined =
            libraries.0.get(library).unwrap_or_else(|| panic!("{place}: no library {library}"));
        for pattern in patterns.split_whitespace() {
            if let Some(pattern) = pattern.strip_prefix('!') {
                let before = names.len();
                names.retain(|name, _| !matches(pattern, name));
                if names.len() == before {
                    unknown += &format!("\n{place}: no pattern above has {pattern}");
                }
                continue;
            }
            let mut matching = defined.iter().filter(|(name, _)| matches(pattern, name)).peekable();
            if matching.peek().is_none() {
                unknown += &format!("\n{place}: {library} has no symbol {pattern}");
            }
            names.extend(matching.map(|(name, version)| (name.clone(), version.clone())));
        }
    }
    assert!(unknown.is_empty(), "{unknown}");
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
    let names: String = names.keys().map(|name| format!("{name}\n")).collect();
    let own: String = own.iter().map(|name| format!("{name}\n")).collect();
    for (suffix, content) in [("names", names), ("own", own), ("s", assembly)] {
        fs::write(out.join(format!("{set}.{suffix}")), content).expect("OUT_DIR is writable");
    }
}

/// Assembles the tables into the crate.
pub(crate) fn compile_tables(out: &Path) {
    let mut build = cc::Build::new();
    build.file(out.join("workers.s")).file(out.join("programs.s")).compile("kilntables");
}

/// Whether `name` is of the form of `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    rest.is_empty()
        || (0..=tail.len()).any(|from| tail.is_char_boundary(from) && matches(rest, &tail[from..]))
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
