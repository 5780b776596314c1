//! C++ source to image: Clang, LLVM and ORC, in the compile child.
//!
//!     source --Clang--> module --inkwell: link, optimise--> object --ORC, JITLink--> image
//!
//! The C++ of `shim/` does what LLVM's C API cannot; all policy is here. This crate alone knows that
//! Clang and LLVM exist. It forks nothing, maps nothing executable and runs no code it has made.

mod arguments;
#[allow(unsafe_code)] // LLVM's C API for intrinsics, which inkwell wraps in part.
mod contraction;
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
#[allow(unsafe_code)] // LLVM's C API for uses and debug locations, which inkwell does not wrap.
mod place;
mod symbols;

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use heritage::{CompileOutcome, Diagnostic, Severity};
use image::{EntryPoint, Slot, Writer};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::targets::TargetMachine;
use inkwell::values::AsValueRef;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use arguments::Unit;
use cache::Name;
use far::Far;
use files::ScriptFiles;
use ir::Cpu;
pub use memory::Cache;
use memory::{Made, Memory, Said};
use place::Place;
pub use symbols::SymbolTable;

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
        outcome.diagnostics.push(warning(message));
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
            outcome.steps.front_end_ms = steps.next();
            return Ok(Object { made, places: HashMap::new(), name: None });
        }
        let compiled = front_end::compile_all(*unit, &scripts, files, memory);
        outcome.steps.compiled = compiled.iter().filter(|script| !script.is_old).count();
        let context = Context::create();
        let module = front_end::link(&context, *unit, paths, &compiled, outcome)?;
        outcome.steps.front_end_ms = steps.next();

        let machine = ir::target_machine(cpu);
        let places = optimise(&context, &module, &machine, cpu, self.entry(), job.symbols, files)
            .map_err(|error| outcome.refuse(&paths[0], error))?;
        far::move_out(&module, &machine);
        outcome.steps.optimise_ms = steps.next();

        let code = ffi::generate(&module, &cpu.name, &cpu.features)
            .map_err(|error| outcome.refuse(&paths[0], error))?;
        outcome.steps.code_ms = steps.next();
        let names: Option<Vec<Name>> = compiled.iter().map(|script| script.name).collect();
        let name = names.map(|names| memory.object(&names, cpu));
        let said = Said { diagnostics: outcome.diagnostics.clone() };
        Ok(Object { made: Made { said, code }, places, name })
    }

    /// Links it into the image.
    fn link(&self, object: Object, outcome: &mut CompileOutcome) -> Result<(), Refused> {
        let code = &object.made.code;
        let symbols = resolve(code, self.job, &object.places, &self.files, outcome)?;
        link(code, &symbols, self.entry(), self.unit, self.job).map_err(|error| {
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
            scripts.push(script);
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
    files: &ScriptFiles,
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
            && let Some(place) = place::first_use(value, |file| files.is_own(file))
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
    places: &HashMap<String, Place>,
    files: &ScriptFiles,
    outcome: &mut CompileOutcome,
) -> Result<Vec<(String, u64)>, Refused> {
    let file = object::File::parse(object).expect("LLVM writes whole object files");
    let mut found = vec![(image::runtime::IDENTITY_SYMBOL.to_owned(), job.slot.base)];
    let mut refused = false;
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
            None => {
                refused = true;
                outcome.diagnostics.push(refusal(name, places.get(name), job, files));
            }
        }
    }
    if refused { Err(Refused) } else { Ok(found) }
}

/// The section whose bounds `__start_NAME` and `__stop_NAME` are.
fn bounded_section(symbol: &str) -> Option<&str> {
    symbol.strip_prefix("__start_").or_else(|| symbol.strip_prefix("__stop_"))
}

fn refusal(symbol: &str, place: Option<&Place>, job: &Job<'_>, files: &ScriptFiles) -> Diagnostic {
    let name = demangled(symbol);
    let (path, message) = match job.what {
        Source::Scripts(path) => (path, format!("a script may not use `{name}` in a worker")),
        Source::Program(it) => (it.path, format!("`{name}` is not defined")),
    };
    let Some(place) = place else { return diagnostic(&path.display().to_string(), message) };
    let (file, line, column) = (files.as_named(&place.file, path), place.line, place.column);
    // The source line with a caret, as Clang prints it.
    let source = files.line(&file, line).unwrap_or_default();
    let caret = " ".repeat(column.saturating_sub(1) as usize);
    let rendered = format!(
        "{file}:{line}:{column}: error: {message}\n{line:>5} | {source}\n      | {caret}^\n"
    );
    Diagnostic { severity: Severity::Error, file, line, column, message, rendered }
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

/// A C++ name as people write it.
fn demangled(symbol: &str) -> String {
    cpp_demangle::Symbol::new(symbol)
        .ok()
        .and_then(|name| name.demangle().ok())
        .unwrap_or_else(|| symbol.to_owned())
}

trait Refuse {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused;
}

impl Refuse for CompileOutcome {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused {
        self.diagnostics.push(diagnostic(&path.display().to_string(), message.into()));
        Refused
    }
}

/// A diagnostic about a file as a whole, in the form of Clang's.
fn diagnostic(file: &str, message: String) -> Diagnostic {
    let rendered = format!("{file}: error: {message}\n");
    let (severity, file) = (Severity::Error, file.to_owned());
    Diagnostic { severity, file, line: 0, column: 0, message, rendered }
}

/// A warning about nothing in a script.
pub fn warning(message: String) -> Diagnostic {
    let rendered = format!("warning: {message}\n");
    let severity = Severity::Warning;
    Diagnostic { severity, file: String::new(), line: 0, column: 0, message, rendered }
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
