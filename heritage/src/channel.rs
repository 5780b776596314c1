//! A pair of connected sockets over which orders and reports travel, with descriptors beside them.
//!
//! `SOCK_SEQPACKET`: a message is whole or absent, and the death of the other end is end-of-file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

/// One end of the pair. Non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<M> {
    /// A message, and the descriptors that came with it (close-on-exec).
    Message(M, Vec<OwnedFd>),
    /// Nothing yet.
    Empty,
    /// The other end is gone.
    Closed,
}

impl Channel {
    /// A connected pair.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        todo!()
    }

    /// Sends one message with descriptors. `WouldBlock` when the other end does not read.
    pub fn send<M: Serialize>(&self, _message: &M, _files: &[BorrowedFd<'_>]) -> io::Result<()> {
        todo!()
    }

    /// Takes one message, if there is one. A message that does not parse is `InvalidData`.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<Received<M>> {
        todo!()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
