//! A network of one test's own, in which packets are lost.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// The loopback interface of a network namespace, with rules about what gets through. It ends with the
/// last process and thread in it.
///
/// The loss is netfilter's, by chance for each packet: netem would add delay, but few kernels that CI
/// runs on have it.
pub struct Network(());

impl Network {
    /// Runs a test in a new network. Whatever it starts, threads and processes, is in there too, and
    /// nothing else is: only `127.0.0.0/8` can be reached.
    #[track_caller]
    pub fn isolated(test: impl FnOnce(&Network) + Send + 'static) {
        let thread = thread::Builder::new().name("isolated".to_owned());
        let running = thread.spawn(move || {
            // It concerns this thread and what comes of it; the other tests stay where they are.
            unshare(CloneFlags::CLONE_NEWNET).expect("making a network needs root");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("iproute2 is installed").success(), "no loopback interface");
            test(&Network(()));
        });
        if let Err(panic) = running.expect("a thread").join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Replaces all rules about packets that arrive by these of nft(8): `numgen random mod 100 < 5 drop`.
    #[track_caller]
    pub fn rules(&self, rules: &[&str]) {
        let mut text = "flush ruleset\ntable inet faults { chain input {\n".to_owned();
        text += "type filter hook input priority 0; policy accept;\n";
        for rule in rules {
            text += rule;
            text += "\n";
        }
        text += "}\n}\n";
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nftables is installed");
        nft.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        assert!(nft.wait().expect("it was started").success(), "nft refuses:\n{text}");
    }
}
