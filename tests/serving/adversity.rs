//! A machine that lets Kiln down: logs that nobody reads, full disks, no processes and descriptors to be
//! had, children that stand still, storms of signals. Whatever comes, it serves on, and when the machine
//! is well again so is Kiln.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tests::{Checker, Client, Kiln, Signal, descriptors, is_alive, until, until_true};

use crate::{replying, slow_to_compile};

/// A user that has no processes but those of one test.
const NOBODY_ELSE: u32 = 54_321;

fn set_nonblocking(file: impl AsFd, is_nonblocking: bool) {
    let flags = if is_nonblocking { OFlag::O_NONBLOCK } else { OFlag::empty() };
    fcntl(file, FcntlArg::F_SETFL(flags)).expect("it is open");
}

/// A pipe that takes nothing more until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    set_nonblocking(&writer, true);
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    set_nonblocking(&writer, false);
    (reader, writer)
}

/// Has it serve, reload, tell its status, and replace a worker.
fn expect_all_works(kiln: &Kiln) {
    let address = kiln.address_in_status();
    for text in ["one", "two"] {
        kiln.reload_with(&replying(text));
        Client::connect(address).get("/").expect(200, text);
    }
    kiln.write_script("site.cc", "nonsense");
    assert!(kiln.reload().expect_refused().contains("nonsense"));
    let before = kiln.worker_pids();
    kiln.kill(before[0]);
    until_true("it is replaced", || {
        let after = kiln.worker_pids();
        after.len() == before.len() && !after.contains(&before[0])
    });
    Client::connect(address).get("/").expect(200, "two");
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let (mut reader, writer) = full_pipe();
    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(2)
        .environment("KILN_LOG", "trace")
        .stderr(writer)
        .start();
    expect_all_works(&kiln);
    // Somebody reads again: what comes now is there, and how much is not.
    set_nonblocking(&reader, true);
    let mut log = Vec::new();
    let _ = reader.read_to_end(&mut log);
    // A line may come while it reads; that one says how many did not.
    let first = log.iter().position(|byte| *byte != b'x').unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[first..]).into_owned();
    assert!(text.is_empty() || text.contains("lines of the log were lost"), "{text}");
    log.drain(..first);
    let new = kiln.reload_with(&replying("three"));
    let log = until("the log", || {
        let _ = reader.read_to_end(&mut log);
        let log = String::from_utf8_lossy(&log);
        log.contains(&format!("generation active generation={new}")).then(|| log.into_owned())
    });
    assert!(log.contains(" lines of the log were lost for want of room\n"), "{log}");
}

/// Who starts Kiln may go on to use the same standard error, and does not expect it to have changed.
#[test]
fn standard_error_of_others_stays_as_it_was() {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let ours = writer.try_clone().expect("a descriptor");
    let kiln = Kiln::builder().script(&replying("fine")).workers(1).stderr(writer).start();
    let flags = fcntl(&ours, FcntlArg::F_GETFL).expect("it is open");
    assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
    for pid in kiln.processes() {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/2")).expect("it is open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
        assert!(OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK), "{info}");
    }
}

#[test]
fn a_log_on_a_full_device_holds_nobody_up() {
    let full = fs::File::options().write(true).open("/dev/full").expect("a device");
    let kiln = Kiln::builder().script(&replying("fine")).workers(2).stderr(full).start();
    expect_all_works(&kiln);
}

#[test]
fn a_full_disk_costs_lines_of_the_log_and_the_cache_and_nothing_else() {
    let running = thread::spawn(|| {
        // It concerns this thread and what comes of it.
        unshare(CloneFlags::CLONE_NEWNS).expect("a namespace of mounts needs root");
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
        };
        run("mount", &["--make-rprivate", "/"]);
        let builder = Kiln::builder().script(&replying("fine")).workers(2);
        let disk = builder.folder().join("cache");
        fs::create_dir(&disk).expect("a folder");
        run("mount", &["-t", "tmpfs", "-o", "size=64k,mode=700", "disk", &disk.to_string_lossy()]);
        let log = fs::File::create(disk.join("log")).expect("there is room yet");
        fill(&disk.join("rest"));
        let kiln = builder.stderr(log).start();
        expect_all_works(&kiln);
        fs::remove_file(disk.join("rest")).expect("it was written");
        kiln.reload_with(&replying("three"));
        let log = until("the log goes on", || {
            let log = fs::read_to_string(disk.join("log")).unwrap_or_default();
            log.contains("generation active").then_some(log)
        });
        assert!(log.contains("lines of the log were lost"), "{log}");
        drop(kiln);
        run("umount", &[&disk.to_string_lossy()]);
    });
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    while file.write(&[b'x'; 4096]).is_ok_and(|written| written > 0) {}
    while file.write(b"x").is_ok_and(|written| written > 0) {}
}

/// Sets the soft limit of a process of this user that runs, as the user may: up to the hard one, which
/// stays.
fn limit(user: u32, pid: i32, name: &str, value: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--{name}={value}:")]);
    let status = command.uid(user).gid(user).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
}

/// The soft limit of a process, by its name in proc_pid_limits(5).
fn soft_limit(pid: i32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let values = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit");
    values.split_whitespace().next().expect("a value").to_owned()
}

#[test]
fn a_master_that_cannot_fork_serves_on_and_forks_when_it_can_again() {
    let kiln = Kiln::builder().script(&replying("fine")).workers(2).user(NOBODY_ELSE).start();
    let before = kiln.worker_pids();
    let enough = soft_limit(kiln.pid(), "Max processes");
    limit(NOBODY_ELSE, kiln.pid(), "nproc", "1");
    kiln.kill(before[0]);
    kiln.until_logged("cannot fork a worker; trying again later");
    for _ in 0..50 {
        kiln.get("/").expect(200, "fine");
    }
    let reason = |reloaded: tests::Reloaded| reloaded.json["reason"].to_string();
    kiln.write_script("site.cc", &replying("new"));
    let refused = reason(kiln.reload());
    assert!(refused.contains("cannot fork a compile child"), "{refused}");
    limit(NOBODY_ELSE, kiln.pid(), "nproc", &enough);
    kiln.reload_with(&replying("new"));
    let after = kiln.until_workers(2);
    assert!(!after.contains(&before[0]));
    kiln.get("/").expect(200, "new");
}

#[test]
fn a_master_without_descriptors_serves_on_and_recovers() {
    let user = nix::unistd::getuid().as_raw();
    let kiln = Kiln::start(&replying("fine"));
    let address = kiln.address();
    let before = kiln.worker_pids();
    let open: Vec<i32> = descriptors(kiln.pid()).into_iter().map(|(number, _)| number).collect();
    let free = (0..).find(|number| !open.contains(number)).expect("they are not endless");
    let enough = soft_limit(kiln.pid(), "Max open files");
    limit(user, kiln.pid(), "nofile", &free.to_string());
    kiln.signal(Signal::SIGHUP);
    kiln.until_logged("cannot make a memfd");
    kiln.kill(before[0]);
    kiln.until_logged("cannot fork a worker; trying again later");
    for _ in 0..50 {
        Client::connect(address).get("/").expect(200, "fine");
    }
    // Its control socket has clients that it cannot take in: that must not keep it busy.
    let waiting: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(kiln.control_path()).expect("a queue")).collect();
    kiln.until_logged("cannot take in a client");
    let (used, since) = (cpu_ticks(kiln.pid()), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(kiln.pid()) - used;
    assert!(used < 20, "{used} ticks of 10 ms in {:?}", since.elapsed());
    drop(waiting);
    limit(user, kiln.pid(), "nofile", &enough);
    kiln.reload_with(&replying("new"));
    let after = kiln.until_workers(2);
    assert!(!after.contains(&before[0]));
    kiln.get("/").expect(200, "new");
}

/// CPU time of a process, as in proc_pid_stat(5).
fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields = stat.rsplit_once(") ").expect("a name before it").1.split(' ').collect::<Vec<_>>();
    let number = |index: usize| fields[index].parse::<u64>().expect("a number");
    number(11) + number(12)
}

#[test]
fn storms_of_signals_cost_no_request() {
    let kiln = Kiln::start(&replying("fine"));
    let checker =
        Checker::start(kiln.address(), 4, 50, || 0, |_, response| response.body == b"fine");
    checker.until_answered(20);
    let storm = [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGCHLD, Signal::SIGTTOU];
    for _ in 0..250 {
        for signal in storm {
            kiln.signal(signal);
        }
        thread::sleep(Duration::from_millis(1));
    }
    until("it is calm", || {
        let status = kiln.try_status()?;
        let generations = status["generations"].as_array()?;
        let compiles = generations.iter().any(|known| known["state"] == "compiling");
        let workers = status["workers"].as_array()?;
        let serve = workers.iter().all(|worker| worker["state"] == "serving");
        (!compiles && serve).then_some(())
    });
    checker.until_answered(20);
    checker.stop().expect_nothing_lost();
    kiln.reload_with(&replying("new"));
    kiln.get("/").expect(200, "new");
}

#[test]
fn a_storm_of_deaths_refuses_no_connection() {
    let kiln = Kiln::builder().script(&replying("fine")).workers(3).start();
    let checker =
        Checker::start(kiln.address(), 4, 50, || 0, |_, response| response.body == b"fine");
    for _ in 0..30 {
        for pid in kiln.worker_pids() {
            // It may be dead since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
    kiln.until_workers(3);
    checker.until_answered(20);
    checker.stop().expect_nothing_refused();
}

#[test]
fn a_compile_child_that_somebody_stops_is_ended_by_its_deadline() {
    let config = "timeouts.compile_ms = 3000";
    let kiln = Kiln::builder().script(&replying("fine")).workers(1).config(config).start();
    kiln.write_script("site.cc", &slow_to_compile());
    thread::scope(|scope| {
        let reload = scope.spawn(|| kiln.reload());
        let child = kiln.until_logged(" compiling generation=2 pid=");
        let child = child.rsplit_once("generation=2 pid=").expect("it").1;
        let child: i32 = child.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid");
        kill(Pid::from_raw(child), Signal::SIGSTOP).expect("it compiles for long");
        kiln.get("/").expect(200, "fine");
        let reloaded = reload.join().expect("it is answered");
        reloaded.expect_refused();
        assert!(reloaded.json["reason"].to_string().contains("took longer"), "{}", reloaded.json);
        assert!(!is_alive(child));
    });
    assert_eq!(kiln.reload_with(&replying("new")), 3);
}

#[test]
fn clients_of_the_control_socket_that_say_and_take_nothing_keep_nobody_out() {
    let kiln = Kiln::start(&replying("fine"));
    let connect = || UnixStream::connect(kiln.control_path()).expect("a queue");
    let silent: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    let asking = (0..20).map(|_| {
        let mut client = connect();
        client.write_all(b"{\"command\":\"status\"}\n").expect("it is taken");
        client
    });
    let asking: Vec<UnixStream> = asking.collect();
    kiln.get("/").expect(200, "fine");
    let began = Instant::now();
    kiln.status();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop((silent, asking));
    kiln.reload_with(&replying("new"));
}
