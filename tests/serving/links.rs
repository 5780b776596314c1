//! Scripts and headers that are somewhere else: links, folders of `include`, and what is told of those
//! that are not to be had.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;
use tests::{Kiln, kiln_command, run};

use crate::replying;

/// A folder with files in it; what begins with `->` is a link to what follows.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        match text.strip_prefix("->") {
            Some(target) => symlink(target, path).expect("a link"),
            None => fs::write(path, text).expect("a file"),
        }
    }
    folder
}

/// Puts a link in the place of another in one step, as Kubernetes does.
fn swap(link: &Path, target: &str) {
    let next = link.with_file_name(".next");
    symlink(target, &next).expect("a link");
    fs::rename(next, link).expect("it is replaced");
}

/// A script that answers with WORD of a header.
const WORD: &str = "#include <kiln.h>\n#include \"word.h\"\n\
    kiln::Action on_request(kiln::Request&) { return kiln::reply(200, WORD); }\n";

#[test]
fn a_script_that_is_a_link_is_the_file_that_it_leads_to_at_each_reload() {
    let (one, two) = (replying("one"), replying("two"));
    let folder = tree(&[
        ("scripts-available/one.cc", &one),
        ("scripts-available/two.cc", &two),
        ("scripts-enabled/10-site.cc", "->../scripts-available/one.cc"),
    ]);
    let enabled = folder.path().join("scripts-enabled");
    let kiln = Kiln::builder().script_path(&enabled).workers(1).start();
    kiln.get("/").expect(200, "one");
    swap(&enabled.join("10-site.cc"), "../scripts-available/two.cc");
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, "two");
    fs::write(folder.path().join("scripts-available/two.cc"), replying("three")).expect("a file");
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, "three");
}

#[test]
fn a_script_that_is_named_alone_may_be_a_link_out_of_its_folder() {
    let folder = tree(&[
        ("releases/7/site.cc", &replying("seven")),
        ("etc/site.cc", "->../current/site.cc"),
        ("current", "->releases/7"),
    ]);
    let script = folder.path().join("etc/site.cc");
    let kiln = Kiln::builder().script_path(&script).workers(1).start();
    kiln.get("/").expect(200, "seven");
}

/// Kubernetes writes a volume's files into a folder of their own, to which `..data` leads, and changes
/// that link.
#[test]
fn a_volume_whose_files_are_swapped_at_once_is_followed_anew() {
    let folder = tree(&[
        ("mount/..1/site.cc", WORD),
        ("mount/..1/word.h", "#define WORD \"one\"\n"),
        ("mount/..data", "->..1"),
        ("mount/site.cc", "->..data/site.cc"),
        ("mount/word.h", "->..data/word.h"),
        ("scripts/10-site.cc", "->../mount/site.cc"),
    ]);
    let mount = folder.path().join("mount");
    let config = format!("include = [{mount:?}]\n");
    let scripts = folder.path().join("scripts");
    let kiln = Kiln::builder().script_path(scripts).config(&config).workers(1).start();
    kiln.get("/").expect(200, "one");
    fs::create_dir(mount.join("..2")).expect("a folder");
    fs::write(mount.join("..2/site.cc"), WORD).expect("a file");
    fs::write(mount.join("..2/word.h"), "#define WORD \"two\"\n").expect("a file");
    swap(&mount.join("..data"), "..2");
    fs::remove_dir_all(mount.join("..1")).expect("it is there");
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, "two");
}

#[test]
fn a_link_to_nothing_is_named_and_not_left_out() {
    let folder = tree(&[
        ("scripts/10-site.cc", &replying("one")),
        ("scripts/20-gone.cc", "->../gone/20.cc"),
        ("scripts/30-loop.cc", "->30-loop.cc"),
        ("scripts/.#editor.cc", "->somebody@somewhere.1234"),
    ]);
    let kiln = Kiln::builder().script_path(folder.path().join("scripts")).start_without_scripts();
    kiln.expect_logged(&[
        "20-gone.cc: error: it is a link to ../gone/20.cc, where nothing is",
        "30-loop.cc: error: it is a link that leads back to itself",
    ]);
    assert!(!kiln.log().contains("editor"), "{}", kiln.log());
}

#[test]
fn a_script_that_is_named_and_a_link_to_nothing_is_told_at_the_start() {
    let folder = tree(&[("site.cc", "->gone.cc"), ("loop.cc", "->loop.cc")]);
    for (name, told) in [
        ("site.cc", "it is a link to gone.cc, where nothing is"),
        ("loop.cc", "it is a link that leads back to itself"),
    ] {
        let path = folder.path().join(name);
        let refusal = Kiln::builder().script_path(&path).refused();
        refusal.expect(&["cannot read the script", told]);
        let checked = run(kiln_command().arg("check").arg(&path));
        assert!(checked.stdout.contains(told), "{checked:?}");
    }
}

#[test]
fn folders_of_include_have_headers_and_a_change_there_is_a_change() {
    let folder = tree(&[
        ("scripts/site.cc", WORD),
        ("shared/word.h", "#include \"deep/text.h\"\n#define WORD TEXT\n"),
        ("shared/deep/text.h", "#define TEXT \"one\"\n"),
    ]);
    let config = format!("include = [{:?}]\n", folder.path().join("shared"));
    let scripts = folder.path().join("scripts");
    let kiln = Kiln::builder().script_path(&scripts).config(&config).workers(1).start();
    kiln.get("/").expect(200, "one");
    fs::write(folder.path().join("shared/deep/text.h"), "#define TEXT \"two\"\n").expect("a file");
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, "two");
    // What is beside the script comes first.
    fs::write(scripts.join("word.h"), "#define WORD \"own\"\n").expect("a file");
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, "own");
    fs::remove_dir_all(folder.path().join("shared")).expect("it is there");
    let told = kiln.reload().expect_refused();
    assert!(told.contains("shared: error: no such folder"), "{told}");
}

#[test]
fn include_is_relative_to_its_file_and_a_folder_of_the_command_line_to_where_it_is_typed() {
    let folder = tree(&[
        ("etc/kiln.toml", "script = \"site.cc\"\ninclude = [\"../headers\"]\n"),
        ("etc/site.cc", WORD),
        ("headers/word.h", "#define WORD \"one\"\n"),
    ]);
    let check = |options: &[&str]| {
        run(kiln_command().current_dir(folder.path()).arg("check").args(options))
    };
    for options in [&["-c", "etc/kiln.toml"][..], &["-I", "headers", "etc/site.cc"]] {
        let checked = check(options);
        assert_eq!(checked.code(), Some(0), "{checked:?}");
    }
    let checked = check(&["etc/site.cc"]);
    assert!(checked.stdout.contains("'word.h' file not found"), "{checked:?}");
}

#[test]
fn a_header_outside_of_the_folders_is_told_to_be_there() {
    let folder = tree(&[
        ("word.h", "#define WORD \"one\"\n"),
        ("scripts/linked.h", "->../word.h"),
        ("scripts/gone.h", "->nowhere.h"),
        ("scripts/loop.h", "->loop.h"),
        ("scripts/folder.h/text", ""),
        ("scripts/away", "->../gone"),
    ]);
    let root = fs::canonicalize(folder.path()).expect("it is there").display().to_string();
    let absolute = format!("{root}/word.h");
    let remedy = format!("; add `include = [\"{root}\"]` to kiln.toml");
    let outside = format!("is outside of the folders that scripts may read{remedy}");
    let linked = format!(
        "leads to {absolute}, which is outside of the folders that scripts may read{remedy}"
    );
    for (name, told) in [
        ("../word.h", outside.as_str()),
        (&absolute, &outside),
        ("linked.h", &linked),
        ("gone.h", "is a link to nowhere.h, where nothing is"),
        ("loop.h", "is a link that leads back to itself"),
        ("folder.h", "is no regular file"),
        ("away/word.h", "scripts/away, which is a link to ../gone, where nothing is"),
        ("../nothing.h", "file not found"),
        ("nothing.h", "file not found"),
    ] {
        let script = format!("#include \"{name}\"\n{}", replying("one"));
        fs::write(folder.path().join("scripts/site.cc"), script).expect("a file");
        let checked = run(kiln_command().current_dir(&root).args(["check", "scripts"]));
        let place = format!("scripts/site.cc:1:10: fatal error: '{name}' ");
        for part in [place.as_str(), told] {
            assert!(checked.stdout.contains(part), "{name}: expected {part:?} in {checked:?}");
        }
        let is_there = told != "file not found";
        assert_eq!(checked.stdout.contains("file not found"), !is_there, "{checked:?}");
    }
}

/// A fence of the compile child would say the same of a file that its user may not read.
#[test]
fn what_the_user_of_a_compile_may_not_read_is_told_by_who_may_not() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tree(&[
        ("closed/site.cc", &replying("one")),
        ("scripts/10-link.cc", "->../closed/site.cc"),
        ("scripts/20-own.cc", &replying("two")),
    ]);
    let mode = |path: &str, mode| {
        let path = folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode("", 0o755);
    mode("closed", 0o700);
    mode("scripts/20-own.cc", 0o600);
    let start = || {
        Kiln::builder()
            .script_path(folder.path().join("scripts"))
            .config("[process]\nuser = \"65534\"\n")
            .start_without_scripts()
    };
    let kiln = start();
    let closed = fs::canonicalize(folder.path()).expect("it is there").join("closed");
    let who = "it cannot be read by user 65534 and group 65534: permission denied for";
    kiln.expect_logged(&[
        &format!("10-link.cc: error: {who} the folder {}", closed.display()),
        &format!("20-own.cc: error: {who} it"),
    ]);
    mode("scripts", 0o711);
    let scripts = folder.path().join("scripts");
    start().expect_logged(&[&format!("error: {who} the folder {}", scripts.display())]);
}
