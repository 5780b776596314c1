//! The broker: it resolves names and asks servers whether they are well, and may do nothing else.
//!
//! Its resolver is the C library's, with whatever modules the operator has configured: it reads what
//! such modules read, maps their code, and speaks to resolvers over sockets of every usual kind. No
//! list can know what each of them tries, so a call that is not on this one fails, and does not end
//! the process.

use std::io;
use std::path::PathBuf;

use nix::sys::prctl::set_no_new_privs;

use crate::{Identity, calls, limits, paths};

/// What the broker may use.
#[derive(Clone, Copy, Debug)]
pub struct Broker {
    /// Who it becomes; none if it stays who it is.
    pub identity: Option<Identity>,
}

/// Where resolvers are configured, and where their modules and their caches are.
const READS: [&str; 13] = [
    "/etc",
    "/run/systemd",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    // Users' and hosts' databases of nss_db and sssd.
    "/var/lib/misc",
    "/var/db",
    "/var/lib/sss",
];

/// Fences the calling process, which has one thread, for looking servers up. Descriptors that are open
/// stay open.
pub fn broker(may: &Broker) -> io::Result<()> {
    limits::core(0)?;
    if let Some(identity) = may.identity {
        identity.assume()?;
    }
    set_no_new_privs()?;
    let reads = READS.map(PathBuf::from);
    paths::only(paths::Open { reads: &reads, keeps: None, connects: true });
    calls::allow(&allowed()?)
}

/// Calls of the event loop, and of resolvers in their threads.
fn allowed() -> io::Result<calls::Allowed> {
    let mut allowed = calls::Allowed::of_any_process()?;
    allowed
        .otherwise(calls::Otherwise::Fail)
        .always(&[
            // Sockets: servers, resolvers, the channel to the master.
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_getsockopt,
            libc::SYS_setsockopt,
            libc::SYS_shutdown,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_recvmmsg,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
            libc::SYS_socketpair,
            // Waiting.
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            libc::SYS_eventfd2,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_select,
            libc::SYS_pselect6,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            // Files; which ones landlock says.
            libc::SYS_readv,
            libc::SYS_dup,
            libc::SYS_fcntl,
            libc::SYS_flock,
            // Time, and what this process is.
            libc::SYS_clock_getres,
            libc::SYS_gettimeofday,
            libc::SYS_time,
            libc::SYS_getppid,
            libc::SYS_uname,
            libc::SYS_sysinfo,
        ])
        .pretend_absent(&[libc::SYS_clone3])
        .open_for_reading()?
        .control_descriptors(&[], &[libc::FIONREAD, libc::FIONBIO])?
        .sockets(
            &[libc::AF_INET, libc::AF_INET6, libc::AF_UNIX],
            &[libc::SOCK_STREAM, libc::SOCK_DGRAM],
        )?
        // Which addresses this machine has, for their order (RFC 6724).
        .sockets(&[libc::AF_NETLINK], &[libc::SOCK_RAW, libc::SOCK_DGRAM])?
        .map_code(None)?
        .threads_only()?
        .ask_for_limits_only()?;
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
    use std::process::Command;

    use super::*;
    use crate::trial::{self, Outcome, check};

    const TRIAL: &str = "broker::tests::trial_in_a_process_of_its_own";

    /// What is tried behind the fence, if this process was started for that.
    #[test]
    fn trial_in_a_process_of_its_own() {
        let Some(trial) = trial::asked() else { return };
        let file = trial::folder().join("file");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        broker(&Broker { identity: None }).expect("the fence holds");
        trial::end(match trial.as_str() {
            "resolve in a thread" => {
                let resolver = std::thread::spawn(|| ("localhost", 80).to_socket_addrs());
                resolver.join().expect("no panic").map(drop)
            }
            "ask a server" => TcpStream::connect(address).map(drop),
            "ask a resolver" => UdpSocket::bind("127.0.0.1:0").map(drop),
            "configuration" => fs::read("/etc/hosts").map(drop),
            "file" => fs::read(&file).map(drop),
            "write" => fs::write(&file, "text"),
            "remove" => fs::remove_file(&file),
            "run" => Command::new("/bin/true").status().map(drop),
            "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
            "signal" => nix::sys::signal::kill(nix::unistd::getppid(), None).map_err(Into::into),
            other => panic!("what is {other}?"),
        })
    }

    #[test]
    fn the_broker_resolves_names_and_asks_servers_and_does_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "text").expect("a file");
        let needed = ["resolve in a thread", "ask a server", "ask a resolver", "configuration"];
        check(TRIAL, folder.path(), &needed, Outcome::Done);
        let refused = ["file", "write", "remove", "run", "listen", "signal"];
        check(TRIAL, folder.path(), &refused, Outcome::Refused);
    }
}
