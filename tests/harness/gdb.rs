//! GDB at work: a list of commands, and everything that it prints meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::command::{self, create, text};
use crate::{LOOK_EVERY, PATIENCE, binary};

/// What users are told to give GDB.
const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/kiln.gdb");

/// What GDB has to say where something is wrong.
const COMPLAINTS: [&str; 7] =
    ["warning:", "rror", "Cannot", "complaint", "??", "Backtrace stopped", "corrupt"];

/// A running GDB.
pub struct Gdb {
    gdb: Child,
    folder: TempDir,
}

impl Gdb {
    /// Attaches to a process, and runs commands until their end or the first that fails.
    pub fn attach(pid: i32, commands: &str) -> Self {
        Self::start(["-p".into(), pid.to_string().into()], commands, None)
    }

    /// Looks at a core file of Kiln's.
    pub fn on_core(core: &OsStr, commands: &str) -> Self {
        Self::start([binary().into(), core.to_owned()], commands, None)
    }

    /// Has a program that it can run as this command would.
    pub fn on_command(program: &OsStr, command: &Command, commands: &str) -> Self {
        let line = ["--args".into(), program.to_owned()].into_iter();
        let line = line.chain(command.get_args().map(OsStr::to_owned));
        Self::start(line, commands, Some(command))
    }

    fn start(
        arguments: impl IntoIterator<Item = OsString>,
        commands: &str,
        like: Option<&Command>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder for GDB");
        let (script, output) = (folder.path().join("commands"), folder.path().join("output"));
        fs::write(&script, format!("set pagination off\nset width 0\n{commands}"))
            .expect("commands are written");
        let mut gdb = Command::new("gdb");
        // What debug information the machine has of its libraries is not what is tested here.
        gdb.args(["-nx", "-batch", "-iex", "set debug-file-directory /nonexistent"]);
        gdb.args(["-x", SETTINGS, "-x"]).arg(&script).args(arguments);
        if let Some(like) = like {
            gdb.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
            gdb.current_dir(like.get_current_dir().expect("a Kiln has a folder"));
        }
        let output = create(&output);
        gdb.stdin(Stdio::null()).stdout(output.try_clone().expect("a descriptor")).stderr(output);
        let gdb = gdb.spawn().expect("there is a gdb: `make test` installs it");
        Self { gdb, folder }
    }

    /// All that it and the program under it have said so far.
    pub fn said(&self) -> String {
        text(&self.folder.path().join("output"))
    }

    /// Waits until it has said this; gives all that it has said.
    #[track_caller]
    pub fn until_said(&self, part: &str) -> String {
        // It reads the symbols of every process that it comes to hold: on a machine whose CPUs are
        // all busy that takes longer than anything else here.
        let deadline = Instant::now() + 4 * PATIENCE;
        loop {
            let said = self.said();
            if said.contains(part) {
                return said;
            }
            assert!(Instant::now() < deadline, "GDB never says {part:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for the end of the commands; gives all that it has said. It must have no complaint but
    /// these.
    #[track_caller]
    pub fn finish(mut self, but: &[&str]) -> String {
        let ended = command::wait(&mut self.gdb, 4 * PATIENCE);
        let said = self.said();
        assert!(ended.is_some(), "GDB does not end:\n{said}");
        let complaint = said.lines().find(|line| {
            COMPLAINTS.iter().any(|complaint| line.contains(complaint))
                && !but.iter().any(|known| line.contains(known))
        });
        assert!(complaint.is_none(), "{complaint:?} in:\n{said}");
        said
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        // It has ended, unless the test failed. What it runs ends with it, and what it is attached to
        // goes on.
        let _ = self.gdb.kill();
        let _ = self.gdb.wait();
        if std::thread::panicking() {
            eprintln!("--- GDB:\n{}---", self.said());
        }
    }
}
