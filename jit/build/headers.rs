//! Packs every header that scripts may include into one compressed file.
//!
//! The pack is an index and frames: `u32` length of the index, the index (zstd), the frames (zstd).
//! The index has a line a header, `FRAME OFFSET SIZE PATH`, after one line with the frames' lengths.
//! Frames hold some 256 KiB of headers each, so that including one header unpacks little more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::KILN_INCLUDE;
use crate::toolchain::Toolchain;

/// Bytes of headers in one frame: large enough to compress well, small enough to unpack in 1 ms.
const FRAME_BYTES: usize = 256 << 10;
/// Higher levels save a tenth of its 4 MB at most, and take forty times as long at each build.
const LEVEL: i32 = 9;

/// Clang's own headers for other processors and languages.
const FOREIGN: [&str; 20] = [
    "altivec",
    "arm",
    "cuda",
    "hexagon",
    "hip",
    "hlsl",
    "hvx",
    "htm",
    "lasx",
    "llvm_libc",
    "lsx",
    "msa",
    "opencl",
    "openmp",
    "ppc",
    "riscv",
    "s390",
    "sifive",
    "wasm",
    "ve",
];

/// Writes the pack of the toolchain's headers and of `pch`'s.
pub(crate) fn pack(toolchain: &Toolchain, pch: &Path, output: &Path) {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for folder in &toolchain.search {
        if folder.contains("c++") && !folder.ends_with("backward") {
            collect(Path::new(folder), &mut files);
        }
    }
    let resource = Path::new(&toolchain.resource).join("include");
    let mut clang = Vec::new();
    collect(&resource, &mut clang);
    files.extend(clang.into_iter().filter(|(path, _)| {
        let name = &path[resource.as_os_str().len() + 1..];
        !FOREIGN.iter().any(|foreign| name.trim_start_matches('_').starts_with(foreign))
            && !name.starts_with("__clang_cuda")
            && !name.starts_with("__clang_hip")
    }));
    files.extend(package_headers(&["libc6-dev", "linux-libc-dev"]));
    for name in ["abi.h", "kiln.h"] {
        files.push((format!("{KILN_INCLUDE}/{name}"), pch.join(name)));
    }
    files.sort();
    files.dedup();
    fs::write(output, encode(&files)).expect("OUT_DIR is writable");
}

fn encode(files: &[(String, PathBuf)]) -> Vec<u8> {
    let (mut index, mut frames, mut lengths, mut frame) =
        (String::new(), Vec::new(), Vec::new(), Vec::new());
    let mut flush = |frame: &mut Vec<u8>| {
        let packed = zstd::encode_all(&frame[..], LEVEL).expect("memory is writable");
        lengths.push(packed.len().to_string());
        frames.extend(packed);
        frame.clear();
        lengths.len()
    };
    let mut number = 0;
    for (path, file) in files {
        let content = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        index += &format!("{number} {} {} {path}\n", frame.len(), content.len());
        frame.extend(content);
        // Clang wants a NUL byte after each buffer.
        frame.push(0);
        if frame.len() >= FRAME_BYTES {
            number = flush(&mut frame);
        }
    }
    flush(&mut frame);
    let index = format!("{}\n{index}", lengths.join(" "));
    let index = zstd::encode_all(index.as_bytes(), LEVEL).expect("memory is writable");
    let length = u32::try_from(index.len()).expect("an index is small").to_le_bytes();
    [&length[..], &index, &frames].concat()
}

fn collect(folder: &Path, files: &mut Vec<(String, PathBuf)>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push((path.to_str().expect("header names are text").to_owned(), path));
        }
    }
}

/// Headers of the C library and the kernel: not all of /usr/include, which is whatever is installed.
fn package_headers(packages: &[&str]) -> Vec<(String, PathBuf)> {
    let listing = Command::new("dpkg").arg("-L").args(packages).output().expect("Debian has dpkg");
    let listing = String::from_utf8(listing.stdout).expect("package listings are text");
    let headers = listing.lines().filter(|path| path.starts_with("/usr/include/"));
    headers
        .filter(|path| Path::new(path).is_file())
        .map(|path| (path.into(), path.into()))
        .collect()
}
