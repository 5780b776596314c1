//! The scripts' memory: a limit, a count, and pointers that are no blocks.

use tests::{Kiln, until};

use crate::case::some_cpu;

#[test]
fn scripts_have_as_much_memory_as_is_configured_and_it_is_counted() {
    let _cpu = some_cpu();
    let script = r#"#include <kiln.h>
static std::vector<std::string> kept;
kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/clear") kept.clear();
    else kept.push_back(std::string(1'000'000, 'k'));
    return kiln::reply(200, std::to_string(kept.size()));
}
"#;
    let config = "[limits]\nscript_memory_bytes = 8388608\n";
    let kiln = Kiln::builder().script(script).config(config).workers(1).start();
    let counted = || kiln.status()["generations"][0]["held"][0]["memory_bytes"].as_u64();
    for count in 1..=5 {
        kiln.get("/").expect(200, &count.to_string());
    }
    until("what is kept is counted", || counted().filter(|bytes| *bytes >= 5_000_000));
    kiln.get("/clear").expect(200, "0");
    until("what was freed is not", || counted().filter(|bytes| *bytes < 1_000_000));
    let mut count = 0;
    while kiln.get("/").status == 200 {
        count += 1;
        assert!(count < 9, "there is no limit");
    }
    assert!(count > 5, "{count} of 1 MB fit 8 MB");
    kiln.until_logged("it threw std::bad_alloc");
    // The next one begins with nothing.
    kiln.until_logged("worker replaced");
    kiln.get("/").expect(200, "1");
}

#[test]
fn a_pointer_that_is_no_block_is_a_fault_that_says_so() {
    let _cpu = some_cpu();
    let script = r#"#include <kiln.h>
static char outside[64];
kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    auto* volatile block = new std::string(100, 'x');
    if (path == "/twice") { delete block; delete block; }
    if (path == "/inside") std::free(&block->front() + 16);
    if (path == "/outside") std::free(outside + 16);
    if (path == "/ahead") { std::memset(&block->front() - 16, 0, 16); delete block; }
    return kiln::reply(200, "fine");
}
"#;
    let kiln = Kiln::builder().script(script).workers(1).start();
    kiln.get("/").expect(200, "fine");
    let cases = [
        ("/twice", "where no block of the scripts' heap begins"),
        ("/inside", "where no block of the scripts' heap begins"),
        ("/outside", "which is not memory of the scripts' heap"),
        ("/ahead", "something was written in front of it"),
    ];
    for (number, (path, sentence)) in cases.into_iter().enumerate() {
        kiln.connect().send_get(path);
        until(&format!("{path} is told: {}", kiln.log()), || {
            let log = kiln.log();
            let told = log.lines().filter(|line| line.contains(" was freed, ")).nth(number)?;
            told.contains(sentence).then_some(())
        });
        until("the worker is replaced", || {
            let status = kiln.try_status()?;
            let restarts = status["workers"][0]["restarts"].as_u64()?;
            (restarts > number as u64 && status["workers"][0]["state"] == "serving").then_some(())
        });
        kiln.get("/").expect(200, "fine");
    }
}
