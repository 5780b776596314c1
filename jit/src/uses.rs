//! Where machine code uses a symbol: for what only the code generator has made, as a division of
//! `__float128` that is a call of `__divtf3`.
//!
//! Before the code is generated nothing names such a symbol, and so `place` cannot find it. An object
//! file has a relocation at each use, and lines of its code. Its debug information has relocations
//! too, since nobody has decided yet where a section will be: here each section of code gets addresses
//! of its own.

use std::collections::{BTreeMap, HashMap};

use addr2line::gimli::{
    self, Dwarf, EndianSlice, LittleEndian, Relocate, RelocateReader, SectionId,
};
use addr2line::{Context, Location};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex,
    SectionKind, SymbolIndex,
};

use crate::place::Place;

/// Sections of code are so far apart that none has more bytes.
const SECTION_SHIFT: u32 = 40;

/// Uses that are looked at of one symbol: the first ones say enough.
const USES_MAX: usize = 1000;

type File<'a> = object::File<'a>;
type Reader<'a> = RelocateReader<EndianSlice<'a, LittleEndian>, &'a Values>;

/// What relocations make of the numbers of a section of debug information, by their offsets.
#[derive(Debug, Default)]
struct Values(HashMap<usize, u64>);

impl Relocate<usize> for &Values {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        Ok(self.0.get(&offset).copied().unwrap_or(value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        Ok(self.0.get(&offset).map_or(value, |value| *value as usize))
    }
}

/// The first places in files that `is_own` accepts where code uses each of these symbols.
pub(crate) fn in_code(
    object: &File<'_>,
    symbols: &[&str],
    is_own: impl Fn(&str) -> bool,
) -> HashMap<String, Place> {
    let values: BTreeMap<&str, Values> = object
        .sections()
        .filter_map(|section| Some((section.name().ok()?, section)))
        .filter(|(name, _)| name.starts_with(".debug_"))
        .map(|(name, section)| (name, values(object, &section)))
        .collect();
    let none = Values::default();
    let section = |id: SectionId| -> gimli::Result<Reader<'_>> {
        let data = object.section_by_name(id.name()).and_then(|section| section.data().ok());
        let data = EndianSlice::new(data.unwrap_or_default(), LittleEndian);
        Ok(RelocateReader::new(data, values.get(id.name()).unwrap_or(&none)))
    };
    let Ok(lines) = Dwarf::load(section).and_then(Context::from_dwarf) else {
        return HashMap::new();
    };
    let mut places: HashMap<String, Place> = HashMap::new();
    for (symbol, addresses) in uses(object, symbols) {
        let found = addresses.into_iter().filter_map(|address| place(&lines, address, &is_own));
        if let Some(place) = found.min() {
            places.insert(symbol, place);
        }
    }
    places
}

/// The innermost of the inlined functions at an address that stands in such a file.
fn place(
    lines: &Context<Reader<'_>>,
    address: u64,
    is_own: impl Fn(&str) -> bool,
) -> Option<Place> {
    let mut frames = lines.find_frames(address).skip_all_loads().ok()?;
    while let Ok(Some(frame)) = frames.next() {
        let Some(Location { file: Some(file), line: Some(line @ 1..), column }) = frame.location
        else {
            continue;
        };
        if is_own(file) {
            return Some(Place { file: file.to_owned(), line, column: column.unwrap_or(0) });
        }
    }
    None
}

/// Addresses of code that uses these symbols.
fn uses(object: &File<'_>, symbols: &[&str]) -> HashMap<String, Vec<u64>> {
    let mut uses: HashMap<String, Vec<u64>> = HashMap::new();
    for section in object.sections().filter(|section| section.kind() == SectionKind::Text) {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Some(name) = name(object, index).filter(|name| symbols.contains(name)) else {
                continue;
            };
            let addresses = uses.entry(name.to_owned()).or_default();
            if addresses.len() < USES_MAX {
                addresses.push(base(section.index()) + offset);
            }
        }
    }
    uses
}

fn name<'a>(object: &File<'a>, index: SymbolIndex) -> Option<&'a str> {
    object.symbol_by_index(index).ok()?.name().ok()
}

fn base(section: SectionIndex) -> u64 {
    (section.0 as u64) << SECTION_SHIFT
}

/// The relocated numbers of a section: of a place in code its address here, of one in another section of
/// debug information its offset there.
fn values(object: &File<'_>, section: &object::Section<'_, '_>) -> Values {
    let value = |relocation: &object::Relocation| {
        let RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let symbol = object.symbol_by_index(index).ok()?;
        let section = object.section_by_index(symbol.section_index()?).ok()?;
        let base = if section.kind() == SectionKind::Text { base(section.index()) } else { 0 };
        Some(base.wrapping_add(symbol.address()).wrapping_add_signed(relocation.addend()))
    };
    let values = section.relocations().filter_map(|(offset, relocation)| {
        Some((usize::try_from(offset).ok()?, value(&relocation)?))
    });
    Values(values.collect())
}
