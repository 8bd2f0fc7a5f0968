//! The commands that act on a container that is there.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::create::oci_state;
use crate::error::{Context, Error, Result};
use crate::state::{FIFO, Home, Record, Status};
use crate::{hooks, log};

const SIGKILL: i32 = 9;

/// Lets a created container's process run.
pub(crate) fn start(home: &Home, record: &Record) -> Result<()> {
    match home.status(record) {
        Status::Created => {}
        Status::Stopped => return Err(Error::State("cannot start a container that has stopped".into())),
        Status::Running => return Err(Error::State("cannot start an already running container".into())),
        Status::Paused => {
            return Err(Error::State(
                "cannot start a container in the paused state".into(),
            ));
        }
        Status::Creating => {
            return Err(Error::State(
                "cannot start a container that is being created".into(),
            ));
        }
    }
    let_go(home, record)
}

/// [`start`] of a container that waits for it, as its caller knows.
pub(crate) fn let_go(home: &Home, record: &Record) -> Result<()> {
    let path = home.file(FIFO);
    let fifo = match rustix::fs::open(
        &path,
        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        // Nobody reads: it died since we looked.
        Err(Errno::NXIO) => return Err(Error::State("cannot start a container that has stopped".into())),
        result => result.on("open", &path)?,
    };
    // First the name, so that of two starts one fails, then the byte.
    fs::remove_file(&path).on("remove", &path)?;
    rustix::io::write(&fifo, b"0").on("write", &path)?;
    begun(record)
}

/// What follows the start.
pub(crate) fn begun(record: &Record) -> Result<()> {
    if !record.poststart.is_empty() {
        let state = oci_state(record, "running", record.pid);
        let around = hooks::Surroundings {
            directory: Some(&record.bundle),
            ..hooks::Surroundings::default()
        };
        if let Err(error) = hooks::run("poststart", &record.poststart, &state, around) {
            // As runc: a container whose poststart hook fails is not let live.
            let _ = lighter_sys::process::kill(record.pid, SIGKILL);
            return Err(error);
        }
    }
    Ok(())
}

/// Sends a signal. `all`: to every process of the container, also when the first is gone.
pub(crate) fn kill(home: &Home, record: &Record, signal: i32, all: bool) -> Result<()> {
    let group = record.group();
    let own_pids = record
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == "pid" && namespace.path.as_os_str().is_empty());
    let alive = home.status(record) != Status::Stopped && record.pid != 0;
    // Without a PID namespace of its own the first process takes nobody with it.
    if (all || (signal == SIGKILL && !own_pids)) && group.exists() {
        return Ok(group.signal(signal)?);
    }
    if !alive {
        return if all {
            Ok(())
        } else {
            Err(Error::State("container not running".into()))
        };
    }
    let pidfd = match lighter_sys::pidfd::open(record.pid) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            return Err(Error::State("container not running".into()));
        }
        result => result.doing("open the container's process")?,
    };
    if !record.is_alive() {
        return Err(Error::State("container not running".into()));
    }
    match lighter_sys::pidfd::send_signal(pidfd.as_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            return Err(Error::State("container not running".into()));
        }
        result => result.doing("signal the container's process")?,
    }
    if signal == SIGKILL && group.wants_frozen() {
        // A process frozen by v1 does not even die.
        group.freeze(false)?;
    }
    Ok(())
}

/// Removes a container and everything of it.
pub(crate) fn delete(home: &Home, force: bool) -> Result<()> {
    let mut loaded = home.load();
    if loaded.as_ref().is_ok_and(|record| record.pid == 0) {
        // Somebody creates it, or died doing so.
        let _lock = home.lock();
        loaded = home.load();
    }
    let record = match loaded {
        Ok(record) => record,
        Err(Error::NoContainer) if home.dir.try_exists().on("look at", &home.dir)? => {
            // A create that was killed before it had written anything.
            return if force {
                home.remove()
            } else {
                Err(Error::NoContainer)
            };
        }
        Err(Error::NoContainer) if force => return Ok(()),
        // Also with force: to forget a record that we cannot read would leave its processes and its cgroup behind for good.
        Err(error) => return Err(error),
    };
    let status = home.status(&record);
    match status {
        Status::Stopped => {}
        Status::Created | Status::Creating => {}
        _ if force => {}
        _ => {
            return Err(Error::State(format!(
                "cannot delete container {} that is not stopped: {}",
                record.id,
                status.name()
            )));
        }
    }
    if status != Status::Stopped {
        end(&record)?;
    }
    forget(home, &record, status, true)
}

/// The end of [`delete`]: of a container whose first process is gone, or was not there yet. `waited`: whether it may have left
/// what it waited at for `start`.
pub(crate) fn forget(home: &Home, record: &Record, status: Status, waited: bool) -> Result<()> {
    let group = record.group();
    let own_pids = record
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == "pid" && namespace.path.as_os_str().is_empty());
    // With a PID namespace of its own nobody can be left.
    if (!own_pids || status == Status::Creating) && group.exists() {
        group.signal(SIGKILL)?;
    }
    // The record goes last: as long as a group is there, the next `delete` finds it.
    group.remove()?;
    if let Some(before) = record.host_view {
        before.restore(&record.rootfs)?;
    }
    let forgotten = home.remove_files(record.seccomp_flags.is_some(), waited);
    if !record.poststop.is_empty() {
        let state = oci_state(record, "stopped", 0);
        // The bundle may be gone by now.
        let around = hooks::Surroundings {
            directory: Some(record.bundle.as_path()).filter(|bundle| bundle.is_dir()),
            ..hooks::Surroundings::default()
        };
        for hook in &record.poststop {
            // Each runs, whatever the one before did; runc only logs their failures.
            if let Err(error) = hooks::run("poststop", std::slice::from_ref(hook), &state, around) {
                log::warn(format_args!("{}", lighter_stdx::error::chain(&error)));
            }
        }
    }
    forgotten
}

/// Kills the first process and waits until it is gone.
fn end(record: &Record) -> Result<()> {
    if record.pid == 0 || !record.is_alive() {
        return Ok(());
    }
    // Gone meanwhile is as good; any other failure leaves it alive, and so the container is not forgotten.
    let gone = |error: &std::io::Error| error.raw_os_error() == Some(Errno::SRCH.raw_os_error());
    let pidfd = match lighter_sys::pidfd::open(record.pid) {
        Err(error) if gone(&error) => return Ok(()),
        result => result.doing("open the container's process")?,
    };
    if !record.is_alive() {
        return Ok(());
    }
    match lighter_sys::pidfd::send_signal(pidfd.as_fd(), SIGKILL) {
        Err(error) if !gone(&error) => return Err(error).doing("kill the container's process"),
        _ => {}
    }
    let group = record.group();
    if group.wants_frozen() {
        group.freeze(false)?;
    }
    match lighter_sys::pidfd::wait_exit(pidfd.as_fd(), Some(Duration::from_secs(10))) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::State("container init still running".into())),
        Err(error) => Err(error).doing("wait for the container's process"),
    }
}

/// Stops or continues all processes.
pub(crate) fn freeze(home: &Home, record: &Record, frozen: bool) -> Result<()> {
    let status = home.status(record);
    match (frozen, status) {
        (true, Status::Running | Status::Created) | (false, Status::Paused) => {
            Ok(record.group().freeze(frozen)?)
        }
        (true, _) => Err(Error::State("container not running".into())),
        (false, _) => Err(Error::State("container not paused".into())),
    }
}

/// All containers below `root`, sorted by name. What cannot be read is left out.
pub(crate) fn all(root: &Path) -> Result<Vec<(Home, Record)>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.on("read", root)?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(home) = entry.file_name().to_str().and_then(|id| Home::new(root, id).ok()) else {
            continue;
        };
        if let Ok(record) = home.load() {
            found.push((home, record));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
    Ok(found)
}

/// A signal by number or name, with or without `SIG`. None is SIGTERM.
pub(crate) fn signal(text: &str) -> Result<i32> {
    const NAMES: [&str; 32] = [
        "EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
        "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let unknown = || Error::Usage(format!("unknown signal {text:?}"));
    if text.is_empty() {
        return Ok(15);
    }
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = |index: usize| i32::try_from(index).map_err(|_| unknown());
    match name {
        "IOT" => return Ok(6),
        "POLL" => return Ok(29),
        "CLD" => return Ok(17),
        _ => {}
    }
    if let Some(index) = NAMES
        .iter()
        .position(|known| *known == name)
        .filter(|index| *index > 0)
    {
        return number(index);
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest.get(1..)?.parse::<i32>().ok()
        }
    };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest).map(|offset| 34 + offset),
        (_, Some(rest)) => offset(rest).map(|offset| 64 - offset),
        _ => None,
    };
    real_time
        .filter(|number| (34..=64).contains(number))
        .ok_or_else(unknown)
}

/// Process ids, in the host's PID namespace.
pub(crate) fn processes(record: &Record) -> Result<Vec<i32>> {
    Ok(record.group().processes()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("KILL", 9),
            ("", 15),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("1", 1),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["SIG", "FOO", "65", "-1", "RTMIN+99"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
