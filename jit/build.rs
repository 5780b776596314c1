//! Builds what the engine embeds: the shim, the standard headers, the precompiled header and the
//! symbol tables, all from the very libraries that the binary links.

#[path = "src/arguments.rs"]
#[allow(dead_code)]
mod arguments;
#[path = "build/headers.rs"]
mod headers;
#[path = "src/pattern.rs"]
mod pattern;
#[path = "build/pch.rs"]
mod pch;
#[path = "build/symbols.rs"]
mod symbols;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use arguments::{KILN_INCLUDE, Unit};
use toolchain::Toolchain;

/// Names of the symbol tables.
const SETS: [&str; 2] = ["workers", "programs"];

fn main() {
    for path in ["build.rs", "build", "shim", "src/arguments.rs", "src/pattern.rs", "../pch"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../pch");
    let toolchain = Toolchain::find();
    println!("cargo::rustc-env=KILN_RESOURCE={}", toolchain.resource);
    println!("cargo::rustc-env=KILN_SEARCH={}", toolchain.search.join(":"));
    // Clippy has build scripts of its own, and would make all of this once more, to look at none of it.
    if cfg!(clippy) {
        return stand_in(&out);
    }

    toolchain.compile_shim(&out);
    headers::pack(&toolchain, &sources, &out.join("headers.pack"));
    let builder = Builder {
        program: toolchain.link_pch_builder(&out),
        toolchain: &toolchain,
        sources: &sources,
    };
    let usual = out.join("usual.o");
    builder.instantiate(&usual);
    let libraries = symbols::Libraries::read(&usual);
    for set in SETS {
        symbols::write_table(&libraries, &sources, set, &out);
    }
    symbols::check_refused(&libraries, &sources);
    let header = out.join("kiln.pch");
    builder.precompile(&out.join("workers.called"), &header);
    pch::pack(&header, &out.join("kiln.pch.pack"));
    symbols::compile_tables(&out, &usual);
    toolchain.link();
}

/// Writes files that are empty in the place of all that the crate includes.
fn stand_in(out: &Path) {
    for name in ["headers.pack", "kiln.pch.pack"] {
        fs::write(out.join(name), "").expect("OUT_DIR is writable");
    }
    for set in SETS {
        for (suffix, content) in [("names", ""), ("starts", "[]"), ("own", ""), ("groups", "")] {
            fs::write(out.join(format!("{set}.{suffix}")), content).expect("OUT_DIR is writable");
        }
    }
}

/// The small program around the shim that makes what scripts begin with.
struct Builder<'a> {
    program: PathBuf,
    toolchain: &'a Toolchain,
    sources: &'a Path,
}

impl Builder<'_> {
    /// Makes an object file of the templates that `pch/usual.h` uses.
    fn instantiate(&self, object: &Path) {
        let made = object.as_os_str();
        let source = format!("{KILN_INCLUDE}/usual.cc");
        // Scripts may use both names of a constructor.
        let both = "-mno-constructor-aliases";
        self.run("instantiate", made, &["-emit-llvm-only", both, "-x", "c++", &source]);
    }

    /// Makes the precompiled header; what `called` lists is not compiled again.
    fn precompile(&self, called: &Path, pch: &Path) {
        let pch = pch.to_str().expect("OUT_DIR is text");
        let header = format!("{KILN_INCLUDE}/kiln.h");
        let arguments = [
            "-emit-pch",
            "-fno-pch-timestamp",
            "-fpch-instantiate-templates",
            "-fmodules-embed-all-files",
            "-x",
            "c++-header",
            "-o",
            pch,
            &header,
        ];
        self.run("precompile", called.as_os_str(), &arguments);
    }

    fn run(&self, action: &str, file: &OsStr, arguments: &[&str]) {
        let search: Vec<&str> = self.toolchain.search.iter().map(String::as_str).collect();
        let mut command = Command::new(&self.program);
        command.arg(self.sources).arg(action).arg(file);
        command.args(arguments::common(Unit::Script, &search, &self.toolchain.resource));
        let status = command.args(arguments).status().expect("the builder was just linked");
        assert!(status.success(), "pch/ does not compile: {action} failed");
    }
}
