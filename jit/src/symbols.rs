//! Symbol tables: what an image may link against, name to address.
//!
//! The names come from the lists in `pch/`; the addresses were filled in by the linker that made
//! this binary. There is no process-wide look-up: a name that is not in the table does not exist.

macro_rules! table {
    ($symbol:ident, $names:literal, $own:literal) => {{
        #[allow(unsafe_code)]
        unsafe extern "C" {
            static $symbol: u64;
        }
        let names = include_str!(concat!(env!("OUT_DIR"), $names));
        let own = include_str!(concat!(env!("OUT_DIR"), $own));
        let names = lines(names);
        Table { addresses: addresses(&raw const $symbol, names.len()), names, own }
    }};
}

/// The addresses of a table, as many as there are names.
#[allow(unsafe_code)]
fn addresses(first: *const u64, count: usize) -> &'static [u64] {
    // SAFETY: the build wrote as many addresses as names, in the same order, into read-only memory.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// Lines of a list of the build, each of which ends. There are more than ten thousand, and each compile
/// wants them: `str::lines` takes a millisecond.
fn lines(text: &'static str) -> Vec<&'static str> {
    let mut from = 0;
    let line = |end| &text[std::mem::replace(&mut from, end + 1)..end];
    memchr::memchr_iter(b'\n', text.as_bytes()).map(line).collect()
}

struct Table {
    names: Vec<&'static str>,
    own: &'static str,
    addresses: &'static [u64],
}

/// Names that belong together, and why they may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolGroup {
    /// Its name, one word.
    pub name: &'static str,
    /// Why, in a sentence.
    pub reason: &'static str,
    /// Linker names, sorted.
    pub names: Vec<&'static str>,
}

/// Groups of what scripts in a worker may use, in the order of `pch/workers.symbols`.
pub fn worker_groups() -> Vec<SymbolGroup> {
    groups(
        include_str!(concat!(env!("OUT_DIR"), "/workers.groups")),
        include_str!(concat!(env!("OUT_DIR"), "/workers.names")),
    )
}

/// Groups of what programs under `kiln run` may use, in the order of `pch/programs.symbols`.
pub fn program_groups() -> Vec<SymbolGroup> {
    groups(
        include_str!(concat!(env!("OUT_DIR"), "/programs.groups")),
        include_str!(concat!(env!("OUT_DIR"), "/programs.names")),
    )
}

/// Three lines a group: its head, Kiln's own names, and the numbers of the others in the table.
fn groups(groups: &'static str, names: &'static str) -> Vec<SymbolGroup> {
    let table: Vec<&str> = lines(names).into_iter().map(unmarked).collect();
    let heads: Vec<&str> = groups.lines().collect();
    let built = "the build wrote it";
    let group = |lines: &[&'static str]| {
        let (name, reason) = lines[0][1..].split_once("] ").expect(built);
        let numbers = lines[2].split_whitespace().map(|number| number.parse().expect(built));
        let mut names: Vec<&str> = numbers.map(|number: usize| table[number]).collect();
        names.extend(lines[1].split_whitespace());
        names.sort_unstable();
        SymbolGroup { name, reason, names }
    };
    heads.chunks_exact(3).map(group).collect()
}

/// Whether a library that programs may use has this symbol.
pub(crate) fn is_library(symbol: &str) -> bool {
    let names = lines(include_str!(concat!(env!("OUT_DIR"), "/programs.names")));
    position(&names, symbol).is_some()
}

/// Names and addresses that one kind of image may use.
#[derive(Debug)]
pub struct SymbolTable {
    /// Lines of the build's list, sorted by name.
    names: Vec<&'static str>,
    /// As many, in the same order.
    addresses: &'static [u64],
    /// Kiln's own versions.
    own: Vec<(&'static str, u64)>,
}

/// Marks a function of the C++ library that is called and not compiled again, in the names that the
/// build wrote.
const CALLED_MARK: char = '*';

fn unmarked(line: &str) -> &str {
    line.strip_prefix(CALLED_MARK).unwrap_or(line)
}

/// Where a name is among lines that the build has sorted.
fn position(lines: &[&str], name: &str) -> Option<usize> {
    lines.binary_search_by(|line| unmarked(line).cmp(name)).ok()
}

impl SymbolTable {
    /// What scripts in a worker may use; `bindings` are Kiln's own versions.
    pub fn workers(bindings: &[(&'static str, u64)]) -> Self {
        Self::new(table!(kiln_table_workers, "/workers.names", "/workers.own"), bindings)
    }

    /// What programs under `kiln run` may use; `bindings` are Kiln's own versions.
    pub fn programs(bindings: &[(&'static str, u64)]) -> Self {
        Self::new(table!(kiln_table_programs, "/programs.names", "/programs.own"), bindings)
    }

    fn new(table: Table, bindings: &[(&'static str, u64)]) -> Self {
        let bind = |name: &'static str| {
            let binding = bindings.iter().find(|(bound, _)| *bound == name);
            *binding.unwrap_or_else(|| panic!("Kiln has no {name} of its own"))
        };
        let own = table.own.lines().map(bind).collect();
        Self { names: table.names, addresses: table.addresses, own }
    }

    /// Address of a symbol, if it may be used.
    pub fn address(&self, name: &str) -> Option<u64> {
        // The build leaves out of the list what Kiln has itself.
        let own = self.own.iter().find(|(own, _)| *own == name).map(|(_, address)| *address);
        own.or_else(|| Some(self.addresses[position(&self.names, name)?]))
    }

    /// The name of what is at an address, if it may be used.
    pub fn name(&self, address: u64) -> Option<&'static str> {
        let own = self.own.iter().find(|(_, own)| *own == address).map(|(name, _)| *name);
        own.or_else(|| {
            let at = self.addresses.iter().position(|known| *known == address)?;
            Some(unmarked(self.names[at]))
        })
    }

    /// Whether it is a function of the C++ library, larger than is worth inlining: what a script's
    /// headers say of it need not be compiled.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        position(&self.names, name).is_some_and(|at| self.names[at].starts_with(CALLED_MARK))
    }
}
