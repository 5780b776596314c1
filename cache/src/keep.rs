//! Keeping what a compile left: the only writer of the folder.
//!
//! Each file is written under a name of its own and renamed, so that a reader, be it of another
//! master, sees all of it or nothing. Nothing is synced to disk: a file that a crash of the machine
//! leaves half-written is damaged, and damaged files do not exist.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{Folder, MAGIC, Name, digest_of, leavings};

/// What the names of files begin with that are being written.
const UNFINISHED: &str = "unfinished-";

/// After this long nobody is writing such a file any more.
const UNFINISHED_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// Keeps what is in `leavings`, creates the folder if need be, and removes what was of use longest
/// ago, until all files together have no more than `bytes_max`.
pub fn keep(folder: &Path, bytes_max: u64, leavings: &File) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Nobody would read what stands where others can write.
    Folder::open(folder).map_err(io::Error::other)?;
    let kept = leavings::read(leavings, |name, content| {
        if content.is_empty() {
            // It may have been removed meanwhile, and then it is not in use.
            let _ = touch(&folder.join(name.to_string()));
            return Ok(());
        }
        // What is larger than a part of the whole would only push out everything else.
        if content.len() as u64 > bytes_max / 2 {
            tracing::debug!(%name, bytes = content.len(), bytes_max, "too large for the cache");
            return Ok(());
        }
        write(folder, &name, content)
    });
    remove_oldest(folder, bytes_max)?;
    kept
}

fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_modified(SystemTime::now())
}

fn write(folder: &Path, name: &Name, content: &[u8]) -> io::Result<()> {
    // Of mode 0600, and removed if this fails: what there is of it would only take room.
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(&digest_of(content))?;
    file.write_all(content)?;
    file.persist(folder.join(name.to_string()))?;
    Ok(())
}

/// A file of the folder: when it was of use, its bytes, and its path.
type Entry = (SystemTime, u64, PathBuf);

fn remove_oldest(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        // Another master may remove it first.
        let Ok(found) = entry.metadata() else { continue };
        let Ok(used) = found.modified() else { continue };
        if Name::parse(file_name).is_some() {
            entries.push((used, found.len(), entry.path()));
        } else if file_name.starts_with(UNFINISHED)
            && used.elapsed().is_ok_and(|age| age > UNFINISHED_AGE_MAX)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    entries.sort();
    let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, path) in entries {
        if bytes <= bytes_max {
            break;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => bytes -= size,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Leavings, Namer};

    fn name(number: usize) -> Name {
        Namer::default().part(number.to_le_bytes()).name(Kind::Unit)
    }

    fn leave(folder: &Path, bytes_max: u64, what: impl FnOnce(&mut Leavings)) {
        let mut leavings = Leavings::default();
        what(&mut leavings);
        let file = tempfile::tempfile().unwrap();
        leavings.write(&file).unwrap();
        keep(folder, bytes_max, &file).unwrap();
    }

    fn has(folder: &Path, number: usize) -> bool {
        Folder::open(folder).unwrap().unwrap().read(&name(number)).is_some()
    }

    fn age(folder: &Path, number: usize, hours: u64) {
        let file = File::options().append(true).open(folder.join(name(number).to_string()));
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        file.unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn what_was_of_use_longest_ago_goes_first() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("new/cache");
        for number in 0..3 {
            leave(&folder, 100_000, |leavings| leavings.leave(name(number), vec![1; 1000]));
            age(&folder, number, 9 - number as u64);
        }
        let found = Folder::open(&folder).unwrap().unwrap().read(&name(0)).unwrap();
        assert!(found.is_old);
        leave(&folder, 100_000, |leavings| leavings.used(name(0)));
        fs::write(folder.join("README"), "a stranger's").unwrap();
        leave(&folder, 3500, |leavings| leavings.leave(name(3), vec![1; 1000]));
        assert!(!has(&folder, 1));
        assert!([0, 2, 3].iter().all(|number| has(&folder, *number)));
        assert!(folder.join("README").exists());
    }

    #[test]
    fn what_is_larger_than_half_of_the_room_is_not_kept() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("cache");
        leave(&folder, 4000, |leavings| {
            leavings.leave(name(1), vec![1; 1000]);
            leavings.leave(name(2), vec![1; 2001]);
        });
        assert!(has(&folder, 1) && !has(&folder, 2));
    }

    #[test]
    fn what_an_interrupted_writer_left_is_removed() {
        let above = tempfile::tempdir().unwrap();
        let [old, young] =
            ["old", "young"].map(|word| above.path().join(UNFINISHED.to_owned() + word));
        for path in [&old, &young] {
            fs::write(path, "part").unwrap();
        }
        let then = SystemTime::now() - 2 * UNFINISHED_AGE_MAX;
        File::options().append(true).open(&old).unwrap().set_modified(then).unwrap();
        leave(above.path(), 4000, |_| {});
        assert!(!old.exists() && young.exists());
    }

    #[test]
    fn writers_of_the_same_folder_do_not_harm_each_other() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("cache");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let folder = &folder;
                scope.spawn(move || {
                    for round in 0..50 {
                        // All write the same names, and there is room for some only.
                        leave(folder, 20_000, |leavings| {
                            leavings.leave(name(round % 7), vec![(round % 7) as u8; 4000]);
                            leavings.used(name((round + thread) % 7));
                        });
                        let reader = Folder::open(folder).unwrap().unwrap();
                        for number in 0..7 {
                            let found = reader.read(&name(number));
                            let whole = vec![number as u8; 4000];
                            assert!(found.is_none_or(|found| found.content == whole));
                        }
                    }
                });
            }
        });
        let bytes: u64 = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= 20_000 + 4 * 4100, "{bytes}");
    }
}
