//! Which binary this is: the build-id that the linker gave it.
//!
//! It changes with everything that is linked in: Clang, LLVM, the precompiled header, the embedded
//! headers, the symbol tables and this crate. So it stands for all of them where something is to be
//! the same only if they are.

use std::slice;

use object::elf::{self, FileHeader64, ProgramHeader64};
use object::endian::LittleEndian as LE;
use object::read::elf::{FileHeader, ProgramHeader};

/// Bytes in which the program headers are, and the notes: the first page of the file.
const PAGE_BYTES: usize = 4096;

unsafe extern "C" {
    /// Where the linker says that the ELF header of this binary is.
    static __ehdr_start: u8;
}

/// The build-id; none if this binary was linked without one.
pub(crate) fn build_id() -> Option<&'static [u8]> {
    // SAFETY: the first page of a binary of some MB is mapped, read-only, for as long as it runs.
    let page: &'static [u8] = unsafe { slice::from_raw_parts(&raw const __ehdr_start, PAGE_BYTES) };
    let header = FileHeader64::<LE>::parse(page).ok()?;
    header.program_headers(LE, page).ok()?.iter().find_map(|program| build_id_in(program, page))
}

fn build_id_in(program: &ProgramHeader64<LE>, page: &'static [u8]) -> Option<&'static [u8]> {
    // Notes stand where the file has them, as the first segment is a picture of the file.
    let mut notes = program.notes(LE, page).ok()??;
    while let Some(note) = notes.next().ok()? {
        if note.n_type(LE) == elf::NT_GNU_BUILD_ID && note.name() == b"GNU" {
            return Some(note.desc());
        }
    }
    None
}
