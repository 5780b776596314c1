//! The LLVM, libstdc++ and linker of this machine, as the build uses them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Clang's archives that the front end needs. The linker takes from each only what is used.
const CLANG_LIBRARIES: [&str; 20] = [
    "clangFrontend",
    "clangCodeGen",
    "clangDriver",
    "clangSerialization",
    "clangParse",
    "clangSema",
    "clangAnalysis",
    "clangEdit",
    "clangASTMatchers",
    "clangAST",
    "clangLex",
    "clangBasic",
    "clangSupport",
    "clangAPINotes",
    "clangExtractAPI",
    "clangRewrite",
    "clangRewriteFrontend",
    "clangIndex",
    "clangInstallAPI",
    "clangToolingCore",
];

/// What was found.
pub(crate) struct Toolchain {
    prefix: PathBuf,
    /// Clang's resource folder.
    pub(crate) resource: String,
    /// Folders of standard headers, in search order.
    pub(crate) search: Vec<String>,
}

impl Toolchain {
    /// Asks `llvm-config-19` and `g++`; says which package is missing.
    pub(crate) fn find() -> Self {
        let prefix = output("llvm-config-19", &["--prefix"], "llvm-19-dev");
        let resource = format!("{prefix}/lib/clang/19");
        let gcc = output("g++", &["-dumpversion"], "g++");
        let search = vec![
            format!("/usr/include/c++/{gcc}"),
            format!("/usr/include/x86_64-linux-gnu/c++/{gcc}"),
            format!("/usr/include/c++/{gcc}/backward"),
            format!("{resource}/include"),
            "/usr/include/x86_64-linux-gnu".into(),
            "/usr/include".into(),
        ];
        for folder in &search {
            assert!(
                Path::new(folder).is_dir(),
                "{folder} is missing: install libclang-common-19-dev, libstdc++-{gcc}-dev and libc6-dev"
            );
        }
        Self { prefix: prefix.into(), resource, search }
    }

    fn cc(&self) -> cc::Build {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).warnings(false).cpp_link_stdlib(None);
        build.define("NDEBUG", None).flag("-fno-exceptions").cargo_debug(false);
        // System headers: LLVM's own warnings are not ours.
        build.flag(format!("-isystem{}/include", self.prefix.display()));
        build
    }

    /// The C++ side of the FFI. Clang's headers take half a minute, so it is made again only when
    /// its sources changed, and not with every change of `kiln.h`.
    pub(crate) fn compile_shim(&self, out: &Path) {
        const SOURCES: [&str; 6] = [
            "shim/complaints.cc",
            "shim/cpu.cc",
            "shim/crash.cc",
            "shim/front_end.cc",
            "shim/hooks.cc",
            "shim/orc.cc",
        ];
        const HEADERS: [&str; 3] = ["shim/crash.h", "shim/hooks.h", "shim/shim.h"];
        let modified = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        let made = modified(&out.join("libkilnshim.a"));
        let is_newer = |source: &&str| modified(Path::new(source)) > made;
        if made.is_none() || SOURCES.iter().chain(&HEADERS).any(is_newer) {
            self.cc().files(SOURCES).cargo_metadata(false).compile("kilnshim");
        }
        println!("cargo::rustc-link-search=native={}", out.display());
        println!("cargo::rustc-link-lib=static=kilnshim");
    }

    /// Links the program that makes precompiled headers, from the shim and Clang's archives.
    pub(crate) fn link_pch_builder(&self, out: &Path) -> PathBuf {
        let program = out.join("pch_builder");
        let objects = self.cc().file("shim/pch_builder.cc").compile_intermediates();
        let mut command = Command::new("g++");
        command.arg("-o").arg(&program).args(objects).arg(out.join("libkilnshim.a"));
        command
            .args(["-fuse-ld=lld", "-Wl,--as-needed"])
            .arg(format!("-B{}", lld_folder().display()));
        command.arg(format!("-L{}/lib", self.prefix.display()));
        command.args(CLANG_LIBRARIES.map(|library| format!("-l{library}")));
        let llvm =
            output("llvm-config-19", &["--libs", "--link-static", "--system-libs"], "llvm-19-dev");
        command.args(llvm.split_whitespace());
        assert!(
            command.status().expect("g++ was found before").success(),
            "cannot link pch_builder"
        );
        program
    }

    /// Where the static libraries are that rustc links into the binary.
    pub(crate) fn link(&self) {
        println!("cargo::rustc-link-search=native={}/lib", self.prefix.display());
        for library in CLANG_LIBRARIES {
            println!("cargo::rustc-link-lib=static:-bundle={library}");
        }
        // libstdc++ comes with the crate `image`, behind that crate's own operators new and delete.
        for library in ["libgcc.a", "libatomic.a"] {
            let folder = gcc_file(library).parent().expect("it is a file").to_owned();
            println!("cargo::rustc-link-search=native={}", folder.display());
        }
        println!("cargo::rustc-link-lib=static:-bundle=gcc");
        println!("cargo::rustc-link-lib=static:-bundle=atomic");
    }
}

/// The path of one of the compiler's own files.
pub(crate) fn gcc_file(name: &str) -> PathBuf {
    output("g++", &[&format!("-print-file-name={name}")], "g++").into()
}

/// The linker that comes with rustc: far quicker with LLVM's archives than GNU ld.
fn lld_folder() -> PathBuf {
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let sysroot = output(&rustc, &["--print", "sysroot"], "rustc");
    Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld")
}

fn output(program: &str, arguments: &[&str], package: &str) -> String {
    let result = Command::new(program).args(arguments).output();
    let result = result.unwrap_or_else(|error| panic!("{program}: {error}; install {package}"));
    assert!(result.status.success(), "{program} {arguments:?} failed");
    String::from_utf8(result.stdout).expect("paths and versions are text").trim().to_owned()
}
