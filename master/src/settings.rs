//! What the operator decides about the master, with defaults and the reasons for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fence::Identity;
use nix::unistd::Gid;

/// The socket over which `kiln reload` and `kiln status` speak to the master.
#[derive(Clone, Debug)]
pub struct Control {
    /// Path of the Unix socket.
    pub path: PathBuf,
    /// Whether the operator named this path: if so, not getting it is an error. The default path
    /// may be taken by another Kiln of the same machine, which is only worth a warning.
    pub required: bool,
    /// Group whose members may connect, beside the owner.
    pub group: Option<Gid>,
}

/// Settings of the master. `Settings::default()` listens nowhere; the caller fills in `listen`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on; each gets one socket a worker. Port 0 lets the kernel choose.
    pub listen: Vec<SocketAddr>,
    /// Workers, from 1 to [`heritage::WORKERS_MAX`].
    pub workers: usize,
    /// File that names the master's pid and is locked while it lives. Default: none.
    pub pid_file: Option<PathBuf>,
    /// Control socket. Default: none.
    pub control: Option<Control>,
    /// Longest compile; one that takes longer is refused. Default 60 s: a hundred times a usual
    /// one.
    pub compile_timeout: Duration,
    /// Bytes of memory that the compile child may allocate. Default 4 GiB: Clang needs some 300 MB
    /// for a usual script, and a template gone wild must not take the machine's memory.
    pub compile_memory_max: u64,
    /// Threads of a compile. Default 1; one for each CPU of the control group is usual, which can be
    /// counted only outside of the fence.
    pub compile_threads: usize,
    /// Longest drain of a worker; what is unfinished then is cut off. Default 60 s.
    pub drain_timeout: Duration,
    /// Delay before the first replacement of a worker that died before it was ready, which doubles each
    /// time; and how often workers that were ready may be replaced if they die again and again.
    /// Default 100 ms.
    pub respawn_delay_min: Duration,
    /// Where the delay stops to double. Default 5 s: a machine that recovers is served soon.
    pub respawn_delay_max: Duration,
    /// How long a worker may take to get ready, to load a generation or to retire one, or to turn
    /// its loop once. One that takes longer is stuck, and is killed and replaced. Default 10 s.
    pub answer_timeout: Duration,
    /// Longest time of one hook call; a worker is signalled to stop one that takes longer. Default 2 s.
    pub hook_time_max: Duration,
    /// Time between steering new connections away from a socket and emptying it, for handshakes
    /// that are under way. Default 250 ms: the round trip of most of the world.
    pub steer_settle: Duration,
    /// Who children become. Default: none, they stay who the master is.
    pub identity: Option<Identity>,
    /// Bytes of the core file of a worker that dies. Default: 0, none.
    pub core_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: Vec::new(),
            workers: 1,
            pid_file: None,
            control: None,
            compile_timeout: Duration::from_secs(60),
            compile_memory_max: 4 << 30,
            compile_threads: 1,
            drain_timeout: Duration::from_secs(60),
            respawn_delay_min: Duration::from_millis(100),
            respawn_delay_max: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            hook_time_max: Duration::from_secs(2),
            steer_settle: Duration::from_millis(250),
            identity: None,
            core_bytes_max: 0,
        }
    }
}
