//! Whole-file locks that die with their holder's last descriptor. `flock(2)`.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;

/// Opens the file of a daemon's lock, made if absent. It is its owner's alone: who may read it may lock it, and keep the next start out.
pub fn open(path: &Path) -> io::Result<File> {
    const OWN: u32 = 0o600;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWN)
        .open(path)?;
    // One that an earlier version made.
    file.set_permissions(Permissions::from_mode(OWN))?;
    Ok(file)
}

/// Takes the exclusive lock, waiting for it.
pub fn exclusive(fd: impl AsFd) -> io::Result<()> {
    loop {
        match rustix::fs::flock(fd.as_fd(), FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

/// Takes the exclusive lock if nobody holds it. False when somebody does.
pub fn try_exclusive(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lock up, also for others who hold the same open file (inherited by a fork, say).
pub fn release(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::flock(fd, FlockOperation::Unlock)?)
}
