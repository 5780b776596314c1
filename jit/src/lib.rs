//! C++ source to image: Clang, LLVM and ORC, in the compile child.
//!
//!     source --Clang--> module --inkwell: link, optimise--> object --ORC, JITLink--> image
//!
//! The C++ of `shim/` does what LLVM's C API cannot; all policy is here. This crate alone knows that
//! Clang and LLVM exist. It forks nothing, maps nothing executable and runs no code it has made.

mod arguments;
mod complaints;
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
mod includes;
#[allow(unsafe_code)] // LLVM's C API for constants, which inkwell does not wrap.
mod initialisers;
mod ir;
mod lowered;
mod memory;
mod names;
mod pattern;
mod pch;
#[allow(unsafe_code)] // LLVM's C API for uses and debug locations, which inkwell does not wrap.
mod place;
mod refusal;
mod refused;
mod scripts;
mod size;
mod source;
mod symbols;
#[allow(unsafe_code)]
// LLVM's C API for assembly outside of functions, which inkwell does not wrap.
mod system_calls;
mod told;
mod uses;

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use heritage::{
    CompileNews, CompileOutcome, CompileReporter, CompileStep, Diagnostic, Severity, diagnostic,
};
use image::{EntryPoint, Slot, Writer};
use inkwell::context::Context;
use inkwell::llvm_sys::prelude::LLVMValueRef;
use inkwell::module::{Linkage, Module};
use inkwell::values::AsValueRef;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use arguments::Unit;
use cache::Name;
pub use demangle::demangled;
use far::Far;
use ffi::Listener;
use files::ScriptFiles;
pub use files::is_header;
use front_end::How;
use ir::Cpu;
pub use memory::Cache;
use memory::{Made, Memory, Said};
use names::Names;
pub use pattern::matches;
use place::Place;
use refusal::Known;
pub use refused::{Refused as RefusedSymbol, refused as refused_symbol};
pub use scripts::{PassedOver, passed_over};
use size::Part;
pub use source::{Program, Scripts, Source};
pub use symbols::{SymbolGroup, SymbolTable, program_groups, worker_groups};

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
    /// Threads at most. Counted by whoever is not fenced yet: a fence hides how
    /// many CPUs this control group has.
    pub threads: usize,
    /// Where to say what is being done, and how it crashes if it does.
    pub report: &'a CompileReporter,
}

/// How much debug information code gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debug {
    /// Variables and types, beside files and lines.
    Full,
    /// Files and lines.
    Lines,
}

/// Whether there is a processor of this name, `host` among them, and this machine can run its code; if
/// not, why.
pub fn check_cpu(name: &str) -> Result<(), String> {
    Cpu::named(name).map(drop)
}

/// Compiles; whatever goes wrong is among the diagnostics.
pub fn compile(job: &Job<'_>) -> CompileOutcome {
    let mut outcome = CompileOutcome::default();
    match on_large_stack(|| run(job, &mut outcome)) {
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

/// Runs it on a stack that Clang and LLVM can count on, whatever this thread has.
fn on_large_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(front_end::STACK_BYTES);
        let thread = thread.spawn_scoped(scope, run).expect("the compile child may have threads");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The job failed, and the diagnostics say why.
struct Refused;

fn run(job: &Job<'_>, outcome: &mut CompileOutcome) -> Result<(), Refused> {
    ffi::report_crashes(job.report.pipe());
    let named = job.what.path();
    let unit = job.what.unit();
    let options = job.what.options();
    let paths = job.what.files().map_err(|error| outcome.refuse(named, error))?;
    let files = ScriptFiles::new(unit, &job.what.reads(), job.threads);
    outcome.refuse_with(job.what.wrong(&paths, &files))?;
    let cpu = Cpu::named(job.cpu).map_err(|error| outcome.refuse(named, error))?;
    let mut steps = Steps::start(job.report);
    let memory = Memory::new(job.cache.as_ref());
    let generation = Generation { job, unit, named, paths: &paths, options, cpu, files, memory };
    let made = generation.make(&mut steps, outcome);
    let linked = made.and_then(|object| generation.link(object, outcome));
    outcome.steps.link_ms = steps.elapsed();
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
    /// The scripts as the operator names them.
    named: &'a Path,
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
    /// Assembly outside of functions, which has no debug information; the same holds.
    assembly: String,
    /// By what it is to be remembered, if it is new.
    name: Option<Name>,
}

impl Generation<'_> {
    /// Makes the object file of all scripts, from what is remembered as far as that goes.
    fn make(&self, steps: &mut Steps<'_>, outcome: &mut CompileOutcome) -> Result<Object, Refused> {
        let Self { job, unit, paths, options, cpu, files, memory, .. } = self;
        let scripts = front_end::scripts(*unit, job.debug, paths, options, files, memory);
        outcome.steps.scripts = scripts.len();
        let known = front_end::object_name(&scripts, cpu, memory);
        if let Some(made) = known.and_then(|name| memory.recall(&name)) {
            outcome.diagnostics.extend_from_slice(&made.said.diagnostics);
            outcome.counts = made.said.unseen;
            outcome.steps.front_end_ms = steps.next(CompileStep::Link);
            let (places, names, assembly) = (HashMap::new(), Names::default(), String::new());
            return Ok(Object { made, places, names, assembly, name: None });
        }
        let how = How {
            unit: *unit,
            files,
            memory,
            symbols: job.symbols,
            include: job.what.include(),
            threads: job.threads,
            report: job.report,
        };
        // What LLVM has made is left to the end of this process: taking it apart takes longer.
        let context = ManuallyDrop::new(Context::create());
        ffi::discard_value_names(&context);
        let (compiled, alone) = front_end::compile_all(&context, &how, &scripts);
        outcome.steps.compiled = compiled.iter().filter(|script| !script.is_old).count();
        let names = front_end::hear(paths, &compiled, files, outcome)?;
        let module = front_end::link(&context, &how, paths, &compiled, alone, outcome)?;
        let module = ManuallyDrop::new(module);
        // A program may have asked for other headers' code, with macros of its own; a script's come
        // from the precompiled header.
        if *unit == Unit::Script {
            ir::call_the_library(&module, job.symbols);
        }
        outcome.steps.front_end_ms = steps.next(CompileStep::Optimise);
        let assembly = system_calls::assembly_outside(&module);
        let (code, places) = self.generate(&context, &module, &names, &assembly, steps, outcome)?;
        let units: Option<Vec<Name>> = compiled.iter().map(|script| script.name).collect();
        let name = units.map(|units| memory.object(&units, cpu));
        let (diagnostics, unseen) = (outcome.diagnostics.clone(), outcome.counts);
        let said = Said { diagnostics, unseen, ..Said::default() };
        Ok(Object { made: Made { said, code }, places, names, assembly, name })
    }

    /// Optimises the module of all scripts and makes an object file of it.
    fn generate<'ctx>(
        &self,
        context: &'ctx Context,
        module: &Module<'ctx>,
        names: &Names,
        assembly: &str,
        steps: &mut Steps<'_>,
        outcome: &mut CompileOutcome,
    ) -> Result<(Vec<u8>, HashMap<String, Place>), Refused> {
        let Self { job, named, cpu, files, .. } = self;
        let mut listener = Listener::new(module);
        let outside = system_calls::place_in(assembly, None);
        let machine = ir::target_machine(cpu);
        ir::keep_only(module, &machine, self.entry())
            .map_err(|error| outcome.refuse(named, ir::in_their_words(&error)))?;
        let check = |part| size::check(part, module, &machine, job.slot, named, files);
        outcome.refuse_with(check(Part::Near))?;
        let find = |symbol| place::first_use(symbol, |file| files.is_own(file), names);
        let places = forbidden_uses(module, job.symbols, find);
        contraction::separate(context, module);
        ir::set_cpu(context, module, cpu);
        ir::optimise(module, &machine)
            .map_err(|error| outcome.refuse(named, ir::in_their_words(&error)))?;
        complaints::tell(listener.said(), outside.as_ref(), named, files, outcome)?;
        // Once more: the optimiser runs initialisers, and what began as zeroes may be no more.
        outcome.refuse_with(check(Part::Near))?;
        outcome.refuse_with(check(Part::Far))?;
        far::move_out(module, &machine);
        outcome.steps.optimise_ms = steps.next(CompileStep::Code);

        let object = ffi::generate(module, &cpu.name, &cpu.features);
        complaints::tell(listener.said(), outside.as_ref(), named, files, outcome)?;
        let object = object.map_err(|error| outcome.refuse(named, error))?;
        outcome.steps.code_ms = steps.next(CompileStep::Link);
        Ok((object, places))
    }

    /// Links it into the image.
    fn link(&self, object: Object, outcome: &mut CompileOutcome) -> Result<(), Refused> {
        let Self { job, named, files, .. } = self;
        let code = &object.made.code;
        let Object { places, names, .. } = &object;
        let symbols =
            resolve(code, job, Known { files, names, places, in_code: HashMap::new() }, outcome)?;
        let image = link(code, &symbols, self.entry(), job).map_err(|error| {
            let error = ir::in_their_words(&error);
            outcome.refuse(named, format!("the image cannot be linked: {error}"))
        })?;
        if self.unit == Unit::Script {
            outcome.refuse_with(system_calls::check(&image, &object.assembly, named, files))?;
        }
        finish(image, self.entry(), self.unit).map_err(|error| {
            outcome.refuse(named, format!("the image cannot be written: {error}"))
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

/// Where the scripts use symbols that they may not. Asked before the optimiser runs.
fn forbidden_uses(
    module: &Module<'_>,
    symbols: &SymbolTable,
    first_use: impl Fn(LLVMValueRef) -> Option<Place>,
) -> HashMap<String, Place> {
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
    places
}

/// Addresses of what the object file leaves undefined, or a refusal for each that is not allowed.
fn resolve(
    object: &[u8],
    job: &Job<'_>,
    mut known: Known<'_>,
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
    known.in_code = uses::in_code(&file, &missing, |path| known.files.is_own(path));
    outcome.diagnostics.extend(refusal::refusals(&missing, job.what, &known));
    Err(Refused)
}

/// The section whose bounds `__start_NAME` and `__stop_NAME` are.
fn bounded_section(symbol: &str) -> Option<&str> {
    symbol.strip_prefix("__start_").or_else(|| symbol.strip_prefix("__stop_"))
}

/// Links an object file into the image, in which the entry then is.
fn link(
    object: &[u8],
    symbols: &[(String, u64)],
    entry: &str,
    job: &Job<'_>,
) -> Result<Writer, String> {
    let mut writer = Writer::new(job.image, job.slot).map_err(|error| error.to_string())?;
    ffi::link(object, symbols, &[entry], page_bytes(object), &mut writer)?;
    far::describe(symbols, job.slot, &mut writer);
    Ok(writer)
}

/// Completes the image.
fn finish(image: Writer, entry: &str, unit: Unit) -> Result<(), String> {
    let address = image.address_of(entry).ok_or_else(|| format!("{entry} got lost"))?;
    let point = match unit {
        Unit::Script => EntryPoint::OnRequest,
        Unit::Program => EntryPoint::Main,
    };
    image.finish(&[(point, address)]).map_err(|error| error.to_string())
}

/// What segments are aligned to: as much as any section asks for, and a page at least.
fn page_bytes(object: &[u8]) -> u64 {
    let file = object::File::parse(object).expect("LLVM writes whole object files");
    file.sections().map(|section| section.align()).fold(PAGE_BYTES, u64::max)
}

trait Refuse {
    /// About a file as a whole.
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused;

    /// With these, if there are any.
    fn refuse_with(
        &mut self,
        diagnostics: impl IntoIterator<Item = Diagnostic>,
    ) -> Result<(), Refused>;
}

impl Refuse for CompileOutcome {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) -> Refused {
        let path = path.display().to_string();
        self.diagnostics.push(Diagnostic::about(Severity::Error, &path, message));
        Refused
    }

    fn refuse_with(
        &mut self,
        diagnostics: impl IntoIterator<Item = Diagnostic>,
    ) -> Result<(), Refused> {
        let before = self.diagnostics.len();
        self.diagnostics.extend(diagnostics);
        if self.diagnostics.len() > before { Err(Refused) } else { Ok(()) }
    }
}

/// A stop watch for [`heritage::CompileSteps`], which says what comes next.
struct Steps<'a> {
    report: &'a CompileReporter,
    since: Instant,
}

impl<'a> Steps<'a> {
    fn start(report: &'a CompileReporter) -> Self {
        Self { report, since: Instant::now() }
    }

    /// Milliseconds that the step before took.
    fn next(&mut self, step: CompileStep) -> f64 {
        // Whether anybody reads it shows at the end, when the outcome is said.
        let _ = self.report.say(&CompileNews::Step(step));
        let elapsed = self.elapsed();
        self.since = Instant::now();
        elapsed
    }

    /// Milliseconds since this step began.
    fn elapsed(&self) -> f64 {
        self.since.elapsed().as_micros() as f64 / 1e3
    }
}
