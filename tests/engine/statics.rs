//! Static and thread-local objects of scripts: one life a generation.

use tests::{Kiln, until};

use crate::case::some_cpu;

/// A static and a thread-local object whose destructors, when told to, leave a mark that can be seen
/// from outside: a failed assertion, which is logged and ends the worker.
fn script(answer: &str, fails_at_end: &str) -> String {
    format!(
        "#include <kiln.h>
#include <cassert>
struct Table {{
    int uses = 0;
    ~Table() {{ assert(std::string_view(\"{fails_at_end}\") != \"static\"); }}
}};
struct Cache {{
    std::vector<int> entries{{1}};
    ~Cache() {{ assert(std::string_view(\"{fails_at_end}\") != \"thread-local\"); }}
}};
struct Local {{
    ~Local() {{ assert(std::string_view(\"{fails_at_end}\") != \"function-local\"); }}
}};
static Table table;
thread_local Cache cache;
static int registered = std::atexit([] {{ assert(std::string_view(\"{fails_at_end}\") != \"atexit\"); }});
__attribute__((destructor)) static void down() {{ assert(std::string_view(\"{fails_at_end}\") != \"attribute\"); }}
kiln::Action on_request(kiln::Request&) {{
    static Local local;
    cache.entries.push_back(registered);
    return kiln::reply(200, \"{answer} \" + std::to_string(++table.uses) + \" \" + std::to_string(cache.entries.size()));
}}
"
    )
}

#[test]
fn every_generation_has_objects_of_its_own() {
    let _cpu = some_cpu();
    let kiln = Kiln::builder().script(&script("first", "")).workers(1).start();
    kiln.get("/").expect(200, "first 1 2");
    kiln.get("/").expect(200, "first 2 3");
    kiln.reload_with(&script("second", ""));
    kiln.get("/").expect(200, "second 1 2");
    assert!(!kiln.log().contains("died"), "{}", kiln.log());
}

#[test]
fn objects_of_every_kind_are_destroyed_when_their_generation_retires() {
    let _cpu = some_cpu();
    for kind in ["static", "thread-local", "function-local", "atexit", "attribute"] {
        let kiln = Kiln::builder().script(&script("first", kind)).workers(1).start();
        kiln.get("/").expect(200, "first 1 2");
        assert!(!kiln.log().contains("assertion"), "{}", kiln.log());
        // While it retires the worker dies of it, so this reload may be told to be refused.
        kiln.write_script("site.cc", &script("second", ""));
        kiln.reload();
        kiln.until_logged(&format!("\\\"{kind}\\\") != \\\"{kind}\\\"` failed").replace('\\', ""));
        until("the worker that replaces it", || {
            kiln.try_status()?["workers"][0]["restarts"].as_u64().filter(|restarts| *restarts > 0)
        });
        kiln.until_serving();
    }
}

#[test]
fn an_initialiser_that_throws_at_a_reload_changes_nothing() {
    let _cpu = some_cpu();
    let kiln = Kiln::builder().script(&script("first", "")).workers(2).start();
    let throwing = "#include <kiln.h>
static std::string value = std::string(\"text\").substr(9);
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, value); }
";
    kiln.write_script("site.cc", throwing);
    let told = kiln.reload();
    assert_eq!(told.json["reply"], "refused", "{:#}", told.json);
    let reason = told.json["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains(
            "a static initialiser failed: it threw std::out_of_range: basic_string::substr"
        ),
        "{reason}"
    );
    let text = kiln.get("/").expect_status(200).text();
    assert!(text.starts_with("first "), "{text}");
    kiln.reload_with(&script("third", ""));
    kiln.get("/").expect(200, "third 1 2");
    assert!(!kiln.log().contains("died"), "{}", kiln.log());
}

/// Each is told with its generation, and the next one runs all the same.
#[test]
fn an_exception_at_the_end_of_a_generation_stops_nothing() {
    let _cpu = some_cpu();
    let throwing = "#include <kiln.h>
struct Local { ~Local() noexcept(false) { throw std::runtime_error(\"thread-local\"); } };
struct Static { ~Static() noexcept(false) { throw std::runtime_error(\"static\"); } };
thread_local Local local;
static Static object;
static int first = std::atexit([] { throw std::runtime_error(\"first\"); });
static int second = std::atexit([] { throw 7; });
__attribute__((destructor)) static void down() { throw std::out_of_range(\"attribute\"); }
kiln::Action on_request(kiln::Request&) {
    return kiln::reply(200, (void*)&local == nullptr ? \"\" : std::to_string(first + second));
}
";
    let kiln = Kiln::builder().script(throwing).workers(1).start();
    kiln.get("/").expect(200, "0");
    kiln.reload_with(&script("second", ""));
    let log = kiln.until_logged("threw std::out_of_range: attribute");
    let told: Vec<&str> = log.lines().filter(|line| line.contains(" threw ")).collect();
    let expected = ["thread-local", "int", "first", "static", "attribute"];
    assert_eq!(told.len(), expected.len(), "{log}");
    for (line, what) in told.iter().zip(expected) {
        assert!(line.ends_with(what) || line.contains(&format!("{what} generation=1")), "{line}");
        assert!(line.contains("generation=1"), "{line}");
    }
    kiln.get("/").expect(200, "second 1 2");
    assert_eq!(kiln.workers()[0]["restarts"], 0, "{log}");
}
