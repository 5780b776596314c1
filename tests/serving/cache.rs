//! What earlier compiles left: used when it is the same, and never when it is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;
use tests::{Kiln, Reloaded, Signal, until};

use crate::replying;

/// Two scripts and a header of the first.
const HEADER: &str = "#pragma once\ninline const char* answer() { return \"first\"; }\n";
const FIRST: &str = "#include <kiln.h>\n#include \"lib/answer.h\"
kiln::Action on_request(kiln::Request& request) {
    if (request.path() != \"/\") return kiln::next();
    return kiln::reply(200, answer());
}
";
const SECOND: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, \"other\"); }
";

/// Scripts and a cache that outlive a Kiln.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(site.path("scripts/lib")).expect("a folder");
        for (name, text) in [("10.cc", FIRST), ("20.cc", SECOND), ("lib/answer.h", HEADER)] {
            site.write(name, text);
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("scripts").join(name), text).expect("a script is written");
    }

    fn serve(&self, config: &str) -> Kiln {
        let cache = self.path("cache");
        let config = format!("[compile]\ncache = {cache:?}\n{config}");
        let kiln = Kiln::builder().script_path(self.path("scripts")).config(&config).workers(1);
        let kiln = kiln.working_folder(self.folder.path()).start();
        // So that what the first compile left is there for the second.
        self.until_kept(1);
        kiln
    }

    fn kept(&self, kind: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("cache")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("it is readable").path());
        paths.filter(|path| path.extension().is_some_and(|end| end == kind)).collect()
    }

    /// Waits until so many generations are in the cache.
    #[track_caller]
    fn until_kept(&self, objects: usize) {
        until("the cache has it", || (self.kept("object").len() >= objects).then_some(()));
    }
}

/// How many scripts went through the front end, and whether there was any code to make.
#[track_caller]
fn compiled(reloaded: &Reloaded) -> (u64, bool) {
    reloaded.expect_taken();
    let steps = &reloaded.json["steps"];
    let compiled = steps["compiled"].as_u64().unwrap_or_else(|| panic!("{:#}", reloaded.json));
    (compiled, steps["code_ms"].as_f64() > Some(0.0))
}

#[test]
fn only_what_changed_is_compiled_again() {
    let site = Site::new();
    let kiln = site.serve("");
    assert_eq!(compiled(&kiln.reload()), (0, false), "nothing has changed");

    site.write("20.cc", &SECOND.replace("other", "another"));
    assert_eq!(compiled(&kiln.reload()), (1, true), "one script");
    kiln.get("/x").expect(200, "another");
    kiln.get("/").expect(200, "first");

    site.until_kept(2);
    site.write("lib/answer.h", &HEADER.replace("first", "second"));
    assert_eq!(compiled(&kiln.reload()), (1, true), "the header of one script");
    kiln.get("/").expect(200, "second");

    // What was there before is remembered, also beside what came later.
    site.until_kept(3);
    site.write("lib/answer.h", HEADER);
    site.write("20.cc", SECOND);
    assert_eq!(compiled(&kiln.reload()), (0, false), "all as in the beginning");
    kiln.get("/").expect(200, "first");
    kiln.get("/x").expect(200, "other");

    // A script more, and one less: the others need no front end.
    site.write(
        "15.cc",
        "#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    return request.path() == \"/15\" ? kiln::reply(200, \"15\") : kiln::next();
}
",
    );
    assert_eq!(compiled(&kiln.reload()), (1, true));
    kiln.get("/15").expect(200, "15");
    kiln.get("/x").expect(200, "other");
    fs::remove_file(site.path("scripts/10.cc")).expect("it was there");
    assert_eq!(compiled(&kiln.reload()), (0, true));
    kiln.get("/").expect(200, "other");
    kiln.get("/15").expect(200, "15");
}

/// A file that was not there when a script asked for it is an input as well.
#[test]
fn a_header_that_appears_is_noticed() {
    let site = Site::new();
    site.write(
        "20.cc",
        "#include <kiln.h>
#if __has_include(\"special.h\")
#include \"special.h\"
#else
#define ANSWER \"plain\"
#endif
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, ANSWER); }
",
    );
    let kiln = site.serve("");
    kiln.get("/x").expect(200, "plain");
    site.write("special.h", "#define ANSWER \"special\"\n");
    assert_eq!(compiled(&kiln.reload()).0, 1);
    kiln.get("/x").expect(200, "special");
    site.until_kept(2);
    fs::remove_file(site.path("scripts/special.h")).expect("it was there");
    assert_eq!(compiled(&kiln.reload()), (0, false));
    kiln.get("/x").expect(200, "plain");
}

#[test]
fn the_next_start_compiles_nothing() {
    let site = Site::new();
    site.write("20.cc", &format!("{SECOND}#warning this is said each time\n"));
    let warned = |kiln: &Kiln| kiln.log().matches("this is said each time").count();
    {
        let kiln = site.serve("");
        assert!(warned(&kiln) > 0, "{}", kiln.log());
    }
    let kiln = site.serve("");
    kiln.get("/").expect(200, "first");
    let log = kiln.log();
    assert!(log.contains("code_ms=0.0 "), "{log}");
    // What was to be said about the scripts still is.
    assert!(warned(&kiln) > 0, "{log}");
}

#[test]
fn other_settings_are_another_compile() {
    let site = Site::new();
    drop(site.serve(""));
    for (number, config) in ["debug = 'lines'\n", "cpu = 'x86-64'\n"].iter().enumerate() {
        let kiln = site.serve(config);
        site.until_kept(2 + number);
        assert!(!kiln.log().contains("code_ms=0.0 "), "{config}: {}", kiln.log());
        kiln.get("/").expect(200, "first");
    }
}

#[test]
fn a_file_that_was_damaged_is_as_good_as_none() {
    let site = Site::new();
    let kiln = site.serve("");
    for kind in ["object", "unit", "inputs"] {
        for path in site.kept(kind) {
            let mut bytes = fs::read(&path).expect("it is readable");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&path, bytes).expect("it is writable");
        }
    }
    assert_eq!(compiled(&kiln.reload()), (2, true));
    kiln.get("/").expect(200, "first");
    // And is replaced by a good one.
    until("the cache is whole", || (compiled(&kiln.reload()) == (0, false)).then_some(()));
}

#[test]
fn a_cache_that_others_can_write_to_is_not_used_and_says_so() {
    let site = Site::new();
    drop(site.serve(""));
    fs::set_permissions(site.path("cache"), Permissions::from_mode(0o777)).expect("it is ours");
    let kiln = site.serve("");
    let told =
        format!("the cache is not used: {} can be written by others", site.path("cache").display());
    assert!(kiln.log().contains(&told), "expected {told:?} in\n{}", kiln.log());
    assert_eq!(compiled(&kiln.reload()), (2, true));
    kiln.get("/").expect(200, "first");
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let site = Site::new();
    let cache = site.path("cache");
    let kiln = Kiln::builder().script_path(site.path("scripts")).workers(1);
    let kiln = kiln.config(&format!("[compile]\ncache = {cache:?}\ncache_bytes = 0\n")).start();
    assert_eq!(compiled(&kiln.reload()), (2, true));
    assert!(!cache.exists());
}

#[test]
fn the_cache_stays_within_its_limit() {
    let site = Site::new();
    let limit = 600_000;
    let kiln = site.serve(&format!("cache_bytes = {limit}\n"));
    for number in 0..6 {
        site.write("20.cc", &SECOND.replace("other", &format!("number {number}")));
        compiled(&kiln.reload());
        kiln.get("/x").expect(200, &format!("number {number}"));
    }
    let bytes = || -> u64 {
        let entries = fs::read_dir(site.path("cache")).expect("a folder");
        entries
            .map(|entry| entry.map_or(0, |entry| entry.metadata().map_or(0, |it| it.len())))
            .sum()
    };
    until("the oldest are gone", || (bytes() <= limit).then_some(()));
    assert!(bytes() > 0);
}

/// Two masters with one cache, each of which reloads what the other has just changed.
#[test]
fn two_masters_share_a_cache() {
    let site = Site::new();
    let kilns = [site.serve(""), site.serve("")];
    thread::scope(|scope| {
        for kiln in &kilns {
            scope.spawn(move || {
                for _ in 0..10 {
                    kiln.reload().expect_taken();
                }
            });
        }
        for number in 0..10 {
            let path = site.path("scripts").join(".20.new");
            fs::write(&path, SECOND.replace("other", &format!("{}", number % 3))).expect("written");
            fs::rename(path, site.path("scripts/20.cc")).expect("renamed");
        }
    });
    for kiln in &kilns {
        kiln.reload().expect_taken();
        kiln.get("/x").expect(200, "0");
        assert!(!kiln.log().contains("the cache does not get"), "{}", kiln.log());
    }
    assert!(unfinished(&site.path("cache")).is_empty());
}

fn unfinished(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).expect("a folder");
    let paths = entries.map(|entry| entry.expect("it is readable").path());
    paths.filter(|path| path.to_string_lossy().contains("unfinished")).collect()
}

/// A start that is ended at once still leaves what it compiled.
#[test]
fn the_master_waits_for_what_is_being_kept() {
    let site = Site::new();
    let mut kiln = site.serve("");
    site.write("20.cc", &SECOND.replace("other", "last"));
    kiln.reload().expect_taken();
    kiln.signal(Signal::SIGTERM);
    kiln.until_ended();
    assert_eq!(site.kept("object").len(), 2);
    assert!(unfinished(&site.path("cache")).is_empty());
}

#[test]
fn a_processor_that_nobody_knows_is_refused_with_those_that_there_are() {
    let builder = Kiln::builder().script(&replying("fine")).argument("--cpu=i8087");
    builder.start_without_scripts().expect_logged(&[
        "there is no processor i8087",
        "host, ",
        "x86-64-v3",
        "znver3",
    ]);
}

#[test]
fn a_processor_that_this_machine_is_not_is_refused_with_what_it_lacks() {
    // Its instructions were never in one processor together with those of the machines of today.
    let builder = Kiln::builder().script(&replying("fine")).argument("--cpu=bdver4");
    builder
        .start_without_scripts()
        .expect_logged(&["this machine is no bdver4: it has no ", "fma4"]);
}

#[test]
fn code_is_made_for_the_processor_that_was_named() {
    let script = "#include <kiln.h>
[[gnu::noinline]] static float sum(const float* values) {
    float sum = 0;
    for (int i = 0; i < 64; ++i) sum += values[i] * values[63 - i] > 1 ? values[i] : 0;
    return sum;
}
kiln::Action on_request(kiln::Request& request) {
    float values[64];
    for (int i = 0; i < 64; ++i) values[i] = request.path().size() + i;
    return kiln::reply(200, std::to_string(sum(values)));
}
";
    let answers = ["host", "x86-64", "x86-64-v2"].map(|cpu| {
        let kiln =
            Kiln::builder().script(script).workers(1).argument(format!("--cpu={cpu}")).start();
        kiln.get("/").expect_status(200).text()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// The object file is of a compile that was refused only when it was linked: nothing is kept of it.
#[test]
fn what_was_refused_is_refused_again() {
    let site = Site::new();
    let kiln = site.serve("");
    site.write(
        "20.cc",
        "#include <kiln.h>\n#include <unistd.h>
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, std::to_string(fork())); }
",
    );
    for _ in 0..3 {
        let told = kiln.reload().expect_refused();
        assert!(told.contains("20.cc:3:") && told.contains("`fork`"), "{told}");
    }
    let status: Value = kiln.status();
    assert_eq!(status["workers"][0]["generation"], 1, "{status:#}");
}
