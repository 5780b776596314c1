//! Symbol tables: what an image may link against, name to address.
//!
//! The names come from the lists in `pch/`; the addresses were filled in by the linker that made
//! this binary. There is no process-wide look-up: a name that is not in the table does not exist.

use std::collections::HashMap;

macro_rules! table {
    ($symbol:ident, $names:literal, $own:literal) => {{
        #[allow(unsafe_code)]
        unsafe extern "C" {
            static $symbol: u64;
        }
        let names = include_str!(concat!(env!("OUT_DIR"), $names));
        let own = include_str!(concat!(env!("OUT_DIR"), $own));
        Table { names, own, addresses: addresses(&raw const $symbol, names) }
    }};
}

/// The addresses of a table, as many as there are names.
#[allow(unsafe_code)]
fn addresses(first: *const u64, names: &str) -> &'static [u64] {
    // SAFETY: the build wrote as many addresses as names, in the same order, into read-only memory.
    unsafe { std::slice::from_raw_parts(first, names.lines().count()) }
}

struct Table {
    names: &'static str,
    own: &'static str,
    addresses: &'static [u64],
}

/// Names and addresses that one kind of image may use.
#[derive(Debug)]
pub struct SymbolTable(HashMap<&'static str, u64>);

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
        let mut symbols: HashMap<_, _> =
            table.names.lines().zip(table.addresses.iter().copied()).collect();
        for name in table.own.lines() {
            let binding = bindings.iter().find(|(bound, _)| *bound == name);
            let (_, address) = binding.unwrap_or_else(|| panic!("Kiln has no {name} of its own"));
            symbols.insert(name, *address);
        }
        Self(symbols)
    }

    /// Address of a symbol, if it may be used.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}
