//! `kiln run FILE.cc [ARGS...]`: any C++ program on Kiln's engine.
//!
//! The same compile child, image and mapping as for scripts, with a wider symbol table. What works
//! here works because the engine is a C++ implementation, and not because it knows Kiln.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail};
use heritage::CompileOutcome;
use image::{Arena, Mapped, Sealed};
use jit::{Debug, Job, Program, Source, SymbolTable};
use nix::fcntl::OFlag;
use nix::sys::wait::WaitStatus;
use nix::unistd::pipe2;

use crate::child::{self, Exit};
use crate::print;

/// Exit code when the program does not compile.
const EXIT_REFUSED: i32 = 2;

/// Compiles and runs a program; returns its exit code. Diagnostics go to standard error.
pub fn program(program: Program<'_>, arguments: &[OsString]) -> anyhow::Result<i32> {
    let path = program.path;
    if let Some(folder) = program.include.iter().find(|folder| !folder.is_dir()) {
        bail!("{}: no such folder; -I wants one with headers", folder.display());
    }
    if !path.is_file() {
        bail!("{}: no such file; `kiln run` wants a C++ source file", path.display());
    }
    let arena = Arena::reserve().context("cannot reserve addresses for the program")?;
    let Some(image) = compile(program, arena)? else { return Ok(EXIT_REFUSED) };
    child::leave_interrupts_to_child();
    let program = child::spawn(|| run(image, path, arguments))?;
    match child::wait(program)? {
        WaitStatus::Exited(_, code) => Ok(code),
        WaitStatus::Signaled(_, signal, _) => {
            eprintln!("kiln: {} was ended by {signal}", path.display());
            Ok(child::die_of(signal))
        }
        other => bail!("the program ended with {other:?}"),
    }
}

/// Compiles in a child, so that a crash of the compiler is a message. `None` when refused.
fn compile(program: Program<'_>, arena: Arena) -> anyhow::Result<Option<Sealed>> {
    let slot = arena.whole();
    let image = image::create().context("cannot make a memfd")?;
    let (report, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let compiler = child::spawn(|| {
        let symbols = SymbolTable::programs(&image::runtime::program_bindings());
        let job = Job {
            what: Source::Program(program),
            slot,
            image: &image,
            symbols: &symbols,
            debug: Debug::Full,
            cpu: "host",
            cache: None,
        };
        let outcome = jit::compile(&job);
        let json = serde_json::to_vec(&outcome).expect("an outcome is strings and numbers");
        Exit::AtOnce(i32::from(File::from(writer).write_all(&json).is_err()))
    })?;
    let mut json = Vec::new();
    File::from(report).read_to_end(&mut json)?;
    match child::wait(compiler)? {
        WaitStatus::Exited(_, 0) => {}
        WaitStatus::Signaled(_, signal, _) => bail!("the compiler crashed with {signal}"),
        other => bail!("the compiler ended with {other:?}"),
    }
    let outcome: CompileOutcome = serde_json::from_slice(&json)?;
    print::to_stderr(&outcome.diagnostics);
    if !outcome.compiled {
        return Ok(None);
    }
    image::seal(&image, slot)?;
    Ok(Some(Sealed::open(image, slot)?))
}

/// Runs the program in this process.
fn run(image: Sealed, path: &Path, arguments: &[OsString]) -> Exit {
    child::default_signals();
    let argv = std::iter::once(path.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    let argv: Vec<CString> = argv.filter_map(c_string).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    let (argv_pointers, environment_pointers) = (pointers(&argv), pointers(&environment));
    let arguments = (argv.len() as i32, argv_pointers.as_ptr(), environment_pointers.as_ptr());
    match Mapped::program(image, arguments) {
        Ok(mapped) => {
            let code = mapped.call_main(arguments).expect("a program's image has a main");
            Exit::Running(code)
        }
        Err(error) => {
            eprintln!("kiln: {}: {error}", path.display());
            Exit::AtOnce(1)
        }
    }
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

/// A vector as `main` gets it: ended by null.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}
