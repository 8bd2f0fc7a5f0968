//! The cgroup of a container, as far as a supervisor looks at it.

use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// The text of `/proc/PID/cgroup`; empty when the process is gone.
pub(crate) fn of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// The directory of the memory controller (v1), else of the unified hierarchy, in the text of `/proc/PID/cgroup`.
pub(crate) fn directory(text: &str) -> Option<PathBuf> {
    ["memory", "pids", "freezer", ""].iter().find_map(|controller| {
        let dir = directory_in(text, controller)?;
        dir.join("cgroup.procs").exists().then_some(dir)
    })
}

/// The directory of `controller` (empty: the unified hierarchy) in the text of `/proc/PID/cgroup`.
pub(crate) fn directory_in(text: &str, controller: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        if !names.split(',').any(|name| name == controller) {
            return None;
        }
        let hybrid = Path::new(MOUNT).join("unified");
        let mount = match controller {
            "" if hybrid.exists() => hybrid,
            _ => Path::new(MOUNT).join(controller),
        };
        Some(mount.join(path.trim_start_matches('/')))
    })
}

/// OOM kills so far.
pub(crate) fn oom_kills(dir: &Path) -> u64 {
    ["memory.events", "memory.oom_control"]
        .iter()
        .find_map(|file| field(&dir.join(file), "oom_kill"))
        .unwrap_or(0)
}

/// Every process in `dir` and below it.
pub(crate) fn processes(dir: &Path, found: &mut Vec<u32>) {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        processes(&entry.path(), found);
    }
}

/// A number in a file of lines `name number`.
pub(crate) fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name {
            value.trim().parse().ok()
        } else {
            None
        }
    })
}

/// A file that holds one number; `max` is the greatest.
pub(crate) fn number(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}
