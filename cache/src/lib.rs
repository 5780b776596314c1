//! What earlier compiles left for later ones: files in a folder, each named by a digest of all that
//! went into it.
//!
//! ```text
//!   compile child                    keeper (a fork of the master)          folder
//!   Folder::read  <------------------------------------------------------  NAME.unit, NAME.object
//!   Leavings      ---- memfd ---->   keep: temporary file, rename   ---->
//!                                          remove the oldest beyond the limit
//! ```
//!
//! Reading is for a process that compiles somebody's source, so it can't write; writing is for a
//! process that runs nothing of it. A file that is damaged, or that another user could have written,
//! does not exist. Nothing here knows what a file holds.
#![forbid(unsafe_code)]

mod folder;
mod keep;
mod leavings;

use std::fmt;

pub use folder::{Folder, Unusable};
pub use keep::keep;
pub use leavings::Leavings;

/// Bytes of a BLAKE3 digest.
const DIGEST_BYTES: usize = 32;

/// What a file begins with: a later format is another word.
const MAGIC: &[u8; 16] = b"kiln-cache-0001\n";

/// Most bytes of one file: a slot of the arena would hold no larger object.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Names of the files that the front end asked for.
    Inputs = 0,
    /// What the front end made of one script.
    Unit = 1,
    /// The object file of a whole generation.
    Object = 2,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Inputs, Kind::Unit, Kind::Object];

    fn suffix(self) -> &'static str {
        match self {
            Kind::Inputs => "inputs",
            Kind::Unit => "unit",
            Kind::Object => "object",
        }
    }
}

/// The name of a file: equal names hold equal things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What it is of.
    pub kind: Kind,
    digest: [u8; DIGEST_BYTES],
}

impl Name {
    /// The digest that it is made of, for names that depend on it.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The name that this file name is; none if it is a stranger's file.
    fn parse(file_name: &str) -> Option<Self> {
        let (hex, suffix) = file_name.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        let mut digest = [0; DIGEST_BYTES];
        if hex.len() != 2 * DIGEST_BYTES || !hex.is_ascii() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Name { kind, digest })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.digest {
            write!(out, "{byte:02x}")?;
        }
        write!(out, ".{}", self.kind.suffix())
    }
}

/// Makes a name of parts, each of which counts with its length: `ab`, `c` is not `a`, `bc`.
#[derive(Clone, Default)]
pub struct Namer(blake3::Hasher);

impl Namer {
    /// One more part.
    pub fn part(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The name.
    pub fn name(self, kind: Kind) -> Name {
        Name { kind, digest: self.0.finalize().into() }
    }
}

fn digest_of(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    blake3::hash(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_its_file_name_and_strangers_are_none() {
        let name = Namer::default().part("ab").part("c").name(Kind::Unit);
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        assert_ne!(name, Namer::default().part("a").part("bc").name(Kind::Unit));
        for stranger in ["", "unit", "x.unit", "README.md", &format!("{name}.bak"), "é.object"] {
            assert_eq!(Name::parse(stranger), None, "{stranger}");
        }
    }
}
