//! One TCP connection with its two buffers, under edge-triggered readiness.
//!
//! The poll reports changes, so the wire remembers what it was told until a system call says otherwise.
//! A short read or write is such a word: the kernel had no more, and will report the next change. So a
//! request costs one read and one write, and no call only to learn "would block".

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;

use crate::buffers::{Buffers, Slot};
use crate::pipes::{PIPE_BYTES, Pipe, Pipes};

/// A TCP connection and the bytes on their way through it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    is_readable: bool,
    is_writable: bool,
    /// The peer has shut its side, so that end-of-file follows what is still to be read.
    end_is_near: bool,
    /// End-of-file was read.
    has_ended: bool,
    /// The poll has reported that neither direction works any more.
    is_broken: bool,
    /// Whether a byte moved since [`Wire::take_progress`].
    has_moved: bool,
    /// The last read took as much as there was room for: more comes than fits a buffer.
    has_filled: bool,
    /// Read and not yet dealt with.
    pub(crate) inbound: Slot,
    /// To be written.
    pub(crate) outbound: Slot,
    /// To be written after `outbound`: the part of a script's reply that did not fit there.
    spill: Vec<u8>,
    spill_sent: usize,
    /// To be written after all of it: content that came from another socket without being copied.
    pipe: Option<Pipe>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// More bytes.
    Bytes,
    /// Nothing until the poll reports more.
    Blocked,
    /// The peer has shut its side.
    End,
    /// No room.
    Full,
}

impl Wire {
    /// A wire on a stream that was just accepted or is being connected.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Wire {
            stream,
            is_readable: false,
            is_writable: true,
            end_is_near: false,
            has_ended: false,
            is_broken: false,
            has_moved: false,
            has_filled: false,
            inbound: Slot::default(),
            outbound: Slot::default(),
            spill: Vec::new(),
            spill_sent: 0,
            pipe: None,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Takes note of what the poll reports. True if the connection is broken in both directions.
    pub(crate) fn note(&mut self, event: &Event) -> bool {
        let is_broken = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        self.is_readable |= event.is_readable() || event.is_read_closed() || is_broken;
        self.is_writable |= event.is_writable() || is_broken;
        self.end_is_near |= event.is_read_closed() || is_broken;
        self.is_broken |= is_broken;
        is_broken
    }

    /// Whether there may be something to read.
    pub(crate) fn may_read(&self) -> bool {
        self.is_readable && !self.has_ended
    }

    /// Writing failed, so that what is left to read is followed by the end.
    pub(crate) fn expect_end(&mut self) {
        self.is_readable = true;
        self.end_is_near = true;
    }

    /// Whether nothing is on its way in either direction, so that another message may begin here. Asks
    /// the kernel only where nothing has told yet that all was read, as after a splice.
    pub(crate) fn is_quiet(&mut self, pool: &mut Buffers) -> bool {
        if !self.inbound.is_empty() || self.has_output() || self.is_ending() {
            return false;
        }
        !self.may_read() || matches!(self.fill(pool), Ok(Fill::Blocked))
    }

    /// Whether the peer has shut its side, read or not.
    pub(crate) fn is_ending(&self) -> bool {
        self.end_is_near || self.has_ended
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether the peer sent its end and then broke the connection, which no read tells any more.
    pub(crate) fn broke_after_end(&self) -> bool {
        self.has_ended && self.is_broken
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.output_bytes() > 0
    }

    /// Bytes that wait to be written.
    pub(crate) fn output_bytes(&self) -> usize {
        let piped = self.pipe.as_ref().map_or(0, Pipe::held);
        self.outbound.data().len() + self.spill.len() - self.spill_sent + piped
    }

    /// Whether spliced content waits to be written; nothing may be appended meanwhile.
    pub(crate) fn has_piped(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    pub(crate) fn has_spill(&self) -> bool {
        !self.spill.is_empty()
    }

    /// Whether a byte moved since this was last asked.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Reads once, as much as there is room for.
    pub(crate) fn fill(&mut self, pool: &mut Buffers) -> io::Result<Fill> {
        if self.has_ended {
            return Ok(Fill::End);
        }
        if !self.is_readable {
            return Ok(Fill::Blocked);
        }
        let room = self.inbound.tail(pool);
        if room.is_empty() {
            return Ok(Fill::Full);
        }
        match self.stream.read(room) {
            Ok(0) => {
                self.has_ended = true;
                Ok(Fill::End)
            }
            Ok(count) => {
                self.has_filled = count == room.len();
                self.is_readable = self.has_filled || self.end_is_near;
                self.has_moved = true;
                self.inbound.filled(count);
                Ok(Fill::Bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Ok(Fill::Blocked)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Fill::Blocked),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a pipe to write from, as there is since something was spliced.
    pub(crate) fn has_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    /// Whether the last read took all that there was room for.
    pub(crate) fn brings_streams(&self) -> bool {
        self.is_readable && self.has_filled
    }

    /// Takes up to `most` bytes of content from what another wire's peer sends, without looking at them.
    /// Gives how many, or `None` when there is no pipe to be had. Nothing else may wait to be written.
    pub(crate) fn splice_from(
        &mut self,
        from: &mut Wire,
        most: u64,
        pipes: &mut Pipes,
    ) -> io::Result<Option<(Fill, u64)>> {
        debug_assert!(!self.has_output() && from.inbound.is_empty(), "bytes would overtake others");
        if from.has_ended {
            return Ok(Some((Fill::End, 0)));
        }
        if !from.is_readable {
            return Ok(Some((Fill::Blocked, 0)));
        }
        if self.pipe.is_none() {
            self.pipe = pipes.take();
        }
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIPE_BYTES);
        match pipe.fill(&from.stream, most) {
            Ok(0) => {
                from.has_ended = true;
                Ok(Some((Fill::End, 0)))
            }
            Ok(count) => {
                from.has_moved = true;
                Ok(Some((Fill::Bytes, count as u64)))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                from.is_readable = false;
                Ok(Some((Fill::Blocked, 0)))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what waits, `first` before it. Gives how much of `first` was written.
    pub(crate) fn flush_after(&mut self, first: &[u8]) -> io::Result<usize> {
        let sent = self.flush_bytes(first)?;
        while self.is_writable && self.outbound.is_empty() && !self.has_spill() && self.has_piped()
        {
            let pipe = self.pipe.as_mut().expect("it holds something");
            match pipe.drain(&self.stream) {
                // It holds something, so that nothing taken would be for ever.
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => self.has_moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn flush_bytes(&mut self, first: &[u8]) -> io::Result<usize> {
        let mut first_sent = 0;
        while self.is_writable
            && (first_sent < first.len() || !self.outbound.is_empty() || self.has_spill())
        {
            let parts = [
                IoSlice::new(&first[first_sent..]),
                IoSlice::new(self.outbound.data()),
                IoSlice::new(&self.spill[self.spill_sent..]),
            ];
            let offered: usize = parts.iter().map(|part| part.len()).sum();
            let mut filled = parts.iter().filter(|part| !part.is_empty());
            let written = match (filled.next(), filled.next()) {
                // The usual case, and the cheaper system call.
                (Some(only), None) => self.stream.write(only),
                _ => self.stream.write_vectored(&parts),
            };
            match written {
                Ok(count) => {
                    self.is_writable = count == offered;
                    self.has_moved |= count > 0;
                    let from_first = count.min(first.len() - first_sent);
                    first_sent += from_first;
                    self.sent(count - from_first);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(first_sent)
    }

    /// Writes what waits. True once all of it is written.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if self.has_output() {
            self.flush_after(&[])?;
        }
        Ok(!self.has_output())
    }

    fn sent(&mut self, count: usize) {
        let from_buffer = count.min(self.outbound.data().len());
        self.outbound.consume(from_buffer);
        self.spill_sent += count - from_buffer;
        if self.spill_sent == self.spill.len() {
            // Freed, not kept: replies larger than a buffer are rare.
            self.spill = Vec::new();
            self.spill_sent = 0;
        }
    }

    /// Appends what is to be written, whatever its size.
    pub(crate) fn append(&mut self, part: &[u8], pool: &mut Buffers) {
        let fits = match self.has_spill() {
            true => 0,
            false => part.len().min(self.outbound.room()),
        };
        assert!(self.outbound.push(&part[..fits], pool), "cut to what fits");
        self.spill.extend_from_slice(&part[fits..]);
    }

    /// Says that nothing more will be written.
    pub(crate) fn shut(&self) {
        // It fails only if the peer has gone, which the next read tells as well.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes closing send a reset, for a peer that would take an end-of-file for the end of a body.
    pub(crate) fn close_with_reset(&self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // If it fails the peer sees an end-of-file, which is the best that is left.
        let _ =
            nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger);
    }

    /// Gives back buffers and a pipe that are not needed for what is there.
    pub(crate) fn rest(&mut self, pool: &mut Buffers, pipes: &mut Pipes) {
        self.inbound.rest(pool);
        self.outbound.rest(pool);
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held() == 0) {
            pipes.give(pipe);
        }
    }

    /// Closes, giving buffers and pipe back.
    pub(crate) fn close(mut self, pool: &mut Buffers, pipes: &mut Pipes) {
        self.inbound.release(pool);
        self.outbound.release(pool);
        if let Some(pipe) = self.pipe.take() {
            pipes.give(pipe);
        }
    }
}
