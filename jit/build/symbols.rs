//! Turns the symbol lists of `pch/` into tables that the linker fills with addresses.
//!
//! Each list becomes a file of names, one a line, one of where each begins, one of its groups, and an
//! assembler file with as many addresses as there are names, in the same order. The linker does the
//! rest: what is named is linked in, and nothing is looked up at run time. Names that Kiln itself
//! provides go to a file of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol, SymbolKind};

use crate::pattern::matches;
use crate::toolchain::gcc_file;

/// What each library defines.
pub(crate) struct Libraries(BTreeMap<&'static str, Names>);

/// Names that a library defines.
type Names = BTreeMap<String, Definition>;

#[derive(Clone, Default)]
struct Definition {
    /// That a shared library gives it.
    version: Option<String>,
    /// What it is called in this binary, if that is another name.
    alias: Option<String>,
    /// Bytes of code, if it is a function of an archive.
    code_bytes: u64,
}

/// Functions of the C++ library that are larger are called where they are, and not compiled again:
/// smaller ones are better inlined, being little more than a call with its arguments.
const INLINED_BYTES_MAX: u64 = 48;
/// How the names of the C++ library's functions begin: those of namespace `std`, and of its members.
const LIBRARY_PREFIXES: [&str; 6] = ["_ZNSt", "_ZNKSt", "_ZSt", "_ZNOSt", "_ZNRSt", "_ZNKRSt"];
/// Not these, whatever their size: a request is read through views, and reading makes no call.
const VIEW_PREFIXES: [&str; 2] = ["_ZNSt17basic_string_view", "_ZNKSt17basic_string_view"];
/// What the object file of usual templates puts before their names.
const USUAL_PREFIX: &str = "kiln_usual.";
/// Marks a name in a table for that. No linker name has it.
const CALLED_MARK: char = '*';

impl Libraries {
    /// Reads the machine's libraries, and the object file of usual templates.
    pub(crate) fn read(usual: &Path) -> Self {
        Self(BTreeMap::from([
            ("usual", self::usual(usual)),
            ("libstdc++", archive("libstdc++.a")),
            ("libgcc", archive("libgcc.a")),
            ("libgcc_s", shared("libgcc_s.so.1")),
            ("libatomic", archive("libatomic.a")),
            ("libc", archive("libc_nonshared.a").into_iter().chain(shared("libc.so.6")).collect()),
            ("libm", shared("libm.so.6")),
        ]))
    }
}

impl Definition {
    /// Whether a use of it is a call, and no reason to compile it again.
    fn is_called(&self, name: &str) -> bool {
        let begins_with =
            |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.code_bytes > INLINED_BYTES_MAX
            && begins_with(&LIBRARY_PREFIXES)
            && !begins_with(&VIEW_PREFIXES)
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
        // Words for authors, and functions that no library has, so that none can be looked up.
        let is_comment = |line: &&str| {
            let words = ["#", "instead: ", "called: ", "inline: "];
            line.is_empty() || words.iter().any(|word| line.starts_with(word))
        };
        for line in lines.filter(|line| !is_comment(line)) {
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
                    for (name, found) in matching {
                        group.names.entry(name.clone()).or_insert_with(|| found.clone());
                    }
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

/// Writes `OUT/SET.names`, `.starts`, `.own`, `.called`, `.groups` and `.s` from `pch/SET.symbols`.
pub(crate) fn write_table(libraries: &Libraries, pch: &Path, set: &str, out: &Path) {
    let groups = read_list(libraries, &pch.join(format!("{set}.symbols")));
    let own: BTreeSet<&String> = groups.iter().flat_map(|group| &group.own).collect();
    let mut names: BTreeMap<&String, &Definition> = BTreeMap::new();
    for (name, found) in groups.iter().flat_map(|group| &group.names) {
        names.entry(name).or_insert(found);
    }
    names.retain(|name, _| !own.contains(name));

    let mut assembly = format!(
        "    .section .data.rel.ro.kiln_{set},\"aw\"\n    .balign 8\n    .globl kiln_table_{set}\nkiln_table_{set}:\n"
    );
    for (number, (name, found)) in names.iter().enumerate() {
        let written = match &found.version {
            // With its version it is the library's: Rust has a few of libm's functions of its own,
            // hidden in the binary, which set no errno and round otherwise.
            Some(version) => {
                let alias = format!("kiln_{set}_{number}");
                writeln!(assembly, "    .symver {alias}, {name}@{version}\n    .quad {alias}")
            }
            None => {
                let name = found.alias.as_ref().unwrap_or(name);
                writeln!(assembly, "    .quad \"{name}\"")
            }
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
    let is_called = |name: &&String| names[*name].is_called(name);
    let (mut marked, mut starts) = (String::new(), Vec::new());
    for name in names.keys() {
        starts.push(u32::try_from(marked.len()).expect("they are some hundred KiB"));
        marked.extend(is_called(name).then_some(CALLED_MARK));
        marked += name;
        marked.push('\n');
    }
    for (suffix, content) in [
        ("names", marked),
        ("starts", format!("{starts:?}")),
        ("own", lines(&mut own.iter().copied())),
        ("called", lines(&mut names.keys().copied().filter(is_called))),
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

/// Assembles the tables into the crate, with the object file of usual templates.
pub(crate) fn compile_tables(out: &Path, usual: &Path) {
    let mut build = cc::Build::new();
    build.file(out.join("workers.s")).file(out.join("programs.s")).object(usual);
    build.compile("kilntables");
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
        names.extend(definitions(member.expect("it is whole").data(&*data).expect("it is whole")));
    }
    names
}

/// The functions of the object file of usual templates that are worth a call.
fn usual(object: &Path) -> Names {
    let data = fs::read(object).expect("it was just made");
    let mut names = Names::new();
    for (alias, mut found) in definitions(&data) {
        let Some(name) = alias.strip_prefix(USUAL_PREFIX).map(str::to_owned) else { continue };
        if found.is_called(&name) {
            found.alias = Some(alias);
            names.insert(name, found);
        }
    }
    names
}

/// What an object file defines; nothing if it is none.
fn definitions(object: &[u8]) -> Names {
    let mut names = Names::new();
    let Ok(file) = object::File::parse(object) else { return names };
    for symbol in file.symbols().filter(linkable) {
        let Ok(name) = symbol.name() else { continue };
        let code_bytes = if symbol.kind() == SymbolKind::Text { symbol.size() } else { 0 };
        names.insert(name.to_owned(), Definition { code_bytes, ..Definition::default() });
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
            let name = symbol.name().expect("names are text").to_owned();
            names.insert(name, Definition { version, ..Definition::default() });
        }
    }
    names
}
