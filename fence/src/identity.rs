//! Who a process is: a user of its own, in place of the root that the master may have to be.
//!
//! The master binds low ports, opens the cache and reads the configuration; none of its children
//! needs to be root for what it does. A child becomes the configured user after its fork, for good:
//! real, effective and saved ids change together, other groups are left, and capabilities are given
//! up.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl::{get_pdeathsig, set_dumpable, set_pdeathsig};
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getppid, setgroups, setresgid, setresuid,
};

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Uid,
    /// The group, and the only one.
    pub group: Gid,
}

/// Why there is no such identity.
#[derive(Debug, thiserror::Error)]
pub enum NoIdentity {
    /// No user is called so.
    #[error("process.user: there is no user {0:?}; `getent passwd` lists those that there are")]
    User(String),
    /// No group is called so.
    #[error("{setting}: there is no group {name:?}; `getent group` lists those that there are")]
    Group {
        /// Which setting names it.
        setting: &'static str,
        /// The name.
        name: String,
    },
    /// A user by number, of whom nothing is known.
    #[error("process.user: user {0} has no entry that says its group; name one with process.group")]
    NoGroup(Uid),
    /// This process may not become somebody else.
    #[error(
        "process.user and process.group: only root can become another user or group, and this is user {0}; \
         start Kiln as root, or as the user that it is to be"
    )]
    NotRoot(Uid),
    /// The system could not be asked.
    #[error("{setting}: cannot look {name:?} up: {error}")]
    LookUp {
        /// Which setting names it.
        setting: &'static str,
        /// The name.
        name: String,
        /// What the system said.
        error: Errno,
    },
}

impl Identity {
    /// The identity that these names or numbers stand for; none if the process has it already. It may
    /// wait for whatever the system keeps users in.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, NoIdentity> {
        let own = Self { user: geteuid(), group: getegid() };
        let mut found = own;
        if let Some(name) = user {
            let (user, usual_group) = find_user(name)?;
            found.user = user;
            match usual_group {
                Some(usual) => found.group = usual,
                None if group.is_none() => return Err(NoIdentity::NoGroup(user)),
                None => {}
            }
        }
        if let Some(name) = group {
            found.group = find_group("process.group", name)?;
        }
        match found {
            // Root has groups to leave even then.
            found if found == own && (user.is_none() || !own.user.is_root()) => Ok(None),
            _ if !own.user.is_root() => Err(NoIdentity::NotRoot(own.user)),
            found => Ok(Some(found)),
        }
    }

    /// Makes the calling process, which has one thread, this user and nobody else, without any
    /// capability. What it asked to be told of its parent's death (PDEATHSIG) still holds. Nobody but
    /// root may look into it from then on, and it leaves no core.
    pub(crate) fn assume(self) -> io::Result<()> {
        let (parent, told_by) = (getppid(), get_pdeathsig()?);
        setgroups(&[])?;
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)?;
        drop_capabilities()?;
        // The kernel does both where the user changes; this is for the rest.
        set_dumpable(false)?;
        set_pdeathsig(told_by)?;
        // It may have died while nobody would have told.
        if getppid() != parent {
            return Err(io::Error::other("the master is gone"));
        }
        Ok(())
    }
}

fn find_user(name: &str) -> Result<(Uid, Option<Gid>), NoIdentity> {
    let by_number = name.parse().ok().map(Uid::from_raw);
    let found = match by_number {
        Some(number) => User::from_uid(number),
        None => User::from_name(name),
    };
    let found = found.map_err(|error| {
        let (setting, name) = ("process.user", name.to_owned());
        NoIdentity::LookUp { setting, name, error }
    })?;
    match (found, by_number) {
        (Some(user), _) => Ok((user.uid, Some(user.gid))),
        (None, Some(number)) => Ok((number, None)),
        (None, None) => Err(NoIdentity::User(name.to_owned())),
    }
}

/// The group of a name or number; `setting` is what names it.
pub fn find_group(setting: &'static str, name: &str) -> Result<Gid, NoIdentity> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name);
    let found =
        found.map_err(|error| NoIdentity::LookUp { setting, name: name.to_owned(), error })?;
    found.map(|group| group.gid).ok_or(NoIdentity::Group { setting, name: name.to_owned() })
}

/// Gives up every capability: becoming another user does so for root, and not for a process that has
/// some without being root.
// capset() has no safe wrapper.
#[allow(unsafe_code)]
fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words for each set.
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: both are as long as this version of the structures, and outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process becomes somebody, and tries to be root again.
    #[test]
    fn trial_in_a_process_of_its_own() {
        let Some(trial) = crate::trial::asked() else { return };
        let somebody = Identity { user: Uid::from_raw(54321), group: Gid::from_raw(54322) };
        set_pdeathsig(nix::sys::signal::Signal::SIGUSR1).expect("a signal");
        somebody.assume().expect("root can");
        let becomes =
            |done: bool| if done { Ok(()) } else { Err(io::Error::other("it is not so")) };
        crate::trial::end(match trial.as_str() {
            "ids" => {
                let ids = [nix::unistd::getresuid().unwrap().real, geteuid()];
                let groups = nix::unistd::getgroups().unwrap();
                let status = std::fs::read_to_string("/proc/self/status");
                // Its own folder of /proc is root's: it is not dumpable.
                let capable =
                    status.is_ok_and(|status| !status.contains("CapEff:\t0000000000000000"));
                becomes(ids == [somebody.user; 2] && groups.is_empty() && !capable)
            }
            "told" => becomes(get_pdeathsig().unwrap() == Some(nix::sys::signal::Signal::SIGUSR1)),
            "root" => {
                setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(Into::into)
            }
            other => panic!("what is {other}?"),
        })
    }

    #[test]
    fn who_becomes_somebody_else_is_nobody_but_that_and_still_told_of_the_masters_death() {
        if !geteuid().is_root() {
            return;
        }
        use crate::trial::{Outcome, check};
        const TRIAL: &str = "identity::tests::trial_in_a_process_of_its_own";
        check(TRIAL, &std::env::temp_dir(), &["ids", "told"], Outcome::Done);
        check(TRIAL, &std::env::temp_dir(), &["root"], Outcome::Refused);
    }

    fn refused(user: Option<&str>, group: Option<&str>) -> String {
        Identity::find(user, group).unwrap_err().to_string()
    }

    #[test]
    fn nobody_named_is_nobody_else() {
        assert_eq!(Identity::find(None, None).unwrap(), None);
    }

    #[test]
    fn a_name_that_nobody_has_is_told_with_its_setting() {
        let said = refused(Some("no-such-user"), None);
        assert!(said.starts_with("process.user: there is no user \"no-such-user\""), "{said}");
        let said = refused(None, Some("no-such-group"));
        assert!(said.starts_with("process.group: there is no group \"no-such-group\""), "{said}");
    }

    #[test]
    fn a_number_stands_for_itself_and_a_name_brings_its_group() {
        if !geteuid().is_root() {
            assert!(refused(Some("0"), None).contains("only root can become"));
            return;
        }
        let (user, group) = (Uid::from_raw(54321), Gid::from_raw(54322));
        let found = Identity::find(Some("54321"), Some("54322")).unwrap();
        assert_eq!(found, Some(Identity { user, group }));
        assert!(refused(Some("54321"), None).contains("name one with process.group"));
        let nobody = User::from_name("nobody").unwrap().expect("there always is");
        let found = Identity::find(Some("nobody"), None).unwrap();
        assert_eq!(found, Some(Identity { user: nobody.uid, group: nobody.gid }));
    }
}
