//! The image: machine code of one generation, in a memfd that is an ELF file.
//!
//! Its life is a line of types, and no step back: [`Writer`] (writable, in the compile child),
//! [`Sealed`] (immutable, checked by the master), [`Mapped`] (running, in a worker). No path maps
//! anything writable and executable. This crate alone changes the protection of pages that hold code.
//!
//! It does not compile, and does not know what an entry point means.

mod arena;
mod check;
mod format;
#[allow(unsafe_code)] // Blocks of raw memory, for C++.
mod heap;
mod mapped;
pub mod runtime;
mod writer;

pub use arena::{Arena, Slot};
pub use check::{Sealed, create, file_bytes_max, seal};
pub use format::{ABI_VERSION, EntryPoint, Protection, Segment};
pub use mapped::{Arguments, Enter, Hook, MapError, Mapped, Thrown};
pub use writer::{Section, Symbol, Writer};

/// Why an image is not acceptable.
#[derive(Debug, thiserror::Error)]
#[error("not a valid image: {0}")]
pub struct Invalid(pub String);
