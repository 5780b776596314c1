//! An empty network, for processes that need none.

use std::fs::File;
use std::io;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with nothing in it but a loopback that is down.
///
/// The kernel takes more than a millisecond of CPU time to make one and to take it down again, so that
/// one is made for all the processes that enter it.
#[derive(Debug)]
pub struct EmptyNetwork(File);

impl EmptyNetwork {
    /// Makes one, where this process may; it stays where it is. The filters of system calls refuse
    /// sockets in any case.
    pub fn make() -> Option<Self> {
        // The namespace is a thread's, and its own goes with the thread.
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let made = thread.and_then(|thread| thread.join().expect("it does not panic"));
        made.map(Self)
            .inspect_err(|error| tracing::debug!(%error, "children stay in this network"))
            .ok()
    }

    /// The calling thread is in it from now on.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_enters_reaches_nobody_and_others_stay_where_they_are() {
        let network = EmptyNetwork::make().expect("the tests run as root");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        for _ in 0..2 {
            let inside = || {
                network.enter()?;
                TcpStream::connect(address)
            };
            let inside = thread::scope(|scope| scope.spawn(inside).join()).expect("no panic");
            assert_eq!(inside.expect_err("no way").kind(), io::ErrorKind::NetworkUnreachable);
            TcpStream::connect(address).expect("this thread is where it was");
        }
    }
}
