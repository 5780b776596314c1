//! `kiln config`: what it says of a file, and the page that it makes.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tests::{Finished, kiln};

/// A file of this text, in a folder that ends with the test.
fn written(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("kiln.toml"), text).expect("a configuration is written");
    folder
}

fn config(folder: &TempDir, command: &str, options: &[&str]) -> Finished {
    let path = folder.path().join("kiln.toml").display().to_string();
    kiln([&["config", command, "-c", &path], options].concat())
}

/// Checks that exactly these errors are found, in this order.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let folder = written(text);
    let checked = config(&folder, "check", &[]);
    let prefix = format!("{}/kiln.toml:", folder.path().display());
    let found: Vec<&str> =
        checked.stderr.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
    assert_eq!(found, expect, "{text}\n{}", checked.stderr);
    assert_eq!(checked.code(), Some(2), "{checked:?}");
    assert!(checked.stdout.is_empty(), "{checked:?}");
}

#[test]
fn unknown_names_are_told_with_the_nearest_that_is_known() {
    check("lisen = []\n", &["1:1: error: unknown setting `lisen`; did you mean `listen`?"]);
    check(
        "[limits]\n  hed_bytes = 1\n[timeouts]\nheadms = 1\n",
        &[
            "2:3: error: unknown setting `hed_bytes` in limits; did you mean `head_bytes`?",
            "4:1: error: unknown setting `headms` in timeouts; did you mean `head_ms`?",
        ],
    );
    check(
        "[upstreams.web]\nservers = [{ address = 'a:1', wieght = 3 }]\nballance = 'hash'\n",
        &[
            "2:31: error: unknown setting `wieght` in upstreams.web.servers; did you mean `weight`?",
            "3:1: error: unknown setting `ballance` in upstreams.web; did you mean `balance`?",
        ],
    );
    check(
        "[limits]\nconnect_ms = 3\nscript = 'site.cc'\n",
        &[
            "2:1: error: unknown setting `connect_ms` in limits; it belongs in [timeouts]",
            "3:1: error: unknown setting `script` in limits; it belongs at the top of the file, \
             before the first [table]",
        ],
    );
    check(
        "upstreams.web = { servers = ['a:1'], balance = 'rond-robin' }\n",
        &["1:48: error: upstreams.web.balance = \"rond-robin\" is not one of \"round-robin\", \
           \"least-requests\", \"two-choices\", \"hash\"; did you mean `round-robin`?"],
    );
}

#[test]
fn a_value_that_is_none_is_told_with_what_could_be_written() {
    check(
        "workers = 2000\nlimits.head_bytes = 0x10\ntimeouts.drain_ms = -1\n",
        &[
            "1:11: error: workers = 2000 is not between 1 and 1024 workers; \
             the default is one for each CPU",
            "2:21: error: limits.head_bytes = 0x10 is not between 1024 and 1048576 bytes; \
             the default is 65536",
            "3:21: error: timeouts.drain_ms = -1 is not between 0 and 86400000 ms; \
             the default is 60000",
        ],
    );
    check(
        "limits.fields = '10'\nupstreams.web = { servers = ['a:1'], connect = 1 }\n",
        &[
            "1:17: error: limits.fields is a string, but takes 1 to 4000 lines; the default is 200",
            "2:48: error: upstreams.web.connect is an integer, but takes true or false; \
             the default is false",
        ],
    );
    check(
        "listen = ['localhost:80', 80]\ntrusted_proxies = ['10.0.0.0/40']\nscript = ''\n",
        &[
            "1:11: error: listen: \"localhost:80\" is a name, and an address is wanted: \
             write \"127.0.0.1:80\"",
            "1:27: error: listen takes addresses with ports, not an integer",
            "2:20: error: trusted_proxies: \"10.0.0.0/40\" is not a network in CIDR notation, \
             as in 10.0.0.0/8, or an address",
            "3:10: error: script: \"\" is empty",
        ],
    );
}

#[test]
fn wrong_servers_are_told_one_by_one() {
    check(
        "[upstreams]\nweb = ['a:1', 'b', '::1:80', 'a:1', { weight = 1001 }]\n",
        &[
            "2:15: error: upstreams.web.servers: \"b\" is not an address with a port: write \"b:80\", \
             or another port in its place",
            "2:20: error: upstreams.web.servers: \"::1:80\" is an IPv6 address without brackets: \
             write \"[::1]:80\", or another port",
            "2:30: error: upstream web: \"a:1\" is given twice",
            "2:37: error: a server of upstream web has no address",
            "2:48: error: upstreams.web.servers.weight = 1001 is not between 1 and 1000 parts; \
             the default is 1",
        ],
    );
    check(
        "[upstreams]\n\"a\\r\\nX: b\" = ['a:1']\n",
        &["2:1: error: \"a\\r\\nX: b\" is not a name of 1 to 255 printable ASCII characters"],
    );
    let servers: Vec<String> = (0..257).map(|number| format!("'s{number}:80'")).collect();
    check(
        &format!("upstreams.web = [{}]", servers.join(",")),
        &["1:17: error: upstreams.web.servers has 257 entries; 256 at most"],
    );
    let upstreams: Vec<String> =
        (0..1025).map(|number| format!("u{number:04} = ['a:1']")).collect();
    check(
        &format!("[upstreams]\n{}", upstreams.join("\n")),
        &["1026:1: error: upstreams has 1025 entries; 1024 at most"],
    );
}

#[test]
fn what_does_not_go_together_is_told() {
    check(
        "[upstreams.a]\n[upstreams.b]\nservers = []\n",
        &[
            "1:12: error: upstream a has no server: name them as in servers = [\"10.0.0.1:80\"]",
            "3:11: error: upstream b has no server: name them as in servers = [\"10.0.0.1:80\"]",
        ],
    );
    check(
        "[limits]\nline_bytes = 3000\nhead_bytes = 2000\n",
        &["2:14: error: limits.line_bytes = 3000 is more than limits.head_bytes = 2000, \
           and a request line is part of its head"],
    );
    check(
        "[upstreams.web]\nservers = ['a:1']\nbalance = 'hash'\nslow_start_ms = 9\n\
         health.status_min = 400\n",
        &[
            "4:17: error: upstreams.web.slow_start_ms has no effect with balance = \"hash\", \
             which gives each server its keys at once",
            "5:21: error: upstreams.web.health: status_min = 400 is more than status_max = 399",
        ],
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_where() {
    check("workers = \n", &["1:11: error: string values must be quoted, expected literal string"]);
    check("workers = 1\nworkers = 2\n", &["2:1: error: duplicate key"]);
}

#[test]
fn an_error_is_shown_with_its_line_and_a_caret() {
    let folder = written("# Schön\n\t workers = 'größer' # so\n");
    let checked = config(&folder, "check", &[]);
    let shown = "error: workers is a string, but takes 1 to 1024 workers; the default is one for each \
                 CPU\n    2 | \t workers = 'größer' # so\n      | \t           ^~~~~~~~\n";
    assert!(checked.stderr.contains(shown), "{}", checked.stderr);
    assert!(checked.stderr.ends_with("kiln: 1 error in the configuration\n"), "{}", checked.stderr);
}

#[test]
fn a_right_file_is_ok_with_a_summary() {
    let folder = written(
        "workers = 2\nscript = 'site.cc'\n[upstreams]\nweb = ['a:1', { address = 'b:1', weight = 2 }]\n",
    );
    fs::write(folder.path().join("site.cc"), "").expect("a script is written");
    let checked = config(&folder, "check", &[]);
    assert_eq!(checked.code(), Some(0), "{checked:?}");
    let path = folder.path().display();
    let expect = format!(
        "{path}/kiln.toml: ok: listens on 127.0.0.1:8080, 2 workers, 1 upstream with 2 servers, \
         script {path}/site.cc\n"
    );
    assert_eq!((checked.stdout, checked.stderr), (expect, String::new()));
}

#[test]
fn a_check_in_json_has_the_places_of_errors() {
    let folder = written("[limits]\nfeilds = 1\n");
    let checked = config(&folder, "check", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!((checked.code(), &json["ok"]), (Some(2), &false.into()));
    let error = &json["diagnostics"][0];
    assert_eq!((&error["line"], &error["column"]), (&2.into(), &1.into()), "{json:#}");
    let folder = written("");
    let checked = config(&folder, "check", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!((checked.code(), &json["ok"]), (Some(0), &true.into()), "{json:#}");
}

#[test]
fn a_missing_file_is_named() {
    for command in ["check", "show"] {
        let finished = kiln(["config", command, "-c", "/nowhere/kiln.toml"]);
        assert_eq!(finished.code(), Some(2), "{finished:?}");
        for part in ["/nowhere/kiln.toml", "No such file"] {
            assert!(finished.stderr.contains(part), "{finished:?}");
        }
    }
}

/// What is shown is a configuration that comes to the same, whatever stood short in the first.
#[test]
fn what_a_file_comes_to_is_shown_as_a_file() {
    let folder = written(
        "limits.fields = 50\n[upstreams]\n'a b' = ['a:1']\n[upstreams.web]\n\
         servers = ['b:1']\nhealth.path = '/well'\n",
    );
    let shown = config(&folder, "show", &[]);
    assert_eq!(shown.code(), Some(0), "{shown:?}");
    for part in [
        "\nfields = 50\n",
        "\nhead_bytes = 65536\n",
        "\n[upstreams.\"a b\"]\n",
        "\n# health: none\n",
        "\n[upstreams.web.health]\n",
        "\npath = \"/well\"\n",
    ] {
        assert!(shown.stdout.contains(part), "expected {part:?} in {}", shown.stdout);
    }
    let again = config(&written(&shown.stdout), "show", &[]);
    assert_eq!(again.stdout, shown.stdout);
}

#[test]
fn the_reference_page_is_that_of_the_settings() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../CONFIGURATION.md");
    let page = fs::read_to_string(page).unwrap_or_default();
    let reference = kiln(["config", "reference", "--markdown"]);
    assert_eq!(reference.code(), Some(0), "{reference:?}");
    assert!(
        page == reference.stdout,
        "CONFIGURATION.md is stale: \
         run `target/release/kiln config reference --markdown > CONFIGURATION.md`"
    );
    // The same, for a terminal.
    let text = kiln(["config", "reference"]).stdout;
    assert!(text.contains("\n  head_bytes: 1024 to 1048576 bytes [default: 65536]\n"), "{text}");
}

/// The examples are configurations too.
#[test]
fn the_examples_of_the_documents_are_right() {
    for document in ["CONFIGURATION.md", "README.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
        let text = fs::read_to_string(path).expect("it is there");
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let folder = written(example.unwrap_or_else(|| panic!("no example in {document}")));
        fs::create_dir(folder.path().join("scripts")).expect("a folder");
        fs::write(folder.path().join("scripts/site.cc"), "").expect("a script is written");
        let checked = config(&folder, "check", &[]);
        assert_eq!(checked.code(), Some(0), "{document}: {checked:?}");
    }
}
