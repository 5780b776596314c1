//! `kiln check`: what it says of scripts, to people and to programs.
//!
//! Messages are compared whole: what stands here is what an author reads.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use nix::pty::openpty;
use serde_json::Value;
use tempfile::TempDir;
use tests::{Finished, kiln_command, run};

use crate::case::some_cpu;

/// A hook for scripts that are about something else.
const HOOK: &str = "kiln::Action on_request(kiln::Request&) { return kiln::next(); }\n";

fn folder(scripts: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in scripts {
        fs::write(folder.path().join(name), text).expect("a script is written");
    }
    folder
}

/// `kiln check` of these files, in their folder.
fn checked(scripts: &[(&str, &str)], options: &[&str]) -> Finished {
    let _cpu = some_cpu();
    let folder = folder(scripts);
    run(kiln_command().current_dir(folder.path()).arg("check").args(options).arg("."))
}

/// Checks all that is said of these files, but for how long it took.
#[track_caller]
fn check(scripts: &[(&str, &str)], expect: &str) {
    let finished = checked(scripts, &[]);
    let (said, time) = finished.stdout.rsplit_once(" in ").expect("the last line says how long");
    assert!(time.ends_with(" ms\n"), "{finished:?}");
    assert_eq!(format!("{said}\n"), expect);
    let refused = !said.contains(", 0 errors,");
    assert_eq!(finished.code(), Some(if refused { 2 } else { 0 }), "{finished:?}");
    assert_eq!(finished.stderr, "");
}

/// Checks what is said of the only line of a script: message, caret, and the fix below it.
#[track_caller]
fn check_line(line: &str, expect: &str) {
    let gutter = format!("    1 | {line}\n");
    let expect = expect.replacen("SOURCE\n", &gutter, 1);
    let count =
        if expect.contains(": warning: ") { "0 errors, 1 warning" } else { "1 error, 0 warnings" };
    check(&[("a.cc", &format!("{line}\n"))], &format!("{expect}1 script, {count}\n"));
}

const NO_HOOK: &str =
    "note: this script has no hook: define `kiln::Action on_request(kiln::Request& request)`\n";

#[test]
fn scripts_that_a_reload_would_take_are_counted() {
    check(&[("10.cc", HOOK), ("20.cc", HOOK)], "2 scripts, 0 errors, 0 warnings\n");
}

#[test]
fn a_misspelt_hook_is_named_with_the_right_one() {
    for name in ["on_reqest", "onRequest", "On_Request", "OnRequest", "on_requests"] {
        let line = format!("kiln::Action {name}(kiln::Request&) {{ return kiln::next(); }}");
        let caret = format!("      |              ^{}\n", "~".repeat(name.len() - 1));
        check_line(
            &line,
            &format!(
                "a.cc:1:14: error: Kiln calls no `{name}`; did you mean the hook \
                 `kiln::Action on_request(kiln::Request& request)`?\nSOURCE\n{caret}      |              \
                 on_request\n{NO_HOOK}"
            ),
        );
    }
}

#[test]
fn a_hook_where_kiln_does_not_look_is_told_why() {
    let hook = "kiln::Action on_request(kiln::Request&) { return kiln::next(); }";
    for (line, column, wrong, is_certain) in [
        (
            format!("namespace site {{ {hook} }}"),
            31,
            "is in the namespace `site`, and Kiln calls the one outside of any namespace",
            false,
        ),
        (
            format!("namespace {{ {hook} }}"),
            26,
            "is in an anonymous namespace, and Kiln calls the one outside of any namespace",
            false,
        ),
        (
            format!("struct Site {{ {hook} }};"),
            28,
            "is a member of `Site`, and Kiln calls a free function",
            false,
        ),
        (
            "auto on_request = [](kiln::Request&) { return kiln::next(); };".to_owned(),
            6,
            "is a variable, and Kiln calls a function",
            true,
        ),
        (
            "template <class T> kiln::Action on_request(T&) { return kiln::next(); }".to_owned(),
            33,
            "is a template, of which Kiln cannot know the arguments",
            true,
        ),
    ] {
        let note = if is_certain { "" } else { NO_HOOK };
        let caret = " ".repeat(column - 1);
        check_line(
            &line,
            &format!(
                "a.cc:1:{column}: error: this `on_request` {wrong}: the hook is \
                 `kiln::Action on_request(kiln::Request& request)`\nSOURCE\n      | {caret}^~~~~~~~~~\n{note}"
            ),
        );
    }
}

#[test]
fn a_hook_that_only_its_file_has_is_to_lose_a_word() {
    for (word, wrong) in [
        ("static", "is static, so that nobody outside of this file can call it"),
        ("inline", "is inline or constexpr, so that there is none where nobody calls it"),
    ] {
        check_line(
            &format!("{word} {}", HOOK.trim_end()),
            &format!(
                "a.cc:1:21: error: this `on_request` {wrong}: the hook is `kiln::Action \
                 on_request(kiln::Request& request)`\nSOURCE\n      | ~~~~~~              ^~~~~~~~~~\n"
            ),
        );
    }
}

#[test]
fn wrong_parameters_of_a_hook_are_replaced() {
    for (parameters, wrong) in [
        ("kiln::Request request", "takes its request by value, and a request is not copied"),
        ("const kiln::Request& request", "takes its request by 'const kiln::Request &'"),
        ("kiln::Request* request", "takes a pointer to its request, and not a reference"),
        ("int request", "takes 'int' and no request"),
    ] {
        let marks = "~".repeat(parameters.len() - 1);
        check_line(
            &format!("kiln::Action on_request({parameters}) {{ return kiln::next(); }}"),
            &format!(
                "a.cc:1:25: error: this `on_request` {wrong}: the hook is `kiln::Action \
                 on_request(kiln::Request& request)`\nSOURCE\n      |                         ^{marks}\n      \
                 |                         kiln::Request& request\n"
            ),
        );
    }
    let missing = checked(&[("a.cc", "kiln::Action on_request() { return kiln::next(); }")], &[]);
    assert!(
        missing.stdout.contains("this `on_request` takes no request: the hook is"),
        "{missing:?}"
    );
    assert!(missing.stdout.contains("                         kiln::Request& request\n"));
}

#[test]
fn a_wrong_result_of_a_hook_is_replaced() {
    for (result, wrong) in [
        ("void", "returns nothing, and so decides nothing"),
        ("int", "returns 'int'"),
        ("const kiln::Action", "returns 'const kiln::Action'"),
        ("std::string", "returns 'std::string'"),
    ] {
        let marks = "~".repeat(result.len() - 1);
        check_line(
            &format!("{result} on_request(kiln::Request&) {{ throw 1; }}"),
            &format!(
                "a.cc:1:1: error: this `on_request` {wrong}: the hook is `kiln::Action \
                 on_request(kiln::Request& request)`\nSOURCE\n      | ^{marks}\n      | kiln::Action\n"
            ),
        );
    }
}

#[test]
fn helpers_need_no_hook_and_what_is_nearly_one_is_a_warning_there() {
    let nearly =
        "namespace site { kiln::Action on_request(kiln::Request&) { return kiln::next(); } }";
    let helper = "int helper() { return 1; }\n";
    let scripts = [("10-a.cc", HOOK), ("20-b.cc", nearly), ("30-c.cc", helper)];
    let finished = checked(&scripts, &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(
        finished.stdout.contains("20-b.cc:1:31: warning: this `on_request` is in the"),
        "{finished:?}"
    );
    assert_eq!(checked(&scripts, &["--deny-warnings"]).code(), Some(2));
    check(
        &[("10-a.cc", helper), ("20-b.cc", "static int other;\n")],
        "20-b.cc:1:12: warning: unused variable 'other' [-Wunused-variable]\n    1 | static int \
         other;\n      |            ^~~~~\nerror: no script has a hook: define `kiln::Action \
         on_request(kiln::Request& request)` in one of them\n2 scripts, 1 error, 1 warning\n",
    );
}

#[test]
fn a_script_with_main_is_told_who_runs_it() {
    let message = "a script has no main(): Kiln calls its hook `kiln::Action \
                   on_request(kiln::Request& request)`; `kiln run FILE.cc` runs a program";
    check_line("int main() {}", &format!("a.cc:1:5: error: {message}\nSOURCE\n      |     ^~~~\n"));
    check(
        &[("a.cc", &format!("{HOOK}int main() {{}}\n"))],
        &format!(
            "a.cc:2:5: warning: {message}\n    2 | int main() {{}}\n      |     ^~~~\n1 script, 0 errors, 1 warning\n"
        ),
    );
}

#[test]
fn the_end_of_a_hook_without_an_action_is_an_error_and_an_action_that_is_dropped_a_warning() {
    let caret = format!("      | {}^\n", " ".repeat(86));
    check_line(
        "kiln::Action on_request(kiln::Request& r) { if (r.path() == \"/\") return kiln::next(); }",
        &format!(
            "a.cc:1:87: error: non-void function does not return a value in all control paths \
             [-Werror,-Wreturn-type]\nSOURCE\n{caret}"
        ),
    );
    check(
        &[(
            "a.cc",
            "kiln::Action on_request(kiln::Request&) {\n    kiln::reply(200);\n    return kiln::next();\n}\n",
        )],
        "a.cc:2:5: warning: ignoring return value of function declared with 'nodiscard' attribute: \
         an action does nothing until the hook returns it [-Wunused-result]\n    2 |     \
         kiln::reply(200);\n      |     ^~~~~~~~~~~\n1 script, 0 errors, 1 warning\n",
    );
}

#[test]
fn what_is_often_meant_is_no_warning() {
    check(
        &[(
            "a.cc",
            "struct Pair { int a, b; };\n\
             kiln::Action on_request(kiln::Request& request) {\n\
             std::vector<Pair> pairs{{.a = 1}};\n\
             for (int i = 0; i < pairs.size(); ++i) if (pairs[i].b) return kiln::close();\n\
             return kiln::next();\n}\n",
        )],
        "1 script, 0 errors, 0 warnings\n",
    );
}

#[test]
fn an_error_in_a_header_says_who_includes_it_and_a_misspelling_what_was_meant() {
    let finished = checked(
        &[
            ("inner.h", "inline kiln::Action away() { return kiln::forwrd(\"web\"); }\n"),
            ("outer.h", "#include \"inner.h\"\n"),
            ("a.cc", "#include <kiln.h>\n#include \"outer.h\"\n"),
        ],
        &[],
    );
    let marks = format!("{}~~~~~~^~~~~~", " ".repeat(36));
    let fix = format!("{}forward", " ".repeat(42));
    let expect = format!(
        "In file included from a.cc:2:\nIn file included from ./outer.h:1:\n./inner.h:1:43: error: no \
         member named 'forwrd' in namespace 'kiln'; did you mean 'forward'?\n    1 | inline \
         kiln::Action away() {{ return kiln::forwrd(\"web\"); }}\n      | {marks}\n      | \
         {fix}\n/kiln/include/kiln.h:"
    );
    // Where it is there, and as what, is the header's affair.
    assert!(finished.stdout.starts_with(&expect), "expected {expect}\nin {}", finished.stdout);
    assert!(finished.stdout.contains(": note: 'forward' declared here\n"), "{}", finished.stdout);
}

#[test]
fn two_definitions_of_one_name_are_both_shown() {
    let remedy = "note: each script that wants its own makes it static, or puts it into an anonymous \
                  namespace; what all share is inline, in a header, or defined in one and declared in \
                  the others\n";
    check(
        &[
            ("a.cc", &format!("{HOOK}int helper() {{ return 1; }}\n")),
            ("b.cc", "int helper() { return 2; }\n"),
        ],
        &format!(
            "b.cc:1:5: error: `helper()` is defined in two scripts\n    1 | int helper() {{ return 2; }}\n      \
             |     ^~~~~~\na.cc:2:5: note: the other definition\n    2 | int helper() {{ return 1; }}\n      \
             |     ^~~~~~\n{remedy}2 scripts, 1 error, 0 warnings\n"
        ),
    );
    check(
        &[("a.cc", &format!("{HOOK}\nint count = 1;\n")), ("b.cc", "int count;\n")],
        &format!(
            "b.cc:1:5: error: `count` is defined in two scripts\n    1 | int count;\n      |     \
             ^~~~~\na.cc:3:5: note: the other definition\n    3 | int count = 1;\n      |     \
             ^~~~~\n{remedy}2 scripts, 1 error, 0 warnings\n"
        ),
    );
    let header = ("h.h", "int helper() { return 1; }\n");
    check(
        &[header, ("a.cc", &format!("#include \"h.h\"\n{HOOK}")), ("b.cc", "#include \"h.h\"\n")],
        "./h.h:1:5: error: `helper()` is defined in a header that several scripts include\n    1 | int \
         helper() { return 1; }\n      |     ^~~~~~\nnote: make it inline\n2 scripts, 1 error, 0 warnings\n",
    );
}

#[test]
fn a_declaration_that_means_another_type_is_shown_beside_the_definition() {
    check(
        &[
            (
                "a.cc",
                "extern int limit;\nkiln::Action on_request(kiln::Request&) { return kiln::reply(limit); }\n",
            ),
            ("b.cc", "long limit = 200;\n"),
        ],
        "a.cc:1:12: error: `limit` has the type 'int' in this declaration\n    1 | extern int limit;\n      \
         |            ^~~~~\nb.cc:1:6: note: it has the type 'long' where it is defined\n    1 | long \
         limit = 200;\n      |      ^~~~~\nnote: both should include one header that declares it\n\
         2 scripts, 1 error, 0 warnings\n",
    );
}

#[test]
fn what_nobody_defines_is_shown_where_it_is_used_and_where_it_is_declared() {
    check(
        &[
            (
                "a.cc",
                "namespace shop { int price(std::string_view); }\nkiln::Action on_request(kiln::Request& request) {\n    return kiln::reply(shop::price(request.path()));\n}\n",
            ),
            ("b.cc", "namespace shop { int price(int) { return 1; } }\n"),
        ],
        "a.cc:3:24: error: `shop::price(std::string_view)` is not defined\n    3 |     return \
         kiln::reply(shop::price(request.path()));\n      |                        ^~~~\na.cc:1:22: note: \
         it is declared here\n    1 | namespace shop { int price(std::string_view); }\n      | \
         \x20                    ^~~~~\nb.cc:1:22: note: `shop::price(int)` is another one, which is \
         defined\n    1 | namespace shop { int price(int) { return 1; } }\n      | \
         \x20                    ^~~~~\n2 scripts, 1 error, 0 warnings\n",
    );
}

#[test]
fn what_a_worker_does_not_have_is_told_why_and_what_there_is_instead() {
    for (line, name, reason, instead) in [
        (
            "fork();",
            "fork",
            "how many processes there are is the master's affair",
            "kiln::forward() to it",
        ),
        ("printf(\"a\");", "printf", "a worker has no standard streams", "kiln::log(text)"),
        ("rand();", "rand", "its state would be the same in every worker", "kiln::random()"),
        ("getenv(\"A\");", "getenv", "the environment is the master's", "a constant in the script"),
        ("sleep(1);", "sleep", "while a script sleeps, every other request", "decide at once"),
        ("time(nullptr);", "time", "clocks are read through the host", "kiln::realtime_ns()"),
        ("fopen(\"a\", \"r\");", "fopen", "a worker opens no path", "a table in a header"),
        (
            "std::thread([] {}).detach();",
            "std::thread::_M_start_thread",
            "a worker has one thread",
            "no lock",
        ),
        (
            "std::locale::global(std::locale());",
            "std::locale::global",
            "a locale is a file",
            "std::to_chars()",
        ),
        (
            "std::set_terminate(nullptr);",
            "std::set_terminate",
            "it is the whole worker's",
            "catch the exception",
        ),
        (
            "static std::mutex mutex; std::unique_lock lock(mutex); std::condition_variable().wait(lock);",
            "std::condition_variable::wait",
            "a worker has one thread, so that nothing could end the wait",
            "decide with what is there",
        ),
        ("tm date{}; mktime(&date);", "mktime", "a time zone is a file", "timegm()"),
    ] {
        let script = format!(
            "#include <clocale>\n#include <cstdio>\n#include <cstdlib>\n#include <ctime>\n\
             #include <exception>\n#include <locale>\n#include <condition_variable>\n#include <thread>\n#include <unistd.h>\n\
             kiln::Action on_request(kiln::Request&) {{\n    {line}\n    return kiln::next();\n}}\n"
        );
        let said = checked(&[("a.cc", &script)], &[]).stdout;
        let first = format!("error: a script may not use `{name}` in a worker: {reason}");
        for part in [
            "a.cc:11:",
            &first,
            &format!("   11 |     {line}\n"),
            "note: ",
            instead,
            "1 script, 1 error, ",
        ] {
            assert!(said.contains(part), "expected {part:?} in:\n{said}");
        }
    }
}

#[test]
fn no_internal_name_reaches_an_author() {
    let scripts = [
        (
            "10.cc",
            "int shared = 1;\nvoid nowhere();\nkiln::Action on_request(kiln::Request&) { nowhere(); return kiln::next(); }\n",
        ),
        (
            "20.cc",
            "kiln::Action on_request(kiln::Request& r);\nstatic kiln::Action again(kiln::Request& r) { return on_request(r); }\nint shared = 2;\nkiln::Action (*hold)(kiln::Request&) = again;\n",
        ),
    ];
    let said = checked(&scripts, &[]).stdout;
    for part in ["on_request.", "kiln_on_request", "_Z", "Linking globals", "multiply defined"] {
        assert!(!said.contains(part), "{part:?} in:\n{said}");
    }
    assert!(said.contains("20.cc:3:5: error: `shared` is defined in two scripts"), "{said}");
}

#[test]
fn json_has_every_part_of_a_diagnostic() {
    let script = "#include \"h.h\"\nkiln::Action on_request(kiln::Request&) { int unused = 1; return kiln::forwrd(\"web\"); }\n";
    let finished = checked(&[("a.cc", script), ("h.h", "#warning mind the gap\n")], &["--json"]);
    assert_eq!(finished.code(), Some(2), "{finished:?}");
    let json: Value = serde_json::from_str(&finished.stdout).expect("one document");
    assert_eq!((&json["ok"], &json["scripts"]), (&false.into(), &1.into()), "{json:#}");
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()), "{json:#}");
    let [warning, error] = &json["diagnostics"].as_array().expect("a list")[..] else {
        panic!("{json:#}")
    };
    assert_eq!(
        (&warning["severity"], &warning["option"]),
        (&"warning".into(), &"-W#warnings".into())
    );
    let include = &warning["included_from"][0];
    assert_eq!((&include["file"], &include["line"]), (&"a.cc".into(), &1.into()), "{warning:#}");
    assert_eq!((&error["severity"], &error["file"]), (&"error".into(), &"a.cc".into()));
    assert_eq!((&error["line"], &error["column"]), (&2.into(), &72.into()), "{error:#}");
    assert_eq!(error["end"], serde_json::json!({"line": 2, "column": 78}));
    assert_eq!(error["category"], "Semantic Issue");
    assert_eq!(
        error["message"],
        "no member named 'forwrd' in namespace 'kiln'; did you mean 'forward'?"
    );
    let edit = serde_json::json!({
        "file": "a.cc",
        "start": {"line": 2, "column": 72},
        "end": {"line": 2, "column": 78},
        "text": "forward",
    });
    assert_eq!(error["edits"], Value::from(vec![edit]));
    let note = &error["notes"][0];
    assert_eq!(
        (&note["message"], &note["file"]),
        (&"'forward' declared here".into(), &"/kiln/include/kiln.h".into())
    );
    let rendered = error["rendered"].as_str().expect("a text");
    assert!(
        rendered.starts_with("a.cc:2:72: error: ") && rendered.contains("note: 'forward' declared")
    );
    assert!(!finished.stdout.contains('\u{1b}'), "no colours: {finished:?}");
}

#[test]
fn sarif_has_rules_places_and_fixes() {
    let script = "kiln::Action on_request(kiln::Request&) { std::string ä = \"ö\"; static int unused; return kiln::forwrd(ä); }\n";
    let finished = checked(&[("a b.cc", script), ("c.cc", "static int unused;\n")], &["--sarif"]);
    assert_eq!(finished.code(), Some(2), "{finished:?}");
    let log: Value = serde_json::from_str(&finished.stdout).expect("one document");
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"].as_str().is_some_and(|schema| schema.ends_with("sarif-schema-2.1.0.json"))
    );
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "kiln");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let root = run["originalUriBaseIds"]["ROOT"]["uri"].as_str().expect("a URI");
    assert!(root.starts_with("file:///") && root.ends_with('/'), "{root}");
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), 2, "{log:#}");
    for result in results {
        let rule = &run["tool"]["driver"]["rules"]
            [result["ruleIndex"].as_u64().expect("a number") as usize];
        assert_eq!(rule["id"], result["ruleId"], "{log:#}");
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"];
        let artifact = &run["artifacts"][place["index"].as_u64().expect("a number") as usize];
        assert_eq!(artifact["location"]["uri"], place["uri"], "{log:#}");
    }
    let error = &results[0];
    assert_eq!((&error["level"], &error["ruleId"]), (&"error".into(), &"semantic-issue".into()));
    let physical = &error["locations"][0]["physicalLocation"];
    assert_eq!(physical["artifactLocation"]["uri"], "a%20b.cc");
    // Characters and not bytes: two of those before it have two.
    let column = script
        .chars()
        .collect::<String>()
        .split("forwrd")
        .next()
        .expect("it is there")
        .chars()
        .count()
        + 1;
    let region = serde_json::json!({
        "startLine": 1, "startColumn": column, "endLine": 1, "endColumn": column + "forwrd".len(),
    });
    assert_eq!(physical["region"], region, "{error:#}");
    let related = &error["relatedLocations"][0];
    assert_eq!(related["message"]["text"], "'forward' declared here");
    let change = &error["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["replacements"][0]["insertedContent"]["text"], "forward");
    assert_eq!(change["replacements"][0]["deletedRegion"], region);
    assert_eq!(
        (&results[1]["level"], &results[1]["ruleId"]),
        (&"warning".into(), &"-Wunused-variable".into())
    );
}

#[test]
fn colours_are_for_terminals_and_not_where_nobody_wants_them() {
    let scripts = [("a.cc", "int main() {}\n")];
    let coloured = at_a_terminal(&scripts, &[]);
    for part in [
        "\u{1b}[1ma.cc:1:5: \u{1b}[0m\u{1b}[1m\u{1b}[31merror: \u{1b}[0m\u{1b}[1ma script has no main()",
        "\u{1b}[1m\u{1b}[32m    ^~~~\u{1b}[0m",
        "\u{1b}[1m\u{1b}[31m1 script, 1 error, 0 warnings\u{1b}[0m in ",
    ] {
        assert!(coloured.contains(part), "expected {part:?} in {coloured:?}");
    }
    assert!(!at_a_terminal(&scripts, &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!checked(&scripts, &[]).stdout.contains('\u{1b}'), "it is no terminal");
}

/// What `kiln check` prints to a terminal, in this environment.
fn at_a_terminal(scripts: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let _cpu = some_cpu();
    let folder = folder(scripts);
    let terminal = openpty(None, None).expect("a terminal");
    let mut command = kiln_command();
    command.current_dir(folder.path()).args(["check", "."]).env("TERM", "xterm");
    command.env_remove("NO_COLOR").envs(environment.iter().copied());
    command.stdout(Stdio::from(terminal.slave)).stderr(Stdio::null());
    let mut child = command.spawn().expect("it is there");
    // It holds the other end, which the reader here waits to be closed.
    drop(command);
    let mut printed = Vec::new();
    let mut part = [0; 4096];
    let mut master = fs::File::from(terminal.master);
    // The end of a terminal is an error.
    while let Ok(length @ 1..) = master.read(&mut part) {
        printed.extend_from_slice(&part[..length]);
    }
    child.wait().expect("it was started here");
    String::from_utf8(printed).expect("text")
}

#[test]
fn a_check_takes_the_script_of_a_configuration_and_checks_that_too() {
    let folder = folder(&[
        ("site.cc", HOOK),
        ("kiln.toml", "script = \"site.cc\"\n"),
        ("wrong.toml", "script = \"site.cc\"\nworkers = 0\n"),
    ]);
    let check = |options: &[&str]| {
        let _cpu = some_cpu();
        run(kiln_command().current_dir(folder.path()).arg("check").args(options))
    };
    let by_default = check(&[]);
    assert!(by_default.stdout.starts_with("1 script, 0 errors, 0 warnings in "), "{by_default:?}");
    let wrong = check(&["-c", "wrong.toml"]);
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    assert!(wrong.stdout.starts_with("wrong.toml:2:11: error: "), "{wrong:?}");
    let absent = check(&["none.cc"]);
    assert_eq!(absent.code(), Some(2), "{absent:?}");
    assert!(absent.stdout.starts_with("none.cc: error: cannot be read: "), "{absent:?}");
}

#[test]
fn diagnostics_without_end_are_counted_and_not_dropped() {
    let unused: String = (0..500).map(|number| format!("static int unused_{number};\n")).collect();
    let finished = checked(&[("a.cc", &format!("{HOOK}{unused}"))], &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let note = "note: and 300 more that are not shown: 0 errors, 300 warnings\n1 script, 0 errors, 500 warnings in ";
    assert!(finished.stdout.contains(note), "{}", finished.stdout);
}

#[test]
fn symbols_are_listed_by_group_with_reasons_and_refused_with_remedies() {
    let list = |options: &[&str]| run(kiln_command().arg("check").args(options));
    let all = list(&["--symbols"]);
    assert_eq!(all.code(), Some(0), "{all:?}");
    for part in [
        "[host] What the running hook works with",
        "\n  malloc\n",
        "\n  __dynamic_cast\n",
        " groups\n",
    ] {
        assert!(all.stdout.contains(part), "expected {part:?}");
    }
    for (wanted, parts) in [
        ("fork", ["not allowed in a worker: fork\n", "  instead: "]),
        ("std::cout", ["not allowed in a worker: std::cout\n", "  instead: kiln::log(text)"]),
        ("std::thread", ["not allowed in a worker: std::thread::", "  a worker has one thread"]),
        ("cond", ["not allowed in a worker: pthread_cond_wait\n", "decide with what is there"]),
        ("nonsense", ["no library has `nonsense`", "*"]),
    ] {
        let found = list(&["--symbols", wanted]);
        assert_eq!(found.code(), Some(2), "{found:?}");
        for part in parts {
            assert!(found.stdout.contains(part), "{wanted}: expected {part:?} in {}", found.stdout);
        }
    }
    let json: Value =
        serde_json::from_str(&list(&["--symbols", "--json", "malloc"]).stdout).expect("JSON");
    assert_eq!(json["groups"][0]["name"], "allocation", "{json:#}");
    assert_eq!(json["groups"][0]["symbols"][0]["name"], "malloc");
    let programs = list(&["--symbols=programs", "fork"]);
    assert_eq!(programs.code(), Some(0), "{programs:?}");
    assert!(programs.stdout.contains("[c] The whole C library."), "{programs:?}");
}

/// The page is what the binary prints; what is refused and in no header would stand at its end.
#[test]
fn the_page_of_what_is_refused_is_the_lists() {
    let page = run(kiln_command().args(["check", "--symbols", "--markdown"]));
    let written = include_str!("../../SYMBOLS.md");
    assert_eq!(page.stdout, written, "renew it: kiln check --symbols --markdown > SYMBOLS.md");
    for part in ["## `<thread>`\n", "`std::thread`, `std::jthread` | a worker has one thread"] {
        assert!(written.contains(part), "{part}");
    }
    for part in ["## Elsewhere", "std::mutex", "call_once", "`std::filesystem::path`,"] {
        assert!(!written.contains(part), "{part}");
    }
}

/// What could open a file, end or change the whole worker, whatever a list's pattern matches.
#[test]
fn nothing_that_reaches_beyond_a_hook_is_on_the_list() {
    let all = run(kiln_command().args(["check", "--symbols", "--json"]));
    let json: Value = serde_json::from_str(&all.stdout).expect("JSON");
    let groups = json["groups"].as_array().expect("a list");
    let symbols = groups.iter().flat_map(|group| group["symbols"].as_array().expect("a list"));
    let names: Vec<(&str, &str)> = symbols
        .map(|symbol| {
            (symbol["symbol"].as_str().expect("text"), symbol["name"].as_str().expect("text"))
        })
        .collect();
    assert!(names.len() > 1000, "{}", names.len());
    for part in [
        "__basic_file<char>::",
        "basic_filebuf<char>::open",
        "std::thread::",
        "filesystem::status",
        "filesystem::remove",
        "filesystem::absolute",
        "directory_iterator",
        "set_terminate",
        "set_new_handler",
        "set_unexpected",
        "locale::global",
        "locale::locale(char const*)",
        "_S_create_c_locale",
        "sync_with_stdio",
        "std::cout",
    ] {
        let found = names.iter().find(|(symbol, name)| {
            // Type information is data.
            name.contains(part) && !symbol.starts_with("_ZT")
        });
        assert_eq!(found, None, "{part}");
    }
    for symbol in [
        "exit",
        "_exit",
        "setlocale",
        "setenv",
        "signal",
        "sigaction",
        "mktime",
        "localtime_r",
        "mmap",
        "mprotect",
        "syscall",
        "open",
        "fork",
        "dlsym",
    ] {
        assert!(names.iter().all(|(known, _)| *known != symbol), "{symbol}");
    }
}
