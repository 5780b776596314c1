//! Symbol tables: what an image may link against, name to address.
//!
//! The names come from the lists in `pch/`; the addresses were filled in by the linker that made
//! this binary. There is no process-wide look-up: a name that is not in the table does not exist.

use crate::refused;

/// The names of a list.
macro_rules! names {
    ($set:literal) => {
        Names {
            text: include_str!(concat!(env!("OUT_DIR"), "/", $set, ".names")),
            starts: &include!(concat!(env!("OUT_DIR"), "/", $set, ".starts")),
        }
    };
}

/// The table of a list.
macro_rules! table {
    ($symbol:ident, $set:literal) => {{
        #[allow(unsafe_code)]
        unsafe extern "C" {
            static $symbol: u64;
        }
        let names = names!($set);
        let own = include_str!(concat!(env!("OUT_DIR"), "/", $set, ".own"));
        Table { addresses: addresses(&raw const $symbol, names.starts.len()), names, own }
    }};
}

/// The addresses of a table, as many as there are names.
#[allow(unsafe_code)]
fn addresses(first: *const u64, count: usize) -> &'static [u64] {
    // SAFETY: the build wrote as many addresses as names, in the same order, into read-only memory.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// Sorted names, one a line, as the build wrote them. A compile wants few of the more than ten
/// thousand, and begins with none of them in its memory: so nothing goes through all.
#[derive(Clone, Copy, Debug)]
struct Names {
    text: &'static str,
    /// Where each begins.
    starts: &'static [u32],
}

impl Names {
    fn get(self, number: usize) -> &'static str {
        unmarked(self.line(self.starts[number]))
    }

    fn position(self, name: &str) -> Option<usize> {
        self.starts.binary_search_by(|start| unmarked(self.line(*start)).cmp(name)).ok()
    }

    /// Whether the name with this number is marked.
    fn is_called(self, number: usize) -> bool {
        self.line(self.starts[number]).starts_with(CALLED_MARK)
    }

    fn line(self, start: u32) -> &'static str {
        let rest = &self.text[start as usize..];
        rest.split_once('\n').map_or(rest, |(line, _)| line)
    }
}

struct Table {
    names: Names,
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
    groups(include_str!(concat!(env!("OUT_DIR"), "/workers.groups")), names!("workers"))
}

/// Groups of what programs under `kiln run` may use, in the order of `pch/programs.symbols`.
pub fn program_groups() -> Vec<SymbolGroup> {
    groups(include_str!(concat!(env!("OUT_DIR"), "/programs.groups")), names!("programs"))
}

/// Three lines a group: its head, Kiln's own names, and the numbers of the others in the table.
fn groups(groups: &'static str, table: Names) -> Vec<SymbolGroup> {
    let heads: Vec<&str> = groups.lines().collect();
    let built = "the build wrote it";
    let group = |lines: &[&'static str]| {
        let (name, reason) = lines[0][1..].split_once("] ").expect(built);
        let numbers = lines[2].split_whitespace().map(|number| number.parse().expect(built));
        let mut names: Vec<&str> = numbers.map(|number| table.get(number)).collect();
        names.extend(lines[1].split_whitespace());
        names.sort_unstable();
        SymbolGroup { name, reason, names }
    };
    heads.chunks_exact(3).map(group).collect()
}

/// Whether a library that programs may use has this symbol.
pub(crate) fn is_library(symbol: &str) -> bool {
    names!("programs").position(symbol).is_some()
}

/// Names and addresses that one kind of image may use.
#[derive(Debug)]
pub struct SymbolTable {
    names: Names,
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

impl SymbolTable {
    /// What scripts in a worker may use; `bindings` are Kiln's own versions.
    pub fn workers(bindings: &[(&'static str, u64)]) -> Self {
        Self::new(table!(kiln_table_workers, "workers"), bindings)
    }

    /// What programs under `kiln run` may use; `bindings` are Kiln's own versions.
    pub fn programs(bindings: &[(&'static str, u64)]) -> Self {
        Self::new(table!(kiln_table_programs, "programs"), bindings)
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
        own.or_else(|| Some(self.addresses[self.names.position(name)?]))
    }

    /// The name of what is at an address, if it may be used.
    pub fn name(&self, address: u64) -> Option<&'static str> {
        let own = self.own.iter().find(|(_, own)| *own == address).map(|(name, _)| *name);
        own.or_else(|| {
            let at = self.addresses.iter().position(|known| *known == address)?;
            Some(self.names.get(at))
        })
    }

    /// Whether it is a function of the C++ library, larger than is worth inlining: what a script's
    /// headers say of it need not be compiled. What Kiln has itself or refuses must not be.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.names.position(name).is_some_and(|at| self.names.is_called(at))
            || self.own.iter().any(|(own, _)| *own == name)
            || refused::is_inline(name)
    }
}
