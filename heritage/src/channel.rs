//! A pair of connected sockets over which orders and reports travel, with descriptors beside them.
//!
//! `SOCK_SEQPACKET`: a message is whole or absent, and the death of the other end is end-of-file.
//! Nothing here waits: who has nothing to read or no room to write is told so, and polls.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the largest message: an order or a report is a few numbers and at most one sentence.
///
/// The largest are [`crate::Report::LoadFailed`] with the text of a C++ exception in it, and news
/// of servers, of which a message has as many as fit.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// Descriptors beside one message: an order is about one image or one socket, and one is to spare.
pub const FILES_MAX: usize = 2;

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
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Channel(ours), Channel(theirs)))
    }

    /// Sends one message with descriptors. `WouldBlock` when the other end does not read,
    /// `InvalidInput` when it is larger than [`MESSAGE_MAX`] or has more than [`FILES_MAX`] of
    /// them.
    pub fn send<M: Serialize>(&self, message: &M, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_MAX || files.len() > FILES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&files)];
        let rights = if files.is_empty() { &[] } else { &rights[..] };
        // MSG_NOSIGNAL: the death of the other end is an error to handle, not a signal.
        let flags = MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&bytes)], rights, flags, None) {
                Err(Errno::EINTR) => continue,
                sent => return sent.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Whether what the other end has not read yet takes up a quarter of the queue at most: that is
    /// when Linux polls a Unix socket as writable. Who sends only then always leaves room for those
    /// messages that must not wait.
    pub fn has_room(&self) -> bool {
        let mut file = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut file, PollTimeout::ZERO), Ok(1..))
    }

    /// Takes one message, if there is one. A message that does not parse is `InvalidData`.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<Received<M>> {
        let mut bytes = [0; MESSAGE_MAX];
        let (length, flags, files) = match self.receive_bytes(&mut bytes) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        };
        if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // No message is empty, since JSON is not: no bytes are the end of the stream.
        if length == 0 {
            return Ok(Received::Closed);
        }
        let message = serde_json::from_slice(&bytes[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Received::Message(message, files))
    }

    /// One `recvmsg`: bytes of the message, its flags, and its descriptors, owned at once so that
    /// none leaks when the message is refused.
    fn receive_bytes(&self, bytes: &mut [u8]) -> Result<(usize, MsgFlags, Vec<OwnedFd>), Errno> {
        let mut space = nix::cmsg_space!([RawFd; FILES_MAX]);
        let mut buffers = [IoSliceMut::new(bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            let raw = self.0.as_raw_fd();
            match recvmsg::<()>(raw, &mut buffers, Some(&mut space), flags) {
                Err(Errno::EINTR) => continue,
                received => break received?,
            }
        };
        let mut files = Vec::new();
        if !message.flags.contains(MsgFlags::MSG_CTRUNC) {
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(received) = control {
                    files.extend(received.into_iter().map(own));
                }
            }
        }
        Ok((message.bytes, message.flags, files))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes ownership of a descriptor that the kernel has just made for us.
// The one place where a received number becomes an owner; there is no safe wrapper for it.
#[allow(unsafe_code)]
fn own(received: RawFd) -> OwnedFd {
    // SAFETY: SCM_RIGHTS installed this descriptor for this process in the call that returned it,
    // and `receive_bytes`, the only caller, hands each number here once.
    unsafe { OwnedFd::from_raw_fd(received) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;
    use crate::{ListenerId, Order, Report};

    fn expect_message(received: Received<Order>) -> (Order, Vec<OwnedFd>) {
        match received {
            Received::Message(order, files) => (order, files),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    #[test]
    fn an_order_arrives_whole_with_the_descriptor_it_is_about() {
        let (master, worker) = Channel::pair().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        let order = Order::Adopt { listener: ListenerId { address: 1, worker: 2 } };
        master.send(&order, &[write.as_fd()]).unwrap();
        drop(write);

        let (received, mut files) = expect_message(worker.receive().unwrap());
        assert_eq!(received, order);
        let mut adopted = File::from(files.pop().expect("a descriptor came along"));
        assert!(files.is_empty());
        adopted.write_all(b"through the worker's copy").unwrap();
        drop(adopted);
        let mut text = String::new();
        File::from(OwnedFd::from(read)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the worker's copy");
    }

    #[test]
    fn messages_keep_their_order_and_their_borders() {
        let (master, worker) = Channel::pair().unwrap();
        for generation in 1..=3 {
            worker.send(&Report::Retired { generation }, &[]).unwrap();
        }
        for generation in 1..=3 {
            match master.receive::<Report>().unwrap() {
                Received::Message(report, files) => {
                    assert_eq!(report, Report::Retired { generation });
                    assert!(files.is_empty());
                }
                other => panic!("expected a message, got {other:?}"),
            }
        }
        assert!(matches!(master.receive::<Report>().unwrap(), Received::Empty));
    }

    #[test]
    fn the_death_of_the_other_end_is_end_of_file_after_what_it_said() {
        let (master, worker) = Channel::pair().unwrap();
        master.send(&Order::Drain, &[]).unwrap();
        drop(master);
        assert_eq!(expect_message(worker.receive().unwrap()).0, Order::Drain);
        assert!(matches!(worker.receive::<Order>().unwrap(), Received::Closed));
        let error = worker.send(&Report::Retired { generation: 1 }, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_reader_that_does_not_read_is_reported_and_never_waited_for() {
        let (master, _worker) = Channel::pair().unwrap();
        let refused = (0..100_000).find_map(|_| master.send(&Order::Drain, &[]).err());
        assert_eq!(refused.expect("no queue is endless").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn who_sends_only_while_there_is_room_leaves_some_for_orders() {
        let (master, worker) = Channel::pair().unwrap();
        let reason = "x".repeat(MESSAGE_MAX - 100);
        let long = Report::LoadFailed { generation: 1, reason };
        let sent = (0..1000).take_while(|_| master.has_room()).map(|_| master.send(&long, &[]));
        let sent = sent.collect::<io::Result<Vec<()>>>().unwrap().len();
        assert!((1..1000).contains(&sent), "{sent} were sent");
        for _ in 0..100 {
            master.send(&Order::Drain, &[]).unwrap();
        }
        while !matches!(worker.receive::<serde_json::Value>().unwrap(), Received::Empty) {}
        assert!(master.has_room());
    }

    #[test]
    fn what_is_too_large_or_does_not_parse_is_refused() {
        let (master, worker) = Channel::pair().unwrap();
        let reason = "x".repeat(MESSAGE_MAX);
        let error = worker.send(&Report::LoadFailed { generation: 1, reason }, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        worker.send(&"no report", &[]).unwrap();
        let error = master.receive::<Report>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
