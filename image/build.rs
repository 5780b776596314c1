//! Compiles the C++ part of an image's runtime and links libstdc++ statically.

fn main() {
    for file in ["src/runtime.cc", "src/memory.cc", "src/threads.cc", "src/heap.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).cpp_link_stdlib(None);
    build.flag("-fno-omit-frame-pointer").file("src/runtime.cc").file("src/memory.cc");
    build.file("src/threads.cc");
    build.compile("kilnruntime");

    let archive = build.get_compiler().to_command().arg("-print-file-name=libstdc++.a").output();
    let archive = String::from_utf8(archive.expect("the compiler was just used").stdout);
    let archive = std::path::PathBuf::from(archive.expect("paths are text").trim());
    let folder = archive.parent().expect("it is a file");
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-lib=static:-bundle=stdc++");
}
