//! Processes: fork into namespaces and cgroups, attributes that rustix has in another form.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Which side of a [`fork`] runs.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new process, in the caller's PID namespace.
        pid: i32,
        /// The same by descriptor, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// `struct clone_args` up to `cgroup` (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The constant of libc is deprecated for its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks this process, which must have one thread (`EINVAL` else), into new namespaces of the kinds in `kinds`
/// ([`crate::namespace`]) and, when given, into the cgroup v2 directory `cgroup`. `clone3(2)`.
///
/// The C library is not told: the child must not make threads or use its `fork`.
pub fn fork(kinds: u32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    fork_as(kinds, cgroup, false)
}

/// Like [`fork`], but the new process is a sibling: a child of the caller's parent. (`CLONE_PARENT`.)
pub fn fork_sibling(kinds: u32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    fork_as(kinds, cgroup, true)
}

fn fork_as(kinds: u32, cgroup: Option<BorrowedFd<'_>>, sibling: bool) -> io::Result<Fork> {
    // With one thread this is a no-op, with more it is refused: the cheapest way to know.
    // SAFETY: no flag that changes anything for a process with one thread.
    check(unsafe { libc::c_long::from(libc::unshare(libc::CLONE_THREAD)) })?;
    let known = crate::namespace::MOUNT
        | crate::namespace::PID
        | crate::namespace::NETWORK
        | crate::namespace::IPC
        | crate::namespace::UTS
        | crate::namespace::USER
        | crate::namespace::CGROUP
        | crate::namespace::TIME;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: u64::from(kinds & known) | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if sibling {
        args.flags |= libc::CLONE_PARENT as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of the whole address space and goes on here, on the same
    // stack; there is no other thread whose locks it could inherit. `args` and `pidfd` outlive the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: CLONE_PIDFD succeeded, so the kernel stored a new descriptor there, ours alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Fork::Parent {
        pid: pid as i32,
        pidfd,
    })
}
/// Ends this process at once: no destructors, no exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Sends `signal` (any number) to `pid`: 0 and below have the meanings of `kill(2)`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::c_long::from(libc::kill(pid, signal)) }).map(drop)
}

/// Becomes the parent of orphaned descendants. Kept over exec. `PR_SET_CHILD_SUBREAPER`.
pub fn set_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Whether others may trace this process and open what hangs below its `/proc/PID`. `PR_SET_DUMPABLE`.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable))
}

/// Asks for `signal` (0: none) when the thread that made this process ends. `PR_SET_PDEATHSIG`.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong)
}

/// No exec gives privileges from now on. `PR_SET_NO_NEW_PRIVS`.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

fn prctl(operation: i32, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the operations above take one integer; the unused arguments must be zero.
    check(unsafe { libc::c_long::from(libc::prctl(operation, value, 0, 0, 0)) }).map(drop)
}

/// Gives this process every signal's default action and an empty mask: what a program expects that starts anew. Also of
/// those that our caller ignores, as a script does for what it starts in the background.
pub fn reset_signals() {
    reset_ignored(u32::MAX);
}

extern "C" fn end(signal: libc::c_int) {
    // SAFETY: async-signal-safe, and does not return.
    unsafe { libc::_exit(128 + signal) }
}

/// Makes SIGTERM end the process, also where it is the first of a PID namespace, which only signals with a handler reach.
/// Until the exec.
pub fn end_on_sigterm() -> io::Result<()> {
    // SAFETY: the handler only calls what a handler may call, with a signature that fits.
    let old = unsafe {
        libc::signal(
            libc::SIGTERM,
            end as extern "C" fn(libc::c_int) as libc::sighandler_t,
        )
    };
    if old == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Like [`reset_signals`] for who knows which signals are ignored: bit n is signal n + 1. SIGPIPE is always among them.
pub fn reset_ignored(ignored: u32) {
    let ignored = ignored | 1 << (libc::SIGPIPE - 1);
    // SAFETY: an all-zero sigset is written by sigemptyset before use; setting SIG_DFL runs no code of ours. Signals
    // that have no settable action answer EINVAL, which is the wished state already.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in (1..=31).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Sets whether a write to a pipe that nobody reads is an error only, or ends this process. Answers what it was.
pub fn ignore_broken_pipes(ignore: bool) -> bool {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action is code of ours.
    unsafe { libc::signal(libc::SIGPIPE, action) == libc::SIG_IGN }
}

/// Sets a resource limit of `pid` (0: the caller) by the kernel's number (`RLIMIT_*`). `RLIM_INFINITY` is `u64::MAX`.
/// `prlimit(2)`.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is read during the call only; a null old limit is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Reads a resource limit: soft, hard. `prlimit(2)`.
pub fn rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a null new limit is allowed; `limit` is written during the call only.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the supplementary groups of the calling thread.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length of a live slice; raw call, so that only this thread changes, and it is the only one
    // that the callers of this crate have.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets real, effective and saved group id of the calling thread.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets real, effective and saved user id of the calling thread.
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Replaces the session keyring by the one called `name`: a new one unless the caller may search one of that name.
/// `shared`: others of the same user may. `keyctl(2)`, `KEYCTL_JOIN_SESSION_KEYRING`, `KEYCTL_SETPERM`.
pub fn new_session_keyring(name: &std::ffi::CStr, shared: bool) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const SET_PERMISSIONS: libc::c_long = 5;
    // What a new one has (everything for who possesses it; view, read and link for its user), and search.
    const PERMISSIONS: libc::c_long = 0x3f1b_0000;
    // SAFETY: a C string that lives across the call.
    let id = check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    if !shared {
        return Ok(());
    }
    // SAFETY: integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, id, PERMISSIONS) }).map(drop)
}

/// Sets the execution domain. `personality(2)`.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: an integer.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_is_refused_with_threads() {
        // The test harness itself runs this in a second thread.
        assert_eq!(fork(0, None).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
