//! Calling scripts. See `Scripts`.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

pub use image::Arena;

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

/// One change that a script made to the request before it goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Remove every field of this name, then append one with this value.
    Set(&'a [u8], &'a [u8]),
    /// Append a field, whatever there is of that name.
    Add(&'a [u8], &'a [u8]),
    /// Remove every field of this name.
    Remove(&'a [u8]),
}

/// What a script decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Send the request, edited, to a server of this upstream.
    Forward {
        /// Name of the upstream; not yet looked up.
        upstream: &'a [u8],
        /// In the order in which the script made them. Names are tokens and values are field values
        /// (RFC 9110, sections 5.1 and 5.5): checked before they got here.
        edits: &'a [Edit<'a>],
    },
    /// Answer without an upstream.
    Reply {
        /// Status code, 200 to 599.
        status: u16,
        /// Response fields as name and value, checked like those of edits.
        fields: &'a [(&'a [u8], &'a [u8])],
        /// Response content.
        body: &'a [u8],
    },
    /// Close the connection without an answer.
    Close,
    /// The script failed; the failure was logged. Answer 500.
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
    /// The image could not be mapped.
    #[error("the image cannot be mapped: {0}")]
    Map(String),
    /// A static initialiser threw.
    #[error("a static initialiser threw {0}")]
    Initialiser(String),
}

/// The script side of one worker: mapped generations, the hook stack and the request arena.
pub struct Scripts {
    _todo: (),
}

impl Scripts {
    /// Makes the hook stack. `arena` is what the master reserved before it forked.
    pub fn new(_arena: Arena) -> std::io::Result<Self> {
        todo!()
    }

    /// Maps a sealed image, runs its initialisers and makes it the active generation.
    /// The one before it retires when the last request that holds it is done.
    pub fn load(&mut self, _generation: u64, _slot: u8, _file: OwnedFd) -> Result<Loaded, LoadError> {
        todo!()
    }

    /// Calls `on_request` of the active generation; what it decided is valid until the next call.
    /// The request holds that generation until it is released.
    pub fn on_request(&mut self, _request: &RequestView<'_>) -> (Held, Decision<'_>) {
        todo!()
    }

    /// Ends a request's hold on its generation.
    pub fn release(&mut self, _held: Held) {
        todo!()
    }

    /// Unmaps a generation although requests hold it.
    pub fn retire(&mut self, _generation: u64) {
        todo!()
    }

    /// A generation that was unmapped since the last call, to be reported to the master.
    pub fn next_retired(&mut self) -> Option<u64> {
        todo!()
    }
}
