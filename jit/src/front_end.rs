//! Source to one module: each script through Clang, on as many threads as there are CPUs.
//!
//! An LLVM context belongs to one thread, so each script has its own and its module travels to the
//! common one as bitcode; so do those that an earlier compile left. A script that is alone is compiled
//! where its module is wanted.

use std::path::{Path, PathBuf};
use std::thread;

use cache::Name;
use crossbeam::channel;
use heritage::{CompileNews, CompileOutcome, CompileReporter, Diagnostic, Severity};
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::Module;

use crate::arguments::{self, Unit};
use crate::ffi::Files as _;
use crate::files::{PCH_PATH, ScriptFiles};
use crate::ir::{self, Cpu};
use crate::memory::{Asked, Made, Memory, Said};
use crate::names::Names;
use crate::{Debug, RESOURCE, Refuse, Refused, SEARCH, SymbolTable, ffi, initialisers};

const NO_HOOK: &str =
    "this script has no hook: define `kiln::Action on_request(kiln::Request& request)`";
const NO_HOOKS: &str =
    "no script has a hook: define `kiln::Action on_request(kiln::Request& request)` in one of them";
/// What the shim calls what it finds to be nearly a hook.
const NEARLY_A_HOOK: &str = "Hook";

const REPLACED: &str = "a script may not replace operator new or delete: the C++ library, which the \
     worker shares with every script, allocates with Kiln's; a class may have operators of its own";

/// What Clang says of `__DATE__`, `__TIME__` and `__TIMESTAMP__`, and what Kiln says instead.
const DATE_MACRO: &str = "expansion of date or time macro is not reproducible";
const DATE_REFUSED: &str = "a script may not use the date or time macro: compiled twice it must be the \
     same, or the cache would keep the first; ask kiln::realtime_ns() for the time";

/// What Clang says behind the name of a file, in quotes, that it has not found.
const NOT_FOUND: &str = "' file not found";

/// Stack of a thread that runs Clang, which counts on 8 MiB for nested expressions.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Threads that are of use: Clang keeps a CPU busy, and each has its stack and its context.
const THREADS_MAX: usize = 32;

/// How to go about it.
pub(crate) struct How<'a> {
    pub(crate) unit: Unit,
    pub(crate) files: &'a ScriptFiles,
    pub(crate) memory: &'a Memory<'a>,
    /// What is there to be called.
    pub(crate) symbols: &'a SymbolTable,
    /// Folders where the author has headers looked for.
    pub(crate) include: &'a [PathBuf],
    /// Threads to use at most.
    pub(crate) threads: usize,
    pub(crate) report: &'a CompileReporter,
}

/// A script before Clang has seen it.
pub(crate) struct Script<'p> {
    path: &'p Path,
    arguments: Vec<String>,
    /// Name of what Clang would make of it, where that was made before.
    name: Option<Name>,
}

/// What Clang made of one script.
pub(crate) struct Compiled {
    /// Bitcode, unless its module is there already; none after errors.
    pub(crate) made: Result<Made, Said>,
    /// What it is remembered by.
    pub(crate) name: Option<Name>,
    /// Whether it was remembered from an earlier compile.
    pub(crate) is_old: bool,
}

/// The scripts of these paths, with these options of their author's, and what is known of them.
pub(crate) fn scripts<'p>(
    unit: Unit,
    debug: Debug,
    paths: &'p [PathBuf],
    options: &[String],
    files: &ScriptFiles,
    memory: &Memory<'_>,
) -> Vec<Script<'p>> {
    let known = |path: &'p PathBuf| {
        let arguments = arguments_for(unit, debug, path, options, files);
        let name = memory.unit(unit, path, &arguments, files);
        Script { path, arguments, name }
    };
    paths.iter().map(known).collect()
}

/// The name of the object file of these scripts, if nothing of them has changed.
pub(crate) fn object_name(scripts: &[Script<'_>], cpu: &Cpu, memory: &Memory<'_>) -> Option<Name> {
    let names: Option<Vec<Name>> = scripts.iter().map(|script| script.name).collect();
    names.map(|names| memory.object(&names, cpu))
}

/// Takes what Clang says of each script, and answers which names they have for each other.
pub(crate) fn hear(
    paths: &[PathBuf],
    compiled: &[Compiled],
    files: &ScriptFiles,
    outcome: &mut CompileOutcome,
) -> Result<Names, Refused> {
    let mut names = Names::default();
    let mut failed = false;
    for (path, compiled) in paths.iter().zip(compiled) {
        let (Ok(Made { said, .. }) | Err(said)) = &compiled.made;
        outcome.diagnostics.extend_from_slice(&said.diagnostics);
        outcome.counts.errors += said.unseen.errors;
        outcome.counts.warnings += said.unseen.warnings;
        let is_error = |found: &Diagnostic| found.severity == Severity::Error;
        if compiled.made.is_err() && !said.diagnostics.iter().any(is_error) {
            outcome.refuse(path, "Clang gave up without saying why");
        }
        let before = outcome.diagnostics.len();
        names.add(&said.names, files, &mut outcome.diagnostics);
        failed |= compiled.made.is_err() || outcome.diagnostics.len() > before;
    }
    if !failed {
        return Ok(names);
    }
    // Clang says that it cannot read them, and not why.
    for (file, message) in files.too_large() {
        outcome.refuse(Path::new(&file), message);
    }
    Err(Refused)
}

/// Links what Clang made of each script into one module, with one entry; `alone` is the only script's,
/// if it is there already.
pub(crate) fn link<'ctx>(
    context: &'ctx Context,
    how: &How<'_>,
    paths: &[PathBuf],
    compiled: &[Compiled],
    mut alone: Option<Module<'ctx>>,
    outcome: &mut CompileOutcome,
) -> Result<Module<'ctx>, Refused> {
    let unit = how.unit;
    let mut hooks = Vec::new();
    let mut linked: Option<Module<'ctx>> = None;
    for (number, (path, compiled)) in paths.iter().zip(compiled).enumerate() {
        // Each file that Clang refuses was told of; here they are all well.
        let Ok(made) = &compiled.made else { return Err(Refused) };
        let module = match alone.take() {
            Some(module) => module,
            None => parse(context, &made.code).map_err(|error| outcome.refuse(path, error))?,
        };
        if unit == Unit::Script && initialisers::replaces_operators(&module) {
            return Err(outcome.refuse(path, REPLACED));
        }
        // A file of helpers needs no hook, if another has one; a program has none.
        hooks.extend(ir::take_hook(&module, number).filter(|_| unit == Unit::Script));
        match &linked {
            Some(linked) => linked.link_in_module(module),
            None => {
                linked = Some(module);
                Ok(())
            }
        }
        .map_err(|error| outcome.refuse(path, ir::in_their_words(&error.to_string())))?;
    }
    let Some(module) = linked else { return Err(Refused) };
    match unit {
        Unit::Script if hooks.is_empty() => return Err(refuse_without_hook(paths, outcome)),
        Unit::Script => ir::build_chain(context, &module, &hooks),
        Unit::Program if module.get_function("main").is_none() => {
            return Err(outcome.refuse(&paths[0], "this program has no main()"));
        }
        Unit::Program => initialisers::announce_operators(context, &module),
    }
    initialisers::order(context, &module);
    Ok(module)
}

/// No file has a hook: whatever is nearly one was meant to be it.
fn refuse_without_hook(paths: &[PathBuf], outcome: &mut CompileOutcome) -> Refused {
    let mut was_meant = false;
    for found in &mut outcome.diagnostics {
        if found.severity == Severity::Warning && found.category.as_deref() == Some(NEARLY_A_HOOK) {
            *found = found.clone().promoted();
            found.remark(NO_HOOK);
            was_meant = true;
        }
    }
    match paths {
        _ if was_meant => Refused,
        [path] => outcome.refuse(path, NO_HOOK),
        _ => outcome.refuse(paths[0].parent().unwrap_or(Path::new("")), NO_HOOKS),
    }
}

/// Compiles every script, in the order of `scripts`; those that are remembered only in name. A script
/// that is alone is compiled by this thread into `context`, where its module stays.
pub(crate) fn compile_all<'ctx>(
    context: &'ctx Context,
    how: &How<'_>,
    scripts: &[Script<'_>],
) -> (Vec<Compiled>, Option<Module<'ctx>>) {
    if let [script] = scripts {
        let (compiled, module) = match recall(script, how.memory) {
            Some(compiled) => (compiled, None),
            None => compile(context, how, script),
        };
        return (vec![compiled], module);
    }
    let (jobs, queue) = channel::bounded(scripts.len());
    let (results, finished) = channel::bounded(scripts.len());
    for job in scripts.iter().enumerate() {
        jobs.send(job).expect("the queue is open, and as long as there are scripts");
    }
    drop(jobs);
    thread::scope(|scope| {
        for _ in 0..how.threads.clamp(1, THREADS_MAX).min(scripts.len()) {
            let (queue, results) = (queue.clone(), results.clone());
            let work = move || {
                for (number, script) in queue {
                    let compiled = recall(script, how.memory)
                        .unwrap_or_else(|| compile_to_bitcode(how, script));
                    results.send((number, compiled)).expect("the results are collected below");
                }
            };
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, work).expect("the compile child may have threads");
        }
    });
    drop(results);
    let mut compiled: Vec<_> = finished.into_iter().collect();
    compiled.sort_by_key(|(number, _)| *number);
    (compiled.into_iter().map(|(_, compiled)| compiled).collect(), None)
}

fn recall(script: &Script<'_>, memory: &Memory<'_>) -> Option<Compiled> {
    let made = memory.recall(&script.name?)?;
    Some(Compiled { made: Ok(made), name: script.name, is_old: true })
}

/// One of several scripts, whose unit is remembered. That of a script that is alone would be of no use
/// but for its object file, which is.
fn compile_to_bitcode(how: &How<'_>, script: &Script<'_>) -> Compiled {
    let context = Context::create();
    let (mut compiled, module) = compile(&context, how, script);
    if let (Some(module), Ok(made)) = (module, &mut compiled.made) {
        made.code = module.write_bitcode_to_memory().as_slice().to_vec();
        if let Some(name) = compiled.name {
            how.memory.remember(name, made);
        }
    }
    compiled
}

fn compile<'ctx>(
    context: &'ctx Context,
    how: &How<'_>,
    script: &Script<'_>,
) -> (Compiled, Option<Module<'ctx>>) {
    let (path, name) = (script.path, script.path.display().to_string());
    // Whether anybody reads it shows at the end, when the outcome is said.
    let _ = how.report.say(&CompileNews::Began(name.clone()));
    let asked = Asked::new(how.files);
    let mut said = Said::default();
    let module = ffi::compile(context, how.unit, how.symbols, &script.arguments, &asked, &mut said);
    said.diagnostics.iter_mut().for_each(|said| in_kilns_words(said, how));
    let _ = how.report.say(&CompileNews::Done(name));
    if module.is_none() {
        return (Compiled { made: Err(said), name: None, is_old: false }, None);
    }
    let name = how.memory.leave_inputs(how.unit, path, &script.arguments, &asked);
    let made = Made { said, code: Vec::new() };
    (Compiled { made: Ok(made), name: Some(name), is_old: false }, module)
}

/// Replaces what Clang says by what Kiln knows better: it sees no file that a script may not read, and
/// says that it is not there.
fn in_kilns_words(said: &mut Diagnostic, how: &How<'_>) {
    let mut replace = |from: &str, to: &str| {
        said.message = said.message.replace(from, to);
        said.rendered = said.rendered.replace(from, to);
    };
    replace(DATE_MACRO, DATE_REFUSED);
    let message = said.message.clone();
    let name = message.strip_prefix('\'').and_then(|name| name.strip_suffix(NOT_FOUND));
    let Some(name) = name else { return };
    if let Some(why) = how.files.why_not_included(name, &said.file, how.include) {
        let told = format!("'{name}' {why}");
        said.rendered = said.rendered.replacen(&message, &told, 1);
        said.message = told;
    }
}

fn parse<'ctx>(context: &'ctx Context, bitcode: &[u8]) -> Result<Module<'ctx>, String> {
    let buffer = MemoryBuffer::create_from_memory_range_copy(bitcode, "script");
    Module::parse_bitcode_from_buffer(&buffer, context).map_err(|error| error.to_string())
}

fn arguments_for(
    unit: Unit,
    debug: Debug,
    path: &Path,
    options: &[String],
    files: &ScriptFiles,
) -> Vec<String> {
    let search: Vec<&str> = SEARCH.split(':').collect();
    let mut arguments = arguments::common(unit, &search, RESOURCE);
    let debug = match debug {
        Debug::Full => "-debug-info-kind=constructor",
        Debug::Lines => "-debug-info-kind=line-tables-only",
    };
    arguments.extend(["-emit-llvm-only", debug].map(String::from));
    arguments.push(format!("-fdebug-compilation-dir={}", files.working_folder()));
    arguments.extend_from_slice(options);
    if unit == Unit::Script {
        arguments.extend(["-include-pch", PCH_PATH, "-fno-validate-pch"].map(String::from));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    arguments.extend(["-main-file-name".into(), name, "-x".into(), "c++".into()]);
    arguments.push(path.to_string_lossy().into_owned());
    arguments
}
