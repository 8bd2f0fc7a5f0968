//! Installing seccomp filters.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// One classic BPF instruction: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// Filters the calling thread's system calls from now on. `flags` are `SECCOMP_FILTER_FLAG_*`; with the listener flag
/// the notification descriptor is returned. Without CAP_SYS_ADMIN, no-new-privileges must be set. `seccomp(2)`.
pub fn install(instructions: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    let length =
        u16::try_from(instructions.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program {
        length,
        filter: instructions.as_ptr(),
    };
    // SAFETY: pointer and length of a live slice, which the kernel copies and checks.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })?;
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    // SAFETY: with the flag the answer is a new descriptor, ours alone.
    Ok((flags & listener != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// Whether the kernel knows the filter action `action` (`SECCOMP_RET_*`).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads four bytes of a live integer.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// A call that waits for its listener's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// Names the call in [`answer`].
    pub id: u64,
    /// Who called, in the listener's PID namespace; 0 when it is not visible there.
    pub pid: u32,
    /// Number of the call.
    pub number: i32,
}

/// Waits for the next call at a listener's descriptor. `ENOENT` when the caller was killed meanwhile.
/// `SECCOMP_IOCTL_NOTIF_RECV`.
pub fn listen(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: integers and bit fields, for which zero is a value; the kernel demands zeros.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    const RECEIVE: libc::c_ulong = 0xc050_2100; // _IOWR('!', 0, 80 bytes)
    // SAFETY: `call` has the 80 bytes that the request number names, and lives across the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call)
    }))?;
    Ok(Notification {
        id: call.id,
        pid: call.pid,
        number: call.data.nr,
    })
}

/// Answers a call: with an error number, or (`None`) by letting it happen. `SECCOMP_IOCTL_NOTIF_SEND`.
pub fn answer(listener: BorrowedFd<'_>, id: u64, error: Option<i32>) -> io::Result<()> {
    const SEND: libc::c_ulong = 0xc018_2101; // _IOWR('!', 1, 24 bytes)
    const CONTINUE: u32 = 1;
    let answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: error.map_or(0, |number| -number),
        flags: if error.is_some() { 0 } else { CONTINUE },
    };
    // SAFETY: `answer` has the 24 bytes that the request number names, and lives across the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer)
    }))
    .map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn requests_have_the_kernels_sizes() {
        assert_eq!(size_of::<libc::seccomp_notif>(), 80);
        assert_eq!(size_of::<libc::seccomp_notif_resp>(), 24);
    }
}
