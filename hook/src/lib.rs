//! Calling scripts: what a worker knows of C++.
//!
//! ```text
//! worker ---RequestView--> Scripts ---kiln_request---> hook, on its own guarded stack
//!        <----Decision----         <---kiln_action----
//!        <-----Fault------         <--- or a signal, an exception, a budget that is up
//! ```
//!
//! A hook call writes the parsed head down as `abi.h` has it, points `kiln_current` at the call's
//! context, switches stacks, and enters the image through a C++ frame that ends exceptions. What a
//! script wants done comes back as its action, or goes through the table of effects (`host`). What it
//! does wrong ends its call and nothing else (`stack`, `faults`), and is told with the place in its
//! source (`events`, `backtrace`).
//!
//! This crate knows no socket, and of HTTP only whom to ask which fields a script may write.

#[allow(unsafe_code)] // Reading what scripts lend.
mod abi;
#[allow(unsafe_code)] // What an answer points to is the script's.
mod answer;
#[allow(unsafe_code)] // Giving back memory that scripts had.
mod arena;
mod backtrace;
mod clock;
mod events;
#[allow(unsafe_code)] // Signal handlers, and what they share with the code that they interrupt.
mod faults;
mod field;
#[allow(unsafe_code)] // Effects are called by scripts, through pointers that scripts hand back.
mod host;
mod instruction;
mod recursions;
#[allow(unsafe_code)] // Mapping memory.
mod reserved;
mod scripts;
mod signals;
#[allow(unsafe_code)] // Switching stacks.
mod stack;
mod text;

use std::net::SocketAddr;

pub use backtrace::Names;
pub use host::script_bindings;
pub use http::Edit;
pub use image::Arena;
pub use scripts::Scripts;

/// One field line of a request head: name as the client spelt it, value without surrounding whitespace.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Field name.
    pub name: &'a [u8],
    /// Field value.
    pub value: &'a [u8],
}

/// What `on_request` sees: views over the parsed head.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Method, for instance `GET`.
    pub method: &'a [u8],
    /// Request target as it stood in the request line.
    pub target: &'a [u8],
    /// Path of the target, without the query; `*` or empty for forms that have none.
    pub path: &'a [u8],
    /// Query of the target, without the `?`; empty when there is none.
    pub query: &'a [u8],
    /// Host that the request is for (RFC 9112, section 3.3), with the port if it was given.
    pub authority: &'a [u8],
    /// Field lines in the order of arrival.
    pub fields: &'a [Field<'a>],
    /// Address of the client.
    pub client: SocketAddr,
}

/// What a script decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Send the request, edited, to a server of this upstream.
    Forward {
        /// Name of the upstream, not yet looked up; empty when every script left the decision to
        /// the next: then it is for the only upstream there is.
        upstream: &'a [u8],
        /// What decides about the server where the upstream balances by hash; empty if no script said.
        key: &'a [u8],
        /// In the order in which the script made them; each [`Edit::is_valid`].
        edits: &'a [Edit<'a>],
    },
    /// Answer without an upstream.
    Reply {
        /// Status code, 200 to 599.
        status: u16,
        /// Response fields as name and value; each [`http::is_reply_field`].
        fields: &'a [(&'a [u8], &'a [u8])],
        /// Response content.
        body: &'a [u8],
    },
    /// Close the connection without an answer.
    Close,
    /// The script failed, which [`Scripts::next_fault`] tells: the failure policy decides.
    Failed,
}

/// A generation in use by a request; given back with [`Scripts::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a generation that is never released is never retired"]
pub struct Held(pub u64);

/// What loading an image cost.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Microseconds to map the image and run its initialisers.
    pub map_us: u64,
}

/// Why an image was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not one.
    #[error(transparent)]
    Invalid(#[from] image::Invalid),
    /// It could not be mapped.
    #[error("{0}")]
    Map(String),
    /// A static initialiser failed, which [`Scripts::next_fault`] tells too.
    #[error("a static initialiser failed: {0}")]
    Initialiser(String),
    /// It holds no hook.
    #[error("the image has no hook")]
    NoHook,
}

/// What one generation holds in this worker, and who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its number.
    pub generation: u64,
    /// Requests that it decided and that are not over.
    pub requests: u32,
    /// Requests that it decided since it was mapped, those that it failed at included.
    pub decided: u64,
    /// Bytes that its scripts have allocated and not given back.
    pub memory_bytes: u64,
}
