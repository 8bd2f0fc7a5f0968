//! Processes by descriptor: no pid can be recycled under the holder's feet.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::check;

/// Opens the process `pid` (of the caller's PID namespace). Close-on-exec. `pidfd_open(2)`.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two integers; the kernel touches no memory of ours.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A copy of the descriptor that has `number` in the process. Close-on-exec. `pidfd_getfd(2)`, Linux 5.6; takes the right
/// to trace the process.
pub fn get_fd(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends `signal` (any number, 0 only asks whether the process is there). `pidfd_send_signal(2)`.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed and means "as kill(2) would".
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    })
    .map(drop)
}

/// Waits until the process has exited, at most `timeout` (for ever when `None`). True when it has.
pub fn wait_exit(pidfd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let spec = left.map(|left| rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let fd = pidfd.as_fd();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, spec.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What `PIDFD_GET_INFO` (Linux 6.13; exit codes 6.15) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Id of the cgroup v2 the process is in, when it still is in one.
    pub cgroup_id: Option<u64>,
    /// Raw wait status, when the process was reaped and the kernel keeps it (6.15).
    pub exit_status: Option<i32>,
}

const GET_INFO: libc::c_ulong = 0xc040_ff0b; // _IOWR(0xff, 11, 64 bytes)
const INFO_CGROUPID: u64 = 1 << 2;
const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info`, first published version (64 bytes).
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// Asks the kernel about the process. `ENOTTY` before Linux 6.13; `ESRCH` when it is gone and nothing was kept.
pub fn info(pidfd: BorrowedFd<'_>) -> io::Result<Info> {
    let mut raw = RawInfo {
        mask: INFO_CGROUPID | INFO_EXIT,
        ..RawInfo::default()
    };
    // SAFETY: `raw` is 64 bytes, the size that the request number names, and lives across the call.
    check(unsafe { libc::c_long::from(libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut raw)) })?;
    Ok(Info {
        cgroup_id: (raw.mask & INFO_CGROUPID != 0).then_some(raw.cgroupid),
        exit_status: (raw.mask & INFO_EXIT != 0).then_some(raw.exit_code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_seen_and_its_status_kept() {
        assert_eq!(size_of::<RawInfo>(), 64);
        let mut command = std::process::Command::new("/bin/sh");
        let mut child = command
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pidfd = open(child.id() as i32).unwrap();
        assert!(!wait_exit(pidfd.as_fd(), Some(Duration::ZERO)).unwrap());
        send_signal(pidfd.as_fd(), 0).unwrap();
        drop(child.stdin.take());
        assert!(wait_exit(pidfd.as_fd(), None).unwrap());
        child.wait().unwrap();
        // Older kernels know no such request; this is the kernel's answer, not ours.
        if let Ok(info) = info(pidfd.as_fd()) {
            assert_eq!(info.exit_status, Some(7 << 8));
        }
        assert_eq!(
            send_signal(pidfd.as_fd(), 0).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }
}
