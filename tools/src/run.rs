//! `kiln run FILE.cc [ARGS...]`: any C++ program on Kiln's engine.
//!
//! The same compile child, image and mapping as for scripts, with a wider symbol table. What works
//! here works because the engine is a C++ implementation, and not because it knows Kiln.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fence::EmptyNetwork;
use heritage::{
    CompileLimits, CompileNews, CompileOutcome, CompileReport, CompileReporter, Diagnostic,
    REPORT_BYTES_MAX,
};
use image::{Arena, Mapped, Sealed};
use jit::{Debug, Job, Program, Source, SymbolTable};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, dup2_stderr, pipe2};

use crate::child::{self, Exit};
use crate::print;

/// Exit code when the program does not compile.
const EXIT_REFUSED: i32 = 2;

/// Time of a compile: large programs take a minute, and a template that never ends takes no more
/// than this. Whoever waits for it can end it sooner.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Bytes of memory that a compile may allocate: ten times what large programs need.
const MEMORY_BYTES_MAX: u64 = 4 << 30;

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
    let (pipe, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let writer = CompileReporter::new(writer);
    let what = Source::Program(program);
    let threads = available_parallelism().map_or(1, usize::from);
    let may = fence::Compiler {
        // What the deadline leaves to all threads together.
        cpu_time_max: TIME_MAX * u32::try_from(threads).unwrap_or(u32::MAX),
        memory_max: MEMORY_BYTES_MAX,
        file_bytes_max: image::file_bytes_max(slot),
        identity: None,
        reads: what.reads(),
    };
    let network = EmptyNetwork::make();
    let compiler = child::spawn(|| {
        network.iter().for_each(EmptyNetwork::enter);
        // LLVM's last words are part of the report.
        let fenced = fence::compiler(&may).and_then(|()| Ok(dup2_stderr(writer.pipe())?));
        if let Err(error) = fenced {
            eprintln!("kiln: cannot fence the compiler: {error}");
            return Exit::AtOnce(1);
        }
        let symbols = SymbolTable::programs(&image::runtime::program_bindings());
        let job = Job {
            what,
            slot,
            image: &image,
            symbols: &symbols,
            debug: Debug::Full,
            cpu: "host",
            cache: None,
            threads,
            report: &writer,
        };
        let outcome = jit::compile(&job);
        Exit::AtOnce(i32::from(writer.say(&CompileNews::Finished(outcome)).is_err()))
    })?;
    drop(writer);
    let limits = CompileLimits {
        cpu_time_max: may.cpu_time_max,
        memory_max: may.memory_max,
        file_bytes_max: may.file_bytes_max,
        time_setting: None,
        memory_setting: None,
    };
    match conclude(compiler, File::from(pipe), &limits)? {
        Err(failed) => print::to_stderr(&[*failed]),
        Ok(outcome) => {
            print::to_stderr(&outcome.diagnostics);
            if outcome.compiled {
                image::seal(&image, slot)?;
                return Ok(Some(Sealed::open(image, slot)?));
            }
        }
    }
    Ok(None)
}

/// Reads the report of a compile child to its end, and waits for it.
fn conclude(
    compiler: Pid,
    mut pipe: File,
    limits: &CompileLimits,
) -> anyhow::Result<Result<CompileOutcome, Box<Diagnostic>>> {
    let deadline = Instant::now() + TIME_MAX;
    let mut report = CompileReport::default();
    let mut part = vec![0; 64 << 10];
    let killed = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Some(format!("the compile took longer than {} s", TIME_MAX.as_secs()));
        }
        // A millisecond more, so that it does not wake up just before the deadline again and again.
        let wait =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], wait) {
            Ok(0) | Err(Errno::EINTR) => continue,
            other => other?,
        };
        let length = pipe.read(&mut part)?;
        if length == 0 {
            break None;
        }
        if !report.take(&part[..length]) {
            break Some(format!("the compiler said more than {} KiB", REPORT_BYTES_MAX >> 10));
        }
    };
    if killed.is_some() {
        // It was not waited for: its pid is still its own.
        kill(compiler, Signal::SIGKILL)?;
    }
    let ended = child::wait(compiler)?;
    Ok(report.conclude(ended, killed.as_deref(), limits))
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
