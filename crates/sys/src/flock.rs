//! Whole-file locks that die with their holder's last descriptor. `flock(2)`.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::FlockOperation;

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
