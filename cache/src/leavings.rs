//! What one compile leaves, on its way from the compile child to the keeper: a memfd of records.
//!
//! A record is the kind (one byte), the digest, the length (`u64`, little-endian) and as many bytes.
//! A record of no bytes says that the file of this name was used.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use crate::{DIGEST_BYTES, FILE_BYTES_MAX, Kind, Name};

/// Most records: the files of every script of a generation, some times over.
const RECORDS_MAX: usize = 8192;

/// Files to keep, and names of files that were of use.
#[derive(Debug, Default)]
pub struct Leavings(Vec<(Name, Vec<u8>)>);

impl Leavings {
    /// Something new.
    pub fn leave(&mut self, name: Name, content: Vec<u8>) {
        debug_assert!(!content.is_empty(), "no bytes say that a file was used");
        self.0.push((name, content));
    }

    /// Something that was read, and should be there a little longer.
    pub fn used(&mut self, name: Name) {
        self.0.push((name, Vec::new()));
    }

    /// Writes the records.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        for (name, content) in &self.0 {
            out.write_all(&[name.kind as u8])?;
            out.write_all(&name.digest)?;
            out.write_all(&(content.len() as u64).to_le_bytes())?;
            out.write_all(content)?;
        }
        out.flush()
    }
}

/// Reads records that a compile child wrote, which may be anything: each is given to `take` with its
/// content, up to the first that is none.
pub(crate) fn read(
    file: &File,
    mut take: impl FnMut(Name, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut input = BufReader::new(file);
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    for _ in 0..RECORDS_MAX {
        let mut head = [0; 1 + DIGEST_BYTES + 8];
        match input.read(&mut head[..1])? {
            0 => return Ok(()),
            _ => input.read_exact(&mut head[1..])?,
        }
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[0]);
        let kind = kind.ok_or_else(|| invalid("a record of no kind"))?;
        let digest = head[1..=DIGEST_BYTES].try_into().expect("it has that many bytes");
        let length = u64::from_le_bytes(head[1 + DIGEST_BYTES..].try_into().expect("eight bytes"));
        if length > FILE_BYTES_MAX {
            return Err(invalid("a record larger than any file"));
        }
        let mut content = Vec::new();
        if (&mut input).take(length).read_to_end(&mut content)? as u64 != length {
            return Err(invalid("a record that is cut short"));
        }
        take(Name { kind, digest }, &content)?;
    }
    Err(invalid("more records than a compile leaves"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namer;

    fn check(bytes: &[u8], expect: &[(Name, &[u8])], whole: bool) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut taken = Vec::new();
        let told = read(&file, |name, content| {
            taken.push((name, content.to_vec()));
            Ok(())
        });
        let expect: Vec<_> = expect.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
        assert_eq!(taken, expect);
        assert_eq!(told.is_ok(), whole, "{told:?}");
    }

    #[test]
    fn records_arrive_as_they_were_left_and_nonsense_ends_them() {
        let [unit, object] =
            [Kind::Unit, Kind::Object].map(|kind| Namer::default().part("x").name(kind));
        let mut leavings = Leavings::default();
        leavings.leave(unit, b"bitcode".to_vec());
        leavings.used(object);
        let mut file = tempfile::tempfile().unwrap();
        leavings.write(&file).unwrap();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();

        check(&bytes, &[(unit, b"bitcode"), (object, b"")], true);
        check(&bytes[..bytes.len() - 1], &[(unit, b"bitcode")], false);
        check(&bytes[..45], &[], false);
        check(&[9; 100], &[], false);
        check(&[], &[], true);
        let huge = [&bytes[..1 + DIGEST_BYTES], &u64::MAX.to_le_bytes()[..]].concat();
        check(&huge, &[], false);
    }
}
