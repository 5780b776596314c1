//! What the fences around a hook cost: its own stack, the budget, the guard against exceptions, and the
//! care for what it answers. One hook is called with them and without, in turns, in this process.
//!
//! The hook is three instructions, and so takes no part in the difference.

use std::time::Instant;

use anyhow::Context;
use heritage::InheritedImage;
use hook::{Arena, Names, RequestView, Scripts};

use crate::costs::Cost;

/// `mov dword ptr [rdi], 4; mov rax, rdi; ret`: closes the connection.
const CLOSES: &[u8] = &[0xc7, 0x07, 4, 0, 0, 0, 0x48, 0x89, 0xf8, 0xc3];

/// Calls in one slice, of each kind: about a millisecond.
const CALLS: u32 = 20_000;
/// Slices in one round, of each kind in turns, of which the fastest counts: whoever else is on this
/// core makes the others slower.
const SLICES: usize = 25;
const ROUNDS: usize = 21;

/// Nanoseconds that a call with all fences takes more than the bare one, without strict mode and in it.
pub(crate) fn measure() -> anyhow::Result<Vec<Cost>> {
    let arena = Arena::reserve().context("addresses for an image")?;
    let file = image::Writer::hook_of(arena.slot(0), CLOSES).context("an image")?;
    image::seal(&file, arena.slot(0))?;
    let names =
        Names { function: Box::new(|_| None), is_header: |_| false, demangled: str::to_owned };
    let mut scripts = Scripts::new(arena, names).context("a stack for hooks")?;
    let image = InheritedImage { generation: 1, slot: 0, file };
    scripts.load(image, 1 << 20).context("a hook of three instructions")?;
    let request = RequestView {
        method: b"GET",
        target: b"/",
        path: b"/",
        query: b"",
        authority: b"bench",
        fields: &[],
        client: "192.0.2.1:1".parse().expect("an address"),
    };
    let mut differences = Vec::new();
    for strict in [false, true] {
        let faults = settings::Faults { strict, ..settings::Faults::default() };
        scripts.configure(&faults);
        let mut difference = || {
            let (mut bare, mut fenced) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..SLICES {
                bare = bare.min(nanoseconds(|| assert!(scripts.on_request_bare(&request))));
                fenced = fenced.min(nanoseconds(|| {
                    let (held, _) = scripts.on_request(&request);
                    scripts.release(held);
                }));
            }
            fenced - bare
        };
        difference();
        differences.push((0..ROUNDS).map(|_| difference()).collect::<Vec<f64>>());
    }
    scripts.configure(&settings::Faults::default());
    let strict = differences.pop().expect("there are two");
    let usual = differences.pop().expect("there are two");
    Ok(vec![
        Cost::new("a hook call's fences, beyond the bare call", usual, 20.0, "ns"),
        Cost::new("the same in strict mode", strict, 25.0, "ns"),
    ])
}

fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
}
