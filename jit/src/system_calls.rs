//! Refuses scripts whose code makes system calls: every effect of a script goes through the host.
//!
//! The linked code is searched for the bytes of `syscall`, `sysenter` and `int $0x80`, and where they
//! occur it is decoded, from the symbol before them on: a constant that has these bytes is
//! honest, and an instruction is not, however it came into the code (inline assembly, `.byte`, a
//! naked function, assembly outside of functions).
//!
//! What this does not stop: code that jumps into the middle of an instruction whose constant hides
//! another one, or that makes its way with far calls into a segment where the same bytes mean
//! something else. Who wants to betray Kiln can; this is for whoever does not know better, and it
//! names the line. System calls that are made all the same are for the worker's own seccomp filter to
//! refuse. `wrpkru` is no system call and nothing of Kiln's rests on protection keys, so that it may
//! stay.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use heritage::{Diagnostic, Severity};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use image::Writer;
use inkwell::llvm_sys::core::LLVMGetModuleInlineAsm;
use inkwell::module::Module;

use crate::files::ScriptFiles;
use crate::place::Place;
use crate::{demangled, told};

/// How the instructions begin: `syscall`, `sysenter`, `int $0x80`.
const PATTERNS: [[u8; 2]; 3] = [[0x0f, 0x05], [0x0f, 0x34], [0xcd, 0x80]];

/// Bytes of the longest instruction.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// Places that are told: the first ones say what is wrong.
const TOLD_MAX: usize = 20;

/// A refusal for each line that makes a system call. `assembly` is what [`assembly_outside`] found.
pub(crate) fn check(
    image: &Writer,
    assembly: &str,
    named: &Path,
    files: &ScriptFiles,
) -> Vec<Diagnostic> {
    let mut found = BTreeMap::new();
    for (base, code) in image.code() {
        for (symbol, range) in suspects(image, base, code) {
            for (address, instruction) in
                system_calls(&code[range.clone()], base + range.start as u64)
            {
                found.insert(address, (instruction, symbol.clone()));
            }
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let lines = Lines::of(image);
    let mut told: Vec<Diagnostic> = Vec::new();
    for (address, (instruction, symbol)) in found {
        let place = lines.place(address).or_else(|| place_in(assembly, symbol.as_deref()));
        let within = symbol.map(|symbol| format!(" in `{}`", demangled(&symbol)));
        let message = format!(
            "a script may not make system calls: `{instruction}`{}",
            within.unwrap_or_default()
        );
        let mut diagnostic = told::found(files, place.as_ref(), named, Severity::Error, message);
        diagnostic.category = Some("System Call".to_owned());
        // What is inlined in many places is one line all the same.
        let same = |it: &Diagnostic| (&it.file, it.line) == (&diagnostic.file, diagnostic.line);
        if told.len() < TOLD_MAX && !told.iter().any(same) {
            told.push(diagnostic);
        }
    }
    told
}

/// Runs of code that have a pattern, from the symbol before it to some way behind it.
fn suspects(image: &Writer, base: u64, code: &[u8]) -> Vec<(Option<String>, Range<usize>)> {
    let patterns = code
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| PATTERNS.iter().any(|pattern| pattern == pair));
    let mut ranges: BTreeMap<usize, (Option<String>, usize)> = BTreeMap::new();
    for (at, _) in patterns {
        let within = base..=base + at as u64;
        let symbols = image.symbols().filter(|symbol| within.contains(&symbol.address));
        let symbol = symbols.max_by_key(|symbol| symbol.address);
        let start = symbol.map_or(0, |symbol| (symbol.address - base) as usize);
        let end = (at + INSTRUCTION_BYTES_MAX).min(code.len());
        let name = symbol.map(|symbol| symbol.name.clone());
        let range = ranges.entry(start).or_insert((name, end));
        range.1 = range.1.max(end);
    }
    ranges.into_iter().map(|(start, (name, end))| (name, start..end)).collect()
}

/// Addresses and names of the system calls in code that begins with an instruction, be it on a
/// processor of Intel's or of AMD's: behind an operand-size prefix, jumps are shorter on the latter.
fn system_calls(code: &[u8], address: u64) -> Vec<(u64, &'static str)> {
    let mut found = Vec::new();
    for processor in [DecoderOptions::NONE, DecoderOptions::AMD] {
        find_system_calls(Decoder::with_ip(64, code, address, processor), &mut found);
    }
    found
}

fn find_system_calls(mut decoder: Decoder<'_>, found: &mut Vec<(u64, &'static str)>) {
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        let at = decoder.position();
        decoder.decode_out(&mut instruction);
        match (instruction.mnemonic(), instruction.immediate8()) {
            (Mnemonic::Syscall, _) => found.push((instruction.ip(), "syscall")),
            (Mnemonic::Sysenter, _) => found.push((instruction.ip(), "sysenter")),
            (Mnemonic::Int, 0x80) => found.push((instruction.ip(), "int $0x80")),
            // It may be data between functions: the next byte may be an instruction.
            (Mnemonic::INVALID, _) => {
                decoder.set_position(at + 1).expect("it is in the code, or its end");
                decoder.set_ip(instruction.ip() + 1);
            }
            _ => {}
        }
    }
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Source lines of addresses, from the debug information of the image itself.
struct Lines<'a>(Option<addr2line::Context<Slice<'a>>>);

impl<'a> Lines<'a> {
    fn of(image: &'a Writer) -> Self {
        let section = |id: SectionId| -> Result<Slice<'a>, addr2line::gimli::Error> {
            Ok(EndianSlice::new(image.unloaded(id.name()).unwrap_or_default(), LittleEndian))
        };
        let dwarf = Dwarf::load(section);
        Self(dwarf.and_then(addr2line::Context::from_dwarf).ok())
    }

    fn place(&self, address: u64) -> Option<Place> {
        let found = self.0.as_ref()?.find_location(address).ok()??;
        let (file, line) = (found.file?.to_owned(), found.line.filter(|line| *line > 0)?);
        Some(Place { file, line, column: found.column.unwrap_or(0) })
    }
}

/// A module's assembly outside of functions, with the lines of the form `# LINE "FILE"` that the shim
/// put in.
pub(crate) fn assembly_outside(module: &Module<'_>) -> String {
    let mut length = 0;
    // SAFETY: the text belongs to the module, which lives, and is as long as it says.
    let text = unsafe {
        let text = LLVMGetModuleInlineAsm(module.as_mut_ptr(), &mut length);
        std::slice::from_raw_parts(text.cast::<u8>(), length)
    };
    String::from_utf8_lossy(text).into_owned()
}

/// Where in the assembly outside of functions this symbol is defined; or where that assembly begins,
/// which has no debug information.
pub(crate) fn place_in(assembly: &str, symbol: Option<&str>) -> Option<Place> {
    let mut place = None;
    let mut first = None;
    for line in assembly.lines() {
        if let Some(marked) = marked_place(line) {
            first = first.or(Some(marked.clone()));
            place = Some(marked);
        } else if symbol.is_some_and(|symbol| line.trim_start().starts_with(&format!("{symbol}:")))
        {
            return place;
        } else if let Some(place) = &mut place {
            place.line += 1;
        }
    }
    first
}

/// The place of a line of the form `# LINE "FILE"`; what follows it is at that line.
fn marked_place(line: &str) -> Option<Place> {
    let (line, file) = line.strip_prefix("# ")?.split_once(' ')?;
    let file = file.strip_prefix('"')?.strip_suffix('"')?;
    Some(Place { file: file.to_owned(), line: line.parse().ok()?, column: 0 })
}
