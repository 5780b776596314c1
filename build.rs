//! How the binary is linked.

/// `llvm::SourceMgr::AddIncludeFile(const std::string &, llvm::SMLoc, std::string &)`.
const ASSEMBLER_OPENS: &str = "_ZN4llvm9SourceMgr14AddIncludeFileERKNSt7__cxx1112basic_string\
    IcSt11char_traitsIcESaIcEEENS_5SMLocERS6_";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 300,000 relocations at each start take 15 ms; packed, they take one.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // A debugger finds images through these two, also in a stripped binary.
    for symbol in ["__jit_debug_descriptor", "__jit_debug_register_code"] {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
    // The assembler opens no file: `jit/shim/complaints.cc` answers for it.
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap={ASSEMBLER_OPENS}");
    // LLVM's archives name shared libraries that no linked member uses.
    println!("cargo::rustc-link-arg-bins=-Wl,--as-needed");
}
