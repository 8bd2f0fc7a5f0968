//! What a process is allowed and who it is: limits, capabilities, ids, filter. Shared by the first process and by exec.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use lighter_seccomp::Filter;
use lighter_sys::{process as p, seccomp};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::caps::Sets;
use crate::config::{Process, Rlimit, User};
use crate::error::{Context, Error, Result};
use crate::sync::Channel;

/// In the order of the kernel's numbers.
const LIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

fn limit_number(limit: &Rlimit) -> Option<u32> {
    LIMITS
        .iter()
        .position(|name| limit.kind.strip_prefix("RLIMIT_") == Some(name))
        .and_then(|number| u32::try_from(number).ok())
}

/// Refuses names that Linux does not have, and two limits of one kind.
pub(crate) fn check_limits(limits: &[Rlimit]) -> Result<()> {
    for (at, limit) in limits.iter().enumerate() {
        let reason = if limit_number(limit).is_none() {
            "invalid rlimit type"
        } else if limits[..at].iter().any(|earlier| earlier.kind == limit.kind) {
            "duplicate rlimit type"
        } else if limit.soft > limit.hard {
            "soft limit above the hard one"
        } else {
            continue;
        };
        return Err(Error::Config(format!(
            "process.rlimits[{at}]: {reason}: {:?}",
            limit.kind
        )));
    }
    Ok(())
}

/// Refuses the id that means "no change" to the kernel: such a process would stay root.
pub(crate) fn check_user(user: &User) -> Result<()> {
    for (field, id) in [("uid", user.uid), ("gid", user.gid)]
        .into_iter()
        .chain(user.additional_gids.iter().map(|gid| ("additionalGids", *gid)))
    {
        if id == u32::MAX {
            return Err(Error::Config(format!(
                "process.user.{field}: {id} is no id: the kernel takes it for \"no change\""
            )));
        }
    }
    Ok(())
}

/// Sets resource limits of `pid` (0: the caller), a process that is about to run the user's program. As root of a user
/// namespace it cannot raise its own: then the runtime does.
pub(crate) fn limits(pid: i32, limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        let number = limit_number(limit).unwrap_or(u32::MAX);
        p::set_rlimit(pid, number, limit.soft, limit.hard).map_err(|error| {
            let have = p::rlimit(number).map_or(0, |(_, hard)| hard);
            Error::Config(format!(
                "error setting rlimits for ready process: error setting rlimit type {number}: {} ({} to {}:{}, hard limit here {have})",
                crate::program::words(error),
                limit.kind,
                limit.soft,
                limit.hard,
            ))
        })?;
    }
    Ok(())
}

/// Sets the preference of the OOM killer for `process` (a pid or `self`). To lower it needs CAP_SYS_RESOURCE on the host;
/// to set what is set already must not.
pub(crate) fn oom_score(process: impl std::fmt::Display, value: i32) -> Result<()> {
    let file = format!("/proc/{process}/oom_score_adj");
    let text = value.to_string();
    // Nothing to make or cut, and nothing that its closing tells.
    let write = || {
        let file = std::fs::OpenOptions::new().write(true).open(&file)?;
        let written = rustix::io::write(&file, text.as_bytes());
        lighter_sys::descriptors::close_later(file.into());
        written.map(drop).map_err(std::io::Error::from)
    };
    match write() {
        Err(_) if std::fs::read_to_string(&file).is_ok_and(|now| now.trim() == text) => Ok(()),
        result => result.on("write oom_score_adj: set", file),
    }
}

/// Becomes root of the user namespace that we are in; where it has none, the user of `process`, with all power kept.
pub(crate) fn become_root(process: &Process) -> Result<()> {
    let unmapped = |error: &std::io::Error| error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
    match p::set_gid(0) {
        Err(error) if unmapped(&error) => p::set_gid(process.user.gid),
        result => result,
    }
    .doing("become root of the user namespace")?;
    match p::set_uid(0) {
        // The kernel takes power away from who was root of the namespace, which nobody was.
        Err(error) if unmapped(&error) => p::set_uid(process.user.uid),
        result => result,
    }
    .doing("become root of the user namespace")?;
    p::set_dumpable(false).doing("set dumpable")
}

/// Becomes who `process` says: everything but the filter. The working directory is changed while still privileged, and
/// checked after.
///
/// `limited`: the resource limits are set already, or will be by the runtime.
pub(crate) fn assume(
    process: &Process,
    attributes: &Attributes,
    filter: Option<&Filter>,
    limited: bool,
    channel: &Channel,
) -> Result<()> {
    attributes.apply()?;
    if !limited {
        limits(0, &process.rlimits)?;
    }
    let sets = Sets::new(process.capabilities.as_ref());
    // Without no-new-privileges a filter needs CAP_SYS_ADMIN, which is about to go.
    if process.no_new_privileges {
        p::set_no_new_privs().doing("set no_new_privs")?;
    } else if let Some(filter) = filter {
        install(filter, Some(channel))?;
    }
    sets.limit()?;
    let user = &process.user;
    let entered = enter(&process.cwd);
    // Who becomes root loses none.
    if user.uid != 0 {
        lighter_sys::caps::keep_over_setuid(true).doing("keep capabilities")?;
    }
    groups(&user.additional_gids)?;
    p::set_gid(user.gid).doing("set group id")?;
    p::set_uid(user.uid).doing("set user id")?;
    if entered.is_err() {
        // What root may not enter (a root-squashed share), the user may.
        enter(&process.cwd)?;
    }
    for warning in sets.take()? {
        channel.say_warning(&warning)?;
    }
    inside()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(user.umask.unwrap_or(0o022)));
    Ok(())
}

/// The filter of a process with no-new-privileges, when the runtime must hear of its listener: as late as it still does.
pub(crate) fn filter_with_listener(
    process: &Process,
    filter: Option<&Filter>,
    channel: &Channel,
) -> Result<()> {
    match filter {
        Some(filter) if process.no_new_privileges && filter.has_listener() => install(filter, Some(channel)),
        _ => Ok(()),
    }
}

/// The filter of a process with no-new-privileges: as late as can be.
pub(crate) fn filter_late(process: &Process, filter: Option<&Filter>) -> Result<()> {
    match filter {
        Some(filter) if process.no_new_privileges && !filter.has_listener() => install(filter, None),
        _ => Ok(()),
    }
}

fn install(filter: &Filter, channel: Option<&Channel>) -> Result<()> {
    let listener =
        seccomp::install(&filter.instructions, filter.flags).doing("install the seccomp filter")?;
    match (listener, channel) {
        (Some(listener), Some(channel)) => channel.say_listener(listener, filter.allows("sendmsg")),
        _ => Ok(()),
    }
}

fn groups(gids: &[u32]) -> Result<()> {
    match p::set_groups(gids) {
        // A user namespace without that power, as of an ordinary user.
        Err(error) if gids.is_empty() && error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(()),
        result => result.doing("set supplementary groups"),
    }
}

fn enter(cwd: &Path) -> Result<()> {
    let cwd = if cwd.as_os_str().is_empty() {
        Path::new("/")
    } else {
        cwd
    };
    rustix::process::chdir(cwd).on("chdir to cwd", cwd)
}

/// A working directory outside the root (by a descriptor that leaked, CVE-2024-21626) has no name in it.
fn inside() -> Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Error::Config(
            "current working directory is outside of container mount namespace root -- possible container breakout detected"
                .into(),
        )),
        Err(error) => Err(error).doing("find the working directory"),
    }
}

/// Forgets what our caller made of signals. While `/proc` is the host's: what is ignored stands there, and asking for each
/// signal would be ten times the calls.
pub(crate) fn reset_signals() {
    p::reset_ignored(ignored_signals().unwrap_or(u32::MAX));
}

/// The 31st field of `/proc/PID/stat` after the name (`proc_pid_stat(5)`): signals 1 to 31.
fn ignored_signals() -> Option<u32> {
    let file = rustix::fs::open(
        "/proc/self/stat",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    let mut buffer = [0; 1024];
    let length = rustix::io::read(&file, &mut buffer);
    lighter_sys::descriptors::close_later(file);
    let length = length.ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(30)?.parse().ok()
}

/// Gives stdio to the user, so that `/dev/stdout` can be opened again; what is not a file of ours stays.
///
/// `inside`: a null device of the host's becomes the container's own, in whose root the caller is. One of the host's keeps
/// its mount in use, and a checkpoint could not name it.
pub(crate) fn own_stdio(uid: u32, inside: bool) {
    let fds = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let mut null = None;
    for (number, fd) in (0..).zip(fds) {
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        if stat.st_rdev == NULL {
            if inside && let Some(own) = null.get_or_insert_with(own_null) {
                // It was open, so this cannot fail; and if it did, the host's would still do.
                let _ = lighter_sys::descriptors::duplicate_to(own.as_fd(), number);
            }
        } else if uid != 0 && stat.st_uid != uid {
            // EROFS, EPERM, EINVAL: then it stays whose it is.
            let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

/// The null device's number: 1:3. Source: the kernel's admin-guide/devices.rst.
const NULL: u64 = 1 << 8 | 3;

/// The null device of the root that we are in, where it has one that may be opened.
fn own_null() -> Option<OwnedFd> {
    let path = "/dev/null";
    let is_null = |stat: &rustix::fs::Stat| stat.st_rdev == NULL;
    // Looked at first: to open another device may do something.
    rustix::fs::lstat(path).ok().filter(is_null)?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
}
