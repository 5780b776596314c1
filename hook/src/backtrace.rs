//! From addresses to functions and lines.
//!
//! An image carries DWARF and a symbol table for its final addresses, so nothing is loaded from
//! anywhere. Code of the host has a name if scripts may call it: then it is in their table of symbols,
//! under the address where the function begins.

use std::rc::Rc;

use gimli::{Dwarf, EndianRcSlice, Error, RunTimeEndian, SectionId};
use heritage::{FRAMES_MAX, Frame};
use image::Mapped;
use image::runtime::Trace;
use object::{Object, ObjectSection, SymbolMapName};

use crate::text::shortened;

/// What the binary knows of code and files, which this crate does not.
pub struct Names {
    /// The name of the function of the host that begins at an address.
    pub function: Box<dyn Fn(u64) -> Option<String>>,
    /// Whether a file is a header that comes with the binary.
    pub is_header: fn(&str) -> bool,
    /// A linker's name as people write it.
    pub demangled: fn(&str) -> String,
}

type Reader = EndianRcSlice<RunTimeEndian>;

impl Names {
    fn readable(&self, name: &str) -> String {
        shortened((self.demangled)(name))
    }
}

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
        let functions = functions
            .map(|symbol: &SymbolMapName<'_>| (symbol.address(), symbol.name().to_owned()));
        Symbols { range, lines, functions: functions.collect() }
    }

    /// These calls, innermost first, inlined ones too.
    pub(crate) fn frames(&self, trace: &Trace, names: &Names) -> Vec<Frame> {
        let mut frames = Vec::new();
        let innermost = trace.innermost().iter().copied();
        innermost.for_each(|address| self.push(address as u64, names, &mut frames));
        let farther_out = frames.len();
        trace.outermost().for_each(|address| self.push(address as u64, names, &mut frames));
        if let Some(next) = frames.get_mut(farther_out) {
            next.left_out = trace.left_out() as u64;
        }
        Frame::leave_out_middle(frames, FRAMES_MAX)
    }

    fn push(&self, address: u64, names: &Names, frames: &mut Vec<Frame>) {
        match self.range.contains(&address) {
            true => self.push_script(address, names, frames),
            false => frames.extend(host_frame(address, names)),
        }
    }

    fn push_script(&self, address: u64, names: &Names, frames: &mut Vec<Frame>) {
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
                let function = name.map(|name| names.readable(&name)).unwrap_or_default();
                let is_library = file.as_deref().is_some_and(names.is_header);
                let (is_inlined, rest) = (true, Frame::default());
                frames.push(Frame {
                    address,
                    function,
                    file,
                    line,
                    is_inlined,
                    is_library,
                    ..rest
                });
                if frames.len() - first >= FRAMES_MAX {
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
            last.function =
                self.function(address).map(|name| names.readable(name)).unwrap_or_default();
        }
    }

    fn function(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        Some(&self.functions.get(after.checked_sub(1)?)?.1)
    }
}

/// Code of the host; nothing if it is none that a script may name, or any of that has called.
fn host_frame(address: u64, names: &Names) -> Option<Frame> {
    let start = image::runtime::function_start(address as usize).map(|start| start as u64);
    match start {
        Some(start) => {
            let function = names.readable(&(names.function)(start)?);
            Some(Frame { address, function, ..Frame::default() })
        }
        // Nothing is there: a call went wrong.
        None => Some(Frame { address, ..Frame::default() }),
    }
}
