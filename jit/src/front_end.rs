//! Source to one module: each script through Clang, on as many threads as there are CPUs.
//!
//! An LLVM context belongs to one thread, so each script has its own and its module travels to the
//! common one as bitcode.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam::channel;
use heritage::{CompileOutcome, Diagnostic, Severity};
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::Module;

use crate::arguments::{self, Unit};
use crate::ffi::Files as _;
use crate::files::{PCH_PATH, ScriptFiles};
use crate::ir::{self, HookError};
use crate::{RESOURCE, Refuse, Refused, SEARCH, ffi, initialisers};

const NO_HOOK: &str =
    "this script has no hook: define `kiln::Action on_request(kiln::Request& request)`";
const WRONG_SIGNATURE: &str = "on_request has other parameters than Kiln calls it with: \
     it is `kiln::Action on_request(kiln::Request& request)`";

/// Stack of a thread that runs Clang, which counts on 8 MiB for nested expressions.
const STACK_BYTES: usize = 16 << 20;

/// What Clang made of one file.
struct Compiled {
    diagnostics: Vec<Diagnostic>,
    /// Bitcode, and the name of its hook; nothing after errors.
    unit: Option<(Vec<u8>, Result<String, HookError>)>,
}

/// Compiles each file and links them into one module, with one entry.
pub(crate) fn run<'ctx>(
    context: &'ctx Context,
    unit: Unit,
    paths: &[PathBuf],
    files: &ScriptFiles,
    outcome: &mut CompileOutcome,
) -> Result<Module<'ctx>, Refused> {
    let mut hooks = Vec::new();
    let mut linked: Option<Module<'ctx>> = None;
    let mut failed = false;
    for (path, compiled) in paths.iter().zip(compile_all(unit, paths, files)) {
        let silent = !compiled.diagnostics.iter().any(|found| found.severity == Severity::Error);
        outcome.diagnostics.extend(compiled.diagnostics);
        let Some((bitcode, hook)) = compiled.unit else {
            failed = true;
            if silent {
                outcome.refuse(path, "Clang gave up without saying why");
            }
            continue;
        };
        match (unit, hook) {
            (Unit::Script, Ok(hook)) => hooks.push(hook),
            (Unit::Script, Err(HookError::Signature)) => {
                return Err(outcome.refuse(path, WRONG_SIGNATURE));
            }
            // A file of helpers needs no hook, if another has one; a program has none.
            (Unit::Script, Err(HookError::Missing)) | (Unit::Program, _) => {}
        }
        let module = parse(context, &bitcode).map_err(|error| outcome.refuse(path, error))?;
        match &linked {
            Some(linked) => linked.link_in_module(module),
            None => {
                linked = Some(module);
                Ok(())
            }
        }
        .map_err(|error| outcome.refuse(path, error.to_string()))?;
    }
    let Some(module) = linked.filter(|_| !failed) else { return Err(Refused) };
    match unit {
        Unit::Script if hooks.is_empty() => return Err(outcome.refuse(&paths[0], NO_HOOK)),
        Unit::Script => ir::build_chain(context, &module, &hooks),
        Unit::Program if module.get_function("main").is_none() => {
            return Err(outcome.refuse(&paths[0], "this program has no main()"));
        }
        Unit::Program => initialisers::announce_operators(context, &module),
    }
    initialisers::order(context, &module);
    Ok(module)
}

/// Compiles every file, in the order of `paths`.
fn compile_all(unit: Unit, paths: &[PathBuf], files: &ScriptFiles) -> Vec<Compiled> {
    let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (jobs, queue) = channel::bounded(paths.len());
    let (results, finished) = channel::bounded(paths.len());
    for job in paths.iter().enumerate() {
        jobs.send(job).expect("the queue is open, and as long as there are scripts");
    }
    drop(jobs);
    thread::scope(|scope| {
        for _ in 0..cpus.min(paths.len()) {
            let (queue, results) = (queue.clone(), results.clone());
            let work = move || {
                for (number, path) in queue {
                    let compiled = compile(unit, number, path, files);
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
    compiled.into_iter().map(|(_, compiled)| compiled).collect()
}

fn compile(unit: Unit, number: usize, path: &Path, files: &ScriptFiles) -> Compiled {
    let context = Context::create();
    let mut diagnostics = Vec::new();
    let module = ffi::compile(&context, &arguments_for(unit, path, files), files, &mut diagnostics);
    let unit = module.map(|module| {
        let hook = ir::take_hook(&module, number);
        (module.write_bitcode_to_memory().as_slice().to_vec(), hook)
    });
    Compiled { diagnostics, unit }
}

fn parse<'ctx>(context: &'ctx Context, bitcode: &[u8]) -> Result<Module<'ctx>, String> {
    let buffer = MemoryBuffer::create_from_memory_range_copy(bitcode, "script");
    Module::parse_bitcode_from_buffer(&buffer, context).map_err(|error| error.to_string())
}

fn arguments_for(unit: Unit, path: &Path, files: &ScriptFiles) -> Vec<String> {
    let search: Vec<&str> = SEARCH.split(':').collect();
    let mut arguments = arguments::common(unit, &search, RESOURCE);
    arguments.extend(["-emit-llvm-only", "-debug-info-kind=constructor"].map(String::from));
    arguments.push(format!("-fdebug-compilation-dir={}", files.working_folder()));
    if unit == Unit::Script {
        arguments.extend(["-include-pch", PCH_PATH, "-fno-validate-pch"].map(String::from));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    arguments.extend(["-main-file-name".into(), name, "-x".into(), "c++".into()]);
    arguments.push(path.to_string_lossy().into_owned());
    arguments
}
