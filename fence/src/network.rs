//! An empty network, for processes that need none.

use std::fs::File;
use std::io;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with nothing in it but a loopback that is down.
///
/// The kernel takes more than a millisecond of CPU time to make one and to take it down again, so that
/// one is made for all the processes that enter it.
#[derive(Debug)]
pub struct EmptyNetwork(File);

impl EmptyNetwork {
    /// Makes one, where this process may. The filters of system calls refuse sockets in any case.
    pub fn make() -> Option<Self> {
        let made = Self::try_make();
        made.inspect_err(|error| tracing::debug!(%error, "children stay in this network")).ok()
    }

    /// Goes there and back again. Not in a thread of its own: a process that has had two takes locks
    /// from then on, and so do its children, in the middle of which a script may be stopped.
    fn try_make() -> io::Result<Self> {
        let namespace = || File::open("/proc/thread-self/ns/net");
        let own = namespace()?;
        let return_to = |own: &File| setns(own, CloneFlags::CLONE_NEWNET);
        return_to(&own)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = namespace();
        return_to(&own).expect("that worked a moment ago");
        made.map(Self)
    }

    /// The calling thread is in it from now on, where this process may.
    pub fn enter(&self) {
        if let Err(error) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            tracing::debug!(%error, "this process stays in the network of its parent");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use nix::unistd::geteuid;

    use super::*;

    #[test]
    fn who_enters_reaches_nobody_and_others_stay_where_they_are() {
        let Some(network) = EmptyNetwork::make() else {
            return assert!(!geteuid().is_root(), "root may make one");
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        for _ in 0..2 {
            let inside = || {
                network.enter();
                TcpStream::connect(address)
            };
            let inside = thread::scope(|scope| scope.spawn(inside).join()).expect("no panic");
            assert_eq!(inside.expect_err("no way").kind(), ErrorKind::NetworkUnreachable);
            TcpStream::connect(address).expect("this thread is where it was");
        }
    }
}
