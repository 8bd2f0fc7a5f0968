//! The table of open descriptors.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::check;

/// Marks every descriptor from `first` on as close-on-exec. `close_range(2)`, or a walk of `/proc/self/fd` before
/// Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags of descriptors change; nothing is closed now.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    });
    match result {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => walk(first),
        Err(error) => Err(error),
    }
}

/// Closes every descriptor from `first` on but those of `kept`, which must be close-on-exec. For a process that is about to
/// exec or to end: its other values that own a descriptor must not be used, nor dropped. `close_range(2)`; before Linux 5.9
/// they stay open until the exec.
pub fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    // They are among those.
    for fd in PENDING.take() {
        let _ = fd.into_raw_fd();
    }
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut from = first;
    for end in kept.into_iter().filter(|fd| *fd >= first) {
        if from < end && !close_range(from, end - 1)? {
            return close_on_exec_from(first);
        }
        from = end + 1;
    }
    if close_range(from, libc::c_uint::MAX)? {
        return Ok(());
    }
    close_on_exec_from(first)
}

/// Whether the kernel can.
fn close_range(first: u32, last: u32) -> io::Result<bool> {
    // SAFETY: our caller's caller uses none of these descriptors any more.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes them all: neighbours by one call. `close_range(2)`.
pub fn close_all(fds: Vec<OwnedFd>) {
    let mut numbers: Vec<RawFd> = fds.into_iter().map(std::os::fd::IntoRawFd::into_raw_fd).collect();
    numbers.sort_unstable();
    for run in numbers.chunk_by(|one, next| one + 1 == *next) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        // SAFETY: all of the range were owned descriptors, and nobody else's.
        let closed = check(unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0) });
        if closed.is_err() {
            // Before Linux 5.9.
            for number in run {
                // SAFETY: owned, and not closed: the call above did nothing.
                drop(unsafe { OwnedFd::from_raw_fd(*number) });
            }
        }
    }
}

/// How many wait for [`close_pending`] at most: a limit of open files may be low.
const MOST_PENDING: usize = 64;

thread_local! {
    static PENDING: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
}

/// Closes `fd` with others of this thread, at [`close_pending`] at the latest: for a path, or a mount that is attached, of which
/// nothing ends with its descriptor.
pub fn close_later(fd: OwnedFd) {
    let full = PENDING.with_borrow_mut(|pending| {
        pending.push(fd);
        pending.len() >= MOST_PENDING
    });
    if full {
        close_pending();
    }
}

/// Closes what [`close_later`] left open.
pub fn close_pending() {
    close_all(PENDING.take());
}

fn walk(first: u32) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        if let Some(fd) = number.filter(|fd| *fd >= first) {
            // SAFETY: sets a flag; a descriptor that is gone meanwhile (the walk's own) answers EBADF, which is fine.
            unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Takes over a descriptor that the caller of this program passed by number (socket activation, `--preserve-fds`).
/// `EBADF` when it is not open, or is 0, 1 or 2.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: asks for flags only.
    check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    // SAFETY: it is open, and by contract of the program's start nobody else in it owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `fd` also known as `number`, without close-on-exec, closing what was there. For 0, 1 and 2, and for numbers
/// that a protocol prescribes right before an exec.
pub fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: clears the close-on-exec flag of an open descriptor.
        return check(libc::c_long::from(unsafe {
            libc::fcntl(number, libc::F_SETFD, 0)
        }))
        .map(drop);
    }
    // SAFETY: integers; what `number` named is closed, which the caller asked for.
    check(libc::c_long::from(unsafe {
        libc::dup3(fd.as_raw_fd(), number, 0)
    }))
    .map(drop)
}

/// Lowers or sets the close-on-exec flag of `number`.
pub fn set_close_on_exec(number: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: changes a flag.
    check(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_SETFD, flags)
    }))
    .map(drop)
}

/// Whether the program was started with `number` open: then it is not close-on-exec, as everything is that is opened since.
/// `EBADF` when not.
pub fn was_inherited(number: RawFd) -> io::Result<()> {
    // SAFETY: asks for flags only.
    let flags = check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    if flags & libc::c_long::from(libc::FD_CLOEXEC) == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EBADF))
    }
}

/// A new anonymous file in memory, close-on-exec, sealable, executable. `memfd_create(2)`.
pub fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    const EXEC: libc::c_uint = 0x10; // Linux 6.3; unknown before
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a C string that lives across the call.
    let mut fd = check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags | EXEC) });
    if fd
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    {
        // SAFETY: as above.
        fd = check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) });
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd? as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_closed_together_and_no_other() {
        let pairs: Vec<_> = (0..4).map(|_| crate::fdpass::seqpacket_pair().unwrap()).collect();
        let (kept, closed): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let mut closed = closed.into_iter();
        close_later(closed.next().unwrap());
        close_all(closed.collect());
        close_pending();
        for kept in &kept {
            // The other end is gone: the end of its messages.
            assert_eq!(crate::fdpass::receive(kept, &mut [0]).unwrap().0, 0);
        }
    }
}
