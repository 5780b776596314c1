//! Generations that come and go for ever: what their scripts leave behind ends with them.
//!
//! `cargo run --release -p bench -- --only retirement` does the same for as many as a year brings, and draws it.

use tests::{Kiln, descriptors, mappings, private_kb, until, until_true};

use crate::alone;

/// Leaks in every way that a script has: memory, exceptions, objects that are half made.
const LEAKING: &str = include_str!("../../bench/scripts/leaking.cc");

/// Reloads before the first look: every slot was used, and buffers have their size.
const WARM: usize = 40;
/// Reloads between the first look and the last. A page lost in each of them is a megabyte.
const RELOADS: usize = 260;

/// What a process holds.
#[derive(Debug)]
struct Held {
    descriptors: Vec<(i32, String)>,
    mappings: usize,
    private_kb: u64,
}

impl Held {
    fn by(pid: i32) -> Self {
        Held {
            descriptors: descriptors(pid),
            mappings: mappings(pid).len(),
            private_kb: private_kb(pid),
        }
    }
}

fn until_retired(kiln: &Kiln) {
    until_true("every generation but one is retired", || {
        let generations = kiln.status()["generations"].as_array().cloned().unwrap_or_default();
        generations.iter().filter(|known| known["workers"] != 0).count() == 1
    });
}

#[test]
fn hundreds_of_leaking_generations_leave_nothing_in_any_process() {
    let _alone = alone();
    let kiln = Kiln::builder().script(LEAKING).workers(2).start();
    let processes = || [vec![kiln.pid()], kiln.worker_pids()].concat();
    let turn = |number: usize| {
        kiln.reload().expect_taken();
        // So many that each worker has some.
        for _ in 0..6 {
            kiln.get("/").expect_status(200);
        }
        if number.is_multiple_of(50) {
            until_retired(&kiln);
        }
    };
    (0..WARM).for_each(turn);
    // Of a generation that has served nobody: those that have leak as they please.
    let held = || {
        kiln.reload().expect_taken();
        until_retired(&kiln);
        processes().into_iter().map(|pid| (pid, Held::by(pid)))
    };
    let before: Vec<(i32, Held)> = held().collect();
    (0..RELOADS).for_each(turn);
    for ((pid, before), (same, after)) in before.into_iter().zip(held()) {
        assert_eq!(pid, same, "no process died of it");
        assert_eq!(after.descriptors.len(), before.descriptors.len(), "{before:?}\n{after:?}");
        assert!(after.mappings <= before.mappings + 2, "{before:?}\n{after:?}");
        assert!(after.private_kb <= before.private_kb + 400, "{before:?}\n{after:?}");
        println!("{pid}: {} KB became {} KB", before.private_kb, after.private_kb);
    }
    kiln.get("/").expect_status(200);
    until("what is leaked is counted while it lasts", || {
        let status = kiln.status();
        let held = status["generations"].as_array()?.last()?["held"].as_array()?.clone();
        let mut bytes = held.iter().filter_map(|held| held["memory_bytes"].as_u64());
        bytes.any(|bytes| bytes > 100 << 10).then_some(())
    });
}

/// A burst of small blocks, of which some survive.
#[test]
fn memory_of_a_burst_goes_back_to_the_system_though_some_of_it_is_kept() {
    let _alone = alone();
    let kiln = Kiln::builder()
        .script(
            r#"#include <kiln.h>
            static std::vector<std::unique_ptr<std::string>> kept;
            kiln::Action on_request(kiln::Request& request) {
                std::vector<std::unique_ptr<std::string>> strings;
                for (int i = 0; i < 1'000'000; ++i) strings.push_back(std::make_unique<std::string>(30, 'x'));
                for (int i = 0; i < 1'000'000; i += 100'000) kept.push_back(std::move(strings[i]));
                return kiln::reply(200, std::to_string(kept.size()));
            }"#,
        )
        .workers(1)
        .start();
    let worker = kiln.worker_pids()[0];
    let before = private_kb(worker);
    kiln.get("/").expect(200, "10");
    let most = private_kb(worker);
    assert!(most > before + (50 << 10), "{before} KB became {most} KB");
    until("the worker is as small as before", || {
        (private_kb(worker) < before + (4 << 10)).then_some(())
    });
    kiln.get("/").expect(200, "20");
}
