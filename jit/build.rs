//! Builds what the engine embeds: the shim, the standard headers, the precompiled header and the
//! symbol tables, all from the very libraries that the binary links.

#[path = "src/arguments.rs"]
#[allow(dead_code)]
mod arguments;
#[path = "build/headers.rs"]
mod headers;
#[path = "src/pattern.rs"]
mod pattern;
#[path = "build/symbols.rs"]
mod symbols;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use arguments::{KILN_INCLUDE, Unit};
use toolchain::Toolchain;

fn main() {
    for path in ["build.rs", "build", "shim", "src/arguments.rs", "src/pattern.rs", "../pch"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let pch =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../pch");
    let toolchain = Toolchain::find();

    toolchain.compile_shim(&out);
    headers::pack(&toolchain, &pch, &out.join("headers.pack"));
    precompile(&toolchain, &pch, &out);
    let libraries = symbols::Libraries::read(&toolchain);
    for set in ["workers", "programs"] {
        println!("cargo::rustc-env=KILN_{}={}", set.to_uppercase(), out.join(set).display());
        symbols::write_table(&libraries, &pch, set, &out);
    }
    symbols::check_refused(&libraries, &pch);
    symbols::compile_tables(&out);
    toolchain.link();

    println!("cargo::rustc-env=KILN_RESOURCE={}", toolchain.resource);
    println!("cargo::rustc-env=KILN_SEARCH={}", toolchain.search.join(":"));
}

/// Makes the precompiled header with a small program around the shim.
fn precompile(toolchain: &Toolchain, pch: &std::path::Path, out: &std::path::Path) {
    let builder = toolchain.link_pch_builder(out);
    let search: Vec<&str> = toolchain.search.iter().map(String::as_str).collect();
    let mut command = Command::new(builder);
    command.arg(pch);
    command.args(arguments::common(Unit::Script, &search, &toolchain.resource));
    command.args(["-emit-pch", "-fno-pch-timestamp", "-fpch-instantiate-templates"]);
    command.args(["-fmodules-embed-all-files", "-x", "c++-header", "-o"]);
    command.arg(out.join("kiln.pch"));
    command.arg(format!("{KILN_INCLUDE}/kiln.h"));
    let status = command.status().expect("the PCH builder was just linked");
    assert!(status.success(), "pch/kiln.h does not compile");
}
