//! Installing seccomp filters.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

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
