//! Scripts under GDB: breakpoints before and after a reload, values, frames through the host, cores.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tests::{Client, Gdb, Kiln, binary, run, until};

use crate::case::some_cpu;

/// Optimised, with something to look at in every frame.
const ORDERS: &str = r#"#include <kiln.h>

struct Order {
    std::string name;
    std::vector<int> parts;
};

[[gnu::noinline]] static int total(const Order& order) {
    int sum = 0;
    for (int part : order.parts) sum += part * part;
    return sum;
}

kiln::Action on_request(kiln::Request& request) {
    Order order{std::string(request.path()), {1, 2, 3}};
    int sum = total(order);
    return kiln::reply(200, order.name + " " + std::to_string(sum));
}
"#;

/// Frames from the hook to the end, which every backtrace has to have.
const HOST_FRAMES: [&str; 6] = [
    " on_request (",
    " kiln_call_hook (",
    " kiln_on_stack (",
    " at worker/src/event_loop.rs:",
    " at master/src/supervisor.rs:",
    " main (",
];

fn one_worker(script: &str) -> (Kiln, i32) {
    let _cpu = some_cpu();
    let kiln = Kiln::builder().script(script).workers(1).start();
    let worker = kiln.worker_pids()[0];
    (kiln, worker)
}

/// Sends a request to a worker that GDB has or will have stopped.
fn ask(kiln: &Kiln, target: &str) -> Client {
    let mut client = kiln.connect();
    client.send_get(target);
    client
}

#[track_caller]
fn expect_all(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn a_breakpoint_in_a_worker_shows_lines_values_and_every_frame_to_main() {
    let (kiln, worker) = one_worker(ORDERS);
    let gdb = Gdb::attach(
        worker,
        "break site.cc:16\nbreak total\necho READY\\n\ncontinue\nbacktrace\ninfo locals\n\
         print request.raw_.path\nprint request\nstep\ninfo args\nnext\nbacktrace 2\nfinish\n\
         next\ndetach\n",
    );
    gdb.until_said("READY");
    let mut client = ask(&kiln, "/shop?x=1");
    let said = gdb.finish(&[]);
    expect_all(&said, &HOST_FRAMES);
    expect_all(
        &said,
        &[
            "on_request (request=...) at ",
            r#"order = {name = "/shop", parts = std::vector of length 3, capacity 3 = {1, 2, 3}}"#,
            r#"$1 = "/shop""#,
            r#"query = "x=1""#,
            "Breakpoint 2, total (order=...)",
            "#0  total (order=...) at ",
            "Value returned is $3 = 14",
            "17\t    return kiln::reply(",
        ],
    );
    client.response().expect(200, "/shop 14");
    kiln.get("/again").expect(200, "/again 14");
}

#[test]
fn a_function_that_is_not_optimised_keeps_every_value() {
    let script = ORDERS.replace("[[gnu::noinline]]", "[[clang::optnone]]");
    let script = script.replace("kiln::Action on_", "[[clang::optnone]] kiln::Action on_");
    let (kiln, worker) = one_worker(&script);
    let gdb = Gdb::attach(
        worker,
        "break site.cc:11 if sum > 0\necho READY\\n\ncontinue\ninfo locals\nup\ninfo locals\n\
         print request.path()\nprint order.parts.size()\ndetach\n",
    );
    gdb.until_said("READY");
    let mut client = ask(&kiln, "/shop");
    let said = gdb.finish(&[]);
    expect_all(&said, &["sum = 14", "sum = 0", r#"name = "/shop""#, r#"$1 = "/shop""#, "$2 = 3"]);
    assert!(!said.contains("optimized out"), "{said}");
    client.response().expect(200, "/shop 14");
}

#[test]
fn breakpoints_follow_a_script_through_fifty_reloads() {
    const RELOADS: u64 = 50;
    const REQUESTS: u64 = 5;
    let version = |number: u64| {
        format!(
            "#include <kiln.h>\nstatic volatile int number = {number};\n\
             [[gnu::noinline]] static int helper(int value) {{\n    value += number;\n    \
             return value * 2;\n}}\n\
             kiln::Action on_request(kiln::Request&) {{\n    \
             return kiln::reply(200, std::to_string(helper(1)));\n}}\n"
        )
    };
    let _cpu = some_cpu();
    let first =
        "#include <kiln.h>\nkiln::Action on_request(kiln::Request&) { return kiln::close(); }\n";
    let (kiln, worker) = one_worker(first);
    // Neither the line nor the function is there yet.
    let gdb = Gdb::attach(
        worker,
        &format!(
            "break site.cc:5\nbreak helper\necho READY\\n\nset $stops = 0\n\
             while $stops < {}\n  continue\n  printf \"%s:%d\\n\", \"number\", number\n  \
             set $stops = $stops + 1\nend\n\
             maint info jit\ninfo breakpoints\ndetach\n",
            2 * REQUESTS
        ),
    );
    gdb.until_said("READY");
    for number in 1..=RELOADS {
        kiln.reload_with(&version(number));
        if number % (RELOADS / REQUESTS) == 0 {
            kiln.get("/").expect(200, &(2 * (number + 1)).to_string());
        }
    }
    let said = gdb.finish(&["No source file named", "Function \"helper\" not defined"]);
    for number in (1..=REQUESTS).map(|round| round * RELOADS / REQUESTS) {
        let stops = said.matches(&format!("number:{number}\n")).count();
        assert_eq!(stops, 2, "stops in version {number}:\n{said}");
    }
    let (_, end) = said.split_once("jit_code_entry address").expect("a list of images");
    let images = end.lines().skip(1).take_while(|line| line.starts_with("0x")).count();
    assert_eq!(images, 1, "images that GDB knows at the end:\n{said}");
    assert_eq!(end.matches("site.cc:").count(), 2, "a place for each breakpoint:\n{said}");
}

#[test]
fn a_stripped_kiln_that_gdb_starts_stops_in_the_script_of_a_worker() {
    let _cpu = some_cpu();
    let builder = Kiln::builder().script(ORDERS).workers(2);
    let stripped = builder.folder().join("kiln");
    assert!(run(Command::new("strip").arg("-o").arg(&stripped).arg(binary())).status.success());
    let gdb = Gdb::on_command(
        stripped.as_os_str(),
        &builder.command(),
        // It stops at the end of each child: of the compile, and of who keeps what that left.
        "set detach-on-fork off\nset schedule-multiple on\nbreak total\nrun\n\
         while $_thread == 0\n  inferior 1\n  continue\nend\n\
         backtrace\nup\ninfo locals\ninfo inferiors\n",
    );
    let log = gdb.until_said("worker ready");
    let line = log.lines().find(|line| line.contains(" listening address=")).expect("it listens");
    let address = line.rsplit_once('=').and_then(|(_, address)| address.parse().ok());
    let mut client = Client::connect(address.expect("an address"));
    client.send_get("/shop");
    let said = gdb.finish(&["in ?? ()", "No source file named", "Function \"total\" not defined"]);
    expect_all(
        &said,
        &["#0  total (order=...) at ", "#1  ", "in on_request (", r#"name = "/shop""#, "main"],
    );
}

const CRASHING: &str = r#"#include <kiln.h>

static const char* const words[] = {"alpha", "beta"};
static int table[] = {1, 2, 3, 4};

[[gnu::noinline]] static int pick(const char* word, int* where) {
    *where = word[0];
    return *where + table[*where % 4];
}

kiln::Action on_request(kiln::Request& request) {
    std::string path(request.path());
    int place = 0;
    int picked = pick(words[path.size() % 2], path == "/crash" ? nullptr : &place);
    return kiln::reply(200, path + " " + std::to_string(picked));
}
"#;

/// What GDB 13 says of any core of a newer kernel, and of mappings that are no files.
const KNOWN_OF_CORES: [&str; 3] = [
    "Can't open file /memfd:kiln-image",
    "Can't open file /dev/zero (deleted)",
    "Section `.reg-xstate/",
];

#[track_caller]
fn expect_whole(core: &Path, frame: &str) {
    let gdb = Gdb::on_core(
        core.as_os_str(),
        "backtrace\nprint word\nprint table\nup\ninfo locals\nprint request.raw_.path\n",
    );
    let said = gdb.finish(&KNOWN_OF_CORES);
    expect_all(&said, &HOST_FRAMES);
    // A constant, variables that nobody has written, and what is on stack and heap.
    expect_all(&said, &[frame, r#""alpha""#, "= {1, 2, 3, 4}", "place = 0"]);
    expect_all(&said, &[r#"path = "/crash""#, r#"= "/crash""#]);
}

#[test]
fn a_core_that_gdb_makes_of_a_stopped_worker_shows_the_script() {
    let (kiln, worker) = one_worker(CRASHING);
    let core = kiln.folder().join("core-of-gdb");
    let gdb = Gdb::attach(
        worker,
        &format!(
            "break pick\necho READY\\n\ncontinue\ngenerate-core-file {}\ncontinue\nkill\n",
            core.display()
        ),
    );
    gdb.until_said("READY");
    let client = ask(&kiln, "/crash");
    // GDB's own, of every process; that page is the kernel's.
    let vsyscall = "Memory read failed for corefile section, 4096 bytes at 0xffffffffff600000";
    let said = gdb.finish(&["/cmdline contained unexpected null", vsyscall]);
    expect_all(&said, &["SIGSEGV", "site.cc:7"]);
    expect_whole(&core, "pick (word=0x");
    drop(client);
}

#[test]
fn the_core_of_a_script_that_crashed_shows_the_script() {
    let started = SystemTime::now();
    let config = "[faults]\nrecover = false\n[process]\ncore_bytes = 1073741824\n";
    let kiln = Kiln::builder().script(CRASHING).config(config).workers(1).start();
    drop(ask(&kiln, "/crash"));
    kiln.until_logged("killed by SIGSEGV (core dumped)");
    if let Some(core) = kernel_core(kiln.folder(), started) {
        expect_whole(&core, "pick (word=0x");
    }
}

/// The core that the kernel has written meanwhile; none where it hands cores to a program, which may
/// do with them what it likes.
fn kernel_core(folder: &Path, since: SystemTime) -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("the kernel has one");
    let pattern = pattern.trim();
    if pattern.starts_with('|') {
        return None;
    }
    let path = folder.join(pattern);
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let begins = name.split('%').next().unwrap_or_default().to_owned();
    let place = path.parent().expect("a folder").to_owned();
    Some(until("a core file", || {
        let found = fs::read_dir(&place).ok()?.flatten().filter(|entry| {
            let name: OsString = entry.file_name();
            let changed = entry.metadata().and_then(|data| data.modified());
            name.to_string_lossy().starts_with(&begins) && changed.is_ok_and(|at| at >= since)
        });
        found.map(|entry| entry.path()).next()
    }))
}
