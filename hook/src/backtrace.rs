//! From addresses to functions and lines.
//!
//! An image carries DWARF and a symbol table for its final addresses, so nothing is loaded from
//! anywhere. Code of the host has a name if scripts may call it: then it is in their table of symbols,
//! under the address where the function begins.

use std::rc::Rc;

use cpp_demangle::{DemangleOptions, Symbol};
use gimli::{Dwarf, EndianRcSlice, Error, RunTimeEndian, SectionId};
use heritage::{FRAMES_MAX, Frame};
use image::Mapped;
use object::{Object, ObjectSection, SymbolMapName};

use crate::events::shortened;

/// Names a function of the host by where it begins.
pub(crate) type NameHost = Box<dyn Fn(u64) -> Option<String>>;

type Reader = EndianRcSlice<RunTimeEndian>;

/// What an image says of its code.
pub(crate) struct Symbols {
    range: std::ops::Range<u64>,
    lines: Option<addr2line::Context<Reader>>,
    /// Address and name of each function, by address.
    functions: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads them; what can't be read is left out.
    pub(crate) fn of(image: &Mapped) -> Self {
        let slot = image.slot();
        let range = slot.base..slot.base + slot.size;
        let Ok(file) = object::File::parse(image.file()) else {
            return Symbols { range, lines: None, functions: Vec::new() };
        };
        let section = |id: SectionId| -> Result<Reader, Error> {
            let found = file.section_by_name(id.name());
            let data = found.and_then(|section| section.data().ok()).unwrap_or_default();
            Ok(EndianRcSlice::new(Rc::from(data), RunTimeEndian::Little))
        };
        let lines = Dwarf::load(section).and_then(addr2line::Context::from_dwarf).ok();
        let functions = file.symbol_map();
        let functions = functions.symbols().iter();
        let functions =
            functions.map(|symbol: &SymbolMapName<'_>| (symbol.address(), symbol.name().to_owned()));
        Symbols { range, lines, functions: functions.collect() }
    }

    /// The calls at these addresses, innermost first, inlined ones too.
    pub(crate) fn frames(&mut self, addresses: &[usize], name_host: &NameHost) -> Vec<Frame> {
        let mut frames = Vec::new();
        for address in addresses {
            let address = *address as u64;
            match self.range.contains(&address) {
                true => self.push_script(address, &mut frames),
                false => frames.push(host_frame(address, name_host)),
            }
        }
        frames.truncate(FRAMES_MAX);
        frames
    }

    fn push_script(&self, address: u64, frames: &mut Vec<Frame>) {
        let first = frames.len();
        let lines = self.lines.as_ref();
        let found = lines.and_then(|lines| lines.find_frames(address).skip_all_loads().ok());
        if let Some(mut found) = found {
            while let Ok(Some(frame)) = found.next() {
                let name = frame.function.as_ref().and_then(|it| it.raw_name().ok());
                let (file, line) = match frame.location {
                    Some(at) => (at.file.map(str::to_owned), at.line.unwrap_or(0)),
                    None => (None, 0),
                };
                let function = name.map(|name| demangled(&name)).unwrap_or_default();
                frames.push(Frame { address, function, file, line, is_inlined: true });
                if frames.len() >= FRAMES_MAX {
                    break;
                }
            }
        }
        if frames.len() == first {
            frames.push(Frame { address, ..Frame::default() });
        }
        let last = frames.last_mut().expect("there is one at least");
        last.is_inlined = false;
        if last.function.is_empty() {
            last.function = self.function(address).map(demangled).unwrap_or_default();
        }
    }

    fn function(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        Some(&self.functions.get(after.checked_sub(1)?)?.1)
    }
}

fn host_frame(address: u64, name_host: &NameHost) -> Frame {
    let start = image::runtime::function_start(address as usize).map(|start| start as u64);
    let function = start.and_then(name_host).map(|name| demangled(&name)).unwrap_or_default();
    Frame { address, function, ..Frame::default() }
}

/// A name as C++ writes it, without what it returns.
fn demangled(name: &str) -> String {
    let options = DemangleOptions::new().no_return_type();
    let text = Symbol::new(name).ok().and_then(|symbol| symbol.demangle_with_options(&options).ok());
    shortened(text.unwrap_or_else(|| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::demangled;

    fn check(name: &str, expect: &str) {
        assert_eq!(demangled(name), expect);
    }

    #[test]
    fn names_are_told_as_cpp_writes_them() {
        check("_ZN4kiln5replyEi", "kiln::reply(int)");
        check("_ZN12_GLOBAL__N_16lookupERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
            "(anonymous namespace)::lookup(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)");
        check("memcpy", "memcpy");
    }
}
