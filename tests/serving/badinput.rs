//! What an operator can get wrong. At start: a message that names the culprit and the remedy, exit
//! code 2, and nothing left behind; where only the scripts are wrong, Kiln serves without any. At
//! reload: the same message, and nothing changed.

use std::fs;
use std::net::TcpListener;

use tests::{Builder, Kiln, Origin, kiln};

use crate::replying;

fn fine() -> Builder {
    Kiln::builder().script(&replying("fine"))
}

#[test]
fn a_missing_script_is_named() {
    Kiln::builder().script_path("/nowhere/site.cc").refused().expect(&[
        "/nowhere/site.cc",
        "No such file",
        "--script",
    ]);
}

#[test]
fn no_script_at_all_says_how_to_name_one() {
    Kiln::builder().refused().expect(&["no script", "--script PATH", "kiln.toml"]);
}

/// A test that runs as root can read everything, so this is a folder in the place of the file.
#[test]
fn a_folder_without_scripts_is_refused() {
    let kiln = Kiln::builder().scripts(&[("readme.txt", "no script")]).start_without_scripts();
    kiln.expect_logged(&["scripts", "no script in this folder", ".cc"]);
}

#[test]
fn a_script_that_cannot_be_read_is_named() {
    // A socket: there, and not readable, for root neither.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("site.cc");
    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let named = path.display().to_string();
    Kiln::builder().script_path(&path).refused().expect(&["cannot read the script", &named]);
}

#[test]
fn a_script_without_a_hook_is_refused_with_the_hook_that_it_lacks() {
    Kiln::builder().script("int x;").start_without_scripts().expect_logged(&[
        "site.cc",
        "no hook",
        "kiln::Action on_request(kiln::Request& request)",
    ]);
}

#[test]
fn a_hook_with_another_signature_is_refused() {
    for wrong in [
        "kiln::Action on_request(const std::string&) { return kiln::next(); }",
        "kiln::Action on_request(kiln::Request&, int) { return kiln::next(); }",
        "kiln::Action on_request() { return kiln::next(); }",
        "void on_request(kiln::Request&) {}",
        "int on_request(kiln::Request&) { return 1; }",
    ] {
        let kiln = Kiln::builder()
            .script(&format!("#include <kiln.h>\n{wrong}\n"))
            .start_without_scripts();
        kiln.expect_logged(&["site.cc", "on_request", "the scripts were refused"]);
    }
}

#[test]
fn a_script_that_does_not_compile_is_refused_as_clang_says_it() {
    let line = "kiln::Action on_request(kiln::Request&) { return kiln::reply(200) }";
    let kiln =
        Kiln::builder().script(&format!("#include <kiln.h>\n{line}\n")).start_without_scripts();
    let column = line.find(" }").expect("it ends so") + 1;
    kiln.expect_logged(&[
        &format!("site.cc:2:{column}: error: expected ';' after return statement\n"),
        &format!("\n    2 | {line}\n      | {}^\n", " ".repeat(column - 1)),
        "the scripts were refused",
    ]);
}

#[test]
fn a_header_that_does_not_exist_is_named_with_its_line() {
    let kiln = Kiln::builder()
        .script("#include <kiln.h>\n#include \"nowhere.h\"\n")
        .start_without_scripts();
    kiln.expect_logged(&["site.cc:2:10: fatal error: 'nowhere.h' file not found"]);
}

#[test]
fn a_script_that_forks_for_ever_is_refused_by_name_and_line() {
    let script = "#include <kiln.h>
extern \"C\" int fork();
kiln::Action on_request(kiln::Request&) {
    while (true)
        fork();
}
";
    Kiln::builder().script(script).start_without_scripts().expect_logged(&["site.cc:5", "`fork`"]);

    let kiln = Kiln::start(&replying("fine"));
    kiln.write_script("site.cc", script);
    let diagnostics = kiln.reload().expect_refused();
    assert!(diagnostics.contains("site.cc:5:9: error: "), "{diagnostics}");
    assert!(diagnostics.contains("`fork`"), "{diagnostics}");
    kiln.get("/").expect(200, "fine");
    assert_eq!(kiln.generation(), 1);
}

#[test]
fn a_script_may_not_reach_what_would_harm_its_worker() {
    for (declaration, call, name) in [
        ("#include <stdlib.h>", "system(\"true\")", "system"),
        ("#include <stdlib.h>", "exit(1)", "exit"),
        ("#include <unistd.h>", "execl(\"/bin/true\", \"true\", nullptr)", "execl"),
        ("#include <unistd.h>", "sleep(1)", "sleep"),
        ("#include <sys/socket.h>", "socket(1, 1, 0)", "socket"),
        ("#include <fcntl.h>", "open(\"/etc/passwd\", 0)", "open"),
        ("#include <stdio.h>", "fopen(\"/etc/passwd\", \"r\")", "fopen"),
        ("#include <dlfcn.h>", "dlopen(nullptr, 1)", "dlopen"),
        ("#include <pthread.h>", "pthread_exit(nullptr)", "pthread_exit"),
    ] {
        let script = format!(
            "{declaration}\n#include <kiln.h>\nkiln::Action on_request(kiln::Request&) {{\n    \
             {call};\n    return kiln::reply(200);\n}}\n"
        );
        let kiln = Kiln::builder().script(&script).start_without_scripts();
        kiln.expect_logged(&["site.cc:4", &format!("`{name}`")]);
    }
}

#[test]
fn bad_addresses_are_named() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "localhost:80"] {
        let refused = fine().without_listen().argument("--listen").argument(address).refused();
        refused.expect(&[address, "--listen"]);
    }
    // One that belongs to documentation, and so to no machine.
    let foreign = fine().without_listen().argument("--listen=192.0.2.1:8080").refused();
    foreign.expect(&["192.0.2.1:8080", "does not belong to this machine"]);
    let twice = fine()
        .without_listen()
        .argument("--listen=127.0.0.1:18080")
        .argument("--listen=127.0.0.1:18080")
        .refused();
    twice.expect(&["127.0.0.1:18080", "given twice"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let refused = fine().without_listen().argument("--listen").argument(&address).refused();
    refused.expect(&[&address, "in use", "another port"]);
}

/// With SO_REUSEPORT the kernel would let two share a port, each with half of the connections.
#[test]
fn a_port_of_another_kiln_is_in_use() {
    let kiln = Kiln::start(&replying("first"));
    let address = kiln.address().to_string();
    let refused = fine().without_listen().argument("--listen").argument(&address).refused();
    refused.expect(&[&address, "in use"]);
    for _ in 0..20 {
        kiln.get("/").expect(200, "first");
    }
}

#[test]
fn bad_upstreams_are_named() {
    for (upstream, part) in [
        ("web", "NAME=ADDRESS"),
        ("web=nonsense", "\"nonsense\" is not an address with a port"),
        ("web=127.0.0.1", "\"127.0.0.1\" is not an address with a port"),
        ("web=", "web"),
        ("=127.0.0.1:80", "needs a name"),
        ("web=127.0.0.1:80,", "web"),
    ] {
        fine().argument("--upstream").argument(upstream).refused().expect(&[part]);
    }
    let twice = fine().argument("--upstream=a=127.0.0.1:1").argument("--upstream=a=127.0.0.1:2");
    twice.refused().expect(&["--upstream a is given twice"]);
}

#[test]
fn unknown_flags_and_commands_are_named() {
    fine().argument("--colour=blue").refused().expect(&["--colour", "Usage:"]);
    let unknown = kiln(["serv"]);
    assert_eq!(unknown.code(), Some(2));
    assert!(unknown.stderr.contains("'serv'") && unknown.stderr.contains("serve"), "{unknown:?}");
    let nothing = kiln::<&str>([]);
    assert_eq!(nothing.code(), Some(2), "{nothing:?}");
}

#[test]
fn senseless_numbers_of_workers_are_refused_with_the_possible_ones() {
    for workers in [0, 100_000] {
        let refused = fine().workers(workers).refused();
        refused.expect(&[&format!("{workers} workers"), "from 1 to "]);
    }
    fine().argument("--workers=many").refused().expect(&["many", "--workers"]);
    fine().argument("--workers=-1").refused().expect(&["-1"]);
}

#[test]
fn unknown_configuration_keys_are_named_with_their_place() {
    for (config, parts) in [
        ("colour = 'blue'", ["colour", "kiln.toml:1:1: error: "]),
        ("workers = 1\n[limits]\nhead = 1", ["head", "kiln.toml:3:1: error: "]),
        ("[timeouts]\nhead = 1", ["head", "kiln.toml:2:1: error: "]),
        ("workers = 'two'", ["two", "kiln.toml:1:11: error: "]),
        ("workers = ", ["workers", "kiln.toml:1:11: error: "]),
        ("listen = ['nonsense']", ["not an address with a port", "kiln.toml:1:11: error: "]),
    ] {
        fine().config(config).refused().expect(&parts);
    }
}

#[test]
fn senseless_values_of_the_configuration_are_named() {
    for (config, part) in [
        ("workers = 0", "workers = 0 is not between 1 and 1024"),
        ("limits.head_bytes = 0", "limits.head_bytes = 0"),
        ("limits.fields = 1000000", "limits.fields = 1000000"),
        ("limits.connections = 0", "limits.connections = 0"),
        ("timeouts.head_ms = 0", "timeouts.head_ms"),
        ("upstreams.web = []", "upstream web has no server"),
        ("upstreams.web = ['nonsense']", "\"nonsense\" is not an address"),
    ] {
        fine().config(config).refused().expect(&[part]);
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let refused = fine().argument("-c").argument("/nowhere/kiln.toml").refused();
    refused.expect(&["/nowhere/kiln.toml", "No such file"]);
}

/// The master would wait for it at every reload.
#[test]
fn a_pipe_in_the_place_of_a_configuration_is_refused() {
    let builder = fine();
    let path = builder.folder().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let refused = builder.argument("-c").argument(&path).refused();
    refused.expect(&[&path.display().to_string(), "a pipe cannot be read again at a reload"]);
}

#[test]
fn a_control_socket_that_is_taken_is_named_and_left_alone() {
    let kiln = Kiln::start(&replying("first"));
    let path = kiln.control_path();
    let refused = fine().without_control().argument("--control").argument(&path).refused();
    refused.expect(&[&path.display().to_string(), "taken by a running kiln", "--control"]);
    assert_eq!(kiln.status()["master"]["pid"], kiln.pid());
}

#[test]
fn a_file_at_the_path_of_the_control_socket_is_left_alone() {
    let builder = fine();
    let path = builder.control_path();
    fs::write(&path, "somebody's").expect("a file");
    let refusal = builder.refused();
    refusal.expect(&[&path.display().to_string(), "not a socket"]);
    assert_eq!(fs::read_to_string(path).expect("it is still there"), "somebody's");
}

#[test]
fn a_pid_file_of_a_running_kiln_is_named_with_its_pid() {
    let builder = fine();
    let path = builder.folder().join("kiln.pid");
    let kiln = builder.argument("--pid-file").argument(&path).start();
    assert_eq!(fs::read_to_string(&path).expect("a file").trim(), kiln.pid().to_string());
    let refused = fine().argument("--pid-file").argument(&path).refused();
    refused.expect(&[&path.display().to_string(), &format!("(pid {})", kiln.pid()), "--pid-file"]);
}

#[test]
fn a_refused_start_leaves_no_socket_and_no_pid_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let builder = fine().without_listen().argument("--listen").argument(address);
    let pid_file = builder.folder().join("kiln.pid");
    let refusal = builder.argument("--pid-file").argument(&pid_file).refused();
    assert!(refusal.finished.stderr.contains("in use"), "{:?}", refusal.finished);
    assert!(!pid_file.exists());
    assert!(!refusal.folder.path().join("control").exists());
}

/// Everything that may be wrong with scripts, at reload: the old generation serves on.
#[test]
fn nothing_changes_when_a_reload_is_refused() {
    let kiln = Kiln::start(&replying("fine"));
    let mut client = kiln.connect();
    client.get("/").expect(200, "fine");
    let pids = kiln.worker_pids();
    let script = kiln.script_path("site.cc");
    let mut refused = |what: &str, part: &str| {
        let reloaded = kiln.reload();
        let diagnostics = reloaded.expect_refused();
        let said = format!("{diagnostics}{}", reloaded.json["reason"]);
        assert!(said.contains(part), "{what}: expected {part:?} in {said}");
        assert_eq!(reloaded.json["generation_serving"], 1, "{what}");
        client.get("/").expect(200, "fine");
        assert_eq!(kiln.worker_pids(), pids, "{what}");
        assert_eq!(kiln.generation(), 1, "{what}");
    };
    for (text, part) in [
        ("nonsense", "site.cc:1:1: error: unknown type name 'nonsense'"),
        ("int x;", "no hook"),
        ("#include <kiln.h>\nvoid on_request(int) {}", "on_request"),
        ("#error not today", "site.cc:1:2: error: not today"),
        ("", "no hook"),
    ] {
        kiln.write_script("site.cc", text);
        refused(text, part);
    }
    fs::remove_file(&script).expect("it is there");
    refused("a script that is gone", "site.cc");
    fs::create_dir(&script).expect("a folder in its place");
    refused("a folder without scripts", "no script in this folder");
    fs::remove_dir(&script).expect("it is empty");
    assert_eq!(kiln.reload_with(&replying("again")), 9);
    client.get("/").expect(200, "again");
}

#[test]
fn a_script_that_crashes_while_it_is_initialised_is_refused_and_the_others_serve_on() {
    let kiln = Kiln::start(&replying("fine"));
    kiln.write_script(
        "site.cc",
        "#include <kiln.h>
        int number = [] { throw std::runtime_error(\"no such luck\"); return 1; }();
        kiln::Action on_request(kiln::Request&) { return kiln::reply(200, \"bad\"); }",
    );
    let reloaded = kiln.reload();
    reloaded.expect_refused();
    kiln.until_serving();
    kiln.get("/").expect(200, "fine");
    kiln.write_script(
        "site.cc",
        "#include <kiln.h>
        int number = [] { volatile int* nowhere = nullptr; asm volatile(\"\" : \"+r\"(nowhere)); return *nowhere; }();
        kiln::Action on_request(kiln::Request&) { return kiln::reply(200, \"bad\"); }",
    );
    kiln.reload().expect_refused();
    kiln.until_serving();
    kiln.get("/").expect(200, "fine");
}

#[test]
fn commands_to_a_kiln_that_is_not_there_say_so() {
    for command in ["reload", "status"] {
        let finished = kiln([command, "--control", "/nowhere/control"]);
        assert_eq!(finished.code(), Some(2), "{finished:?}");
        for part in ["/nowhere/control", "is it running", "--control"] {
            assert!(finished.stderr.contains(part), "{finished:?}");
        }
    }
}

/// A working origin does not save a script that names another.
#[test]
fn an_upstream_that_only_the_script_knows_is_named_in_the_log() {
    let origin = Origin::echoing();
    let kiln = Kiln::builder()
        .script("#include <kiln.h>\nkiln::Action on_request(kiln::Request&) { return kiln::forward(\"wbe\"); }")
        .workers(1)
        .upstream("web", &[origin.address()])
        .start();
    kiln.get("/").expect_status(500);
    kiln.until_logged("wbe");
}
