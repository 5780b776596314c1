//! The standard headers that the binary carries: an index, and frames that are unpacked when used.
//!
//! `build/headers.rs` packs them and says how.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

static PACK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/headers.pack"));

/// Every embedded header, by absolute path.
pub(crate) struct Headers {
    files: HashMap<String, Place>,
    folders: HashSet<String>,
    /// Unpacked ones live as long as the process: Clang borrows from them, and the compile child
    /// does not outlive its one compile.
    frames: Vec<Frame>,
}

struct Frame {
    packed: &'static [u8],
    unpacked: OnceLock<&'static [u8]>,
}

#[derive(Clone, Copy)]
struct Place {
    frame: usize,
    offset: usize,
    size: usize,
}

impl Headers {
    /// Reads the index.
    pub(crate) fn open() -> Self {
        let (length, rest) = PACK.split_first_chunk::<4>().expect("the pack has an index");
        let (index, mut frames) = rest.split_at(u32::from_le_bytes(*length) as usize);
        let index = zstd::decode_all(index).expect("the build packed it");
        let index = String::from_utf8(index).expect("paths are text");
        let (lengths, lines) = index.split_once('\n').expect("the first line has the lengths");

        let mut split = Vec::new();
        for length in lengths.split(' ') {
            let (packed, rest) = frames.split_at(length.parse().expect("a length"));
            split.push(Frame { packed, unpacked: OnceLock::new() });
            frames = rest;
        }
        let (mut files, mut folders) = (HashMap::new(), HashSet::new());
        for line in lines.lines() {
            let mut words = line.splitn(4, ' ');
            let mut number =
                || words.next().and_then(|word| word.parse().ok()).expect("the build wrote it");
            let place = Place { frame: number(), offset: number(), size: number() };
            let path = words.next().expect("a path");
            let parents = path.match_indices('/').map(|(at, _)| &path[..at.max(1)]);
            for folder in parents {
                if !folders.contains(folder) {
                    folders.insert(folder.to_owned());
                }
            }
            files.insert(path.to_owned(), place);
        }
        Self { files, folders, frames: split }
    }

    /// Size of a header.
    pub(crate) fn size(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|place| place.size as u64)
    }

    /// Whether some header is below this path.
    pub(crate) fn is_folder(&self, path: &str) -> bool {
        self.folders.contains(path)
    }

    /// Content of a header, with a NUL byte behind it.
    pub(crate) fn read(&self, path: &str) -> Option<&'static [u8]> {
        let place = self.files.get(path)?;
        let frame = &self.frames[place.frame];
        let frame = *frame.unpacked.get_or_init(|| {
            Vec::leak(zstd::decode_all(frame.packed).expect("the build packed it"))
        });
        Some(&frame[place.offset..place.offset + place.size])
    }
}
