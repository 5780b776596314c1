//! The compile child: it reads sources, writes one image, and may do nothing else.
//!
//! What it runs is a compiler of a million lines over text that somebody else wrote. Should that
//! text make the compiler do its bidding, it finds a process without a network, without another
//! program to start, without a file but the sources, that nobody takes orders from.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::Resource;

use crate::limits::lower;
use crate::{Identity, calls, limits, paths};

/// Descriptors that it may have: the standard streams, image, report, a cache's folder, and one or
/// two for each thread of the front end, of which there are 64 at most.
const DESCRIPTORS_MAX: u64 = 256;

/// What one compile may use.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// CPU time of all its threads together. SIGXCPU at this, SIGKILL a second later.
    pub cpu_time_max: Duration,
    /// Bytes that it may allocate.
    pub memory_max: u64,
    /// Bytes that any file may have that it writes: the image with its symbols.
    pub file_bytes_max: u64,
    /// Folders and files that it may read, with all that is below them.
    pub reads: Vec<PathBuf>,
    /// Who it becomes; none if it stays who it is. That user has to be able to read `reads`.
    pub identity: Option<Identity>,
}

/// Fences the calling process, which has one thread, for a compile. Descriptors that are open stay
/// open, but for one thing: files below a folder are only opened through its descriptor if the folder
/// is among `reads`.
pub fn compiler(may: &Compiler) -> io::Result<()> {
    limit(may)?;
    if let Some(identity) = may.identity {
        identity.assume()?;
    }
    // Nobody of the same user reads its memory or its descriptors.
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    paths::only(paths::Open { reads: &may.reads, keeps: None, connects: false });
    calls::allow(&allowed()?)
}

/// Keeps a compile from harming what is served meanwhile.
fn limit(may: &Compiler) -> io::Result<()> {
    let cpu_time_max_s = may.cpu_time_max.as_secs().max(1);
    lower(Resource::RLIMIT_CPU, cpu_time_max_s, cpu_time_max_s + 1)?;
    // Data and not address space: the arena is reserved address space, and costs nothing.
    lower(Resource::RLIMIT_DATA, may.memory_max, may.memory_max)?;
    // What is written to the image is nobody's data.
    lower(Resource::RLIMIT_FSIZE, may.file_bytes_max, may.file_bytes_max)?;
    lower(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX)?;
    // A crashed compiler is reported by its signal; its core would hold the operator's sources.
    limits::core(0)?;
    // RLIMIT_NPROC would count every process of this user, also those of a master that runs beside
    // this one: that there are no new processes is for the filter to see to.
    Ok(())
}

/// Calls that Clang, LLVM, Rust's library and the C library make for a compile.
fn allowed() -> io::Result<calls::Allowed> {
    let mut allowed = calls::Allowed::of_any_process()?;
    allowed
        .always(&[
            // Files that are open. Others are looked at and read: below.
            libc::SYS_pwrite64,
            libc::SYS_dup2,
            libc::SYS_fcntl,
            libc::SYS_ftruncate,
            libc::SYS_fadvise64,
            // Reporting a crash.
            libc::SYS_alarm,
            libc::SYS_pause,
            // Time and what this process is.
            libc::SYS_clock_getres,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_gettimeofday,
            libc::SYS_time,
            libc::SYS_times,
            libc::SYS_getrusage,
            libc::SYS_getppid,
            libc::SYS_uname,
            libc::SYS_sysinfo,
        ])
        // The C library falls back to clone(2), whose flags a filter can see, and to no terminal.
        .pretend_absent(&[libc::SYS_clone3, libc::SYS_ioctl])
        .open_for_reading()?
        .threads_only()?
        .ask_for_limits_only()?;
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::trial::{self, Outcome, check};

    const TRIAL: &str = "compiler::tests::trial_in_a_process_of_its_own";

    /// What is tried behind the fence. The process that runs this test ends in it if it was started
    /// by another test, and does nothing otherwise.
    #[test]
    fn trial_in_a_process_of_its_own() {
        let Some(trial) = trial::asked() else { return };
        let folder = trial::folder();
        let may = Compiler {
            cpu_time_max: Duration::from_secs(1),
            memory_max: 256 << 20,
            file_bytes_max: 1 << 20,
            reads: vec![folder.join("own"), folder.join("not-there")],
            identity: None,
        };
        let program = std::env::current_exe().expect("it runs");
        let kept = fs::File::create(folder.join("kept")).expect("a file");
        compiler(&may).expect("the fence holds");
        trial::end(match trial.as_str() {
            "own" => fs::read(folder.join("own/file")).map(drop),
            "foreign" => fs::read(folder.join("foreign")).map(drop),
            "link" => fs::read(folder.join("own/link")).map(drop),
            "write" => fs::write(folder.join("own/new"), "text"),
            "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
            "memory" => Vec::<u8>::new().try_reserve(1 << 30).map_err(io::Error::other),
            "long" => kept.set_len(2 << 20),
            "connect" => std::net::TcpStream::connect("127.0.0.1:1").map(drop),
            "run" => Command::new(program).status().map(drop),
            "signal" => nix::sys::signal::kill(nix::unistd::getppid(), None).map_err(Into::into),
            "code" => executable_page(),
            "spin" => loop {
                std::hint::spin_loop();
            },
            other => panic!("what is {other}?"),
        })
    }

    #[allow(unsafe_code)]
    fn executable_page() -> io::Result<()> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = MapFlags::MAP_PRIVATE;
        let page = std::num::NonZeroUsize::MIN;
        // SAFETY: a new page at an address of the kernel's choice.
        let mapped = unsafe { mmap_anonymous(None, page, ProtFlags::PROT_EXEC, flags) };
        mapped.map(drop).map_err(Into::into)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("own")).expect("a folder");
        fs::write(folder.path().join("own/file"), "text").expect("a file");
        fs::write(folder.path().join("foreign"), "text").expect("a file");
        let (link, target) = (folder.path().join("own/link"), folder.path().join("foreign"));
        std::os::unix::fs::symlink(target, link).expect("a link");
        folder
    }

    #[test]
    fn a_compile_reads_its_own_files_and_has_threads() {
        check(TRIAL, folder().path(), &["own", "thread"], Outcome::Done);
    }

    /// Needs a kernel with landlock, as every one of this decade's distributions has.
    #[test]
    fn a_compile_reads_no_file_of_somebody_else_and_allocates_no_more_than_it_may() {
        check(TRIAL, folder().path(), &["foreign", "link", "memory"], Outcome::Refused);
    }

    #[test]
    fn a_compile_that_does_what_no_compiler_does_is_ended() {
        let folder = folder();
        let forbidden = ["write", "connect", "run", "signal", "code"];
        check(TRIAL, folder.path(), &forbidden, Outcome::Killed(libc::SIGSYS));
        check(TRIAL, folder.path(), &["long"], Outcome::Killed(libc::SIGXFSZ));
        check(TRIAL, folder.path(), &["spin"], Outcome::Killed(libc::SIGXCPU));
        assert!(!folder.path().join("own/new").exists());
    }
}
