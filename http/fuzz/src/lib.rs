//! What holds of any bytes that are given to http's parsers: properties, not examples.
//!
//! Each function takes what a fuzzer made up, two bytes of choices and then a message, and panics if a
//! property does not hold. The fuzz targets call them, and so does `cargo test` in `http`, which includes
//! this file by its path and replays the corpora.

mod chunked;
mod request;
mod response;
pub mod strict;

pub use chunked::chunked_body;
pub use request::request_head;
pub use response::response_head;

/// Field lines of the heads that are taken: more than have room on the stack, and few enough that an input
/// of usual size can be beyond.
const FEW_FIELDS_MAX: usize = 150;

/// What the first two bytes choose.
struct Choices {
    /// Things that can be one way or the other.
    flags: u8,
    /// Where a message is cut.
    cuts: u8,
}

impl Choices {
    /// Takes them off `data`, if it has so many bytes.
    fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        match data {
            [flags, cuts, message @ ..] => Some((Choices { flags: *flags, cuts: *cuts }, message)),
            _ => None,
        }
    }

    fn flag(&self, index: u32) -> bool {
        self.flags & (1 << index) != 0
    }

    /// The ends of the pieces that a message of that length comes in; the last is its length.
    fn piece_ends(&self, length: usize) -> impl Iterator<Item = usize> {
        let mut state = u32::from(self.cuts) | 0x100;
        let mut end = 0;
        std::iter::from_fn(move || {
            if end == length {
                return None;
            }
            // Any generator does; this is one of Numerical Recipes.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            end = (end + 1 + (state >> 27) as usize).min(length);
            Some(end)
        })
    }
}

/// Parses growing prefixes until there is an outcome; the last one's if there never is.
fn grown<T>(
    ends: impl Iterator<Item = usize>,
    mut parse: impl FnMut(usize) -> T,
    is_outcome: impl Fn(&T) -> bool,
) -> Option<T> {
    let mut last = None;
    for end in ends {
        let outcome = parse(end);
        if is_outcome(&outcome) {
            return Some(outcome);
        }
        last = Some(outcome);
    }
    last
}

/// What `write` writes; there is always room.
fn written(write: impl FnOnce(&mut http::Output<'_>) -> Result<(), http::Full>) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    let mut out = http::Output::new(&mut bytes);
    write(&mut out).expect("there is more room than a fuzzer's input takes");
    let filled = out.filled();
    bytes.truncate(filled);
    bytes
}

/// Whether `name` is one of `names`, whatever the case.
fn is_any(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}
