//! What each process holds and does: memory, descriptors, signals, system calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tests::{Kiln, Nginx, Signal, descriptors, is_alive, mappings, until_true};

use crate::{replying, slow_to_compile};

/// Lines of the memory map that are writable and executable at the same time.
fn writable_code(pid: i32) -> Vec<String> {
    let is_both = |line: &String| {
        let access = line.split(' ').nth(1).unwrap_or_default();
        access.contains('w') && access.contains('x')
    };
    mappings(pid).into_iter().filter(is_both).collect()
}

/// Pids of compile children, in the order of the log.
fn compile_children(kiln: &Kiln) -> Vec<i32> {
    let log = kiln.log();
    let lines = log.lines().filter(|line| line.contains(" compiling generation="));
    lines.filter_map(|line| line.rsplit_once("pid=")?.1.trim().parse().ok()).collect()
}

/// A value in `/proc/PID/status`.
fn status_of(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn no_process_has_a_page_that_is_writable_and_executable() {
    let kiln = Kiln::start(&replying("one"));
    let check_all = || {
        // A keeper that writes to the cache is there for a moment.
        until_true("a master and two workers", || kiln.processes().len() == 3);
        for pid in kiln.processes() {
            assert!(mappings(pid).len() > 10, "the map of {pid} can be read");
            assert_eq!(writable_code(pid), [""; 0], "in {pid}");
        }
    };
    check_all();
    for reload in 0..3 {
        kiln.reload_with(&replying(&reload.to_string()));
        kiln.get("/").expect(200, &reload.to_string());
        check_all();
    }
}

/// Looked at for as long as it lives: front end, optimiser, code, link.
#[test]
fn a_compile_child_never_has_a_page_that_is_writable_and_executable() {
    let kiln = Kiln::start(&replying("one"));
    kiln.write_script("site.cc", &slow_to_compile());
    kiln.signal(Signal::SIGHUP);
    kiln.until_logged_times(" compiling generation=", 2);
    let child = compile_children(&kiln)[1];
    let mut looked = 0;
    until_true("it is done", || {
        assert_eq!(writable_code(child), [""; 0]);
        looked += 1;
        !is_alive(child)
    });
    assert!(looked > 10, "it was gone after {looked} looks");
    kiln.until_logged(" generation active generation=2");
}

#[test]
fn code_of_scripts_is_never_writable_in_a_worker() {
    let kiln = Kiln::start(&replying("one"));
    kiln.reload_with(&replying("two"));
    for pid in kiln.worker_pids() {
        let images: Vec<String> =
            mappings(pid).into_iter().filter(|line| line.contains("memfd:")).collect();
        let code: Vec<&String> = images.iter().filter(|line| line.contains(" r-xp ")).collect();
        assert_eq!(code.len(), 1, "the old generation is unmapped: {images:#?}");
        assert!(!images.iter().any(|line| line.contains("rwx")), "{images:#?}");
    }
}

#[test]
fn workers_hold_their_own_descriptors_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("secret");
    fs::write(&foreign, "of whoever started Kiln").expect("a file");
    let kiln = Kiln::builder()
        .script(&replying("one"))
        .workers(3)
        .inheriting(&foreign)
        .argument("--pid-file=kiln.pid")
        .start();
    let check = || {
        let mut owners: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for pid in kiln.worker_pids() {
            for (number, target) in descriptors(pid).into_iter().filter(|(number, _)| *number > 2) {
                let is_own = ["socket:", "anon_inode:", "/memfd:kiln-image "]
                    .iter()
                    .any(|kind| target.starts_with(kind));
                assert!(is_own, "worker {pid} holds {number}, which is {target}");
                if target.starts_with("socket:") {
                    owners.entry(target).or_default().push(pid);
                }
            }
            // One that listens, and one to the master; and no image but the one that serves.
            let held = descriptors(pid);
            let count = |kind| held.iter().filter(|(_, target)| target.starts_with(kind)).count();
            assert_eq!((count("socket:"), count("/memfd:")), (2, 1), "{held:?}");
        }
        let shared: Vec<_> = owners.iter().filter(|(_, pids)| pids.len() > 1).collect();
        assert!(shared.is_empty(), "held by several: {shared:?}");
    };
    check();
    kiln.reload_with(&replying("two"));
    check();
    // A worker forked later could inherit what the master has come to hold since.
    kiln.kill(kiln.worker_pids()[1]);
    kiln.until_logged("worker replaced");
    until_true("the neighbour has let go of what it adopted", || {
        kiln.worker_pids().iter().all(|pid| {
            descriptors(*pid).iter().filter(|(_, it)| it.starts_with("socket:")).count() == 2
        })
    });
    kiln.until_workers(3);
    check();
}

#[test]
fn a_compile_child_holds_no_socket_and_yields_to_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("secret");
    fs::write(&foreign, "of whoever started Kiln").expect("a file");
    let kiln = Kiln::builder().script(&replying("one")).workers(1).inheriting(&foreign).start();
    let client = kiln.connect();
    kiln.write_script("site.cc", &slow_to_compile());
    kiln.signal(Signal::SIGHUP);
    kiln.until_logged_times(" compiling generation=", 2);
    let child = compile_children(&kiln)[1];
    // The last of its hygiene, after which it is as it stays.
    until_true("its system calls are filtered", || status_of(child, "Seccomp") == "2");
    assert!(descriptors(child).contains(&(1, "/dev/null".to_owned())));
    let held = descriptors(child);
    // Image and leavings, the report, and the cache, where its folder is open by now.
    let cache = kiln.folder().join("cache").display().to_string();
    let own = |target: &str| {
        target.starts_with("/memfd:") || target.starts_with("pipe:") || target.starts_with(&cache)
    };
    let foreign: Vec<_> =
        held.iter().filter(|(number, target)| *number > 2 && !own(target)).collect();
    assert!(foreign.is_empty(), "{held:?}");
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).expect("it compiles");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let nice: i32 = fields.split(' ').nth(16).and_then(|it| it.parse().ok()).expect("a number");
    assert!(nice > 0, "it has nice {nice}");
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).expect("it compiles");
    for limit in ["Max cpu time", "Max data size", "Max file size"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).expect("a limit");
        assert!(!line.contains("unlimited"), "{line}");
    }
    drop(client);
    kiln.until_logged(" generation active generation=2");
}

#[test]
fn children_have_no_signal_blocked_and_the_master_has_one_thread() {
    let kiln = Kiln::start(&replying("one"));
    for pid in kiln.worker_pids() {
        assert_eq!(status_of(pid, "SigBlk"), "0000000000000000");
        assert_eq!(status_of(pid, "Threads"), "1");
        assert_eq!(status_of(pid, "PPid"), kiln.pid().to_string());
    }
    assert_eq!(status_of(kiln.pid(), "Threads"), "1");
}

/// Name of the system call in a line of strace; none for signals and ends.
fn call_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

/// Everything that a worker does is looked at by strace, while it serves, forwards and reloads.
#[test]
fn workers_open_no_path_and_start_no_process() {
    let origin = Nginx::start();
    let script = |text: &str| {
        format!(
            "#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {{
                if (request.path() == \"/own\") return kiln::reply(200, \"{text}\");
                return kiln::forward(\"web\");
            }}"
        )
    };
    let server = format!("web=localhost:{}", origin.address().port());
    let kiln = Kiln::builder()
        .script(&script("one"))
        .workers(2)
        .argument("--upstream")
        .argument(server)
        .start();
    let trace = kiln.folder().join("trace");
    let mut strace = Command::new("strace");
    // A file for each process, so that no line is interrupted by another's.
    strace.args(["-ff", "-qq", "-o"]).arg(&trace).stdin(Stdio::null());
    strace.stdout(Stdio::null()).stderr(Stdio::null());
    let workers = kiln.worker_pids();
    for pid in &workers {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.spawn().expect("strace is installed");
    for pid in &workers {
        until_true("strace is attached", || {
            status_of(*pid, "TracerPid") == strace.id().to_string()
        });
    }
    for text in ["two", "three"] {
        kiln.reload_with(&script(text));
        for _ in 0..20 {
            kiln.get("/own").expect(200, text);
            kiln.get("/echo").expect_status(200);
        }
    }
    assert_eq!(kiln.worker_pids(), workers);
    // It lets go of the workers and ends.
    let pid = i32::try_from(strace.id()).expect("a pid fits");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("it was not waited for");
    strace.wait().expect("it ends");
    let traced = workers.iter().map(|pid| {
        fs::read_to_string(trace.with_extension(pid.to_string())).expect("a trace of each")
    });
    let calls: String = traced.collect();
    for line in calls.lines() {
        assert!(!line.contains("PROT_WRITE|PROT_EXEC"), "{line}");
        assert!(!line.starts_with("socket(") || line.starts_with("socket(AF_INET"), "{line}");
    }
    // A descriptor may be asked what it is: that names no path.
    let calls = calls.lines().filter(|line| !line.contains("AT_EMPTY_PATH"));
    let seen: BTreeSet<&str> = calls.filter_map(call_of).collect();
    for needed in ["accept4", "mmap", "recvmsg", "connect", "epoll_wait"] {
        assert!(seen.contains(needed), "strace saw no {needed}: {seen:?}");
    }
    for forbidden in [
        "open",
        "openat",
        "openat2",
        "creat",
        "execve",
        "execveat",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "stat",
        "lstat",
        "newfstatat",
        "statx",
        "access",
        "faccessat",
        "faccessat2",
        "readlink",
        "readlinkat",
        "unlink",
        "unlinkat",
        "rename",
        "renameat2",
        "chdir",
        "ptrace",
        "memfd_create",
        "kill",
        "tgkill",
        "pidfd_open",
    ] {
        assert!(!seen.contains(forbidden), "a worker called {forbidden}: {seen:?}");
    }
}
