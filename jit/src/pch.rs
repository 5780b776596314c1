//! The precompiled header that the binary carries, in frames that are unpacked in parallel.
//!
//! It is needed only where the front end runs, and at once then. `build/pch.rs` packs it and says how.

use std::sync::OnceLock;
use std::thread;

use crossbeam::channel;

static PACK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kiln.pch.pack"));

/// The pack's head: bytes of the header, and of each frame of it.
struct Head {
    bytes: usize,
    frame_bytes: usize,
}

/// Size of the precompiled header.
pub(crate) fn size() -> u64 {
    head().0.bytes as u64
}

/// Content of the precompiled header, with a NUL byte behind it, unpacked by so many threads. It lives
/// as long as the process, since Clang borrows from it.
pub(crate) fn read(threads: usize) -> &'static [u8] {
    static UNPACKED: OnceLock<&'static [u8]> = OnceLock::new();
    UNPACKED.get_or_init(|| unpack(threads))
}

fn head() -> (Head, &'static [u8]) {
    let built = "the build wrote it";
    let (bytes, rest) = PACK.split_first_chunk::<4>().expect(built);
    let (frame_bytes, rest) = rest.split_first_chunk::<4>().expect(built);
    let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
    (Head { bytes: number(bytes), frame_bytes: number(frame_bytes) }, rest)
}

fn unpack(threads: usize) -> &'static [u8] {
    let (head, mut rest) = head();
    let unpacked = vec![0; head.bytes + 1].leak();
    let (content, _nul) = unpacked.split_at_mut(head.bytes);
    let (jobs, queue) = channel::unbounded();
    for frame in content.chunks_mut(head.frame_bytes) {
        let (length, after) = rest.split_first_chunk::<4>().expect("the build wrote it");
        let (packed, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        jobs.send((packed, frame)).expect("the queue is open");
        rest = after;
    }
    drop(jobs);
    let frames = queue.len();
    let work = move || {
        for (packed, frame) in queue {
            zstd::bulk::decompress_to_buffer(packed, frame).expect("the build packed it");
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(frames) {
            scope.spawn(work.clone());
        }
        work();
    });
    &unpacked[..head.bytes]
}
