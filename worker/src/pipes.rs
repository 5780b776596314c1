//! Pipes through which large bodies go from socket to socket without being copied (splice(2)).
//!
//! A pipe is to a spliced body what a buffer is to others: bytes that came in at one end and have not
//! yet left at the other. It is filled only when it is empty, so that "would block" has one meaning.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// Bytes asked for at once, and what a pipe is made to hold if the system lets it: what it lets every
/// user have (fs.pipe-max-size), since each piece costs four system calls whatever its size.
pub(crate) const PIPE_BYTES: usize = 1 << 20;

/// Pipes that exist at once in a worker, each with two descriptors and at most [`PIPE_BYTES`] of kernel
/// memory, which slow readers hold; a body that finds none is copied through buffers.
const PIPES_MAX: usize = 128;

/// Pipes kept for later.
const POOLED_MAX: usize = 64;

/// A pipe and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

/// Spare pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    /// How many there are, in use or not.
    count: usize,
}

impl Pipes {
    /// An empty pipe, unless there are too many.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.count == PIPES_MAX {
            return None;
        }
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
        // Above the system's limit for this user it stays at its 64 KiB.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32));
        self.count += 1;
        Some(Pipe { read, write, held: 0 })
    }

    /// Takes one back. What is still in it is lost.
    pub(crate) fn give(&mut self, pipe: Pipe) {
        if pipe.held == 0 && self.free.len() < POOLED_MAX {
            self.free.push(pipe);
        } else {
            self.count -= 1;
        }
    }
}

impl Pipe {
    /// Bytes in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `most` bytes in from a socket. 0 is the end of what it sends; it must be empty.
    pub(crate) fn fill(&mut self, from: &impl AsFd, most: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "blocking has one meaning while it is empty");
        self.held = moved(from, &self.write, most.min(PIPE_BYTES))?;
        Ok(self.held)
    }

    /// Moves what is in it out to a socket, as far as that takes it.
    pub(crate) fn drain(&mut self, to: &impl AsFd) -> io::Result<usize> {
        let count = moved(&self.read, to, self.held)?;
        self.held -= count;
        Ok(count)
    }
}

fn moved(from: &impl AsFd, to: &impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        match splice(from, None, to, None, most, flags) {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut pipes = Pipes::default();
        let mut pipe = pipes.take().expect("the first one");
        let (mut sender, from) = UnixStream::pair().expect("a pair");
        let (to, mut receiver) = UnixStream::pair().expect("a pair");
        from.set_nonblocking(true).expect("it is ours");
        let blocked = pipe.fill(&from, 10).expect_err("nothing was sent");
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        sender.write_all(b"content and more").expect("there is room");
        assert_eq!(pipe.fill(&from, 7).expect("it was sent"), 7);
        assert_eq!(pipe.drain(&to).expect("there is room"), 7);
        let mut bytes = [0; 7];
        receiver.read_exact(&mut bytes).expect("it was moved");
        assert_eq!(&bytes, b"content");
        drop(sender);
        assert_eq!(pipe.fill(&from, 100).expect("the rest"), 9);
        pipe.drain(&to).expect("there is room");
        assert_eq!(pipe.fill(&from, 100).expect("the end"), 0);
    }

    #[test]
    fn there_are_only_so_many_and_one_that_holds_bytes_is_not_used_again() {
        let mut pipes = Pipes { free: Vec::new(), count: PIPES_MAX - 1 };
        let mut pipe = pipes.take().expect("the last one");
        assert!(pipes.take().is_none());
        pipe.held = 1;
        pipes.give(pipe);
        assert!(pipes.free.is_empty());
        let pipe = pipes.take().expect("there is room again");
        pipes.give(pipe);
        assert_eq!((pipes.free.len(), pipes.count), (1, PIPES_MAX));
    }
}
