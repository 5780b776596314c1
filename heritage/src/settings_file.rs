//! The file in which settings travel: a sealed memfd, since no message is long enough for them.
//!
//! What is in it, JSON of a type of the worker's, neither this crate nor the master reads.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Bytes of the longest settings: a file of 16 MiB that names servers in as few bytes as can be,
/// each of which takes seven times as many here.
pub const SETTINGS_BYTES_MAX: u64 = 128 << 20;

/// A new file with these bytes. Each worker gets one of its own: copies of a descriptor would share
/// their position in it.
pub fn settings_file(settings: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"kiln-settings", flags)?);
    file.write_all(settings)?;
    file.rewind()?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads such a file.
pub fn read_settings(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut settings = Vec::new();
    let length = File::from(file).take(SETTINGS_BYTES_MAX + 1).read_to_end(&mut settings)?;
    match length as u64 > SETTINGS_BYTES_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[u8]) {
        let file = settings_file(settings).unwrap();
        let mut copy = File::from(file.try_clone().unwrap());
        assert_eq!(read_settings(file).unwrap(), settings);
        assert!(copy.write_all(b"more").is_err(), "nobody changes it");
    }

    #[test]
    fn settings_arrive_as_they_were_and_stay_so() {
        check(b"");
        check(b"{}");
        check(&vec![b'x'; 1 << 20]);
    }
}
