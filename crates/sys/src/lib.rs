//! The only crate with `unsafe`: what rustix lacks of clone3, pidfd, mounts, namespaces, seccomp, descriptors and ttys.
//!
//! Every function is safe to call and returns the kernel's error unchanged. What rustix already offers is not repeated
//! here unless its form does not fit (raw pids, C strings).

pub mod bpf;
pub mod caps;
pub mod descriptors;
#[cfg(target_arch = "x86_64")]
mod early;
pub mod entry;
pub mod exec;
pub mod fdpass;
pub mod flock;
pub mod inherit;
pub mod lean_libc;
pub mod lean_unwind;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod schedule;
pub mod seccomp;
pub mod short_heap;
pub mod signals;
pub mod usage;

use std::io;

/// The result of a system call that answers -1 with an error number.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
