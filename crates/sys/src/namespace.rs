//! Making and joining namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Mount namespace.
pub const MOUNT: u32 = libc::CLONE_NEWNS as u32;
/// PID namespace: concerns children only.
pub const PID: u32 = libc::CLONE_NEWPID as u32;
/// Network namespace.
pub const NETWORK: u32 = libc::CLONE_NEWNET as u32;
/// System V IPC and POSIX message queues.
pub const IPC: u32 = libc::CLONE_NEWIPC as u32;
/// Host and domain name.
pub const UTS: u32 = libc::CLONE_NEWUTS as u32;
/// User and group ids, capabilities.
pub const USER: u32 = libc::CLONE_NEWUSER as u32;
/// View of the cgroup tree.
pub const CGROUP: u32 = libc::CLONE_NEWCGROUP as u32;
/// Monotonic and boot clocks: concerns children only.
pub const TIME: u32 = 0x80;

/// Joins the namespace behind `fd` (a file of `/proc/PID/ns`, which must be of kind `kind`, or a pidfd, which joins all
/// kinds in `kind` at once). `setns(2)`.
pub fn join(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    // SAFETY: two integers. What changes is the process's view of the system, not its memory.
    check(unsafe { libc::c_long::from(libc::setns(fd.as_raw_fd(), kind as i32)) }).map(drop)
}

/// Leaves the namespaces of the kinds in `kinds` for new ones. Only flags of this module have an effect. `unshare(2)`.
pub fn unshare(kinds: u32) -> io::Result<()> {
    let known = MOUNT | PID | NETWORK | IPC | UTS | USER | CGROUP | TIME;
    // SAFETY: only namespace flags pass, so descriptors and memory stay shared as Rust expects.
    check(unsafe { libc::c_long::from(libc::unshare((kinds & known) as i32)) }).map(drop)
}

/// The kind of the namespace behind `fd`; `None` when it is no namespace at all. `ioctl_ns(2)`, `NS_GET_NSTYPE`.
pub fn kind_of(fd: BorrowedFd<'_>) -> Option<u32> {
    const GET_TYPE: libc::c_ulong = 0xb703;
    // SAFETY: takes no argument; other files answer ENOTTY, or know the number as a query of theirs without one.
    let kind = check(unsafe { libc::c_long::from(libc::ioctl(fd.as_raw_fd(), GET_TYPE as _)) }).ok()?;
    u32::try_from(kind).ok()
}
