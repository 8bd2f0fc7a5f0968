//! How the calling thread is scheduled: policy, I/O priority, processors, memory nodes.

use std::io;

use crate::check;

/// What `sched_setattr(2)` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, of the policies that share time.
    pub nice: i32,
    /// 1 to 99, of the real-time policies.
    pub priority: u32,
    /// Nanoseconds, of the deadline policy.
    pub runtime: u64,
    /// Nanoseconds, of the deadline policy.
    pub deadline: u64,
    /// Nanoseconds, of the deadline policy.
    pub period: u64,
}

/// `struct sched_attr` as Linux 5.3 has it.
#[repr(C)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    utilization: [u32; 2],
}

/// Sets policy and priority of the calling thread. `sched_setattr(2)`.
pub fn set_attributes(attributes: Attributes) -> io::Result<()> {
    let raw = Raw {
        size: size_of::<Raw>() as u32,
        policy: attributes.policy,
        flags: attributes.flags,
        nice: attributes.nice,
        priority: attributes.priority,
        runtime: attributes.runtime,
        deadline: attributes.deadline,
        period: attributes.period,
        utilization: [0, 0],
    };
    // SAFETY: the kernel reads as many bytes as `size` says, of a live value.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) }).map(drop)
}

/// Sets the I/O priority of the calling thread: class in the bits from 13 on, level in those below. `ioprio_set(2)`.
pub fn set_io_priority(value: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Lets the calling thread run on the processors whose bits are set in `mask`; those that the machine or the cpuset lacks
/// are left out. `sched_setaffinity(2)`.
pub fn set_affinity(mask: &[u64]) -> io::Result<()> {
    // SAFETY: pointer and length of a live slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// Lets the calling thread run wherever its cpuset does.
pub fn reset_affinity() -> io::Result<()> {
    // As many processors as Linux can be built for.
    set_affinity(&[u64::MAX; 8192 / 64])
}

/// Sets the memory policy of the calling thread: `mode` is `MPOL_*` with `MPOL_F_*`, `nodes` a mask. `set_mempolicy(2)`.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    let (pointer, bits) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        // The kernel looks at one bit less than it is told.
        (nodes.as_ptr(), nodes.len() * 64 + 1)
    };
    // SAFETY: null, or a pointer to as many whole words as the kernel rounds `bits - 1` up to.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_may_set_is_set() {
        // The test runs in a thread of its own.
        assert_eq!(size_of::<Raw>(), 56);
        set_attributes(Attributes {
            policy: 3,
            nice: 19,
            ..Attributes::default()
        })
        .unwrap();
        set_io_priority(3 << 13).unwrap();
        set_affinity(&[1]).unwrap();
        reset_affinity().unwrap();
        set_memory_policy(0, &[]).unwrap();
        assert_eq!(
            set_memory_policy(0, &[1]).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
