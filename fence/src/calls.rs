//! System calls by name: a seccomp filter that allows what is on a list.
//!
//! A call that is not on it is not made, and raises SIGSYS: a process without a handler dies of it,
//! and one that has a handler can first say which call it was.

use std::collections::BTreeMap;
use std::io;

use nix::unistd::getpid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A list of calls, some with conditions.
#[derive(Default)]
pub(crate) struct Allowed {
    rules: Rules,
    absent: Rules,
}

impl Allowed {
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

    /// Opens no file for writing, and makes none.
    pub(crate) fn open_for_reading(&mut self) -> io::Result<&mut Self> {
        let writes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE;
        // O_TMPFILE has a bit of O_DIRECTORY, which reading a folder needs.
        let writes = (writes & !libc::O_DIRECTORY) as u64;
        self.when(libc::SYS_openat, &[(2, SeccompCmpOp::MaskedEq(writes), 0)])?;
        self.when(libc::SYS_open, &[(1, SeccompCmpOp::MaskedEq(writes), 0)])
    }

    /// Has no page that is executable, but those that were before.
    pub(crate) fn map_without_execution(&mut self) -> io::Result<&mut Self> {
        let without = [(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)];
        self.when(libc::SYS_mmap, &without)?;
        self.when(libc::SYS_mprotect, &without)
    }

    /// Starts threads of this process, and no other process; names them.
    pub(crate) fn threads_only(&mut self) -> io::Result<&mut Self> {
        let thread = libc::CLONE_THREAD as u64;
        self.when(libc::SYS_clone, &[(0, SeccompCmpOp::MaskedEq(thread), thread)])?;
        self.when(libc::SYS_prctl, &[(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)])
    }

    /// Sends signals to the threads of this process alone, as abort(3) does.
    pub(crate) fn signal_itself_only(&mut self) -> io::Result<&mut Self> {
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

    /// Where every one of these conditions on arguments holds.
    fn when(&mut self, call: i64, conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<&mut Self> {
        let conditions = conditions.iter().map(|(argument, comparison, value)| {
            // The kernel looks at the lower half of an int; a pointer counts as a whole.
            let length = match call {
                libc::SYS_prlimit64 if *argument == 2 => SeccompCmpArgLen::Qword,
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
    let filters = [
        (&allowed.absent, SeccompAction::Allow, absent),
        // Last: it does not allow another filter.
        (&allowed.rules, SeccompAction::Trap, SeccompAction::Allow),
    ];
    for (rules, otherwise, action) in filters {
        let filter = SeccompFilter::new(rules.clone(), otherwise, action, TargetArch::x86_64);
        let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
        apply_filter(&program.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(())
}
