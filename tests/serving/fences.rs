//! What a process may do, and what becomes of a script that tries more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Gid, Uid, User, geteuid};
use tests::{Builder, FORWARDING, Kiln, Origin, is_alive, mappings, run, until, until_true};

use crate::{replying, slow_to_compile};

/// A value in `/proc/PID/status`.
fn status_of(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Checks that system calls of a process are filtered, and that it gains no rights.
#[track_caller]
fn expect_fenced(pid: i32, who: &str) {
    until_true(who, || status_of(pid, "Seccomp") == "2");
    assert_eq!(status_of(pid, "NoNewPrivs"), "1", "{who}");
}

/// Pids of compile children or keepers that the log names, the last one first.
fn compile_child(kiln: &Kiln) -> i32 {
    let log = kiln.log();
    let line = log.lines().rev().find(|line| line.contains(" compiling generation="));
    let pid = line.and_then(|line| line.rsplit_once("pid=")?.1.trim().parse().ok());
    pid.expect("one was forked")
}

fn broker(kiln: &Kiln) -> i32 {
    until("a broker", || i32::try_from(kiln.status()["broker"]["pid"].as_i64()?).ok())
}

/// Kiln with every kind of child: it forwards to a server by name.
fn with_broker(config: &str) -> (Kiln, Origin) {
    let server = Origin::echoing();
    let name = format!("web=localhost:{}", server.address().port());
    let builder = Kiln::builder().script(&replying("one")).workers(2).config(config);
    let builder = open_to_all(builder.argument("--upstream").argument(name));
    (builder.start(), server)
}

/// Lets everybody read what it has.
fn open_to_all(builder: Builder) -> Builder {
    fs::set_permissions(builder.folder(), Permissions::from_mode(0o755)).expect("it is ours");
    builder
}

#[test]
fn every_child_is_fenced_and_the_master_gains_no_rights() {
    let (kiln, _server) = with_broker("");
    for pid in kiln.worker_pids() {
        expect_fenced(pid, "a worker");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it serves");
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core = core.expect("a limit").split_whitespace().nth(4);
        assert_eq!(core, Some("0"), "a worker leaves no core");
    }
    expect_fenced(broker(&kiln), "the broker");
    kiln.write_script("site.cc", &slow_to_compile());
    kiln.signal(tests::Signal::SIGHUP);
    kiln.until_logged_times(" compiling generation=", 2);
    expect_fenced(compile_child(&kiln), "the compile child");
    assert_eq!(status_of(kiln.pid(), "NoNewPrivs"), "1");
    assert_eq!(status_of(kiln.pid(), "Seccomp"), "0", "its children would inherit a filter");
    kiln.until_logged(" generation active generation=2");
}

#[test]
fn children_become_the_configured_user_and_the_master_does_not() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = User::from_name("nobody").expect("a look-up").expect("there always is");
    let (kiln, _server) = with_broker("[process]\nuser = \"nobody\"\n");
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let expect_nobody = |pid: i32, who: &str| {
        until_true(who, || status_of(pid, "Seccomp") == "2");
        assert_eq!(status_of(pid, "Uid"), four(nobody.uid.as_raw()), "{who}");
        assert_eq!(status_of(pid, "Gid"), four(nobody.gid.as_raw()), "{who}");
        assert_eq!(status_of(pid, "Groups"), "", "{who}");
        assert_eq!(status_of(pid, "CapEff"), "0000000000000000", "{who}");
        assert_eq!(status_of(pid, "CapPrm"), "0000000000000000", "{who}");
    };
    kiln.worker_pids().into_iter().for_each(|pid| expect_nobody(pid, "a worker"));
    expect_nobody(broker(&kiln), "the broker");
    kiln.write_script("site.cc", &slow_to_compile());
    kiln.signal(tests::Signal::SIGHUP);
    kiln.until_logged_times(" compiling generation=", 2);
    expect_nobody(compile_child(&kiln), "the compile child");
    kiln.until_logged(" generation active generation=2");
    assert_eq!(status_of(kiln.pid(), "Uid"), four(0));
    // The cache is the user's, and is used.
    let cache = kiln.folder().join("cache");
    let kept = until("something is kept", || fs::read_dir(&cache).ok()?.flatten().next());
    for path in [cache, kept.path()] {
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!(found.uid(), nobody.uid.as_raw(), "{}", path.display());
        assert_eq!(found.mode() & 0o077, 0, "{}", path.display());
    }
    assert!(!kiln.log().contains("cache is not used"), "{}", kiln.log());
    kiln.get("/").expect(200, "slow");
}

/// PDEATHSIG goes when a process changes its user, and has to be asked for again.
#[test]
fn workers_of_another_user_still_end_with_the_master() {
    if !geteuid().is_root() {
        return;
    }
    let config = "[process]\nuser = \"65534\"\ngroup = \"65534\"\n";
    let kiln = open_to_all(Kiln::builder().script(&replying("one")).workers(2).config(config));
    let mut kiln = kiln.start();
    let workers = kiln.worker_pids();
    kiln.kill(kiln.pid());
    kiln.until_ended();
    for pid in workers {
        until_true("a worker ends", || !is_alive(pid));
    }
}

#[test]
fn a_user_that_there_is_not_is_told_at_the_start() {
    let start = |config: &str| {
        let builder = Kiln::builder().script(&replying("one")).config(config);
        builder.refused()
    };
    start("[process]\nuser = \"no-such-user\"\n")
        .expect(&["process.user: there is no user \"no-such-user\""]);
    start("[process]\ncontrol_group = \"no-such-group\"\n")
        .expect(&["process.control_group: there is no group \"no-such-group\""]);
}

#[test]
fn scripts_that_the_user_cannot_read_are_named() {
    if !geteuid().is_root() {
        return;
    }
    let builder = Kiln::builder().script(&replying("one")).config("[process]\nuser = \"nobody\"\n");
    fs::set_permissions(builder.folder(), Permissions::from_mode(0o700)).expect("it is ours");
    let kiln = builder.start();
    let log = kiln.until_logged("no generation serves");
    for part in ["site.cc", "ermission denied", "process.user"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn the_control_socket_may_be_a_groups() {
    if !geteuid().is_root() {
        return;
    }
    let config = "[process]\ncontrol_group = \"54321\"\n";
    let kiln = Kiln::builder().script(&replying("one")).workers(1).config(config).start();
    let found = fs::metadata(kiln.control_path()).expect("a socket");
    assert_eq!((found.mode() & 0o777, found.gid(), found.uid()), (0o660, 54321, 0));
    assert_eq!(Gid::from_raw(found.gid()).as_raw(), 54321);
    assert!(Uid::from_raw(found.uid()).is_root());
}

#[test]
fn a_pid_file_can_be_read_by_all_and_written_by_its_owner() {
    let kiln = Kiln::builder().script(&replying("one")).workers(1);
    let kiln = kiln.argument("--pid-file=kiln.pid").start();
    let found = fs::metadata(kiln.folder().join("kiln.pid")).expect("a file");
    assert_eq!(found.mode() & 0o133, 0, "{:o}", found.mode());
}

/// Where this machine's C library has its functions, from its beginning.
fn libc_functions(pid: i32, names: &[&'static str]) -> BTreeMap<&'static str, i64> {
    let library = mappings(pid).into_iter().find(|line| line.contains("/libc.so"));
    let library = library.expect("the worker has a C library");
    let path = PathBuf::from(library.split_whitespace().last().expect("a path"));
    let symbols = run(Command::new("nm").arg("-D").arg(&path)).stdout;
    let place = |name: &str| {
        let line = symbols.lines().find(|line| {
            let symbol = line.split_whitespace().last().unwrap_or_default();
            symbol.split('@').next() == Some(name)
        });
        let address = line.and_then(|line| line.split_whitespace().next());
        i64::from_str_radix(address.unwrap_or_default(), 16)
            .unwrap_or_else(|_| panic!("no {name} in {}", path.display()))
    };
    names.iter().map(|name| (*name, place(name))).collect()
}

/// Calls by computed addresses: what links is `strtol`, and everything else of the C library is some
/// bytes away from it.
fn computing(places: &BTreeMap<&'static str, i64>, marker: &str) -> String {
    let mut script = String::from(
        "#include <kiln.h>\n#include <cstdlib>\n\
         template <typename Function> static Function* at(long distance) {\n\
         \x20   volatile auto from = reinterpret_cast<unsigned long>(&strtol);\n\
         \x20   return reinterpret_cast<Function*>(from + distance);\n}\n",
    );
    for (name, place) in places {
        let distance = place - places["strtol"];
        let _ = writeln!(script, "constexpr long {name}_at = {distance};");
    }
    script
        + &format!(
            r#"
// Its destructor runs when an exception that nobody catches is already found to be one.
struct Late {{
    ~Late() {{ at<int(int, int)>(kill_at)(1, 0); }}
}};
static long attempt(std::string_view path) {{
    if (path == "/late") {{
        Late late;
        throw 1;
    }}
    if (path == "/read") return at<int(const char*, int)>(open_at)("/etc/passwd", 0);
    if (path == "/write") return at<int(const char*, int, int)>(open_at)("{marker}", 0101, 0600);
    if (path == "/execute") {{
        char shell[] = "/bin/sh", option[] = "-c", command[] = "touch {marker}";
        char* arguments[] = {{shell, option, command, nullptr}};
        return at<int(const char*, char**, char**)>(execve_at)(shell, arguments, nullptr);
    }}
    if (path == "/fork") return at<int()>(fork_at)();
    if (path == "/local") return at<int(int, int, int)>(socket_at)(1, 1, 0);
    if (path == "/tcp") return at<int(int, int, int)>(socket_at)(2, 1, 0);
    if (path == "/signal") return at<int(int, int)>(kill_at)(1, 0);
    // Jumps right behind the test of arguments: an instruction that makes any call.
    if (path == "/any") return at<long(long, ...)>(syscall_at)(257, -100, "{marker}", 0101, 0600);
    if (path == "/code") return at<long(long, ...)>(syscall_at)(9, 0, 4096, 7, 0x22, -1, 0);
    return 0;
}}
kiln::Action on_request(kiln::Request& request) {{
    return kiln::reply(200, std::to_string(attempt(request.path())));
}}
"#
        )
}

/// A worker opens connections to servers, and its list cannot tell who does.
#[test]
fn in_strict_mode_a_script_cannot_even_make_the_calls_that_its_worker_makes() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for is_strict in [false, true] {
        let config = format!("[faults]\nstrict = {is_strict}\n");
        let kiln = Kiln::builder().script(&replying("one")).config(&config).workers(1);
        let kiln = kiln.upstream("web", &[origin.address()]).start();
        let names = ["strtol", "open", "execve", "fork", "socket", "kill", "syscall"];
        let places = libc_functions(kiln.worker_pids()[0], &names);
        kiln.reload_with(&computing(&places, "/nowhere"));
        kiln.get("/").expect(200, "0");
        match is_strict {
            false => kiln.get("/tcp").expect_status(200),
            true => kiln.get("/tcp").expect_status(500),
        };
        if is_strict {
            kiln.until_logged("it made the system call socket; in strict mode scripts make none");
            kiln.get("/late").expect_status(500);
            kiln.until_logged("it made the system call kill; in strict mode scripts make none");
        }
        // The worker itself is free to.
        kiln.reload_with(FORWARDING);
        kiln.get("/").expect(200, "ok");
    }
}

/// The library wakes whoever waits for its locale, and random numbers are the kernel's.
#[test]
fn in_strict_mode_the_library_works_as_ever() {
    let script = include_str!("../scripts/library.cc");
    let config = "[faults]\nstrict = true\n";
    let kiln = Kiln::builder().script(script).config(config).workers(1).start();
    kiln.get("/conversions").expect(200, "3 wide, 5 bytes, 2001-09-09 01:46:40, 2001");
    kiln.get("/random").expect(200, "it differs, 32 bits, no such source");
    kiln.get("/pools").expect(200, "a text that is longer than a short one 10");
    kiln.get("/arithmetic?n=7").expect(200, "3.5 49 3 18446744073709551615");
}

#[test]
fn a_script_that_computes_its_way_to_a_system_call_is_stopped_and_its_neighbours_are_served() {
    // More faults than a new generation may have, one by one.
    let config = "faults.probation_faults = 0\n";
    let kiln = Kiln::builder().script(&replying("one")).config(config).workers(2).start();
    let names = ["strtol", "open", "execve", "fork", "socket", "kill", "syscall"];
    let places = libc_functions(kiln.worker_pids()[0], &names);
    let marker = kiln.folder().join("marker");
    kiln.reload_with(&computing(&places, &marker.display().to_string()));
    kiln.get("/").expect(200, "0");
    for (path, call) in [
        ("/read", "openat"),
        ("/write", "openat"),
        ("/execute", "execve"),
        ("/fork", "clone"),
        ("/local", "socket"),
        ("/signal", "kill"),
        ("/any", "openat"),
        ("/code", "mmap"),
    ] {
        let before = kiln.until_workers(2);
        let told = format!("it made the system call {call}, which scripts may not");
        let times = kiln.log().matches(&told).count();
        kiln.get(path).expect_status(500);
        kiln.until_logged_times(&told, times + 1);
        until_true("one of the workers is replaced", || {
            let now = kiln.until_workers(2);
            before.iter().filter(|pid| now.contains(pid)).count() == 1
        });
        assert!(!marker.exists(), "{path}");
        for _ in 0..4 {
            kiln.get("/").expect(200, "0");
        }
    }
    assert_eq!(kiln.processes().len(), 3, "nothing was started");
}
