//! Defaults, `kiln.toml`, and which of the two wins.

use std::fs;
use std::thread::available_parallelism;

use tests::{Kiln, Nginx, Origin};

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
fn names_of_upstream_servers_are_resolved_at_the_start() {
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
    kiln.signal(tests::Signal::SIGTERM);
    assert_eq!(kiln.until_ended().code(), Some(0));
    assert!(!pid_file.exists() && !control.exists());
}

/// A master that was killed leaves both behind, and they must not hinder the next.
#[test]
fn leftovers_of_a_killed_master_do_not_hinder_the_next() {
    let builder = Kiln::builder().script(&replying("first"));
    let (pid_file, control) = (builder.folder().join("kiln.pid"), builder.control_path());
    let mut first = builder.argument("--pid-file").argument(&pid_file).start();
    first.signal(tests::Signal::SIGKILL);
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
