//! Descriptors that a program was started with.

use std::io;

use crate::check;

/// Closes every descriptor from 3 on. For a main, before it opens anything: whatever is closed belongs to nobody here.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: integers. By the contract above no value of this program owns a descriptor yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) }).map(drop)
}
