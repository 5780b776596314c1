//! Everything is tried with bare system calls: a script that gets round what it links against has no
//! library to be polite with.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::trial::{self, Outcome, check};

const TRIAL: &str = "worker::tests::trial_in_a_process_of_its_own";

/// Bytes of a page, and where the trials' images may be.
const PAGE: usize = 4096;
const IMAGES: Range<u64> = 0x10_0000_0000..0x10_1000_0000;

/// What is tried behind the fence. The process that runs this test ends in it if it was started by
/// another test, and does nothing otherwise.
#[test]
fn trial_in_a_process_of_its_own() {
    let Some(trial) = trial::asked() else { return };
    let folder = trial::folder();
    let file = std::fs::File::options().read(true).open(folder.join("file")).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    let may = Worker { images: IMAGES, core_bytes_max: 0, identity: None };
    worker(&may).expect("the fence holds");
    trial::end(attempt(&trial, &file, &listener, address))
}

fn attempt(
    trial: &str,
    file: &std::fs::File,
    listener: &TcpListener,
    address: std::net::SocketAddr,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let (own, fd) = (i64::from(std::process::id()), i64::from(file.as_raw_fd()));
    let parent = i64::from(nix::unistd::getppid().as_raw());
    let path = c"/etc/passwd".as_ptr() as i64;
    let here = i64::from(libc::AT_FDCWD);
    let (read, write) = (i64::from(libc::PROT_READ), i64::from(libc::PROT_WRITE));
    let code = read | i64::from(libc::PROT_EXEC);
    let private = i64::from(libc::MAP_PRIVATE);
    let (anonymous, fixed) = (i64::from(libc::MAP_ANONYMOUS), i64::from(libc::MAP_FIXED));
    let (page, image) = (PAGE as i64, IMAGES.start as i64);
    match trial {
        // What it needs.
        "serve" => {
            let mut client = TcpStream::connect(address)?;
            let (mut served, _) = listener.accept()?;
            served.set_nonblocking(true)?;
            served.set_nodelay(true)?;
            client.write_all(b"text")?;
            served.write_all(b"text")
        }
        "image" => call(libc::SYS_mmap, [image, page, code, private | fixed, fd, 0]),
        "variables" => {
            let access = read | write;
            call(libc::SYS_mmap, [image, page, access, private | fixed, fd, 0])?;
            call(libc::SYS_mprotect, [image, page, read, 0, 0, 0])
        }
        "log" => writeln!(io::stderr(), "a line"),
        "look" => file.metadata().map(drop),
        "abort" => std::process::abort(),
        // What it does not.
        "open" => call(libc::SYS_open, [path, 0, 0, 0, 0, 0]),
        "openat" => call(libc::SYS_openat, [here, path, 0, 0, 0, 0]),
        "openat2" => call(libc::SYS_openat2, [here, path, 0, 0, 0, 0]),
        "execve" => call(libc::SYS_execve, [path, 0, 0, 0, 0, 0]),
        "execveat" => call(libc::SYS_execveat, [fd, path, 0, 0, 0, 0]),
        "fork" => call(libc::SYS_fork, [0; 6]),
        "vfork" => call(libc::SYS_vfork, [0; 6]),
        "clone" => call(libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0, 0, 0]),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        "ptrace" => {
            call(libc::SYS_ptrace, [i64::from(libc::PTRACE_ATTACH as i32), parent, 0, 0, 0, 0])
        }
        "read another" => call(libc::SYS_process_vm_readv, [parent, 0, 0, 0, 0, 0]),
        "signal another" => call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0]),
        "signal another's thread" => call(libc::SYS_tgkill, [parent, parent, 0, 0, 0, 0]),
        "signal itself" => call(libc::SYS_tgkill, [own, own, 0, 0, 0, 0]),
        "own a descriptor" => {
            call(libc::SYS_fcntl, [fd, i64::from(libc::F_SETOWN), parent, 0, 0, 0])
        }
        "listen" => call(libc::SYS_listen, [fd, 1, 0, 0, 0, 0]),
        "bind" => call(libc::SYS_bind, [fd, 0, 0, 0, 0, 0]),
        "datagrams" => socket(libc::AF_INET, libc::SOCK_DGRAM),
        "local socket" => socket(libc::AF_UNIX, libc::SOCK_STREAM),
        "raw socket" => socket(libc::AF_INET, libc::SOCK_RAW),
        "stream socket" => socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC),
        "unlink" => call(libc::SYS_unlink, [path, 0, 0, 0, 0, 0]),
        "memfd" => call(libc::SYS_memfd_create, [path, 0, 0, 0, 0, 0]),
        "io_uring" => call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        "limits" => call(libc::SYS_prlimit64, [0, 4, path, 0, 0, 0]),
        "another filter" => call(libc::SYS_seccomp, [0; 6]),
        "user" => call(libc::SYS_setuid, [0; 6]),
        "dumpable" => call(libc::SYS_prctl, [i64::from(libc::PR_SET_DUMPABLE), 1, 0, 0, 0, 0]),
        // Code that nobody sealed.
        "anonymous code" => {
            call(libc::SYS_mmap, [image, page, code, private | fixed | anonymous, -1, 0])
        }
        "writable code" => {
            call(libc::SYS_mmap, [image, page, code | write, private | fixed, fd, 0])
        }
        "shared code" => {
            let shared = i64::from(libc::MAP_SHARED);
            call(libc::SYS_mmap, [image, page, code, shared | fixed, fd, 0])
        }
        "code elsewhere" => {
            let end = IMAGES.end as i64;
            call(libc::SYS_mmap, [end, page, code, private | fixed, fd, 0])
        }
        "code anywhere" => call(libc::SYS_mmap, [0, page, code, private, fd, 0]),
        "made code" => {
            call(libc::SYS_mmap, [image, page, read, private | fixed, fd, 0])?;
            call(libc::SYS_mprotect, [image, page, code, 0, 0, 0])
        }
        other => panic!("what is {other}?"),
    }
}

fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<()> {
    call(libc::SYS_socket, [i64::from(family), i64::from(kind), 0, 0, 0, 0])
}

#[allow(unsafe_code)]
fn call(number: i64, arguments: [i64; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: what the trials pass points to constants or to nowhere, and the pages that they map are
    // at addresses where nothing else is.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), [0xc3; PAGE]).expect("a file");
    folder
}

#[test]
fn a_worker_does_what_it_needs() {
    let needed = ["serve", "image", "variables", "log", "look", "signal itself", "stream socket"];
    check(TRIAL, folder().path(), &needed, Outcome::Done);
    // Aborting is no violation.
    check(TRIAL, folder().path(), &["abort"], Outcome::Killed(libc::SIGABRT));
}

#[test]
fn a_worker_that_does_what_none_needs_is_ended() {
    let forbidden = [
        "open",
        "openat",
        "openat2",
        "execve",
        "execveat",
        "fork",
        "vfork",
        "clone",
        "thread",
        "ptrace",
        "read another",
        "signal another",
        "signal another's thread",
        "own a descriptor",
        "listen",
        "bind",
        "datagrams",
        "local socket",
        "raw socket",
        "unlink",
        "memfd",
        "io_uring",
        "limits",
        "another filter",
        "user",
        "dumpable",
    ];
    check(TRIAL, folder().path(), &forbidden, Outcome::Killed(libc::SIGSYS));
}

#[test]
fn a_worker_executes_nothing_but_images() {
    let forbidden = [
        "anonymous code",
        "writable code",
        "shared code",
        "code elsewhere",
        "code anywhere",
        "made code",
    ];
    check(TRIAL, folder().path(), &forbidden, Outcome::Killed(libc::SIGSYS));
}

/// `cargo test --release -p fence -- --ignored --nocapture costs`
#[test]
#[ignore = "prints figures"]
fn costs_of_the_fence_and_of_calls_behind_it() {
    use std::os::fd::AsRawFd;

    let file = std::fs::File::open("/dev/null").expect("it is there");
    let descriptor = i64::from(file.as_raw_fd());
    let tell = |when: &str| {
        let always = trial::best_ns(|| {
            nix::unistd::getppid();
        });
        let arguments = [descriptor, i64::from(libc::F_GETFL), 0, 0, 0, 0];
        let looked_at = trial::best_ns(|| call(libc::SYS_fcntl, arguments).expect("it is open"));
        eprintln!(
            "{when}: getppid {always:.0} ns, fcntl, whose command is looked at, {looked_at:.0} ns"
        );
    };
    tell("without");
    let began = std::time::Instant::now();
    worker(&Worker { images: IMAGES, core_bytes_max: 0, identity: None }).expect("it holds");
    eprintln!("the fence: {} us", began.elapsed().as_micros());
    tell("behind it");
    // The end of a test's thread is no call that a worker makes.
    std::process::exit(0)
}
