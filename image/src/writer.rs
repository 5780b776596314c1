//! Writing an image, in the compile child.
//!
//! The linker writes code and data straight into the memfd through [`Writer::alias`] and says what it
//! put where; [`Writer::finish`] puts the ELF structures around it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use memmap2::MmapMut;
use object::elf;
use object::endian::{LittleEndian as LE, U16, U32, U64};
use object::pod::bytes_of;

use crate::Slot;
use crate::format::{
    EntryPoint, HEADER_BYTES, Manifest, NOTE_NAME, NOTE_TYPE, Protection, Segment, page_end,
};

/// Bytes of a build-id: as many as other tools make.
const BUILD_ID_BYTES: usize = 20;

/// The note that holds it: three words, the name `GNU` with its NUL, and the build-id.
const BUILD_ID_NOTE_BYTES: u64 = 12 + 4 + BUILD_ID_BYTES as u64;

/// Alignment of notes, their names and their contents.
const NOTE_ALIGN: u64 = 4;

/// A section as the linker made it.
#[derive(Clone, Debug)]
pub struct Section {
    /// For instance `.text`.
    pub name: String,
    /// First address; 0 when it is not loaded.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// What may be done with it; `None` when it is not loaded.
    pub protection: Option<Protection>,
    /// Whether it is all zeroes and takes no bytes of the file.
    pub zero_fill: bool,
    /// Its bytes when it is not loaded (debug information); else empty.
    pub content: Vec<u8>,
}

/// A symbol that the image defines.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// Linker name.
    pub name: String,
    /// Address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Whether it is a function.
    pub function: bool,
    /// Whether only its own object file sees it.
    pub local: bool,
}

/// An image being written.
pub struct Writer {
    file: std::fs::File,
    alias: MmapMut,
    slot: Slot,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

impl Writer {
    /// Maps the whole memfd writable, under other addresses than it will run at.
    #[allow(unsafe_code)]
    pub fn new(file: &impl AsFd, slot: Slot) -> io::Result<Self> {
        let file = std::fs::File::from(file.as_fd().try_clone_to_owned()?);
        file.set_len(slot.size)?;
        // SAFETY: the memfd belongs to this process alone until the compile child exits.
        let alias = unsafe { MmapMut::map_mut(&file) }?;
        Ok(Self { file, alias, slot, segments: vec![], sections: vec![], symbols: vec![] })
    }

    /// First address for code and data.
    pub fn base(&self) -> u64 {
        self.slot.base + HEADER_BYTES
    }

    /// Bytes from there.
    pub fn size(&self) -> u64 {
        self.slot.size - HEADER_BYTES
    }

    /// Where this process can write what will be at [`Writer::base`].
    pub fn alias(&mut self) -> &mut [u8] {
        &mut self.alias[HEADER_BYTES as usize..]
    }

    /// The linker put a segment there.
    pub fn segment(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// So many zero bytes are at the slot's far part.
    pub fn far_zeroes(&mut self, bytes: u64) {
        let (address, protection) = (self.slot.far, Protection::ReadWrite);
        self.segment(Segment { address, file_bytes: 0, memory_bytes: bytes, protection });
        self.section(Section {
            name: ".lbss".into(),
            address,
            size: bytes,
            protection: Some(protection),
            zero_fill: true,
            content: vec![],
        });
    }

    /// The linker made this section.
    pub fn section(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The linker defined this symbol.
    pub fn symbol(&mut self, symbol: Symbol) {
        self.symbols.push(symbol);
    }

    /// Address of a symbol.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address)
    }

    /// What the linker defined, in no order.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter()
    }

    /// Linked code: the address of each run, and its bytes.
    pub fn code(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let is_code = |segment: &&Segment| segment.protection == Protection::ReadExecute;
        self.segments.iter().filter(is_code).map(|segment| {
            let from = (segment.address - self.slot.base) as usize;
            (segment.address, &self.alias[from..from + segment.file_bytes as usize])
        })
    }

    /// The bytes of a section that is not loaded.
    pub fn unloaded(&self, name: &str) -> Option<&[u8]> {
        let mut unloaded = self.sections.iter().filter(|section| section.protection.is_none());
        unloaded.find(|section| section.name == name).map(|section| section.content.as_slice())
    }

    /// An image whose hook is these instructions: for tests and measurements, which have no compiler.
    pub fn hook_of(slot: Slot, code: &[u8]) -> io::Result<OwnedFd> {
        let file = crate::create()?;
        let mut writer = Writer::new(&file, slot)?;
        let (address, bytes) = (writer.base(), code.len() as u64);
        writer.alias()[..code.len()].copy_from_slice(code);
        let protection = Protection::ReadExecute;
        writer.segment(Segment { address, file_bytes: bytes, memory_bytes: bytes, protection });
        writer.finish(&[(EntryPoint::OnRequest, address)])?;
        Ok(file)
    }

    /// Writes headers, notes, symbols and debug information around what was linked.
    pub fn finish(mut self, entries: &[(EntryPoint, u64)]) -> io::Result<()> {
        self.segments.sort_by_key(|segment| segment.address);
        self.sections.sort_by_key(|section| (section.protection.is_none(), section.address));
        let (start, end) = (self.slot.base, self.slot.base + self.slot.size);
        let manifest = Manifest {
            slot: start..end,
            eh_frame: self.named(".eh_frame").next().unwrap_or(0..0),
            initialisers: self.arrays(".init_array"),
            finalisers: self.arrays(".fini_array"),
            entries: entries.iter().map(|&(entry, address)| (entry as u64, address)).collect(),
        };
        let near = self.slot.range();
        let last = self.segments.iter().rfind(|segment| near.contains(&segment.address));
        let tail_offset = last.map_or(HEADER_BYTES, |last| {
            page_end(last.address + last.memory_bytes - self.slot.base)
        });
        let (tail, section_headers_at, section_count) = self.tail(tail_offset);
        let build_id = self.digest(&tail);
        let head =
            self.head(&manifest, &build_id, tail_offset + section_headers_at, section_count)?;
        self.alias[..head.len()].copy_from_slice(&head);
        self.file.set_len(tail_offset)?;
        self.file.write_all_at(&tail, tail_offset)
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = std::ops::Range<u64>> + 'a {
        let named = self.sections.iter().filter(move |section| section.name == name);
        named.map(|section| section.address..section.address + section.size)
    }

    /// `.NAME.N` in rising order of N, then `.NAME`: the order in which initialisers run.
    fn arrays(&self, name: &str) -> Vec<std::ops::Range<u64>> {
        let priority = |section: &Section| {
            let suffix = section.name.strip_prefix(name)?;
            let number = suffix.strip_prefix('.').map_or(Some(u32::MAX), |n| n.parse().ok())?;
            Some((number, section.address..section.address + section.size))
        };
        let mut arrays: Vec<_> = self.sections.iter().filter_map(priority).collect();
        arrays.sort_by_key(|(number, range)| (*number, range.start));
        arrays.into_iter().map(|(_, range)| range).collect()
    }

    /// A digest of all that was linked: two images are the same code if and only if it is the same.
    fn digest(&self, tail: &[u8]) -> [u8; BUILD_ID_BYTES] {
        let mut digest = blake3::Hasher::new();
        for segment in &self.segments {
            let from = self.offset_of(segment.address) as usize;
            digest.update(&segment.address.to_le_bytes());
            digest.update(&self.alias[from..from + segment.file_bytes as usize]);
        }
        digest.update(tail);
        let digest = digest.finalize();
        std::array::from_fn(|i| digest.as_bytes()[i])
    }

    /// The first page.
    fn head(
        &self,
        manifest: &Manifest,
        build_id: &[u8],
        section_headers: u64,
        section_count: u16,
    ) -> io::Result<Vec<u8>> {
        let mut notes = note(b"GNU\0", elf::NT_GNU_BUILD_ID.0, build_id);
        notes.extend(note(NOTE_NAME, NOTE_TYPE, &manifest.encode()));
        let notes_at = self.notes_at();
        let count = self.program_headers();
        let mut head = file_header(count as u16, section_headers, section_count);
        let base = self.slot.base;
        let page = self.program_header(elf::PT_LOAD, elf::PF_R, base, HEADER_BYTES, HEADER_BYTES);
        head.extend(page);
        let notes_bytes = notes.len() as u64;
        head.extend(self.program_header(
            elf::PT_NOTE,
            elf::PF_R,
            base + notes_at,
            notes_bytes,
            notes_bytes,
        ));
        for segment in &self.segments {
            let flags = match segment.protection {
                Protection::Read => elf::PF_R,
                Protection::ReadWrite => elf::PF_R | elf::PF_W,
                Protection::ReadExecute => elf::PF_R | elf::PF_X,
            };
            let (file, memory) = (segment.file_bytes, segment.memory_bytes);
            head.extend(self.program_header(elf::PT_LOAD, flags, segment.address, file, memory));
        }
        head.extend(notes);
        if head.len() as u64 > HEADER_BYTES {
            return Err(io::Error::other("too many initialiser arrays for the image's first page"));
        }
        Ok(head)
    }

    /// Where the file has the byte for an address. A far segment has none, and says the first page.
    fn offset_of(&self, address: u64) -> u64 {
        if self.slot.range().contains(&address) { address - self.slot.base } else { HEADER_BYTES }
    }

    /// How many there are: one for the first page, one for the notes, one for each segment.
    fn program_headers(&self) -> usize {
        2 + self.segments.len()
    }

    /// Where the notes are in the first page, that of the build-id first.
    fn notes_at(&self) -> u64 {
        let headers = self.program_headers() * size_of::<elf::ProgramHeader64<LE>>();
        (size_of::<elf::FileHeader64<LE>>() + headers) as u64
    }

    fn program_header(
        &self,
        kind: elf::ProgramType,
        flags: elf::ProgramFlags,
        address: u64,
        file: u64,
        memory: u64,
    ) -> Vec<u8> {
        let offset = self.offset_of(address);
        let address = U64::new(LE, address);
        let header = elf::ProgramHeader64::<LE> {
            p_type: U32::new(LE, kind),
            p_flags: U32::new(LE, flags),
            p_offset: U64::new(LE, offset),
            p_vaddr: address,
            p_paddr: address,
            p_filesz: U64::new(LE, file),
            p_memsz: U64::new(LE, memory),
            p_align: U64::new(LE, if kind == elf::PT_NOTE { NOTE_ALIGN } else { HEADER_BYTES }),
        };
        bytes_of(&header).to_vec()
    }

    /// What follows the segments: debug information, symbols, names, section headers. Returns it
    /// with the offset of the section headers in it, and their count.
    fn tail(&self, at: u64) -> (Vec<u8>, u64, u16) {
        let mut tail = Vec::new();
        let mut names = vec![0];
        let mut headers = vec![SectionHeader::default()];
        for section in &self.sections {
            let header = self.section_header(section, &mut names, &mut tail, at);
            headers.push(header);
        }
        headers.push(self.build_id_header(&mut names));
        let (symbols, strings, first_global) = self.symbol_table();
        let symtab = SectionHeader {
            kind: elf::SHT_SYMTAB,
            link: headers.len() as u32 + 1,
            info: first_global,
            entry: size_of::<elf::Sym64<LE>>() as u64,
            ..SectionHeader::append(&symbols, ".symtab", &mut names, &mut tail, at)
        };
        headers.push(symtab);
        let strtab = SectionHeader::append(&strings, ".strtab", &mut names, &mut tail, at);
        headers.push(SectionHeader { kind: elf::SHT_STRTAB, ..strtab });
        let name = intern(&mut names, ".shstrtab");
        let names_at = at + tail.len() as u64;
        tail.extend(&names);
        let size = names.len() as u64;
        headers.push(SectionHeader {
            name,
            kind: elf::SHT_STRTAB,
            offset: names_at,
            size,
            ..SectionHeader::default()
        });
        tail.resize(tail.len().next_multiple_of(8), 0);
        let headers_at = tail.len() as u64;
        tail.extend(headers.iter().flat_map(SectionHeader::encode));
        (tail, headers_at, headers.len() as u16)
    }

    fn section_header(
        &self,
        section: &Section,
        names: &mut Vec<u8>,
        tail: &mut Vec<u8>,
        at: u64,
    ) -> SectionHeader {
        let Some(protection) = section.protection else {
            return SectionHeader::append(&section.content, &section.name, names, tail, at);
        };
        let access = match protection {
            Protection::Read => elf::SectionFlags(0),
            Protection::ReadWrite => elf::SHF_WRITE,
            Protection::ReadExecute => elf::SHF_EXECINSTR,
        };
        SectionHeader {
            name: intern(names, &section.name),
            kind: if section.zero_fill { elf::SHT_NOBITS } else { elf::SHT_PROGBITS },
            flags: elf::SHF_ALLOC | access,
            address: section.address,
            offset: self.offset_of(section.address),
            size: section.size,
            ..SectionHeader::default()
        }
    }

    /// perf looks for the build-id by the name of its section, and not by program headers.
    fn build_id_header(&self, names: &mut Vec<u8>) -> SectionHeader {
        SectionHeader {
            name: intern(names, ".note.gnu.build-id"),
            kind: elf::SHT_NOTE,
            flags: elf::SHF_ALLOC,
            address: self.slot.base + self.notes_at(),
            offset: self.notes_at(),
            size: BUILD_ID_NOTE_BYTES,
            ..SectionHeader::default()
        }
    }

    /// Symbols and their names; local ones first, as ELF wants it, and how many those are.
    fn symbol_table(&self) -> (Vec<u8>, Vec<u8>, u32) {
        let mut strings = vec![0];
        let mut symbols: Vec<&Symbol> = self.symbols.iter().collect();
        symbols.sort_by_key(|symbol| (!symbol.local, symbol.address));
        let first_global = symbols.iter().take_while(|symbol| symbol.local).count() as u32 + 1;
        let mut table = vec![0; size_of::<elf::Sym64<LE>>()];
        for symbol in symbols {
            let home = self.sections.iter().position(|section| {
                (section.address..section.address + section.size.max(1)).contains(&symbol.address)
            });
            let bind = if symbol.local { elf::STB_LOCAL } else { elf::STB_GLOBAL };
            let kind = if symbol.function { elf::STT_FUNC } else { elf::STT_OBJECT };
            let entry = elf::Sym64::<LE> {
                st_name: U32::new(LE, intern(&mut strings, &symbol.name)),
                st_info: elf::SymbolInfo::new(bind, kind),
                st_other: Default::default(),
                st_shndx: U16::new(
                    LE,
                    elf::SymbolSection(home.map_or(0, |index| index as u16 + 1)),
                ),
                st_value: U64::new(LE, symbol.address),
                st_size: U64::new(LE, symbol.size),
            };
            table.extend(bytes_of(&entry));
        }
        (table, strings, first_global)
    }
}

/// A section header with what this file's sections need of it.
#[derive(Default)]
struct SectionHeader {
    name: u32,
    kind: elf::SectionType,
    flags: elf::SectionFlags,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    entry: u64,
}

impl SectionHeader {
    /// Appends a section's bytes to the tail, which starts at file offset `at`.
    fn append(bytes: &[u8], name: &str, names: &mut Vec<u8>, tail: &mut Vec<u8>, at: u64) -> Self {
        tail.resize(tail.len().next_multiple_of(8), 0);
        let offset = at + tail.len() as u64;
        tail.extend(bytes);
        let name = intern(names, name);
        let size = bytes.len() as u64;
        Self { name, kind: elf::SHT_PROGBITS, offset, size, ..Self::default() }
    }

    fn encode(&self) -> Vec<u8> {
        let header = elf::SectionHeader64::<LE> {
            sh_name: U32::new(LE, self.name),
            sh_type: U32::new(LE, self.kind),
            sh_flags: U64::new(LE, self.flags),
            sh_addr: U64::new(LE, self.address),
            sh_offset: U64::new(LE, self.offset),
            sh_size: U64::new(LE, self.size),
            sh_link: U32::new(LE, self.link),
            sh_info: U32::new(LE, self.info),
            sh_addralign: U64::new(LE, 1),
            sh_entsize: U64::new(LE, self.entry),
        };
        bytes_of(&header).to_vec()
    }
}

fn file_header(program_headers: u16, section_headers: u64, section_count: u16) -> Vec<u8> {
    let header_bytes = size_of::<elf::FileHeader64<LE>>() as u16;
    let header = elf::FileHeader64::<LE> {
        e_ident: elf::Ident {
            magic: elf::ELFMAG,
            class: elf::ELFCLASS64,
            data: elf::ELFDATA2LSB,
            version: elf::EV_CURRENT,
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            padding: [0; 7],
        },
        e_type: U16::new(LE, elf::ET_EXEC),
        e_machine: U16::new(LE, elf::EM_X86_64),
        e_version: U32::new(LE, u32::from(elf::EV_CURRENT.0)),
        e_entry: U64::new(LE, 0),
        e_phoff: U64::new(LE, u64::from(header_bytes)),
        e_shoff: U64::new(LE, section_headers),
        e_flags: U32::default(),
        e_ehsize: U16::new(LE, header_bytes),
        e_phentsize: U16::new(LE, size_of::<elf::ProgramHeader64<LE>>() as u16),
        e_phnum: U16::new(LE, program_headers),
        e_shentsize: U16::new(LE, size_of::<elf::SectionHeader64<LE>>() as u16),
        e_shnum: U16::new(LE, section_count),
        e_shstrndx: U16::new(LE, elf::SymbolSection(section_count - 1)),
    };
    bytes_of(&header).to_vec()
}

fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
    let (name_bytes, content_bytes) = (name.len() as u32, content.len() as u32);
    let mut note: Vec<u8> =
        [name_bytes, content_bytes, kind].iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(name);
    note.extend(content);
    note.resize(note.len().next_multiple_of(NOTE_ALIGN as usize), 0);
    note
}

/// Appends a string and its NUL; returns where it starts.
fn intern(strings: &mut Vec<u8>, name: &str) -> u32 {
    let at = strings.len() as u32;
    strings.extend(name.as_bytes());
    strings.push(0);
    at
}
