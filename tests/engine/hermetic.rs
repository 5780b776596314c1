//! The engine needs nothing of the machine that it runs on, and looks at nothing of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::{BareMachine, Kiln, kiln_command, run, until, until_true};

use crate::case::{every_cpu, folder, some_cpu};

/// Every header of C++20 but `<format>`, which this C++ library does not have, and those of C.
const STANDARD: &str = "algorithm any array atomic barrier bit bitset cassert ccomplex cctype cerrno \
    cfenv cfloat charconv chrono cinttypes ciso646 climits clocale cmath codecvt compare complex \
    concepts condition_variable coroutine csetjmp csignal cstdalign cstdarg cstdbool cstddef cstdint \
    cstdio cstdlib cstring ctgmath ctime cuchar cwchar cwctype deque exception execution filesystem \
    forward_list fstream functional future initializer_list iomanip ios iosfwd iostream istream \
    iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional \
    ostream queue random ranges ratio regex scoped_allocator semaphore set shared_mutex \
    source_location span sstream stack stdexcept stop_token streambuf string string_view strstream \
    syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set \
    utility valarray variant vector version \
    assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h \
    setjmp.h signal.h stdalign.h stdarg.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h \
    tgmath.h time.h uchar.h wchar.h wctype.h";

/// Headers of POSIX, Linux and the processor, of which every kind is here.
const SYSTEM: &str = "aio.h arpa/inet.h dirent.h dlfcn.h fcntl.h fnmatch.h ftw.h getopt.h glob.h grp.h \
    iconv.h ifaddrs.h langinfo.h libgen.h link.h malloc.h monetary.h mqueue.h net/if.h netdb.h \
    netinet/in.h netinet/tcp.h nl_types.h poll.h pthread.h pwd.h regex.h sched.h search.h semaphore.h \
    spawn.h strings.h sys/epoll.h sys/eventfd.h sys/ioctl.h sys/ipc.h sys/mman.h sys/msg.h \
    sys/resource.h sys/select.h sys/sem.h sys/sendfile.h sys/shm.h sys/signalfd.h sys/socket.h \
    sys/stat.h sys/statvfs.h sys/syscall.h sys/time.h sys/timerfd.h sys/times.h sys/types.h sys/uio.h \
    sys/un.h sys/utsname.h sys/wait.h syslog.h tar.h termios.h ucontext.h ulimit.h unistd.h utime.h \
    utmpx.h wordexp.h linux/bpf.h linux/filter.h linux/futex.h linux/io_uring.h linux/netlink.h \
    linux/seccomp.h asm/unistd.h bits/stdc++.h ext/rope ext/pb_ds/assoc_container.hpp \
    cpuid.h emmintrin.h immintrin.h mm_malloc.h nmmintrin.h pmmintrin.h smmintrin.h tmmintrin.h \
    unwind.h wmmintrin.h x86intrin.h xmmintrin.h";

/// Programs that use much of the library between them.
const PROGRAMS: [&str; 4] =
    ["exceptions.cc", "library.cc", "ranges_and_concepts.cc", "synchronisation.cc"];

/// A script that includes what scripts include.
const SCRIPT: &str = "#include <kiln.h>
#include <algorithm>
#include <chrono>
#include <map>
#include <ranges>
#include <sstream>
#include <immintrin.h>
#include \"words.h\"
kiln::Action on_request(kiln::Request& request) {
    std::ostringstream text;
    text << WORD << std::ranges::none_of(request.path(), [](char c) { return c >= 'A' && c <= 'Z'; });
    return kiln::reply(200, text.str());
}
";

/// Includes each of these alone; returns what is said about those that are not accepted.
fn refused_headers(headers: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program.cc");
    let mut refused = String::new();
    for header in headers.split_whitespace() {
        fs::write(&program, format!("#include <{header}>\nint main() {{}}\n")).expect("a file");
        let got = run(kiln_command().arg("run").arg(&program));
        if !got.status.success() {
            refused += &format!("{header}: {}\n", got.stderr);
        }
    }
    refused
}

#[test]
fn every_standard_header_can_be_included_alone() {
    let refused = refused_headers(STANDARD);
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn headers_of_posix_linux_and_the_processor_can_be_included_alone() {
    let refused = refused_headers(SYSTEM);
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn a_header_that_the_library_does_not_have_is_refused_by_its_name() {
    let refused = refused_headers("format");
    assert!(refused.contains("fatal error: 'format' file not found"), "{refused}");
}

#[test]
fn programs_are_the_same_on_a_machine_without_compilers_and_headers() {
    let _busy = every_cpu();
    let outcomes = || {
        PROGRAMS.map(|name| {
            let got = run(kiln_command().arg("run").arg(folder("programs").join(name)));
            assert!(!got.stderr.contains("error:"), "{name}: {}", got.stderr);
            (name, got.code(), got.stdout)
        })
    };
    let before = outcomes();
    assert!(before.iter().all(|(_, code, stdout)| *code == Some(0) && !stdout.is_empty()));
    BareMachine::with(move || assert_eq!(outcomes(), before));
}

#[test]
fn scripts_are_served_and_reloaded_on_a_machine_without_compilers_and_headers() {
    let _cpu = some_cpu();
    BareMachine::with(|| {
        let kiln = Kiln::builder()
            .scripts(&[("site.cc", SCRIPT), ("words.h", "#define WORD \"one \"\n")])
            .workers(2)
            .start();
        kiln.get("/path").expect(200, "one 1");
        kiln.write_script("words.h", "#define WORD \"two \"\n");
        let told = kiln.reload();
        assert_eq!(told.code, Some(0), "{:#}", told.json);
        kiln.get("/Path").expect(200, "two 0");
    });
}

#[test]
fn a_reload_opens_no_header_outside_the_scripts_folder() {
    let _cpu = some_cpu();
    let kiln = Kiln::builder()
        .scripts(&[("site.cc", SCRIPT), ("words.h", "#define WORD \"one \"\n")])
        .workers(1)
        .start();
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2,execve", "-p", &kiln.pid().to_string(), "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed");
    until("strace to follow the master", || {
        let status = fs::read_to_string(format!("/proc/{}/status", kiln.pid())).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:\t"))
            .filter(|pid| *pid != "0")?;
        Some(())
    });
    kiln.write_script("words.h", "#define WORD \"two \"\n");
    let told = kiln.reload();
    assert_eq!(told.code, Some(0), "{:#}", told.json);
    let read = || fs::read_to_string(&trace).unwrap_or_default();
    until_true("the trace to show the private header", || read().contains("words.h"));
    strace.kill().expect("it still follows the master");
    strace.wait().expect("it was started");
    let own = kiln.folder().to_string_lossy().into_owned();
    for line in read().lines().filter(|line| line.contains("open")) {
        let Some(path) = line.split('"').nth(1) else { continue };
        assert!(is_allowed(path, &own) || is_of_the_cache(line, path), "{line}");
    }
    assert!(!read().contains("execve("), "it starts another program:\n{}", read());
    kiln.get("/path").expect(200, "two 1");
}

/// The cache's files are opened from its folder, by digests.
fn is_of_the_cache(line: &str, path: &str) -> bool {
    let digest = path.split('.').next().unwrap_or_default();
    !line.contains("AT_FDCWD")
        && digest.len() == 64
        && digest.bytes().all(|c| c.is_ascii_hexdigit())
}

/// What is said about this machine's processes and processors is no header.
fn is_allowed(path: &str, own: &str) -> bool {
    let below = |folder: &str| Path::new(path).starts_with(folder);
    below(own) || ["/proc", "/sys", "/dev"].into_iter().any(below)
}
