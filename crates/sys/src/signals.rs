//! Signals by descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Signals that are blocked for this thread and read from a descriptor. `signalfd(2)`.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` and makes them readable. Non-blocking, close-on-exec. A child inherits the blocking: it calls
    /// [`crate::process::reset_signals`] before it execs.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is written by sigemptyset before any use; the calls read it during the call only.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                check(libc::c_long::from(libc::sigaddset(&raw mut set, *signal)))?;
            }
            check(libc::c_long::from(libc::sigprocmask(
                libc::SIG_BLOCK,
                &raw const set,
                std::ptr::null_mut(),
            )))?;
            check(libc::c_long::from(libc::signalfd(
                -1,
                &raw const set,
                libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
            )))?
        };
        // SAFETY: the kernel has just given us this descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The number of a signal that came, if one did. Signals of one number that come together are one.
    pub fn read(&self) -> io::Result<Option<u32>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            Ok(_) => Ok(info.first_chunk().map(|number| u32::from_ne_bytes(*number))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
