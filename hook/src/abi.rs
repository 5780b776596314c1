//! `pch/abi.h` in Rust: the structures that the host and a script share, field for field.

use std::ffi::c_void;
use std::net::IpAddr;
use std::ptr;
use std::slice;

use crate::arena::Free;
use crate::{RequestView, field};

/// `KILN_ABI_VERSION`.
pub(crate) const ABI_VERSION: u32 = image::ABI_VERSION as u32;

/// `kiln_str`: bytes, not terminated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Str {
    data: *const u8,
    size: usize,
}

impl Str {
    pub(crate) const EMPTY: Self = Self { data: ptr::null(), size: 0 };

    /// Lends bytes to a script for the length of a hook call.
    pub(crate) fn lend(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }

    /// Bytes that a script lent; `limit` is the most that are looked at.
    ///
    /// # Safety
    ///
    /// The script vouches that `size` bytes are readable until the end of `'a`.
    pub(crate) unsafe fn bytes<'a>(self, limit: usize) -> Option<&'a [u8]> {
        if self.size == 0 {
            return Some(&[]);
        }
        // SAFETY: the caller upholds it.
        (self.size <= limit && !self.data.is_null())
            .then(|| unsafe { slice::from_raw_parts(self.data, self.size) })
    }
}

/// `kiln_field`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Str,
    pub(crate) value: Str,
}

/// `kiln_request`.
#[repr(C)]
pub(crate) struct Request {
    pub(crate) method: Str,
    pub(crate) target: Str,
    pub(crate) path: Str,
    pub(crate) query: Str,
    pub(crate) authority: Str,
    pub(crate) client_address: Str,
    pub(crate) fields: *const Field,
    pub(crate) fields_count: u32,
    pub(crate) client_port: u16,
    pub(crate) common: [u16; field::COMMON_FIELDS.len()],
}

/// `kiln_host`: the table of effects.
#[repr(C)]
pub(crate) struct Host {
    pub(crate) abi_version: u32,
    pub(crate) size: u32,
    pub(crate) allocate: extern "C" fn(usize) -> *mut c_void,
    pub(crate) edit: extern "C" fn(u32, Str, Str) -> bool,
    pub(crate) log: extern "C" fn(u32, Str),
    pub(crate) monotonic_ns: extern "C" fn() -> u64,
    pub(crate) realtime_ns: extern "C" fn() -> u64,
    pub(crate) random: extern "C" fn() -> u64,
}

/// `kiln_context`: what the running hook works with.
#[repr(C)]
pub(crate) struct Context {
    pub(crate) host: *const Host,
    /// `arena_next` and `arena_end`.
    pub(crate) arena: Free,
}

/// `kiln_edit_kind`.
pub(crate) const EDIT_SET: u32 = 0;
pub(crate) const EDIT_ADD: u32 = 1;
pub(crate) const EDIT_REMOVE: u32 = 2;

/// `kiln_action_kind`.
pub(crate) const ACTION_NEXT: u32 = 1;
pub(crate) const ACTION_FORWARD: u32 = 2;
pub(crate) const ACTION_REPLY: u32 = 3;
pub(crate) const ACTION_CLOSE: u32 = 4;

/// `kiln_reply_field`: a list, newest first.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ReplyField {
    pub(crate) field: Field,
    pub(crate) next: *const ReplyField,
}

/// `kiln_action`.
#[repr(C)]
pub(crate) struct Action {
    pub(crate) kind: u32,
    pub(crate) status: u32,
    pub(crate) text: Str,
    pub(crate) fields: *const ReplyField,
    pub(crate) key: Str,
}

impl Action {
    /// What stands there before a hook has answered.
    pub(crate) const NONE: Self =
        Self { kind: 0, status: 0, text: Str::EMPTY, fields: ptr::null(), key: Str::EMPTY };
}

impl Request {
    /// What stands there before a request is described.
    pub(crate) const NONE: Self = Self {
        method: Str::EMPTY,
        target: Str::EMPTY,
        path: Str::EMPTY,
        query: Str::EMPTY,
        authority: Str::EMPTY,
        client_address: Str::EMPTY,
        fields: ptr::null(),
        fields_count: 0,
        client_port: 0,
        common: [0; field::COMMON_FIELDS.len()],
    };

    /// Writes a request down as `abi.h` has it. What it points to lives as long as the arguments.
    ///
    /// In place: the CPU waits where it copies what it has just written in smaller pieces.
    pub(crate) fn describe(
        &mut self,
        request: &RequestView<'_>,
        fields: &mut Vec<Field>,
        client: &mut (IpAddr, String),
    ) {
        // Requests of one client come together: its address is rarely written anew.
        if client.0 != request.client.ip() {
            *client = (request.client.ip(), request.client.ip().to_string());
        }
        self.common = [0; field::COMMON_FIELDS.len()];
        fields.clear();
        for (index, field) in request.fields.iter().enumerate() {
            fields.push(Field { name: Str::lend(field.name), value: Str::lend(field.value) });
            let place = field::common_index(field.name).map(|place| &mut self.common[place]);
            if let Some(place) = place
                && *place == 0
            {
                *place = u16::try_from(index + 1).unwrap_or(0);
            }
        }
        self.method = Str::lend(request.method);
        self.target = Str::lend(request.target);
        self.path = Str::lend(request.path);
        self.query = Str::lend(request.query);
        self.authority = Str::lend(request.authority);
        self.client_address = Str::lend(client.1.as_bytes());
        self.fields = fields.as_ptr();
        self.fields_count = fields.len() as u32;
        self.client_port = request.client.port();
    }
}
