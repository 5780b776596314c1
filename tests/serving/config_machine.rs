//! `kiln config check`: what a start would refuse, or take for something else than was meant.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;
use tests::{Finished, Kiln, kiln};

use crate::replying;

/// A folder with a script `site.cc`, and a configuration of this text that names it.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("site.cc"), replying("fine")).expect("a script is written");
    configure(&folder, &format!("script = 'site.cc'\n{text}"));
    folder
}

fn configure(folder: &TempDir, text: &str) {
    fs::write(folder.path().join("kiln.toml"), text).expect("a configuration is written");
}

fn checked(folder: &TempDir) -> Finished {
    kiln(["config", "check", "-c", &folder.path().join("kiln.toml").display().to_string()])
}

/// Checks that the configuration is refused, with this among what is said.
#[track_caller]
fn refused(folder: &TempDir, expect: &str) {
    let checked = checked(folder);
    assert_eq!(checked.code(), Some(2), "{checked:?}");
    assert!(checked.stderr.contains(expect), "expected {expect:?} in:\n{}", checked.stderr);
}

/// Checks that the configuration is taken, and that this is said all the same.
#[track_caller]
fn taken(folder: &TempDir, expect: &str) {
    let checked = checked(folder);
    assert_eq!(checked.code(), Some(0), "{checked:?}");
    assert!(checked.stderr.contains(expect), "expected {expect:?} in:\n{}", checked.stderr);
    assert!(!expect.is_empty() || checked.stderr.is_empty(), "{}", checked.stderr);
}

#[test]
fn scripts_that_cannot_be_compiled_are_told() {
    let folder = folder("");
    taken(&folder, "");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    fs::write(folder.path().join("empty/only.h"), "").expect("a header");
    configure(&folder, "script = 'empty'\n");
    refused(&folder, "kiln.toml:1:10: error: script: ");
    refused(&folder, "/empty: no script in this folder: their names end in .cc, .cpp or .cxx");
    configure(&folder, "script = 'none.cc'\n");
    refused(&folder, "none.cc: cannot be read: No such file");
    // Root may read everything; who is to compile may not.
    let site = folder.path().join("site.cc");
    fs::set_permissions(&site, Permissions::from_mode(0o600)).expect("it is ours");
    configure(&folder, "script = 'site.cc'\nprocess = { user = '65534', group = '65534' }\n");
    refused(&folder, "gives user 65534 and group 65534");
}

#[test]
fn what_looks_like_a_script_and_is_none_is_told_with_what_to_do() {
    let folder = folder("");
    let scripts = folder.path().join("scripts");
    fs::create_dir_all(scripts.join("below")).expect("folders");
    fs::create_dir(scripts.join("headers")).expect("a folder");
    for quiet in ["a.cc", "b.cpp", "c.cxx", "d.h", "e.txt", "a_test.cc", "headers/f.h"] {
        fs::write(scripts.join(quiet), replying("fine")).expect("a file");
    }
    configure(&folder, "script = 'scripts'\n");
    taken(&folder, "");
    for (name, told) in [
        ("g.c++", "rename it to g.cc, or to g.h if scripts include it"),
        ("h.C", "rename it to h.cc"),
        ("i.CC", "rename it to i.cc"),
        ("j.cppm", "rename it to j.cc"),
        ("k.c", "rename it to k.cc"),
        ("below/l.cc", "/below is not looked into, and has scripts: move them up"),
    ] {
        fs::write(scripts.join(name), replying("fine")).expect("a file");
        taken(&folder, told);
        fs::remove_file(scripts.join(name)).expect("it is there");
    }
    symlink("nowhere", scripts.join("m.cc")).expect("a link");
    refused(&folder, "m.cc is a link to nowhere, where nothing is");
}

/// A start, a reload and `kiln check` say so as well.
#[test]
fn what_is_passed_over_is_told_by_everything_that_compiles() {
    let kiln = Kiln::builder()
        .scripts(&[("a.cc", &replying("fine")), ("b.c++", &replying("never"))])
        .workers(1)
        .start();
    kiln.get("/").expect(200, "fine");
    kiln.until_logged("rename it to b.cc");
    let scripts = kiln.folder().join("scripts");
    for finished in
        [kiln.command("reload", &[]), tests::kiln(["check", &scripts.display().to_string()])]
    {
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("b.c++: warning: it is no script"), "{said}");
    }
}

#[test]
fn an_upstream_that_is_this_kiln_is_told() {
    for (listen, server, listener) in [
        ("127.0.0.1:8089", "127.0.0.1:8089", "127.0.0.1:8089"),
        ("0.0.0.0:8089", "127.1.2.3:8089", "0.0.0.0:8089"),
        ("0.0.0.0:8089", "localhost:8089", "0.0.0.0:8089"),
        ("[::]:8089", "[::1]:8089", "[::]:8089"),
    ] {
        let folder = folder(&format!("listen = ['{listen}']\nupstreams.web = ['{server}']\n"));
        let told = format!(
            "error: upstream web: {server:?} is this Kiln itself, which listens on {listener}"
        );
        refused(&folder, &told);
    }
    let folder = folder("upstreams.web = { servers = [{ address = '127.0.0.1:8080' }] }\n");
    refused(&folder, "is this Kiln itself, which listens on 127.0.0.1:8080");
    let folder = self::folder("listen = ['[::]:8089']\nupstreams.web = ['127.0.0.1:8089']\n");
    taken(&folder, "for IPv6 alone");
}

/// What the command line says in the place of the file counts, and its own upstreams are looked at.
#[test]
fn a_start_looks_at_where_it_will_listen() {
    let config = "upstreams.web = ['127.0.0.1:8080']\n";
    let kiln = Kiln::builder().script(&replying("fine")).workers(1).config(config).start();
    kiln.get("/").expect(200, "fine");
    let builder = Kiln::builder().script(&replying("fine")).without_listen();
    builder.config(config).refused().expect(&["is this Kiln itself"]);
    let builder = Kiln::builder().script(&replying("fine")).without_listen();
    let builder = builder.argument("--listen=127.0.0.1:8089");
    let builder = builder.argument("--upstream=web=127.0.0.1:8089");
    builder.refused().expect(&["--upstream: upstream web", "is this Kiln itself"]);
}

#[test]
fn a_control_path_that_no_socket_can_have_is_told() {
    let long = "x".repeat(100);
    refused(
        &folder(&format!("control = '/run/{long}.sock'\n")),
        "and that of a socket 107 at most",
    );
    // Relative paths count as the master has them.
    refused(&folder(&format!("control = '{long}'\n")), "and that of a socket 107 at most");
    refused(&folder("control = '@kiln'\n"), "write \"./@kiln\" for one of this name");
    refused(&folder("control = \"\\u0000kiln\"\n"), "has a zero byte, which no path may have");
    refused(&folder("control = 'a'\npid_file = 'a'\n"), "control and pid_file are the same path");
    refused(&folder("control = 'site.cc'\n"), "site.cc is there, and is no socket");
    refused(&folder("pid_file = '.'\n"), "is there, and is no regular file");
    taken(&folder("control = 'none/kiln.sock'\n"), "there is no folder ");
    let longest = folder("");
    let room = 107 - longest.path().as_os_str().len() - 1;
    configure(&longest, &format!("script = 'site.cc'\ncontrol = '{}'\n", "x".repeat(room)));
    taken(&longest, "");
    configure(&longest, &format!("script = 'site.cc'\ncontrol = '{}'\n", "x".repeat(room + 1)));
    refused(&longest, "has 108 bytes, and that of a socket 107 at most");
}

#[test]
fn a_wildcard_of_ipv6_is_for_ipv6_alone_and_says_so() {
    taken(&folder("listen = ['[::]:8089']\n"), "note: listen: \"[::]:8089\" is for IPv6 alone");
    taken(&folder("listen = ['[::]:8089', '0.0.0.0:8089']\n"), "");
    taken(&folder("listen = ['192.0.2.1:80']\n"), "192.0.2.1 is no address of this machine now");
    let mapped = folder("listen = ['[::ffff:127.0.0.1]:8089']\n");
    refused(&mapped, "is an IPv4 address in the form of IPv6: write \"127.0.0.1:8089\"");

    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(1)
        .without_listen()
        .argument("--listen=[::]:0")
        .start();
    kiln.until_logged("for IPv6 alone");
    let port = kiln.address_in_status().port();
    tests::Client::connect(([0, 0, 0, 0, 0, 0, 0, 1], port).into()).get("/").expect(200, "fine");
    assert!(tests::Client::try_connect(([127, 0, 0, 1], port).into()).is_err());
}

#[test]
fn users_groups_and_processors_that_there_are_not_are_told() {
    refused(&folder("process.user = 'nobody-knows'\n"), "there is no user \"nobody-knows\"");
    refused(&folder("process.group = 'nobody-knows'\n"), "there is no group \"nobody-knows\"");
    let control_group = folder("process.control_group = 'nobody-knows'\n");
    refused(&control_group, "2:25: error: process.control_group: there is no group");
    refused(&folder("compile.cpu = 'znver99'\n"), "2:15: error: compile.cpu: ");
}

#[test]
fn a_cache_that_others_may_write_to_is_told() {
    let folder = folder("compile.cache = 'cache'\n");
    taken(&folder, "");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("a folder");
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).expect("it is ours");
    taken(&folder, "");
    fs::set_permissions(&cache, Permissions::from_mode(0o777)).expect("it is ours");
    taken(&folder, "can be written by others");
}

#[test]
fn an_open_policy_needs_one_upstream_to_go_to() {
    let open = "faults.policy = 'open'\n";
    refused(&folder(open), "forwards requests, and there is no upstream");
    let two = "upstreams.blue = ['a:1']\nupstreams.green = ['b:1']\n";
    refused(&folder(&format!("{open}{two}")), "one of 2 upstreams: name it with faults.upstream");
    let misspelt = format!("{open}faults.upstream = 'gren'\n{two}");
    refused(&folder(&misspelt), "there is no upstream \"gren\"; did you mean `green`?");
    taken(&folder(&format!("{open}faults.upstream = 'green'\n{two}")), "");
    taken(&folder(&format!("{open}upstreams.blue = ['a:1']\n")), "");
}

#[test]
fn what_has_no_effect_or_another_one_is_told() {
    refused(&folder("listen = []\n"), "listen: there is no address, as in [\"0.0.0.0:8080\"]");
    refused(&folder("process.user = '4294967295'\n"), "by which the kernel means no change");
    refused(&folder("faults.fields = ['user agent']\n"), "is not the name of a field");
    let cpu =
        "warning: faults.hook_cpu_ms = 10000 is never reached: faults.hook_wall_ms = 5000 is less";
    taken(&folder("faults.hook_cpu_ms = 10000\n"), cpu);
    taken(&folder("faults = { hook_cpu_ms = 10000, hook_wall_ms = 10000 }\n"), "");
    let memory = "faults.request_memory_bytes = 268435456 is never reached";
    let less = "faults.request_memory_bytes = 268435456\nlimits.script_memory_bytes = 1048576\n";
    taken(&folder(less), memory);
    // A default is nobody's mistake.
    taken(&folder("limits.script_memory_bytes = 1048576\n"), "");
}

#[test]
fn what_is_given_twice_is_found_however_it_is_written() {
    let servers =
        |one: &str, other: &str| folder(&format!("upstreams.web = ['{one}', '{other}']\n"));
    refused(&servers("[::1]:80", "[0:0:0:0:0:0:0:1]:80"), "is given twice");
    refused(&servers("web:80", "WEB.:80"), "is given twice");
    refused(&servers("10.0.0.1:80", "[::ffff:10.0.0.1]:80"), "is given twice");
    let listen = folder("listen = ['[::1]:80', '[0:0:0:0:0:0:0:1]:80']\n");
    refused(&listen, "listen: \"[0:0:0:0:0:0:0:1]:80\" is given twice");
}
