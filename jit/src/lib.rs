//! C++ source to image: Clang, LLVM and ORC, in the compile child.
//!
//!     source --Clang--> module --inkwell: link, optimise--> object --ORC, JITLink--> image
//!
//! The C++ of `shim/` does what LLVM's C API cannot; all policy is here. This crate alone knows that
//! Clang and LLVM exist. It forks nothing, maps nothing executable and runs no code it has made.

mod arguments;
#[allow(unsafe_code)] // LLVM's C API for intrinsics, which inkwell wraps in part.
mod contraction;
mod demangle;
#[allow(unsafe_code)] // LLVM's C API for globals, which inkwell wraps in part.
mod far;
#[allow(unsafe_code)] // Calls into the shim, and the callbacks that it makes.
mod ffi;
mod files;
mod front_end;
mod headers;
#[allow(unsafe_code)] // The binary's own ELF header, where the linker says it is.
mod identity;
#[allow(unsafe_code)] // LLVM's C API for constants, which inkwell does not wrap.
mod initialisers;
mod ir;
mod memory;
mod names;
mod pattern;
mod pch;
#[allow(unsafe_code)] // LLVM's C API for uses and debug locations, which inkwell does not wrap.
mod place;
mod refusal;
mod refused;
mod symbols;
mod told;

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use heritage::{CompileOutcome, Diagnostic, Severity, diagnostic};
use image::{EntryPoint, Slot, Writer};
use inkwell::context::Context;
use inkwell::llvm_sys::prelude::LLVMValueRef;
use inkwell::module::{Linkage, Module};
use inkwell::targets::TargetMachine;
use inkwell::values::AsValueRef;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use arguments::Unit;
use cache::Name;
pub use demangle::demangled;
use far::Far;
use files::ScriptFiles;
use ir::Cpu;
pub use memory::Cache;
use memory::{Made, Memory, Said};
use names::Names;
pub use pattern::matches;
use place::Place;
use refusal::Known;
pub use refused::{Refused as RefusedSymbol, refused as refused_symbol};
pub use symbols::{SymbolGroup, SymbolTable, program_groups, worker_groups};

/// Most scripts of one generation.
const SCRIPTS_MAX: usize = 1024;
/// The least that protections and mappings work with.
const PAGE_BYTES: u64 = 4096;
const SEARCH: &str = env!("KILN_SEARCH");
const RESOURCE: &str = env!("KILN_RESOURCE");

/// What to compile, and where to.
pub struct Job<'a> {
    /// What it is.
    pub what: Source<'a>,
    /// Where it will be mapped.
    pub slot: Slot,
    /// An empty memfd for the image.
    pub image: &'a OwnedFd,
    /// What it may link against.
    pub symbols: &'a SymbolTable,
    /// How much debug information it gets.
    pub debug: Debug,
    /// The processor that code is made for: `host`, or a name of LLVM's.
    pub cpu: &'a str,
    /// What earlier compiles left.
    pub cache: Option<Cache<'a>>,
}

/// How much debug information code gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debug {
    /// Variables and types, beside files and lines.
    Full,
    /// Files and lines.
    Lines,
}

/// Source text.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// One script, or a folder of scripts that are asked in the order of their names.
    Scripts(&'a Path),
    /// A C++ program with `main`.
    Program(Program<'a>),
}

/// A program, and what its author says about how to compile it.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Folders where headers are looked for, before the standard ones; they may be read like the
    /// program's own.
    pub include: &'a [PathBuf],
    /// Macros, in the form `NAME` or `NAME=VALUE`.
    pub define: &'a [String],
}

impl Program<'_> {
    /// As Clang takes it.
    fn options(&self) -> Vec<String> {
        let include = self.include.iter().map(|folder| format!("-I{}", folder.display()));
        include.chain(self.define.iter().map(|define| format!("-D{define}"))).collect()
    }

    /// Folders that it may read.
    fn roots(&self) -> Vec<PathBuf> {
        [parent(self.path)].into_iter().chain(self.include.iter().cloned()).collect()
    }
}

impl<'a> Source<'a> {
    fn path(&self) -> &'a Path {
        match self {
            Self::Scripts(path) => path,
            Self::Program(program) => program.path,
        }
    }
}

/// Compiles; whatever goes wrong is among the diagnostics.
pub fn compile(job: &Job<'_>) -> CompileOutcome {
    let mut outcome = CompileOutcome::default();
    match run(job, &mut outcome) {
        Ok(()) => outcome.compiled = true,
        Err(Refused) => debug_assert!(!outcome.diagnostics.is_empty(), "a refusal says why"),
    }
    let unseen = outcome.counts;
    for found in &outcome.diagnostics {
        outcome.counts.add(found.severity);
    }
    diagnostic::limit(&mut outcome.diagnostics, unseen);
    outcome
}

/// The job failed, and the diagnostics say why.
struct Refused;

fn run(job: &Job<'_>, outcome: &mut CompileOutcome) -> Result<(), Refused> {
    let (paths, roots, options, unit) = match job.what {
        Source::Scripts(path) => {
            let (paths, root) = list_scripts(path).map_err(|error| outcome.refuse(path, error))?;
            (paths, vec![root], vec![], Unit::Script)
        }
        Source::Program(it) => (vec![it.path.to_owned()], it.roots(), it.options(), Unit::Program),
    };
    let cpu = Cpu::named(job.cpu).map_err(|error| outcome.refuse(&paths[0], error))?;
    let mut steps = Steps::start();
    let files = ScriptFiles::new(&roots);
    let memory = Memory::new(job.cache.as_ref());
    let generation = Generation { job, unit, paths: &paths, options, cpu, files, memory };
    let made = generation.make(&mut steps, outcome);
    let linked = made.and_then(|object| generation.link(object, outcome));
    outcome.steps.link_ms = steps.next();
    // What compiled is worth keeping also where something else did not.
    if let Err(error) = generation.memory.write() {
        let message = format!("the cache gets nothing of this compile: {error}");
        outcome.diagnostics.push(Diagnostic::about(Severity::Warning, "", message));
    }
    linked
}

/// One compile, with what it works with.
struct Generation<'a> {
    job: &'a Job<'a>,
    unit: Unit,
    paths: &'a [PathBuf],
    /// What their author says to Clang.
    options: Vec<String>,
    cpu: Cpu,
    files: ScriptFiles,
    memory: Memory<'a>,
}

/// An object file.
struct Object {
    made: Made,
    /// Where symbols are used that may not be; of an object from the cache nothing is left to say.
    places: HashMap<String, Place>,
    /// What scripts have for each other; the same holds.
    names: Names,
    /// By what it is to be remembered, if it is new.
    name: Option<Name>,
}

impl Generation<'_> {
    /// Makes the object file of all scripts, from what is remembered as far as that goes.
    fn make(&self, steps: &mut Steps, outcome: &mut CompileOutcome) -> Result<Object, Refused> {
        let Self { job, unit, paths, options, cpu, files, memory } = self;
        let scripts = front_end::scripts(*unit, job.debug, paths, options, files, memory);
        outcome.steps.scripts = scripts.len();
        let known = front_end::object_name(&scripts, cpu, memory);
        if let Some(made) = known.and_then(|name| memory.recall(&name)) {
            outcome.diagnostics.extend_from_slice(&made.said.diagnostics);
            outcome.counts = made.said.unseen;
            outcome.steps.front_end_ms = steps.next();
            let (places, names) = (HashMap::new(), Names::default());
            return Ok(Object { made, places, names, name: None });
        }
        let compiled = front_end::compile_all(*unit, &scripts, files, memory);
        outcome.steps.compiled = compiled.iter().filter(|script| !script.is_old).count();
        let names = front_end::hear(paths, &compiled, files, outcome)?;
        let context = Context::create();
        let module = front_end::link(&context, *unit, paths, &compiled, outcome)?;
        // A program may have asked for other headers' code, with macros of its own; a script's come
        // from the precompiled header.
        if *unit == Unit::Script {
            ir::call_the_library(&module, job.symbols);
        }
        outcome.steps.front_end_ms = steps.next();

        let machine = ir::target_machine(cpu);
        let find = |symbol| place::first_use(symbol, |file| files.is_own(file), &names);
        let places = optimise(&context, &module, &machine, cpu, self.entry(), job.symbols, find)
            .map_err(|error| outcome.refuse(&paths[0], ir::in_their_words(&error)))?;
        far::move_out(&module, &machine);
        outcome.steps.optimise_ms = steps.next();

        let code = ffi::generate(&module, &cpu.name, &cpu.features)
            .map_err(|error| outcome.refuse(&paths[0], error))?;
        outcome.steps.code_ms = steps.next();
        let units: Option<Vec<Name>> = compiled.iter().map(|script| script.name).collect();
        let name = units.map(|units| memory.object(&units, cpu));
        let (diagnostics, unseen) = (outcome.diagnostics.clone(), outcome.counts);
        let said = Said { diagnostics, unseen, ..Said::default() };
        Ok(Object { made: Made { said, code }, places, names, name })
    }

    /// Links it into the image.
    fn link(&self, object: Object, outcome: &mut CompileOutcome) -> Result<(), Refused> {
        let code = &object.made.code;
        let Object { places, names, .. } = &object;
        let known = Known { files: &self.files, names, places };
        let symbols = resolve(code, self.job, &known, outcome)?;
        link(code, &symbols, self.entry(), self.unit, self.job).map_err(|error| {
            let error = ir::in_their_words(&error);
            outcome.refuse(&self.paths[0], format!("the image cannot be linked: {error}"))
        })?;
        if let Some(name) = object.name {
            self.memory.remember(name, &object.made);
        }
        Ok(())
    }

    fn entry(&self) -> &'static str {
        match self.unit {
            Unit::Script => ir::CHAIN,
            Unit::Program => "main",
        }
    }
}

/// The scripts of a path, in order, and the folder whose headers they may include.
fn list_scripts(path: &Path) -> Result<(Vec<PathBuf>, PathBuf), String> {
    let found = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !found.is_dir() {
        return Ok((vec![path.to_owned()], parent(path)));
    }
    let entries = fs::read_dir(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut scripts = Vec::new();
    for entry in entries {
        let script = entry.map_err(|error| format!("cannot be read: {error}"))?.path();
        if is_script(&script) {
            // `./a.cc` is `a.cc` to everybody.
            scripts.push(script.strip_prefix(".").map(Path::to_owned).unwrap_or(script));
        }
    }
    scripts.sort();
    match scripts.len() {
        0 => Err("no script in this folder: their names end in .cc, .cpp or .cxx".into()),
        count if count > SCRIPTS_MAX => Err(format!("{count} scripts, of {SCRIPTS_MAX} at most")),
        _ => Ok((scripts, path.to_owned())),
    }
}

/// Whether a file is a script, rather than a header or a script's test.
fn is_script(path: &Path) -> bool {
    let source = path.extension().is_some_and(|end| end == "cc" || end == "cpp" || end == "cxx");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    source && !stem.ends_with("_test") && !stem.starts_with('.') && path.is_file()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// Optimises for this machine; returns where the script uses symbols that it may not.
fn optimise(
    context: &Context,
    module: &Module<'_>,
    machine: &TargetMachine,
    cpu: &Cpu,
    entry: &str,
    symbols: &SymbolTable,
    first_use: impl Fn(LLVMValueRef) -> Option<Place>,
) -> Result<HashMap<String, Place>, String> {
    ir::keep_only(module, machine, entry)?;
    // What a library's header defines only to be inlined (`extern template`) the library defines too.
    let elsewhere = |linkage| linkage == Linkage::AvailableExternally;
    let functions = module
        .get_functions()
        .filter(|function| function.count_basic_blocks() == 0 || elsewhere(function.get_linkage()));
    let functions =
        functions.map(|function| (function.get_name().to_owned(), function.as_value_ref()));
    let globals = module.get_globals();
    let globals =
        globals.filter(|global| global.is_declaration() || elsewhere(global.get_linkage()));
    let globals = globals.map(|global| (global.get_name().to_owned(), global.as_value_ref()));
    let mut places = HashMap::new();
    for (name, value) in functions.chain(globals) {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with("llvm.")
            && symbols.address(&name).is_none()
            && let Some(place) = first_use(value)
        {
            places.insert(name, place);
        }
    }
    contraction::separate(context, module);
    ir::set_cpu(context, module, cpu);
    ir::optimise(module, machine)?;
    Ok(places)
}

/// Addresses of what the object file leaves undefined, or a refusal for each that is not allowed.
fn resolve(
    object: &[u8],
    job: &Job<'_>,
    known: &Known<'_>,
    outcome: &mut CompileOutcome,
) -> Result<Vec<(String, u64)>, Refused> {
    let file = object::File::parse(object).expect("LLVM writes whole object files");
    let mut found = vec![(image::runtime::IDENTITY_SYMBOL.to_owned(), job.slot.base)];
    let mut missing = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.is_undefined()) {
        let name = symbol.name().unwrap_or_default();
        if name.is_empty() || name == "_GLOBAL_OFFSET_TABLE_" || name == found[0].0 {
            continue;
        }
        if let Some(far) = Far::of_symbol(name) {
            match far.address(job.slot) {
                Ok(address) => found.push((name.to_owned(), address)),
                Err(error) => return Err(outcome.refuse(job.what.path(), error)),
            }
            continue;
        }
        match job.symbols.address(name) {
            Some(address) => found.push((name.to_owned(), address)),
            // The linker knows where a section of the object begins and ends.
            None if bounded_section(name).is_some_and(|it| file.section_by_name(it).is_some()) => {}
            // JITLink resolves a weak symbol that does not exist to null.
            None if symbol.is_weak() => {}
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    outcome.diagnostics.extend(refusal::refusals(&missing, job.what, known));
    Err(Refused)
}

/// The section whose bounds `__start_NAME` and `__stop_NAME` are.
fn bounded_section(symbol: &str) -> Option<&str> {
    symbol.strip_prefix("__start_").or_else(|| symbol.strip_prefix("__stop_"))
}

fn link(
    object: &[u8],
    symbols: &[(String, u64)],
    entry: &str,
    unit: Unit,
    job: &Job<'_>,
) -> Result<(), String> {
    let mut writer = Writer::new(job.image, job.slot).map_err(|error| error.to_string())?;
    ffi::link(object, symbols, &[entry], page_bytes(object), &mut writer)?;
    far::describe(symbols, job.slot, &mut writer);
    let address = writer.address_of(entry).ok_or_else(|| format!("{entry} got lost"))?;
    let point = match unit {
        Unit::Script => EntryPoint::OnRequest,
        Unit::Program => EntryPoint::Main,
    };
    writer.finish(&[(point, address)]).map_err(|error| error.to_string())
}

/// What segments are aligned to: as much as any section asks for, and a page at least.
fn page_bytes(object: &[u8]) -> u64 {
    let file = object::File::parse(object).expect("LLVM writes whole object files");
    file.sections().map(|section| section.align()).fold(PAGE_BYTES, u64::max)
}

trait Refuse {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused;
}

impl Refuse for CompileOutcome {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused {
        let path = path.display().to_string();
        self.diagnostics.push(Diagnostic::about(Severity::Error, &path, message));
        Refused
    }
}

/// A stop watch for [`CompileSteps`].
struct Steps(Instant);

impl Steps {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the step before.
    fn next(&mut self) -> f64 {
        let now = Instant::now();
        let elapsed = now.duration_since(self.0);
        self.0 = now;
        elapsed.as_micros() as f64 / 1e3
    }
}
