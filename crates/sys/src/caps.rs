//! Capability sets as masks of 64 bits: bit n is capability n.

use std::io;

use crate::check;

/// The three sets of a thread that `capset(2)` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sets {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over exec of a file that inherits.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Reads the calling thread's sets.
pub fn get() -> io::Result<Sets> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 wants a header and two data structs; both live across the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    Ok(Sets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets the calling thread's sets.
pub fn set(sets: Sets) -> io::Result<()> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 wants a header and two data structs; both live across the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Takes capability `number` out of the bounding set for good. `EINVAL`: the kernel knows no such capability.
pub fn drop_bounding(number: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0)
}

/// Whether capability `number` is in the bounding set. `EINVAL`: the kernel knows no such capability.
pub fn in_bounding(number: u32) -> io::Result<bool> {
    // SAFETY: integers.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0)
    }))
    .map(|value| value == 1)
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
        0,
    )
}

/// Adds capability `number`, which must be permitted and inheritable, to the ambient set.
pub fn raise_ambient(number: u32) -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
        libc::c_ulong::from(number),
    )
}

/// Whether the permitted set survives the change to a user id other than 0.
pub fn keep_over_setuid(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0)
}

fn prctl(operation: i32, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the operations above take integers; the unused arguments must be zero.
    check(libc::c_long::from(unsafe {
        libc::prctl(operation, first, second, 0, 0)
    }))
    .map(drop)
}
