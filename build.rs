//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 300,000 relocations at each start take 15 ms; packed, they take one.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // A debugger finds images through these two, also in a stripped binary.
    for symbol in ["__jit_debug_descriptor", "__jit_debug_register_code"] {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
    // LLVM's archives name shared libraries that no linked member uses.
    println!("cargo::rustc-link-arg-bins=-Wl,--as-needed");
}
