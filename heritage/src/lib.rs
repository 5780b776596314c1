//! What crosses `fork()`: everything the master and its children share, and nothing else.
//!
//! The master and the workers do not know each other's crates; they meet here, in one closed enum
//! of orders (master to worker), one of reports (worker to master), one page of counters a worker
//! process, and the bundle that a new worker starts with.

mod channel;
mod compile_report;
pub mod diagnostic;
mod fault;
mod holdings;
mod order;
mod reason;
mod scoreboard;
mod settings_file;
mod target;

use std::os::fd::OwnedFd;

pub use channel::{Channel, FILES_MAX, MESSAGE_MAX, Received};
pub use compile_report::{
    CompileCrash, CompileLimits, CompileNews, CompileReport, CompileReporter, CompileStep,
    REPORT_BYTES_MAX,
};
pub use diagnostic::{Counts, Diagnostic, Edit, Note, Position, Severity};
pub use fault::{
    FAULT_FIELDS_MAX, FAULT_TEXT_BYTES_MAX, FRAMES_MAX, Fault, FaultKind, FaultRequest, Frame,
};
pub use holdings::{HOLDINGS_MAX, Holding, Holdings, Oldest};
pub use order::{
    ADDRESSES_MAX, CompileOutcome, CompileSteps, Ejection, ListenerId, NAMES_MAX, Order, Report,
    ServerNews,
};
pub use reason::{Blame, REASONS_MAX, Reason, ReasonCounts};
pub use scoreboard::{AtWork, OwnPage, PageNumber, Scoreboard, WorkerPage, WorkerState};
pub use settings_file::{SETTINGS_BYTES_MAX, read_settings, settings_file};
pub use target::TARGET_BYTES_MAX;

/// Most workers that one master runs.
///
/// Twice the cores of the largest machines that one load balancer is put on.
pub const WORKERS_MAX: usize = 1024;

/// Pages of the scoreboard: one for each worker, and one for each that finishes its requests while
/// another is in its place already.
pub const PAGES_MAX: usize = 2 * WORKERS_MAX;

/// What a worker starts with: its descriptors, its counters, and the image and settings it serves
/// with first.
pub struct Inheritance {
    /// Index of this worker, from 0. Where a worker had to be replaced and still finishes its requests,
    /// two processes have the same.
    pub index: usize,
    /// Orders in, reports out. End-of-file means that the master is gone.
    pub channel: Channel,
    /// The one page of the scoreboard that this worker may write.
    pub page: OwnPage,
    /// Listening sockets to accept from: non-blocking TCP sockets that listen already.
    pub listeners: Vec<(ListenerId, OwnedFd)>,
    /// The generation to serve first; none where there is none yet, and every request gets what the
    /// failure policy says.
    pub image: Option<InheritedImage>,
    /// Settings to serve it with: JSON, whose type master and heritage do not know.
    pub settings: Vec<u8>,
}

/// A sealed image and where it goes.
pub struct InheritedImage {
    /// Number of the generation, from 1.
    pub generation: u64,
    /// Slot of the arena that the image was linked for.
    pub slot: u8,
    /// The sealed memfd.
    pub file: OwnedFd,
}
