//! The Rust side of `shim/`: what the C++ declares, and safe calls around it.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;

use heritage::diagnostic::{Include, NOTES_MAX};
use heritage::{Diagnostic, Edit, Note, Position, Severity};
use image::{Protection, Section, Segment, Symbol, Writer};
use inkwell::context::{AsContextRef, Context};
use inkwell::llvm_sys::core::{
    LLVMContextSetDiagnosticHandler, LLVMContextSetDiscardValueNames, LLVMGetModuleContext,
};
use inkwell::llvm_sys::prelude::{LLVMContextRef, LLVMModuleRef, LLVMValueRef};
use inkwell::module::Module;
use inkwell::values::{AsValueRef, FunctionValue};
use serde::{Deserialize, Serialize};

use crate::SymbolTable;
use crate::arguments::Unit;
use crate::memory::Said;
use crate::place::Place;

/// Where Clang's files come from.
pub(crate) trait Files {
    /// What is at this absolute, normal path.
    fn status(&self, path: &str) -> Status;
    /// The content of a file, which lives as long as the process and ends with a NUL byte that is
    /// not counted.
    fn read(&self, path: &str) -> Option<&'static [u8]>;
    /// Absolute path of the folder where relative paths start.
    fn working_folder(&self) -> &str;
}

/// Most diagnostics that are kept of one file: several times what is shown of all.
const FOUND_MAX: usize = 1000;

/// A function or variable of the author's own that a file defines for others, or wants of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    /// As linkers know it.
    pub(crate) symbol: String,
    /// As authors do.
    pub(crate) written: String,
    /// What definition and declaration must agree on: a variable's type, a function's result.
    pub(crate) of_type: String,
    pub(crate) place: Place,
    pub(crate) is_defined: bool,
    /// Static, or in an anonymous namespace.
    pub(crate) is_internal: bool,
    pub(crate) is_variable: bool,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing that the script may see.
    Absent,
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    data: *const c_char,
    size: usize,
}

#[repr(C)]
struct FilesCallbacks {
    context: *const c_void,
    working_folder: Bytes,
    follows_links: bool,
    status: extern "C" fn(*const c_void, Bytes, *mut u64) -> c_int,
    read: extern "C" fn(*const c_void, Bytes, *mut Bytes) -> bool,
}

#[repr(C)]
struct PlaceRecord {
    file: Bytes,
    line: u32,
    column: u32,
}

#[repr(C)]
struct EditRecord {
    from: PlaceRecord,
    to_line: u32,
    to_column: u32,
    text: Bytes,
}

#[repr(C)]
struct DiagnosticRecord {
    severity: c_int,
    place: PlaceRecord,
    end_line: u32,
    end_column: u32,
    message: Bytes,
    option: Bytes,
    category: Bytes,
    rendered: Bytes,
    includes: *const PlaceRecord,
    includes_count: usize,
    edits: *const EditRecord,
    edits_count: usize,
}

#[repr(C)]
struct NameRecord {
    symbol: Bytes,
    written: Bytes,
    of_type: Bytes,
    place: PlaceRecord,
    defined: bool,
    internal: bool,
    variable: bool,
}

#[repr(C)]
struct DiagnosticsCallback {
    context: *mut c_void,
    report: extern "C" fn(*mut c_void, *const DiagnosticRecord),
    name: extern "C" fn(*mut c_void, *const NameRecord),
}

#[repr(C)]
struct Library {
    context: *const c_void,
    has: extern "C" fn(*const c_void, Bytes) -> bool,
}

#[repr(C)]
struct Sink {
    context: *mut c_void,
    write: extern "C" fn(*mut c_void, Bytes),
}

#[repr(C)]
struct HostSymbol {
    name: Bytes,
    address: u64,
}

#[repr(C)]
struct SectionRecord {
    name: Bytes,
    address: u64,
    size: u64,
    protection: u32,
    zero_fill: bool,
    content: Bytes,
}

#[repr(C)]
struct DefinitionRecord {
    name: Bytes,
    address: u64,
    size: u64,
    callable: bool,
    local: bool,
}

#[repr(C)]
struct SegmentRecord {
    address: u64,
    content_size: u64,
    size: u64,
    protection: u32,
}

#[repr(C)]
struct Target {
    base: u64,
    size: u64,
    page_size: u64,
    alias: *mut u8,
    context: *mut c_void,
    segment: extern "C" fn(*mut c_void, *const SegmentRecord),
    section: extern "C" fn(*mut c_void, *const SectionRecord),
    definition: extern "C" fn(*mut c_void, *const DefinitionRecord),
}

unsafe extern "C" {
    fn kshim_compile(
        arguments: *const *const c_char,
        count: usize,
        files: *const FilesCallbacks,
        diagnostics: *const DiagnosticsCallback,
        is_script: bool,
        library: *const Library,
        context: LLVMContextRef,
        module: *mut LLVMModuleRef,
    ) -> bool;
    fn kshim_drop_body(function: LLVMValueRef) -> bool;
    fn kshim_generate(
        module: LLVMModuleRef,
        cpu: *const c_char,
        features: *const c_char,
        object: *const Sink,
        error: *const Sink,
    ) -> bool;
    fn kshim_check_cpu(name: *const c_char, error: *const Sink) -> bool;
    fn kshim_listen(module: LLVMModuleRef, sink: *const DiagnosticsCallback);
    fn kshim_report_crashes(pipe: c_int);
    fn kshim_out_of_memory() -> !;
    fn kshim_link(
        object: Bytes,
        symbols: *const HostSymbol,
        symbols_count: usize,
        roots: *const Bytes,
        roots_count: usize,
        target: *const Target,
        error: *const Sink,
    ) -> bool;
}

/// Runs Clang's front end; the module comes unoptimised. What a script makes of the C++ library's
/// templates is called where `symbols` has it. `None` after errors, which are then among the
/// diagnostics.
pub(crate) fn compile<'ctx>(
    context: &'ctx Context,
    unit: Unit,
    symbols: &SymbolTable,
    arguments: &[String],
    files: &dyn Files,
    said: &mut Said,
) -> Option<Module<'ctx>> {
    let arguments: Vec<CString> = arguments.iter().map(|text| c_string(text)).collect();
    let pointers: Vec<*const c_char> = arguments.iter().map(|text| text.as_ptr()).collect();
    let callbacks = FilesCallbacks {
        context: (&raw const files).cast(),
        working_folder: bytes(files.working_folder().as_bytes()),
        // What is remembered of a script is told by paths, and so they are what they say.
        follows_links: unit == Unit::Program,
        status: file_status,
        read: file_read,
    };
    let report = DiagnosticsCallback { context: ptr::from_mut(said).cast(), report, name };
    let is_script = unit == Unit::Script;
    let library = Library { context: ptr::from_ref(symbols).cast(), has: library_has };
    let library = if is_script { &raw const library } else { ptr::null() };
    let mut module = ptr::null_mut();
    // SAFETY: every pointer lives through the call, and the callbacks cast their contexts back to
    // what was put there.
    let compiled = unsafe {
        let context = context.as_ctx_ref();
        let (pointers, count) = (pointers.as_ptr(), pointers.len());
        kshim_compile(
            pointers,
            count,
            &callbacks,
            &report,
            is_script,
            library,
            context,
            &mut module,
        )
    };
    // SAFETY: the shim gives up the module, which belongs to `context`.
    compiled.then(|| unsafe { Module::new(module) })
}

/// From now on values of this context get no names but those that are linked by: nobody reads them.
pub(crate) fn discard_value_names(context: &Context) {
    // SAFETY: the context lives.
    unsafe { LLVMContextSetDiscardValueNames(context.as_ctx_ref(), 1) };
}

/// Makes a declaration of a definition, unless an alias needs it.
pub(crate) fn drop_body(function: FunctionValue<'_>) {
    // SAFETY: the function belongs to a live module, and nobody holds a part of its body.
    unsafe { kshim_drop_body(function.as_value_ref()) };
}

/// Generates an object file for this CPU.
pub(crate) fn generate(module: &Module, cpu: &str, features: &str) -> Result<Vec<u8>, String> {
    let (mut object, mut error) = (Vec::new(), Vec::new());
    let (cpu, features) = (c_string(cpu), c_string(features));
    // SAFETY: every pointer lives through the call.
    let generated = unsafe {
        let (object, error) = (sink(&mut object), sink(&mut error));
        kshim_generate(module.as_mut_ptr(), cpu.as_ptr(), features.as_ptr(), &object, &error)
    };
    if generated { Ok(object) } else { Err(text(&error)) }
}

/// Whether there is a CPU of this name, and this machine can do all that it can.
pub(crate) fn check_cpu(name: &str) -> Result<(), String> {
    let (name, mut error) = (c_string(name), Vec::new());
    // SAFETY: every pointer lives through the call.
    let good = unsafe { kshim_check_cpu(name.as_ptr(), &sink(&mut error)) };
    if good { Ok(()) } else { Err(text(&error)) }
}

/// Links an object file into the image. What it leaves undefined must be among `symbols`; segments
/// start at a multiple of `page_bytes`.
pub(crate) fn link(
    object: &[u8],
    symbols: &[(String, u64)],
    roots: &[&str],
    page_bytes: u64,
    writer: &mut Writer,
) -> Result<(), String> {
    let symbols: Vec<HostSymbol> = symbols
        .iter()
        .map(|(name, address)| HostSymbol { name: bytes(name.as_bytes()), address: *address })
        .collect();
    let roots: Vec<Bytes> = roots.iter().map(|root| bytes(root.as_bytes())).collect();
    let mut error = Vec::new();
    let target = Target {
        base: writer.base(),
        size: writer.size(),
        page_size: page_bytes,
        alias: writer.alias().as_mut_ptr(),
        context: ptr::from_mut(writer).cast(),
        segment: on_segment,
        section: on_section,
        definition: on_definition,
    };
    // SAFETY: every pointer lives through the call; the alias is as long as `size`, and nobody else
    // uses the writer meanwhile.
    let linked = unsafe {
        let error = sink(&mut error);
        kshim_link(
            bytes(object),
            symbols.as_ptr(),
            symbols.len(),
            roots.as_ptr(),
            roots.len(),
            &target,
            &error,
        )
    };
    if linked { Ok(()) } else { Err(text(&error)) }
}

extern "C" fn file_status(context: *const c_void, path: Bytes, size: *mut u64) -> c_int {
    // SAFETY: the context is the trait object's reference that `compile` took the address of.
    let files = unsafe { *context.cast::<&dyn Files>() };
    match files.status(&borrow(&path)) {
        Status::Absent => 0,
        Status::File(bytes) => {
            // SAFETY: the shim passes a valid place for the size.
            unsafe { *size = bytes };
            1
        }
        Status::Folder => 2,
    }
}

extern "C" fn file_read(context: *const c_void, path: Bytes, content: *mut Bytes) -> bool {
    // SAFETY: as in `file_status`.
    let files = unsafe { *context.cast::<&dyn Files>() };
    let Some(found) = files.read(&borrow(&path)) else { return false };
    // SAFETY: the shim passes a valid place for the content.
    unsafe { *content = bytes(found) };
    true
}

extern "C" fn library_has(context: *const c_void, symbol: Bytes) -> bool {
    // SAFETY: the context is the table that `compile` borrowed for the call.
    let symbols = unsafe { &*context.cast::<SymbolTable>() };
    std::str::from_utf8(raw(&symbol)).is_ok_and(|name| symbols.is_called(name))
}

extern "C" fn report(context: *mut c_void, record: *const DiagnosticRecord) {
    // SAFETY: the context is what `compile` borrowed mutably for the call, or what a `Listener` owns,
    // and the record is the shim's for the length of this one.
    let (said, record) = unsafe { (&mut *context.cast::<Said>(), &*record) };
    let (file, line, column) = place_parts(&record.place);
    let end = (record.end_line > 0)
        .then_some(Position { line: record.end_line, column: record.end_column });
    let message = borrow(&record.message);
    let included_from = records(record.includes, record.includes_count)
        .map(|include| Include { file: borrow(&include.file), line: include.line });
    let included_from: Vec<Include> = included_from.take(NOTES_MAX).collect();
    let edits = records(record.edits, record.edits_count).map(edit).collect();
    let rendered = borrow(&record.rendered);
    let severity = match record.severity {
        0 => {
            let note = Note { file, line, column, end, message, included_from, edits };
            if let Some(before) = said.diagnostics.last_mut().filter(|_| !said.is_full) {
                before.note(note, &rendered);
            }
            return;
        }
        1 => Severity::Warning,
        _ => Severity::Error,
    };
    // Errors have room of their own: warnings must not hide why a script is refused.
    let most = if severity == Severity::Error { 2 * FOUND_MAX } else { FOUND_MAX };
    said.is_full = said.diagnostics.len() >= most;
    if said.is_full {
        return said.unseen.add(severity);
    }
    let text = |bytes: &Bytes| Some(borrow(bytes)).filter(|text| !text.is_empty());
    let mut found = Diagnostic {
        severity,
        file,
        line,
        column,
        end,
        message,
        option: text(&record.option).map(|option| format!("-W{option}")),
        category: text(&record.category),
        included_from,
        notes: Vec::new(),
        edits,
        rendered,
    };
    found.clip();
    said.diagnostics.push(found);
}

extern "C" fn name(context: *mut c_void, record: *const NameRecord) {
    // SAFETY: as in `report`.
    let (said, record) = unsafe { (&mut *context.cast::<Said>(), &*record) };
    let (file, line, column) = place_parts(&record.place);
    said.names.push(Named {
        symbol: borrow(&record.symbol),
        written: borrow(&record.written),
        of_type: borrow(&record.of_type),
        place: Place { file, line, column },
        is_defined: record.defined,
        is_internal: record.internal,
        is_variable: record.variable,
    });
}

fn place_parts(place: &PlaceRecord) -> (String, u32, u32) {
    (borrow(&place.file), place.line, place.column)
}

fn edit(record: &EditRecord) -> Edit {
    let (file, line, column) = place_parts(&record.from);
    let end = Position { line: record.to_line, column: record.to_column };
    Edit { file, start: Position { line, column }, end, text: borrow(&record.text) }
}

/// What the shim lends with a record.
fn records<'a, T: 'a>(first: *const T, count: usize) -> impl Iterator<Item = &'a T> {
    let records = match count {
        0 => &[],
        // SAFETY: the shim lends so many for the length of the callback that asks.
        _ => unsafe { slice::from_raw_parts(first, count) },
    };
    records.iter()
}

/// From now on a crash of this process is reported to the pipe, and so is the end of its memory.
pub(crate) fn report_crashes(pipe: &File) {
    // SAFETY: the handlers keep to what a handler may do; the pipe stays open in a compile child.
    unsafe { kshim_report_crashes(pipe.as_raw_fd()) };
}

/// What LLVM says about a module after the front end, while this lives.
pub(crate) struct Listener<'a, 'ctx> {
    module: &'a Module<'ctx>,
    said: Box<Said>,
}

impl<'a, 'ctx> Listener<'a, 'ctx> {
    /// Takes the place of whoever listened to the module's context before.
    pub(crate) fn new(module: &'a Module<'ctx>) -> Self {
        let mut said = Box::<Said>::default();
        let context = ptr::from_mut(&mut *said).cast();
        let sink = DiagnosticsCallback { context, report, name };
        // SAFETY: the module lives for 'a, and `said` stays where it is until `drop`.
        unsafe { kshim_listen(module.as_mut_ptr(), &sink) };
        Self { module, said }
    }

    /// What it said until now.
    pub(crate) fn said(&mut self) -> Said {
        std::mem::take(&mut *self.said)
    }
}

impl Drop for Listener<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: the module lives. Without a handler LLVM refers to nothing of ours any more.
        unsafe {
            let context = LLVMGetModuleContext(self.module.as_mut_ptr());
            LLVMContextSetDiagnosticHandler(context, None, ptr::null_mut());
        }
    }
}

extern "C" fn on_segment(context: *mut c_void, record: *const SegmentRecord) {
    // SAFETY: the context is the writer that `link` borrowed mutably for the call.
    let (writer, record) = unsafe { (&mut *context.cast::<Writer>(), &*record) };
    writer.segment(Segment {
        address: record.address,
        file_bytes: record.content_size,
        memory_bytes: record.size,
        protection: protection(record.protection),
    });
}

extern "C" fn on_section(context: *mut c_void, record: *const SectionRecord) {
    // SAFETY: as in `on_segment`.
    let (writer, record) = unsafe { (&mut *context.cast::<Writer>(), &*record) };
    let name = borrow(&record.name);
    // Of what is not loaded, relocations and the object file's own tables have served their purpose.
    // The index of names covers only the chain's unit, and GDB would look no further.
    let kept = name.starts_with(".debug_") && name != ".debug_names";
    if record.protection == 0 && !kept {
        return;
    }
    writer.section(Section {
        name,
        address: record.address,
        size: record.size,
        protection: (record.protection != 0).then(|| protection(record.protection)),
        zero_fill: record.zero_fill,
        content: raw(&record.content).to_vec(),
    });
}

extern "C" fn on_definition(context: *mut c_void, record: *const DefinitionRecord) {
    // SAFETY: as in `on_segment`.
    let (writer, record) = unsafe { (&mut *context.cast::<Writer>(), &*record) };
    writer.symbol(Symbol {
        name: borrow(&record.name),
        address: record.address,
        size: record.size,
        function: record.callable,
        local: record.local,
    });
}

fn protection(bits: u32) -> Protection {
    match bits {
        5 => Protection::ReadExecute,
        6 => Protection::ReadWrite,
        4 => Protection::Read,
        other => unreachable!("JITLink has no segment of protection {other}"),
    }
}

fn sink(bytes: &mut Vec<u8>) -> Sink {
    extern "C" fn write(context: *mut c_void, bytes: Bytes) {
        // SAFETY: the context is the vector that the caller of the shim borrowed for the call.
        let sink = unsafe { &mut *context.cast::<Vec<u8>>() };
        if sink.try_reserve(bytes.size).is_err() {
            // SAFETY: ends the process.
            unsafe { kshim_out_of_memory() };
        }
        sink.extend(raw(&bytes));
    }
    Sink { context: ptr::from_mut(bytes).cast(), write }
}

fn bytes(slice: &[u8]) -> Bytes {
    Bytes { data: slice.as_ptr().cast(), size: slice.len() }
}

fn raw<'a>(bytes: &Bytes) -> &'a [u8] {
    if bytes.size == 0 {
        return &[];
    }
    // SAFETY: the shim lends `size` bytes for the length of a callback, in which alone this is used.
    unsafe { slice::from_raw_parts(bytes.data.cast(), bytes.size) }
}

fn borrow(bytes: &Bytes) -> String {
    text(raw(bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Arguments hold no NUL: paths come from the command line, the rest is Kiln's own.
fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL in an argument")
}
