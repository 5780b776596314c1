//! System calls by name: a seccomp filter that allows what is on a list.
//!
//! A call that is not on it is not made, and raises SIGSYS: a process without a handler dies of it,
//! and one that has a handler can first say which call it was ([`crate::Violation`]).

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use nix::unistd::getpid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What becomes of a call that is on no list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Otherwise {
    /// SIGSYS.
    #[default]
    Trap,
    /// It fails as something that this user may not do.
    Fail,
}

/// A list of calls, some with conditions.
#[derive(Default)]
pub(crate) struct Allowed {
    rules: Rules,
    absent: Rules,
    otherwise: Otherwise,
}

impl Allowed {
    /// What every process does, whatever it is for: it reads and writes what it has open, has memory of
    /// which none is made executable, catches signals and sends some to itself, asks what time it is
    /// and who it is itself, and ends.
    pub(crate) fn of_any_process() -> io::Result<Self> {
        let mut allowed = Self::default();
        allowed
            .always(&[
                libc::SYS_read,
                libc::SYS_pread64,
                libc::SYS_write,
                libc::SYS_writev,
                libc::SYS_lseek,
                libc::SYS_close,
                libc::SYS_munmap,
                libc::SYS_mremap,
                libc::SYS_madvise,
                libc::SYS_brk,
                libc::SYS_futex,
                libc::SYS_rt_sigaction,
                libc::SYS_rt_sigprocmask,
                libc::SYS_rt_sigreturn,
                libc::SYS_sigaltstack,
                libc::SYS_restart_syscall,
                libc::SYS_clock_gettime,
                libc::SYS_getrandom,
                libc::SYS_getpid,
                libc::SYS_gettid,
                libc::SYS_getuid,
                libc::SYS_geteuid,
                libc::SYS_getgid,
                libc::SYS_getegid,
                libc::SYS_exit,
                libc::SYS_exit_group,
            ])
            .map_without_execution()?
            .signal_itself_only()?;
        Ok(allowed)
    }

    /// Whatever their arguments are.
    pub(crate) fn always(&mut self, calls: &[i64]) -> &mut Self {
        self.rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        self
    }

    /// They fail as on a kernel that does not have them.
    pub(crate) fn pretend_absent(&mut self, calls: &[i64]) -> &mut Self {
        self.absent.extend(calls.iter().map(|call| (*call, Vec::new())));
        // Of two filters the stricter one decides.
        self.always(calls)
    }

    /// What becomes of every other call.
    pub(crate) fn otherwise(&mut self, otherwise: Otherwise) -> &mut Self {
        self.otherwise = otherwise;
        self
    }

    /// Looks at files, and opens them for reading; opens none for writing, and makes none. Which ones
    /// is for landlock to say.
    pub(crate) fn open_for_reading(&mut self) -> io::Result<&mut Self> {
        self.always(&[
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_stat,
            libc::SYS_lstat,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_statfs,
            libc::SYS_access,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_getdents64,
            libc::SYS_getcwd,
        ]);
        let writes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE;
        // O_TMPFILE has a bit of O_DIRECTORY, which reading a folder needs.
        let writes = (writes & !libc::O_DIRECTORY) as u64;
        self.when(libc::SYS_openat, &[(2, SeccompCmpOp::MaskedEq(writes), 0)])?;
        self.when(libc::SYS_open, &[(1, SeccompCmpOp::MaskedEq(writes), 0)])
    }

    /// Asks what an open file is, and not what a path leads to, unless both are given: a filter does not
    /// see whether a path is empty.
    pub(crate) fn look_at_descriptors(&mut self) -> io::Result<&mut Self> {
        let empty = libc::AT_EMPTY_PATH as u64;
        self.always(&[libc::SYS_fstat]);
        self.when(libc::SYS_newfstatat, &[(3, SeccompCmpOp::MaskedEq(empty), empty)])?;
        self.when(libc::SYS_statx, &[(2, SeccompCmpOp::MaskedEq(empty), empty)])
    }

    /// Has no page that is executable, but those that were before.
    fn map_without_execution(&mut self) -> io::Result<&mut Self> {
        let without = [(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)];
        self.when(libc::SYS_mmap, &without)?;
        self.when(libc::SYS_mprotect, &without)
    }

    /// Maps code of files besides, never writable, where it says. Within `range`, if there is one.
    pub(crate) fn map_code(&mut self, range: Option<&Range<u64>>) -> io::Result<&mut Self> {
        let access = (libc::PROT_EXEC | libc::PROT_WRITE) as u64;
        let code = (2, SeccompCmpOp::MaskedEq(access), libc::PROT_EXEC as u64);
        let private = libc::MAP_PRIVATE as u64;
        let (fixed, kinds) = (libc::MAP_FIXED as u64, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let kinds = kinds as u64 | private;
        let Some(range) = range else {
            // Where a library goes is for the dynamic linker to say.
            let flags = (3, SeccompCmpOp::MaskedEq(kinds), private);
            return self.when(libc::SYS_mmap, &[code, flags]);
        };
        let flags = (3, SeccompCmpOp::MaskedEq(kinds | fixed), private | fixed);
        let (first, end) = ((0, SeccompCmpOp::Ge, range.start), (0, SeccompCmpOp::Lt, range.end));
        self.when(libc::SYS_mmap, &[code, flags, first, end])
    }

    /// Starts threads of this process, and no other process; names them, and has them run.
    pub(crate) fn threads_only(&mut self) -> io::Result<&mut Self> {
        self.always(&[
            libc::SYS_rseq,
            libc::SYS_set_robust_list,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_yield,
            libc::SYS_membarrier,
            libc::SYS_getcpu,
        ]);
        let thread = libc::CLONE_THREAD as u64;
        self.when(libc::SYS_clone, &[(0, SeccompCmpOp::MaskedEq(thread), thread)])?;
        self.control(&[libc::PR_SET_NAME])
    }

    /// Changes these of its own properties.
    pub(crate) fn control(&mut self, options: &[libc::c_int]) -> io::Result<&mut Self> {
        self.one_of(libc::SYS_prctl, 0, options)
    }

    /// Does this with descriptors.
    pub(crate) fn control_descriptors(
        &mut self,
        commands: &[libc::c_int],
        requests: &[libc::c_ulong],
    ) -> io::Result<&mut Self> {
        self.one_of(libc::SYS_fcntl, 1, commands)?;
        for request in requests {
            self.when(libc::SYS_ioctl, &[(1, SeccompCmpOp::Eq, *request)])?;
        }
        Ok(self)
    }

    /// Makes sockets of these families and types.
    pub(crate) fn sockets(
        &mut self,
        families: &[libc::c_int],
        types: &[libc::c_int],
    ) -> io::Result<&mut Self> {
        // SOCK_NONBLOCK and SOCK_CLOEXEC stand above.
        const TYPES: u64 = 0xf;
        for family in families {
            for kind in types {
                let family = (0, SeccompCmpOp::Eq, *family as u64);
                let kind = (1, SeccompCmpOp::MaskedEq(TYPES), *kind as u64);
                self.when(libc::SYS_socket, &[family, kind])?;
            }
        }
        Ok(self)
    }

    /// Sends signals to the threads of this process alone, as abort(3) does.
    fn signal_itself_only(&mut self) -> io::Result<&mut Self> {
        let own = getpid().as_raw() as u64;
        self.when(libc::SYS_tgkill, &[(0, SeccompCmpOp::Eq, own)])
    }

    /// Asks what its limits are, and changes none; a thread's stack is made by what it is told.
    pub(crate) fn ask_for_limits_only(&mut self) -> io::Result<&mut Self> {
        let null = |argument| (argument, SeccompCmpOp::Eq, 0);
        self.when(libc::SYS_prlimit64, &[null(0), null(2)])?;
        self.always(&[libc::SYS_getrlimit]);
        Ok(self)
    }

    fn one_of(&mut self, call: i64, argument: u8, values: &[libc::c_int]) -> io::Result<&mut Self> {
        for value in values {
            self.when(call, &[(argument, SeccompCmpOp::Eq, *value as u64)])?;
        }
        Ok(self)
    }

    /// Where every one of these conditions on arguments holds.
    fn when(&mut self, call: i64, conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<&mut Self> {
        let conditions = conditions.iter().map(|(argument, comparison, value)| {
            // The kernel looks at the lower half of an int; a pointer counts as a whole.
            let length = match call {
                libc::SYS_prlimit64 if *argument == 2 => SeccompCmpArgLen::Qword,
                libc::SYS_mmap if *argument == 0 => SeccompCmpArgLen::Qword,
                _ => SeccompCmpArgLen::Dword,
            };
            SeccompCondition::new(*argument, length, comparison.clone(), *value)
        });
        let conditions = conditions.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let rule = SeccompRule::new(conditions).map_err(io::Error::other)?;
        self.rules.entry(call).or_default().push(rule);
        Ok(self)
    }
}

/// Allows these calls to the calling thread, and to the threads that it starts, and no others.
pub(crate) fn allow(allowed: &Allowed) -> io::Result<()> {
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let otherwise = match allowed.otherwise {
        Otherwise::Trap => SeccompAction::Trap,
        Otherwise::Fail => SeccompAction::Errno(libc::EPERM as u32),
    };
    let filters = [
        (&allowed.absent, SeccompAction::Allow, absent),
        // Last: it does not allow another filter.
        (&allowed.rules, otherwise, SeccompAction::Allow),
    ];
    for (rules, otherwise, action) in filters {
        if rules.is_empty() {
            continue;
        }
        let filter = SeccompFilter::new(rules.clone(), otherwise, action, TargetArch::x86_64);
        let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
        apply_filter(&program.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(())
}
