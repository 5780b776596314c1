//! New scripts in place of old ones, under connections and under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tests::{Checker, Kiln, Origin, Signal, Wrk, descriptors, mappings, resident_kb};

use crate::replying;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn connections_stay_whatever_they_are_in_the_middle_of() {
    let origin = Origin::holding();
    let old = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == "/origin") return kiln::forward("web");
            return kiln::reply(200, "old");
        }"#;
    let kiln = Kiln::builder().script(old).workers(2).upstream("web", &[origin.address()]).start();
    // Several of each, so that both workers have some.
    let mut idle: Vec<_> = (0..8).map(|_| kiln.connect()).collect();
    let mut halfway: Vec<_> = (0..8).map(|_| kiln.connect()).collect();
    let mut waiting: Vec<_> = (0..8).map(|_| kiln.connect()).collect();
    for client in &mut idle {
        client.get("/").expect(200, "old");
    }
    for client in &mut halfway {
        client.get("/").expect(200, "old");
        client.send(&REQUEST[..20]);
    }
    for client in &mut waiting {
        client.send_get("/origin");
    }
    origin.until_requests(8);

    let before = kiln.worker_pids();
    kiln.write_script("site.cc", &replying("new"));
    kiln.hup(2);
    assert_eq!(kiln.worker_pids(), before, "workers are never replaced for a reload");

    for client in &mut idle {
        client.get("/").expect(200, "new");
    }
    for client in &mut halfway {
        client.send(&REQUEST[20..]).response().expect(200, "new");
    }
    origin.release_all();
    for client in &mut waiting {
        client.response().expect(200, "held\n");
        client.get("/origin").expect(200, "new");
    }
}

#[test]
fn a_syntax_error_at_hup_changes_nothing_and_is_logged_as_clang_says_it() {
    let kiln = Kiln::start(&replying("old"));
    let mut client = kiln.connect();
    client.get("/").expect(200, "old");
    let before = kiln.worker_pids();
    kiln.write_script("site.cc", "#include <kiln.h>\nkiln::Action on_request(\n");
    kiln.signal(Signal::SIGHUP);
    let log = kiln.until_logged("reload refused");
    for part in
        ["site.cc:2:25: error: ", "\n    2 | kiln::Action on_request(\n", "^\n", "serving=1"]
    {
        assert!(log.contains(part), "expected {part:?} in\n{log}");
    }
    client.get("/").expect(200, "old");
    assert_eq!((kiln.worker_pids(), kiln.generation()), (before, 1));
    kiln.write_script("site.cc", &replying("new"));
    kiln.hup(3);
    client.get("/").expect(200, "new");
}

#[test]
fn scripts_come_and_go_in_a_folder() {
    let answering = |path: &str| {
        format!(
            "#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {{
                if (request.path() == \"{path}\") return kiln::reply(200, \"{path}\");
                return kiln::next();
            }}"
        )
    };
    let last = "#include <kiln.h>
        #include \"lib/text.h\"
        kiln::Action on_request(kiln::Request&) { return kiln::reply(404, TEXT); }";
    let builder = Kiln::builder().scripts(&[("10-a.cc", &answering("/a")), ("99-last.cc", last)]);
    let library = builder.folder().join("scripts/lib");
    std::fs::create_dir(&library).expect("a folder");
    std::fs::write(library.join("text.h"), "#define TEXT \"none\"\n").expect("a header");
    let kiln = builder.workers(1).start();
    let mut client = kiln.connect();
    client.get("/a").expect(200, "/a");
    client.get("/b").expect(404, "none");
    kiln.write_script("20-b.cc", &answering("/b"));
    std::fs::write(library.join("text.h"), "#define TEXT \"nothing\"\n").expect("a header");
    kiln.reload().expect_taken();
    client.get("/b").expect(200, "/b");
    client.get("/c").expect(404, "nothing");
    std::fs::remove_file(kiln.script_path("10-a.cc")).expect("it is there");
    kiln.reload().expect_taken();
    client.get("/a").expect(404, "nothing");
}

/// Each generation has its own static objects, which begin and end with it.
#[test]
fn a_new_generation_begins_with_new_static_objects() {
    let kiln = Kiln::builder()
        .script(
            r#"#include <kiln.h>
            static int count = 0;
            kiln::Action on_request(kiln::Request&) {
                return kiln::reply(200, std::to_string(++count));
            }"#,
        )
        .workers(1)
        .start();
    let mut client = kiln.connect();
    for count in ["1", "2", "3"] {
        client.get("/").expect(200, count);
    }
    kiln.hup(2);
    client.get("/").expect(200, "1");
}

/// Alternates two scripts a hundred times. Even steps are settled: the reload before was waited for,
/// and only its script may answer a request sent since. During odd ones either may.
#[test]
fn a_hundred_hups_under_load_lose_nothing_and_new_scripts_answer() {
    const TEXTS: [&str; 2] = ["even", "odd"];
    let kiln = Kiln::start(&replying(TEXTS[0]));
    let before = kiln.worker_pids();
    let step = Arc::new(AtomicUsize::new(0));
    let (sent, answered) = (step.clone(), step.clone());
    let checker = Checker::start(
        kiln.address(),
        2,
        20,
        move || {
            // It checks; the load is for wrk to make.
            thread::sleep(Duration::from_millis(1));
            sent.load(Ordering::SeqCst)
        },
        move |sent, response| {
            let now = answered.load(Ordering::SeqCst);
            // Every text that was on its way in or out between sending and now.
            let mut allowed = (sent / 2..=now.div_ceil(2)).map(|number| TEXTS[number % 2]);
            response.status == 200 && allowed.any(|text| response.body == text.as_bytes())
        },
    );
    let wrk = Wrk::start(kiln.address(), "/", 16);
    checker.until_answered(20);
    for reload in 1..=100 {
        step.fetch_add(1, Ordering::SeqCst);
        kiln.write_script("site.cc", &replying(TEXTS[reload % 2]));
        kiln.hup(reload as u64 + 1);
        step.fetch_add(1, Ordering::SeqCst);
        if reload % 10 == 0 {
            // Some that are sent and answered in between.
            checker.until_answered(20);
        }
    }
    wrk.stop().expect_nothing_lost();
    checker.stop().expect_nothing_lost();
    assert_eq!(kiln.worker_pids(), before, "no worker died of it");
    let log = kiln.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// Good ones and refused ones: neither may cost anything that stays.
#[test]
fn three_hundred_reloads_leave_nothing_behind() {
    let kiln = Kiln::start(&replying("0"));
    let processes = kiln.processes();
    let held = |pid: &i32| (descriptors(*pid).len(), mappings(*pid).len(), resident_kb(*pid));
    let mut before = Vec::new();
    for reload in 1..=300_u64 {
        if reload % 3 == 0 {
            kiln.write_script("site.cc", "nonsense");
            kiln.signal(Signal::SIGHUP);
            kiln.until_logged_times("reload refused", (reload / 3) as usize);
        } else {
            kiln.write_script("site.cc", &replying(&reload.to_string()));
            kiln.hup(reload + 1);
            kiln.get("/").expect(200, &reload.to_string());
        }
        if reload == 30 {
            // Buffers have their size by now.
            before = processes.iter().map(held).collect();
        }
    }
    assert_eq!(kiln.processes(), processes);
    tests::until_true("old generations are retired", || {
        let generations = kiln.status()["generations"].as_array().cloned().unwrap_or_default();
        generations.iter().filter(|known| known["workers"] != 0).count() == 1
    });
    for (pid, before) in processes.iter().zip(before) {
        let after = held(pid);
        assert_eq!(after.0, before.0, "descriptors of {pid}: {:?}", descriptors(*pid));
        assert!(after.1 <= before.1 + 2, "{} mappings became {}", before.1, after.1);
        assert!(after.2 <= before.2 + (8 << 10), "{} KB became {} KB", before.2, after.2);
    }
}

/// There are fewer slots for generations than this: the oldest must make room.
#[test]
fn requests_that_wait_for_ever_do_not_keep_reloads_from_going_on() {
    let origin = Origin::holding();
    let script = |number: u64| {
        format!(
            "#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {{
                if (request.path() == \"/origin\") return kiln::forward(\"web\");
                return kiln::reply(200, \"{number}\");
            }}"
        )
    };
    let kiln =
        Kiln::builder().script(&script(1)).workers(1).upstream("web", &[origin.address()]).start();
    let mut waiting = Vec::new();
    for number in 2..=20 {
        let mut client = kiln.connect();
        client.send_get("/origin");
        waiting.push(client);
        origin.until_requests(waiting.len());
        assert_eq!(kiln.reload_with(&script(number)), number);
        kiln.get("/").expect(200, &number.to_string());
    }
    // An exchange that its script has decided on needs no script any more.
    origin.release_all();
    for client in &mut waiting {
        client.response().expect(200, "held\n");
    }
    assert_eq!(kiln.workers()[0]["restarts"], 0);
}
