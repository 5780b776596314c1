//! What a worker tells of a script that failed: one event, the same in the log, in `kiln status` and
//! as JSON.

use serde::{Deserialize, Serialize};

/// Frames of a backtrace that are told: the innermost ones, where the fault is, and the outermost.
pub const FRAMES_MAX: usize = 32;

/// Bytes of any text in a fault that a script or a client has a say in.
pub const FAULT_TEXT_BYTES_MAX: usize = 240;

/// Fields of a request that are told.
pub const FAULT_FIELDS_MAX: usize = 24;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An exception left the hook.
    Exception,
    /// The hook's answer is none that can be followed.
    InvalidAnswer,
    /// SIGSEGV.
    SegmentationFault,
    /// SIGBUS.
    BusError,
    /// SIGFPE.
    ArithmeticError,
    /// SIGILL, which is also what compilers put where code must not get to.
    IllegalInstruction,
    /// SIGTRAP.
    Trap,
    /// `abort` or `std::terminate`.
    Abort,
    /// `assert`.
    FailedAssertion,
    /// A pure or deleted virtual function was called.
    PureVirtualCall,
    /// Something was freed that is no block, or a block was written beyond its end.
    HeapMisuse,
    /// The guard below the stack was reached.
    StackOverflow,
    /// A lock was waited for that nothing else could release.
    Deadlock,
    /// A system call that scripts may not make.
    ForbiddenCall,
    /// The CPU time of a hook was up.
    CpuBudget,
    /// The time of a hook was up.
    WallBudget,
    /// The memory of a request was up.
    MemoryBudget,
}

impl FaultKind {
    /// Its name in logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Exception => "exception",
            FaultKind::InvalidAnswer => "invalid-answer",
            FaultKind::SegmentationFault => "segmentation-fault",
            FaultKind::BusError => "bus-error",
            FaultKind::ArithmeticError => "arithmetic-error",
            FaultKind::IllegalInstruction => "illegal-instruction",
            FaultKind::Trap => "trap",
            FaultKind::Abort => "abort",
            FaultKind::FailedAssertion => "failed-assertion",
            FaultKind::PureVirtualCall => "pure-virtual-call",
            FaultKind::HeapMisuse => "heap-misuse",
            FaultKind::StackOverflow => "stack-overflow",
            FaultKind::Deadlock => "deadlock",
            FaultKind::ForbiddenCall => "forbidden-call",
            FaultKind::CpuBudget => "cpu-budget",
            FaultKind::WallBudget => "wall-budget",
            FaultKind::MemoryBudget => "memory-budget",
        }
    }

    /// Whether the worker may be in any state after it, and has to be replaced: the script was left
    /// in the middle of something.
    pub fn taints(self) -> bool {
        !matches!(self, FaultKind::Exception | FaultKind::InvalidAnswer)
    }
}

/// A script's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The same in a sentence, for instance with the message of the exception.
    pub message: String,
    /// Generation of the script.
    pub generation: u64,
    /// Which hook ran: `on_request`; or `initialiser`, `destructor`.
    pub hook: String,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Whether a fault before this one had tainted the worker already: then this is where it was found,
    /// and not where it was caused.
    pub follows_another: bool,
    /// Innermost first. Empty if nothing is known.
    pub backtrace: Vec<Frame>,
    /// The request that was being decided on, if any.
    pub request: Option<FaultRequest>,
    /// Faults like it that were not told, since there were too many in a second.
    pub untold: u64,
}

/// One function call of a backtrace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where the code is.
    pub address: u64,
    /// The function, as C++ writes it; empty if it has no name.
    pub function: String,
    /// File of the script or header; none for code of the host.
    pub file: Option<String>,
    /// Line of the file, from 1; 0 if it is not known.
    pub line: u32,
    /// Whether it was inlined into the next one.
    pub is_inlined: bool,
    /// Whether the file is a header of Kiln's, of the C library or of the C++ library.
    pub is_library: bool,
    /// Calls between the frame before it and this one that are left out.
    pub left_out: u64,
}

/// The request that a script failed at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRequest {
    /// Address of the client.
    pub client: String,
    /// Method.
    pub method: String,
    /// Target, without a query if that is to be kept back.
    pub target: String,
    /// Name and value of its fields; none in place of a value that is kept back.
    pub fields: Vec<(String, Option<String>)>,
}

impl Frame {
    /// File and line: `site.cc:12`; `?` where no file is known.
    pub fn location(&self) -> String {
        let file = self.file.as_deref().unwrap_or("?");
        match self.line {
            0 => file.to_owned(),
            line => format!("{file}:{line}"),
        }
    }

    /// A backtrace of at most so many frames: what is in the middle is left out.
    pub fn leave_out_middle(mut backtrace: Vec<Frame>, max: usize) -> Vec<Frame> {
        let Some(too_many) = backtrace.len().checked_sub(max).filter(|more| *more > 0) else {
            return backtrace;
        };
        let first = max.div_ceil(2);
        let gone = backtrace.drain(first..first + too_many);
        // A worker that is out of its mind may have said any number.
        let gone =
            gone.fold(0_u64, |gone, frame| gone.saturating_add(frame.left_out).saturating_add(1));
        if let Some(next) = backtrace.get_mut(first) {
            next.left_out = next.left_out.saturating_add(gone);
        }
        backtrace
    }
}

impl Fault {
    /// The message for a log or a terminal: a script has a say in it.
    pub fn printable_message(&self) -> String {
        self.message.replace(char::is_control, "?")
    }

    /// The innermost frame in a file that the script's author has written, if any is known.
    pub fn place(&self) -> Option<&Frame> {
        self.backtrace.iter().find(|frame| frame.file.is_some() && !frame.is_library)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backtrace(left_out: &[u64]) -> Vec<Frame> {
        let numbered = left_out.iter().zip(1..);
        numbered
            .map(|(left_out, address)| Frame { address, left_out: *left_out, ..Frame::default() })
            .collect()
    }

    /// Addresses and what is left out before each.
    fn kept(frames: Vec<Frame>, max: usize) -> Vec<(u64, u64)> {
        let kept = Frame::leave_out_middle(frames, max);
        kept.iter().map(|frame| (frame.address, frame.left_out)).collect()
    }

    #[test]
    fn a_long_backtrace_keeps_both_ends_and_says_what_it_lacks() {
        let few = backtrace(&[0, 0, 7]);
        assert_eq!(kept(few.clone(), 3), [(1, 0), (2, 0), (3, 7)]);
        assert_eq!(kept(few.clone(), 2), [(1, 0), (3, 8)]);
        assert_eq!(kept(backtrace(&[0, 0, 5, 0, 0, 0]), 3), [(1, 0), (2, 0), (6, 8)]);
        assert_eq!(kept(Vec::new(), 2), []);
    }
}
