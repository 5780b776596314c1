//! The standard headers that the binary carries: an index, and frames that are unpacked when used.
//!
//! `build/headers.rs` packs them and says how.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

static PACK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/headers.pack"));

/// Every embedded header, by absolute path.
pub(crate) struct Headers {
    files: HashMap<String, Place>,
    folders: HashSet<String>,
    /// Packed frames, and unpacked ones once used; those live as long as the process, as Clang
    /// borrows from them and the compile child does not outlive its one compile.
    packed: Vec<&'static [u8]>,
    unpacked: RefCell<Vec<Option<&'static [u8]>>>,
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

        let mut packed = Vec::new();
        for length in lengths.split(' ') {
            let (frame, rest) = frames.split_at(length.parse().expect("a length"));
            packed.push(frame);
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
        let unpacked = RefCell::new(vec![None; packed.len()]);
        Self { files, folders, packed, unpacked }
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
        let frame = *self.unpacked.borrow_mut()[place.frame].get_or_insert_with(|| {
            let frame = zstd::decode_all(self.packed[place.frame]).expect("the build packed it");
            Vec::leak(frame)
        });
        Some(&frame[place.offset..place.offset + place.size])
    }
}
