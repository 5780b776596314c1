//! `kiln profile`: records the workers with perf, so that perf knows the scripts.
//!
//! perf reads the symbols of a mapping from its file, and an image has no path that could be opened.
//! It finds images by their build-id in its own cache. So, while perf records, every image that the
//! master holds is put into that cache, those of generations that come and go meanwhile too; and what
//! perf has recorded then gets the build-ids of the images (`perf_data`). From there on it is a
//! `perf.data` like any other: report, annotate and script work on it, later as well.
//!
//! It asks nothing of the workers, and works on those that were started long ago.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use object::Object;

use crate::child;
use crate::perf_data::{BuildId, identify};

/// How an image is called where a process has it open or mapped.
const IMAGE: &str = "/memfd:kiln-image (deleted)";
/// How often images are looked for: no generation comes and goes within this time, as its compile
/// takes longer.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Samples a second and CPU: odd, so as not to go in step with what a program does by the clock.
const FREQUENCY: &str = "999";

/// What to record.
pub struct Profile {
    /// Process id of the master, which has the images.
    pub master: i32,
    /// Process ids of the workers.
    pub workers: Vec<i32>,
    /// For how long.
    pub seconds: u32,
    /// Where to.
    pub output: PathBuf,
    /// Options for `perf record`, after those that are Kiln's.
    pub options: Vec<OsString>,
}

/// Records; answers the exit code.
pub fn profile(wanted: &Profile) -> anyhow::Result<i32> {
    let mut images = Images::of(wanted.master)?;
    images.look()?;
    let mut perf = record(wanted)?;
    // Ctrl-C ends the recording, and perf writes what it has.
    child::leave_interrupts_to_child();
    let status = loop {
        if let Some(status) = perf.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK_EVERY);
        images.look()?;
    };
    // Interrupted, perf ends by that signal once it has written.
    if !status.success() && status.signal() != Some(libc::SIGINT) {
        bail!("perf record ended with {status}");
    }
    let output = &wanted.output;
    let (known, unknown) = identify(output, IMAGE, |inode| images.known.get(&inode).copied())
        .context("cannot tell perf which images were mapped")?;
    if known == 0 || unknown > 0 {
        eprintln!(
            "kiln: of the images of scripts that {} mentions, {known} are known and {unknown} are \
             not: code of the latter has no names",
            output.display()
        );
    }
    println!("perf report -i {}", output.display());
    Ok(0)
}

fn record(wanted: &Profile) -> anyhow::Result<Child> {
    let workers: Vec<String> = wanted.workers.iter().map(i32::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "--call-graph", "fp", "--freq", FREQUENCY]);
    perf.args(["--pid", &workers.join(",")]).arg("--output").arg(&wanted.output);
    perf.args(&wanted.options).args(["--", "sleep"]).arg(wanted.seconds.to_string());
    perf.stdin(Stdio::null()).spawn().map_err(without_perf)
}

fn without_perf(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("there is no perf: install it (Debian: linux-perf)"),
        _ => anyhow::Error::new(error).context("cannot run perf"),
    }
}

/// The images that a master holds or held, in perf's cache.
struct Images {
    descriptors: PathBuf,
    /// Build-ids, by the number of the file.
    known: BTreeMap<u64, BuildId>,
    /// Where perf takes them from.
    folder: Folder,
}

impl Images {
    fn of(master: i32) -> anyhow::Result<Self> {
        let folder = nix::unistd::mkdtemp(&std::env::temp_dir().join("kiln-profile-XXXXXX"))?;
        let descriptors = PathBuf::from(format!("/proc/{master}/fd"));
        Ok(Self { descriptors, known: BTreeMap::new(), folder: Folder(folder) })
    }

    /// Takes what is there and was not before.
    fn look(&mut self) -> anyhow::Result<()> {
        let entries = match fs::read_dir(&self.descriptors) {
            Ok(entries) => entries,
            // The master has ended, and there is nothing more to be taken.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => bail!(
                "{}: {error}: only root and the user that Kiln runs as can profile it",
                self.descriptors.display()
            ),
        };
        for entry in entries.flatten() {
            // A descriptor that was closed in this instant is none.
            let Ok(path) = fs::read_link(entry.path()) else { continue };
            if path != Path::new(IMAGE) {
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            let inode = file.metadata()?.ino();
            if is_sealed(&file) && !self.known.contains_key(&inode) {
                self.known.insert(inode, self.take(&entry.path())?);
            }
        }
        Ok(())
    }

    /// Puts an image into perf's cache.
    fn take(&self, image: &Path) -> anyhow::Result<BuildId> {
        let content = fs::read(image)?;
        let parsed = object::File::parse(&*content).context("an image is no ELF file")?;
        let build_id = parsed.build_id()?.and_then(|id| id.try_into().ok());
        let build_id = build_id.context("an image has no build-id")?;
        // perf keeps a file by its path, and cannot follow the one in /proc.
        let copy = self.folder.0.join("kiln-image");
        fs::write(&copy, &content).with_context(|| copy.display().to_string())?;
        let mut perf = Command::new("perf");
        let added = perf.args(["buildid-cache", "--add"]).arg(&copy).output();
        let added = added.map_err(without_perf)?;
        let said = String::from_utf8_lossy(&added.stderr);
        if !added.status.success() {
            bail!("perf does not take an image into its cache: {}", said.trim());
        }
        // The cache may have it by a hard link: the next one must be another file.
        fs::remove_file(&copy)?;
        Ok(build_id)
    }
}

/// Whether an image is complete: the compile child fills it before the master seals it.
fn is_sealed(file: &File) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_WRITE))
}

/// A temporary folder, which ends with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is a few kilobytes of the folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
