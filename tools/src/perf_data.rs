//! The file `perf.data`, as far as it says which file a mapping is of.
//!
//! perf knows a mapping by its file's path, and by its build-id where it could read one. A memfd has
//! no path that could be opened, so the mappings of images have neither. Their build-ids are written
//! into the records here, in place: the space is there, taken by the number of the file. So is a name of
//! its own for each image, since perf takes mappings of one path for mappings of one file.
//!
//! The format is in `tools/perf/Documentation/perf.data-file-format.txt` of Linux, its records are in
//! perf_event_open(2).

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};

const MAGIC: &[u8; 8] = b"PERFILE2";
/// Where the file's header says where the records are, and how many bytes they take.
const RECORDS_AT: usize = 40;
const HEADER_BYTES: usize = 56;
const RECORD_HEADER_BYTES: usize = 8;
/// `PERF_RECORD_MMAP2`.
const MAPPING: u32 = 10;
/// `PERF_RECORD_MISC_MMAP_BUILD_ID`.
const HAS_BUILD_ID: u16 = 1 << 14;
/// Where such a record has the flags above, the file's device and number or its build-id, and its path.
const MISC_AT: usize = 4;
const FILE_AT: usize = 40;
const INODE_AT: usize = 48;
const PATH_AT: usize = 72;

/// Bytes of a build-id, at most.
pub(crate) const BUILD_ID_BYTES: usize = 20;
pub(crate) type BuildId = [u8; BUILD_ID_BYTES];

/// Gives each mapping of a file of this path the build-id that `build_id` knows by the number of the
/// file, and a name after it. Answers how many mappings it knew, and how many it did not.
pub(crate) fn identify(
    path: &Path,
    mapped: &str,
    build_id: impl Fn(u64) -> Option<BuildId>,
) -> anyhow::Result<(usize, usize)> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut records = Records::of(&file).with_context(|| path.display().to_string())?;
    let (mut known, mut unknown) = (0, 0);
    while let Some((at, record)) = records.next_mapping()? {
        let misc = u16::from_le_bytes([record[MISC_AT], record[MISC_AT + 1]]);
        let name = record[PATH_AT..].split(|byte| *byte == 0).next().unwrap_or_default();
        if misc & HAS_BUILD_ID != 0 || name != mapped.as_bytes() {
            continue;
        }
        let Some(id) = build_id(word(&record, INODE_AT)) else {
            unknown += 1;
            continue;
        };
        let mut identity = vec![BUILD_ID_BYTES as u8, 0, 0, 0];
        identity.extend(id);
        file.write_all_at(&identity, at + FILE_AT as u64)?;
        file.write_all_at(&name_after(id, name.len()), at + PATH_AT as u64)?;
        file.write_all_at(&(misc | HAS_BUILD_ID).to_le_bytes(), at + MISC_AT as u64)?;
        known += 1;
    }
    Ok((known, unknown))
}

/// `/kiln-image-` and as much of a build-id as fits where a name of so many bytes was.
fn name_after(id: BuildId, bytes: usize) -> Vec<u8> {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = format!("/kiln-image-{digits}").into_bytes();
    name.truncate(bytes);
    name
}

/// The records of a file, one after the other.
struct Records<'a> {
    file: BufReader<&'a File>,
    at: u64,
    end: u64,
}

impl<'a> Records<'a> {
    fn of(file: &'a File) -> anyhow::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        ensure!(header.starts_with(MAGIC), "not a file that perf wrote on this kind of machine");
        let (at, bytes) = (word(&header, RECORDS_AT), word(&header, RECORDS_AT + 8));
        ensure!(bytes > 0, "perf did not finish it");
        let mut file = BufReader::new(file);
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file, at, end: at.saturating_add(bytes) })
    }

    /// The next record about a mapping, and where it begins.
    fn next_mapping(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        while self.at < self.end {
            let mut header = [0; RECORD_HEADER_BYTES];
            self.file.read_exact(&mut header)?;
            let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let size = usize::from(u16::from_le_bytes([header[6], header[7]]));
            let Some(rest) = size.checked_sub(RECORD_HEADER_BYTES) else {
                bail!("a record of {size} bytes");
            };
            let at = self.at;
            self.at += size as u64;
            if kind == MAPPING && size > PATH_AT {
                let mut record = header.to_vec();
                record.resize(size, 0);
                self.file.read_exact(&mut record[RECORD_HEADER_BYTES..])?;
                return Ok(Some((at, record)));
            }
            self.file.seek_relative(rest as i64)?;
        }
        Ok(None)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes: [u8; 8] = bytes[at..at + 8].try_into().expect("the caller looks where there are 8");
    u64::from_le_bytes(bytes)
}
