//! Defaults, `kiln.toml`, and which of the two wins.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use tests::{Kiln, Nginx, Origin, Signal};

use crate::{FORWARDING, replying};

#[test]
fn there_is_one_worker_for_each_cpu_unless_told_otherwise() {
    let kiln = Kiln::builder().script(&replying("fine")).start();
    let cpus = available_parallelism().expect("the system knows").get();
    assert_eq!(kiln.workers().len(), cpus);
    for pid in kiln.worker_pids() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").count();
        assert_eq!(tasks, 1, "a worker has one thread");
    }
}

#[test]
fn the_defaults_are_those_of_the_help() {
    let help = tests::kiln(["serve", "--help"]).stdout;
    assert!(help.contains("[default: 127.0.0.1:8080]"), "{help}");
    assert!(help.contains("[default: /run/kiln.sock, or"), "{help}");
}

/// The same Kiln twice: once by the command line, once by a file.
#[test]
fn a_configuration_file_says_the_same_as_the_command_line() {
    let origin = Nginx::start();
    let script = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/own") return kiln::reply(200, "own");
            return kiln::forward("web");
        }"#;

    let builder = Kiln::builder().script(script);
    let pid_file = builder.folder().join("kiln.pid");
    let by_flags = builder
        .workers(3)
        .upstream("web", &[origin.address()])
        .argument("--pid-file")
        .argument(&pid_file)
        .start();

    let builder = Kiln::builder().without_listen().without_control();
    let folder = builder.folder().to_owned();
    fs::write(folder.join("beside.cc"), script).expect("a script");
    // The script's path is relative to the file, wherever Kiln is started.
    let config = format!(
        "listen = ['127.0.0.1:0']
        workers = 3
        script = 'beside.cc'
        pid_file = '{folder}/kiln.pid'
        control = '{control}'
        [upstreams]
        web = ['{origin}']
        ",
        folder = folder.display(),
        control = builder.control_path().display(),
        origin = origin.address(),
    );
    let by_file = builder.config(&config).start();

    for (kiln, pid_file) in [(&by_flags, pid_file), (&by_file, folder.join("kiln.pid"))] {
        assert_eq!(kiln.workers().len(), 3);
        assert_eq!(kiln.addresses().len(), 1);
        kiln.get("/own").expect(200, "own");
        kiln.get("/echo").expect_status(200);
        let pid = fs::read_to_string(pid_file).expect("a pid file");
        assert_eq!(pid.trim(), kiln.pid().to_string());
    }
}

#[test]
fn what_the_command_line_says_wins_over_the_file() {
    let (right, wrong) = (Origin::mirroring(), Origin::closing());
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .upstream("web", &[right.address()])
        .config(&format!(
            "listen = ['192.0.2.1:80']
            workers = 4
            script = '/nowhere.cc'
            control = '/nowhere/control'
            [upstreams]
            web = ['{}']
            ",
            wrong.address()
        ))
        .start();
    assert_eq!(kiln.workers().len(), 1);
    kiln.get("/").expect(200, "");
    assert_eq!((right.requests().len(), wrong.requests().len()), (1, 0));
}

#[test]
fn servers_of_an_upstream_can_be_names() {
    let origin = Nginx::start();
    let server = format!("web=localhost:{}", origin.address().port());
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(1)
        .argument("--upstream")
        .argument(server)
        .start();
    kiln.get("/echo").expect_status(200);
}

#[test]
fn the_pid_file_and_the_control_socket_go_with_the_master() {
    let builder = Kiln::builder().script(&replying("fine"));
    let (pid_file, control) = (builder.folder().join("kiln.pid"), builder.control_path());
    let mut kiln = builder.argument("--pid-file").argument(&pid_file).start();
    assert!(pid_file.exists() && control.exists());
    kiln.signal(Signal::SIGTERM);
    assert_eq!(kiln.until_ended().code(), Some(0));
    assert!(!pid_file.exists() && !control.exists());
}

/// A master that was killed leaves both behind, and they must not hinder the next.
#[test]
fn leftovers_of_a_killed_master_do_not_hinder_the_next() {
    let builder = Kiln::builder().script(&replying("first"));
    let (pid_file, control) = (builder.folder().join("kiln.pid"), builder.control_path());
    let mut first = builder.argument("--pid-file").argument(&pid_file).start();
    first.signal(Signal::SIGKILL);
    first.until_ended();
    assert!(pid_file.exists() && control.exists());
    let second = Kiln::builder().script(&replying("second")).without_control();
    let link = second.control_path();
    let second = second
        .argument("--pid-file")
        .argument(&pid_file)
        .argument("--control")
        .argument(&control)
        .spawn();
    // The harness looks for the socket in the folder of the second.
    tests::until_true("the second has made its socket", || {
        std::os::unix::net::UnixStream::connect(&control).is_ok()
    });
    std::os::unix::fs::symlink(&control, link).expect("a link");
    second.until_serving();
    second.get("/").expect(200, "second");
}

/// Replaces the configuration that `Builder::config` gave it.
fn configure(kiln: &Kiln, text: &str) {
    // By rename, so that no reload reads half of it.
    let (path, new) = (kiln.folder().join("kiln.toml"), kiln.folder().join("kiln.toml.new"));
    fs::write(&new, text).expect("a configuration is written");
    fs::rename(new, path).expect("it is moved");
}

#[test]
fn hup_applies_limits_timeouts_and_upstreams_and_drops_no_connection() {
    let (first, second) = (Origin::mirroring(), Origin::mirroring());
    let upstream = |origin: &Origin| format!("upstreams.web = ['{}']", origin.address());
    let config = format!("{}\nlimits.request_body_bytes = 10", upstream(&first));
    let kiln = Kiln::builder().script(FORWARDING).workers(2).config(&config).start();
    let pids = kiln.worker_pids();
    let mut clients: Vec<_> = (0..8).map(|_| kiln.connect()).collect();
    let mut halfway: Vec<_> = (0..8).map(|_| kiln.connect()).collect();
    for client in &mut clients {
        client.get("/").expect(200, "");
    }
    for client in &mut halfway {
        client.send("GET / HTTP/1.1\r\nHo");
    }
    let long =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{}", "x".repeat(20));
    kiln.connect().send(&long).response().expect_status(413);
    assert_eq!((first.requests().len(), second.requests().len()), (8, 0));

    configure(&kiln, &format!("{}\ntimeouts.head_ms = 500", upstream(&second)));
    kiln.hup(2);
    for client in &mut halfway {
        client.send("st: a\r\n\r\n").response().expect(200, "");
    }
    for client in &mut clients {
        client.send(&long).response().expect(200, &"x".repeat(20));
    }
    assert_eq!((first.requests().len(), second.requests().len()), (8, 16));
    kiln.connect().send("GET / HTTP/1.1\r\nHo").response().expect_status(408);
    assert_eq!(kiln.worker_pids(), pids, "workers are never replaced for a reload");
    let log = kiln.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn a_worker_that_is_replaced_has_the_settings_of_its_generation() {
    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(1)
        .config("limits.line_bytes = 100")
        .start();
    let long = format!("/{}", "x".repeat(100));
    kiln.get(&long).expect_status(414);
    configure(&kiln, "");
    // Neither a file that no reload has taken, nor one whose scripts were refused.
    for refused in [false, true] {
        if refused {
            kiln.write_script("site.cc", "nonsense");
            kiln.reload().expect_refused();
        }
        kiln.kill(kiln.worker_pids()[0]);
        tests::until_true("it is replaced", || {
            kiln.workers()[0]["restarts"] == 1 + u64::from(refused)
        });
        kiln.until_serving();
        kiln.get(&long).expect_status(414);
    }
    kiln.reload_with(&replying("again"));
    kiln.get(&long).expect(200, "again");
}

#[test]
fn a_wrong_file_at_hup_is_refused_with_line_and_column_and_changes_nothing() {
    let kiln = Kiln::builder().script(&replying("old")).workers(1).config("").start();
    let mut client = kiln.connect();
    client.get("/").expect(200, "old");
    kiln.write_script("site.cc", &replying("new"));
    configure(&kiln, "workers = 1\n[limits]\nfeilds = 10\nhead_bytes = 1\n");
    kiln.signal(Signal::SIGHUP);
    let log = kiln.until_logged("reload refused");
    for part in [
        "kiln.toml:3:1: error: unknown setting `feilds` in limits; did you mean `fields`?\n    3 | feilds = 10\n      | ^~~~~~\n",
        "kiln.toml:4:14: error: limits.head_bytes = 1 is not between 1024 and 1048576 bytes; the default is 65536\n",
        "the configuration is wrong",
    ] {
        assert!(log.contains(part), "expected {part:?} in\n{log}");
    }
    let reloaded = kiln.reload();
    let diagnostics = reloaded.expect_refused();
    assert!(diagnostics.contains("kiln.toml:3:1: error: "), "{diagnostics}");
    assert_eq!(reloaded.json["diagnostics"][0]["line"], 3);
    assert_eq!(reloaded.json["generation_serving"], 1);
    fs::remove_file(kiln.folder().join("kiln.toml")).expect("it is there");
    let missing = kiln.reload().expect_refused();
    assert!(
        missing.contains("kiln.toml: error: ") && missing.contains("No such file"),
        "{missing}"
    );
    client.get("/").expect(200, "old");
    assert_eq!(kiln.generation(), 1);
    configure(&kiln, "");
    kiln.reload().expect_taken();
    client.get("/").expect(200, "new");
}

#[test]
fn a_reload_changes_the_number_of_workers_and_says_what_needs_a_restart() {
    let config = "listen = ['127.0.0.1:0']\nworkers = 1";
    let kiln = Kiln::builder().script(&replying("fine")).without_listen().config(config).start();
    assert_eq!(kiln.workers().len(), 1);
    let changed = "listen = ['127.0.0.1:1']\nworkers = 2\npid_file = 'kiln.pid'";
    configure(&kiln, changed);
    let expect = [
        "listen: needs a restart, still [\"127.0.0.1:0\"]",
        "pid_file: needs a restart, still none",
    ];
    let reloaded = kiln.command("reload", &[]);
    assert_eq!(reloaded.code(), Some(0), "{reloaded:?}");
    for part in expect {
        let line = format!("warning: {part}\n");
        assert!(reloaded.stdout.contains(&line), "expected {line:?} in {reloaded:?}");
        kiln.until_logged(part);
    }
    kiln.until_workers(2);
    // A number that stays leaves alone what a signal made of it.
    kiln.signal(Signal::SIGTTIN);
    kiln.until_workers(3);
    let reloaded = kiln.reload();
    reloaded.expect_taken();
    assert_eq!(reloaded.json["diagnostics"].as_array().map(Vec::len), Some(2));
    kiln.until_workers(3);
    kiln.get("/").expect(200, "fine");
}

#[test]
fn the_scripts_of_another_path_are_taken_at_hup() {
    let builder = Kiln::builder();
    for name in ["one", "two"] {
        fs::write(builder.folder().join(name).with_extension("cc"), replying(name))
            .expect("a script");
    }
    let kiln = builder.workers(1).config("script = 'one.cc'").start();
    kiln.get("/").expect(200, "one");
    configure(&kiln, "script = 'two.cc'");
    kiln.hup(2);
    kiln.get("/").expect(200, "two");
    configure(&kiln, "");
    let refused = kiln.reload().expect_refused();
    assert!(refused.contains("no script"), "{refused}");
    kiln.get("/").expect(200, "two");
}

/// It has to be found again whatever the folder is that Kiln was started in.
#[test]
fn a_configuration_that_was_named_relative_to_a_folder_is_found_again() {
    let builder = Kiln::builder().script(&replying("fine")).workers(1);
    fs::write(builder.folder().join("kiln.toml"), "limits.line_bytes = 100").expect("a file");
    let kiln = builder.argument("-c").argument("kiln.toml").start();
    let long = format!("/{}", "x".repeat(100));
    kiln.get(&long).expect_status(414);
    configure(&kiln, "colour = 1");
    let refused = kiln.reload().expect_refused();
    let named = format!("{}/kiln.toml:1:1: error: ", kiln.folder().display());
    assert!(refused.contains(&named), "{refused}");
    configure(&kiln, "");
    kiln.reload().expect_taken();
    kiln.get(&long).expect(200, "fine");
}

#[test]
fn more_connections_than_descriptors_are_warned_of_with_the_remedy() {
    let builder = Kiln::builder().script("nonsense").config("limits.connections = 3000");
    let (command, folder) = (builder.command(), builder.folder());
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -S -n 300 && ulimit -H -n 4000 && exec timeout 3 \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder);
    // It serves, and was started only for what it says at first.
    let finished = tests::run(&mut limited);
    for part in [
        "limits.connections does not fit connections=3000 descriptors_max=4000",
        "set limits.connections to 1872 at most",
        "LimitNOFILE= of systemd",
    ] {
        assert!(finished.stderr.contains(part), "expected {part:?} in {}", finished.stderr);
    }
}
