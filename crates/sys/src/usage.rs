//! Waiting for a child and learning what it cost.

use std::io;
use std::time::Duration;

/// What a child and those that it reaped itself used. `getrusage(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Raw wait status.
    pub status: i32,
    /// The most memory that one of them had resident, KiB. What the forking process had counts: it is the child's until its exec.
    pub peak_kib: u64,
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
}

impl Usage {
    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }
}

/// Waits for the child `pid` and reaps it. `wait4(2)`.
pub fn wait(pid: i32) -> io::Result<Usage> {
    let mut status = 0;
    // SAFETY: all zero is a value of this plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are of live values that the kernel writes during the call.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |value: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(value.tv_usec).unwrap_or(0))
    };
    Ok(Usage {
        status,
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_reaped_with_its_cost() {
        let mut command = std::process::Command::new("/bin/sh");
        let mut child = command.args(["-c", "exit 3"]).spawn().unwrap();
        let pid = child.id() as i32;
        let usage = wait(pid).unwrap();
        assert_eq!(usage.status, 3 << 8);
        assert!(!usage.succeeded() && usage.peak_kib > 0);
        assert_eq!(wait(pid).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert!(child.wait().is_err(), "reaped already");
    }
}
