//! What is remembered from compile to compile, and by what name.
//!
//! ```text
//!   unit    = what the front end made of one script      NAME = arguments, path, binary, and what was
//!                                                        at each path that Clang asked for
//!   inputs  = the paths that Clang asked for             NAME = arguments, path, binary
//!   object  = the object file of all scripts             NAME = each unit's name, processor, binary
//! ```
//!
//! Clang is deterministic over what the file system answers it. So if the answers to all that it asked
//! when a unit was made are the same, files that were not there included, it would make the same unit.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cache::{Folder, Kind, Leavings, Name, Namer};
use heritage::{Counts, Diagnostic};
use serde::{Deserialize, Serialize};

use crate::arguments::Unit;
use crate::ffi::{Files, Named, Status};
use crate::files::ScriptFiles;
use crate::identity;
use crate::ir::Cpu;

/// Where earlier compiles left things, and where this one does.
#[derive(Debug)]
pub struct Cache<'a> {
    /// To read from; none if there is nothing yet.
    pub folder: Option<Folder>,
    /// Gets what is to be kept, as [`cache::keep`] takes it.
    pub leavings: &'a File,
}

/// Something that was made of sources, with what the compiler said about them.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) said: Said,
    /// Bitcode of a unit, or an object file.
    pub(crate) code: Vec<u8>,
}

/// What the compiler said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Those that came after too many others.
    pub(crate) unseen: Counts,
    /// Whether a note that comes now belongs to a diagnostic that was not kept.
    #[serde(skip)]
    pub(crate) is_full: bool,
    /// What the file has for others, or wants of them.
    pub(crate) names: Vec<Named>,
}

impl Made {
    fn encode(&self) -> Vec<u8> {
        let said = serde_json::to_vec(&self.said).expect("it is strings and numbers");
        let length = u32::try_from(said.len()).expect("diagnostics are limited").to_le_bytes();
        [&length[..], &said, &self.code].concat()
    }

    fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let said = rest.get(..u32::from_le_bytes(*length) as usize)?;
        let head_bytes = length.len() + said.len();
        let said = serde_json::from_slice(said).ok()?;
        bytes.drain(..head_bytes);
        Some(Made { said, code: bytes })
    }
}

/// The memory of one compile.
pub(crate) struct Memory<'a> {
    cache: Option<&'a Cache<'a>>,
    /// What names begin with: this binary.
    binary: Namer,
    leavings: Mutex<Leavings>,
}

impl<'a> Memory<'a> {
    /// Remembers in `cache`, if there is one, and if this binary can be told from others.
    pub(crate) fn new(cache: Option<&'a Cache<'a>>) -> Self {
        let build_id = identity::build_id();
        let binary = Namer::default().part(build_id.unwrap_or_default());
        let cache = cache.filter(|_| build_id.is_some());
        Self { cache, binary, leavings: Mutex::default() }
    }

    /// Whether there is any use in leaving something.
    pub(crate) fn is_kept(&self) -> bool {
        self.cache.is_some()
    }

    /// What a compile of this file with these arguments would make, if it was made before.
    pub(crate) fn unit(
        &self,
        unit: Unit,
        path: &Path,
        arguments: &[String],
        files: &ScriptFiles,
    ) -> Option<Name> {
        let inputs = self.inputs_name(unit, path, arguments);
        let paths = self.read(&inputs)?;
        let paths = std::str::from_utf8(&paths).ok()?;
        Some(unit_name(&inputs, paths.split('\0'), files))
    }

    /// The unit that a compile made; answers its name.
    pub(crate) fn leave_inputs(
        &self,
        unit: Unit,
        path: &Path,
        arguments: &[String],
        asked: &Asked<'_>,
    ) -> Name {
        let inputs = self.inputs_name(unit, path, arguments);
        let paths = asked.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.leave(inputs, paths.join("\0").into_bytes());
        unit_name(&inputs, paths.into_iter(), asked.files)
    }

    /// Name of the object file that these units are compiled to.
    pub(crate) fn object(&self, units: &[Name], cpu: &Cpu) -> Name {
        let name = self.binary.clone().part(&cpu.name).part(&cpu.features);
        units.iter().fold(name, |name, unit| name.part(unit.digest())).name(Kind::Object)
    }

    /// What was left under this name.
    pub(crate) fn recall(&self, name: &Name) -> Option<Made> {
        Made::decode(self.read(name)?)
    }

    /// Leaves something for later compiles.
    pub(crate) fn remember(&self, name: Name, made: &Made) {
        self.leave(name, made.encode());
    }

    /// Hands over what this compile leaves.
    pub(crate) fn write(self) -> io::Result<()> {
        let leavings = self.leavings.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.cache.map_or(Ok(()), |cache| leavings.write(cache.leavings))
    }

    fn inputs_name(&self, unit: Unit, path: &Path, arguments: &[String]) -> Name {
        let name = self.binary.clone().part([unit as u8]).part(path.as_os_str().as_encoded_bytes());
        arguments.iter().fold(name, |name, argument| name.part(argument)).name(Kind::Inputs)
    }

    fn read(&self, name: &Name) -> Option<Vec<u8>> {
        let found = self.cache?.folder.as_ref()?.read(name)?;
        if found.is_old {
            self.leavings.lock().unwrap_or_else(PoisonError::into_inner).used(*name);
        }
        Some(found.content)
    }

    fn leave(&self, name: Name, content: Vec<u8>) {
        if self.is_kept() {
            self.leavings.lock().unwrap_or_else(PoisonError::into_inner).leave(name, content);
        }
    }
}

/// The name of a unit: what is at each of these paths now.
fn unit_name<'p>(inputs: &Name, paths: impl Iterator<Item = &'p str>, files: &ScriptFiles) -> Name {
    let name = Namer::default().part(inputs.digest());
    let state = |name: Namer, path: &str| match files.status(path) {
        Status::Absent => name.part("absent"),
        Status::Folder => name.part("folder"),
        Status::File(_) => name.part("file").part(files.read(path).unwrap_or_default()),
    };
    paths.fold(name, |name, path| state(name.part(path), path)).name(Kind::Unit)
}

/// A script's files, with a record of what was asked for. What the binary embeds is not recorded: it
/// is part of the binary's identity.
pub(crate) struct Asked<'a> {
    files: &'a ScriptFiles,
    paths: Mutex<BTreeSet<String>>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(files: &'a ScriptFiles) -> Self {
        Self { files, paths: Mutex::default() }
    }

    fn record(&self, path: &str) {
        if !self.files.is_embedded(path) {
            let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            paths.insert(path.to_owned());
        }
    }
}

impl Files for Asked<'_> {
    fn status(&self, path: &str) -> Status {
        self.record(path);
        self.files.status(path)
    }

    fn read(&self, path: &str) -> Option<&'static [u8]> {
        self.record(path);
        self.files.read(path)
    }

    fn working_folder(&self) -> &str {
        self.files.working_folder()
    }
}
