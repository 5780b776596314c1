//! From writable to sealed: an image is checked as hostile input, since the child that wrote it ran a
//! compiler over somebody's source.
//!
//! Only what the host itself uses is checked: headers, segments and the note. What the code then does
//! is the script's affair; symbols and debug information are read by debuggers, at their own risk.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::endian::LittleEndian as LE;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::format::{
    HEADER_BYTES, Manifest, NOTE_NAME, NOTE_TYPE, PAGE_BYTES, Protection, Segment, page_end,
};
use crate::{EntryPoint, Invalid, Slot};

/// Most bytes of an image file beyond its slot: symbols and debug information.
const TAIL_MAX: u64 = 512 << 20;

/// Most bytes of the file of an image for this slot.
pub fn file_bytes_max(slot: Slot) -> u64 {
    slot.size + TAIL_MAX
}

/// Every seal: the bytes of a sealed image never change again.
fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

/// An image whose bytes can't change any more, and which is safe to map.
#[derive(Debug)]
pub struct Sealed {
    pub(crate) file: File,
    pub(crate) slot: Slot,
    pub(crate) segments: Vec<Segment>,
    pub(crate) manifest: Manifest,
    build_id: Vec<u8>,
}

/// A new empty memfd that a compile child fills (close-on-exec, sealable).
pub fn create() -> std::io::Result<OwnedFd> {
    Ok(memfd_create(c"kiln-image", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?)
}

/// Checks an image as hostile input and seals it. Call once the compile child has exited.
pub fn seal(file: impl AsFd, slot: Slot) -> Result<Sealed, Invalid> {
    // Sealed first, checked then: nobody can change what was found good.
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals()))
        .map_err(|error| Invalid(format!("cannot be sealed: {error}")))?;
    let file = file.as_fd().try_clone_to_owned().map_err(|error| Invalid(error.to_string()))?;
    Sealed::open(file, slot)
}

impl Sealed {
    /// Takes an image that was sealed for this slot.
    pub fn open(file: OwnedFd, slot: Slot) -> Result<Self, Invalid> {
        let found = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|e| Invalid(e.to_string()))?;
        if !SealFlag::from_bits_truncate(found).contains(seals()) {
            return Err(Invalid("it is not sealed".into()));
        }
        let file = File::from(file);
        let file_bytes = file.metadata().map_err(|error| Invalid(error.to_string()))?.len();
        let mut page = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut page, 0).map_err(|error| Invalid(format!("no header: {error}")))?;
        let (segments, Notes { manifest, build_id }) = parse(&page, file_bytes, slot)?;
        Ok(Self { file, slot, segments, manifest, build_id })
    }

    /// The build-id of an image, by which debuggers, profilers and people tell one from another.
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// Address of an entry point, if the image has it.
    pub fn entry(&self, entry: EntryPoint) -> Option<u64> {
        let mut entries = self.manifest.entries.iter();
        entries.find(|(found, _)| *found == entry as u64).map(|&(_, address)| address)
    }
}

/// What the notes of an image say.
struct Notes {
    manifest: Manifest,
    /// Empty if there is none: nothing that the host does hangs on it.
    build_id: Vec<u8>,
}

fn parse(page: &[u8], file_bytes: u64, slot: Slot) -> Result<(Vec<Segment>, Notes), Invalid> {
    let bad = |error: object::Error| Invalid(error.to_string());
    let header = FileHeader64::<LE>::parse(page).map_err(bad)?;
    if header.e_machine(LE) != elf::EM_X86_64 || header.e_type(LE) != elf::ET_EXEC {
        return Err(Invalid("it is not for this processor".into()));
    }
    if file_bytes > file_bytes_max(slot) {
        return Err(Invalid(format!("{file_bytes} bytes are more than a slot and its symbols")));
    }
    let mut segments = Vec::new();
    let mut found = None;
    for program in header.program_headers(LE, page).map_err(bad)? {
        match program.p_type(LE) {
            elf::PT_LOAD if program.p_offset(LE) == 0 => {}
            elf::PT_LOAD => segments.push(segment(program, file_bytes, slot)?),
            elf::PT_NOTE => found = Some(notes(program, page)?),
            other => return Err(Invalid(format!("program header of type {other:?}"))),
        }
    }
    let notes = found.ok_or_else(|| Invalid("it has no notes".into()))?;
    let mut end = slot.base + HEADER_BYTES;
    let is_far = |segment: &Segment| slot.far_range().contains(&segment.address);
    if segments.iter().filter(|segment| is_far(segment)).count() > 1 {
        return Err(Invalid("it has several far segments".into()));
    }
    for segment in segments.iter().filter(|segment| !is_far(segment)) {
        if segment.address < end {
            return Err(Invalid("segments overlap".into()));
        }
        end = page_end(segment.address + segment.memory_bytes);
    }
    check_manifest(&notes.manifest, &segments, slot)?;
    Ok((segments, notes))
}

fn segment(program: &ProgramHeader64<LE>, file_bytes: u64, slot: Slot) -> Result<Segment, Invalid> {
    let (address, offset) = (program.p_vaddr(LE), program.p_offset(LE));
    let (in_file, in_memory) = (program.p_filesz(LE), program.p_memsz(LE));
    const READ_WRITE: u32 = elf::PF_R.0 | elf::PF_W.0;
    const READ_EXECUTE: u32 = elf::PF_R.0 | elf::PF_X.0;
    let protection = match program.p_flags(LE).0 {
        flags if flags == elf::PF_R.0 => Protection::Read,
        READ_WRITE => Protection::ReadWrite,
        READ_EXECUTE => Protection::ReadExecute,
        flags => return Err(Invalid(format!("segment with protection {flags:#x}"))),
    };
    let fits =
        |start: u64, size: u64, end: u64| start.checked_add(size).is_some_and(|at| at <= end);
    let far = slot.far_range();
    if far.contains(&address) {
        // Only zeroes are there.
        let good = address == far.start
            && in_file == 0
            && in_memory > 0
            && fits(address, in_memory, far.end)
            && protection == Protection::ReadWrite;
        if !good {
            return Err(Invalid(format!("far segment at {address:#x} is not of zeroes in place")));
        }
        return Ok(Segment { address, file_bytes: 0, memory_bytes: in_memory, protection });
    }
    let good = address.is_multiple_of(PAGE_BYTES)
        && address > slot.base
        && address.checked_sub(slot.base) == Some(offset)
        && in_file <= in_memory
        && in_memory > 0
        && fits(address, in_memory, slot.base + slot.size)
        && fits(offset, in_file, file_bytes);
    if !good {
        return Err(Invalid(format!("segment at {address:#x} is not within its slot and file")));
    }
    Ok(Segment { address, file_bytes: in_file, memory_bytes: in_memory, protection })
}

fn notes(program: &ProgramHeader64<LE>, page: &[u8]) -> Result<Notes, Invalid> {
    let bad = |error: object::Error| Invalid(error.to_string());
    let mut notes =
        program.notes(LE, page).map_err(bad)?.ok_or_else(|| Invalid("no notes".into()))?;
    let (mut manifest, mut build_id) = (None, Vec::new());
    while let Some(note) = notes.next().map_err(bad)? {
        match (note.name(), note.n_type(LE)) {
            (elf::ELF_NOTE_GNU, elf::NT_GNU_BUILD_ID) => build_id = note.desc().to_vec(),
            _ if note.n_type(LE).0 == NOTE_TYPE && note.name_bytes() == NOTE_NAME => {
                manifest = Some(Manifest::decode(note.desc())?);
            }
            _ => {}
        }
    }
    let manifest = manifest.ok_or_else(|| Invalid("it has no Kiln note".into()))?;
    Ok(Notes { manifest, build_id })
}

fn check_manifest(manifest: &Manifest, segments: &[Segment], slot: Slot) -> Result<(), Invalid> {
    if manifest.slot != slot.range() {
        return Err(Invalid(format!("it is linked for {:#x}", manifest.slot.start)));
    }
    let inside = |range: &Range<u64>, executable: bool| {
        range.is_empty()
            || segments.iter().any(|segment| {
                let end = segment.address + segment.memory_bytes;
                segment.address <= range.start
                    && range.end <= end
                    && (segment.protection == Protection::ReadExecute) == executable
            })
    };
    let tables = manifest.initialisers.iter().chain(&manifest.finalisers);
    for table in tables.clone().chain([&manifest.eh_frame]) {
        if !inside(table, false) {
            return Err(Invalid(format!("table at {:#x} is outside its segments", table.start)));
        }
    }
    if tables.clone().any(|table| !table.start.is_multiple_of(8) || !table.end.is_multiple_of(8)) {
        return Err(Invalid("table of functions is not aligned".into()));
    }
    for &(entry, address) in &manifest.entries {
        if !inside(&(address..address.saturating_add(1)), true) {
            return Err(Invalid(format!("entry {entry} at {address:#x} is not code")));
        }
    }
    Ok(())
}
