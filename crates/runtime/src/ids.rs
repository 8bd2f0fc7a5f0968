//! Ids of user namespaces: whether a configuration's can be had, and the maps of a new namespace, written by us or by the
//! programs of `newuidmap(1)`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lighter_sys::{namespace as ns, process as p};

use crate::config::{IdMapping, Linux, Process};
use crate::error::{Context, Error, Result};

/// Whether the runtime is an ordinary user, who has power only over namespaces of their own.
pub(crate) fn ordinary() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether we are in a user namespace other than the first, as far as its map tells.
pub(crate) fn inside() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|text| !text.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// The ranges of a container's user namespace.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

impl Maps {
    /// Those of a new namespace, as the configuration has them, or those of the one that is joined (`None`: no user
    /// namespace). A configuration that names both a namespace and its maps must be right about them.
    pub(crate) fn of(linux: &Linux, new: bool, joined: Option<&File>) -> Result<Option<Self>> {
        let refuse = |text: &str| Err(Error::Config(text.to_owned()));
        let (uids, gids) = (&linux.uid_mappings, &linux.gid_mappings);
        let given = !uids.is_empty() || !gids.is_empty();
        if let Some(file) = joined {
            // Only who must compare pays for reading them: the rest is found out by the kernel.
            if !given {
                return Ok(None);
            }
            let maps = Self::read(file)?;
            if maps.uids != *uids || maps.gids != *gids {
                return refuse(
                    "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
                );
            }
            return Ok(Some(maps));
        }
        if !new {
            // Without a user namespace there is nothing that they could map: passed over, as by runc and crun.
            return Ok(None);
        }
        if !given {
            return refuse(
                "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
            );
        }
        if uids.is_empty() {
            return refuse("user namespaces enabled, but no uid mappings found");
        }
        if gids.is_empty() {
            return refuse("user namespaces enabled, but no gid mappings found");
        }
        check(uids, "uid")?;
        check(gids, "gid")?;
        Ok(Some(Self {
            uids: uids.clone(),
            gids: gids.clone(),
        }))
    }

    /// Reads the maps of a namespace that is not ours, through a process in it.
    fn read(file: &File) -> Result<Self> {
        let (ours, theirs) = crate::sync::Channel::pair()?;
        let pid = match p::fork(0, None).doing("start a process to read a user namespace's mappings")? {
            p::Fork::Child => {
                drop(ours);
                let joined = ns::join(file.as_fd(), ns::USER);
                let told = match joined {
                    Ok(()) => theirs.say_ready().and_then(|()| theirs.await_go().map(drop)),
                    Err(error) => {
                        theirs.say_failed(&crate::program::words(error));
                        Ok(())
                    }
                };
                p::exit_now(i32::from(told.is_err()))
            }
            p::Fork::Parent { pid, .. } => pid,
        };
        drop(theirs);
        let result = match ours.hear() {
            Ok(crate::sync::Said::Ready) => read_map(pid, "uid_map")
                .and_then(|uids| read_map(pid, "gid_map").map(|gids| Self { uids, gids })),
            Ok(crate::sync::Said::Failed(text)) => Err(Error::Config(format!(
                "failed to cache mappings for userns: {text}"
            ))),
            Ok(_) => Err(Error::Config("failed to cache mappings for userns".into())),
            Err(error) => Err(error),
        };
        drop(ours);
        let _ = rustix::process::waitpid(
            rustix::process::Pid::from_raw(pid),
            rustix::process::WaitOptions::empty(),
        );
        result
    }

    /// Refuses a process whose ids have no place in the namespace.
    pub(crate) fn check_process(&self, process: &Process) -> Result<()> {
        let user = &process.user;
        if !has(&self.uids, user.uid) {
            return Err(Error::Config(format!(
                "process.user.uid: cannot setuid to unmapped uid {} in user namespace",
                user.uid
            )));
        }
        if !has(&self.gids, user.gid) {
            return Err(Error::Config(format!(
                "process.user.gid: cannot setgid to unmapped gid {} in user namespace",
                user.gid
            )));
        }
        Ok(())
    }

    /// Writes the maps of the namespace that `pid`, a child that waits, was born into. `path`: the `PATH` in which an
    /// ordinary user's helpers are found.
    pub(crate) fn write(&self, pid: i32, path: Option<&str>) -> Result<()> {
        let user = rustix::process::geteuid();
        let group = rustix::process::getegid();
        if user.is_root() {
            write_map(pid, "uid_map", &self.uids)?;
            return write_map(pid, "gid_map", &self.gids);
        }
        // The kernel lets an ordinary user map their own id and no other.
        if own(&self.uids, user.as_raw()) {
            write_map(pid, "uid_map", &self.uids)?;
        } else {
            help("newuidmap", pid, &self.uids, path)?;
        }
        if own(&self.gids, group.as_raw()) {
            // To drop a group may be to gain what it is denied: so the kernel wants that given up first.
            let file = format!("/proc/{pid}/setgroups");
            fs::write(&file, "deny").on("write", file)?;
            write_map(pid, "gid_map", &self.gids)
        } else {
            help("newgidmap", pid, &self.gids, path)
        }
    }
}

fn has(map: &[IdMapping], id: u32) -> bool {
    map.iter()
        .any(|range| id >= range.container_id && id - range.container_id < range.size)
}

fn own(map: &[IdMapping], id: u32) -> bool {
    matches!(map, [range] if range.size == 1 && range.host_id == id)
}

/// What the kernel would refuse with a bare `EINVAL`.
fn check(map: &[IdMapping], what: &str) -> Result<()> {
    let refuse =
        |at: usize, reason: &str| Err(Error::Config(format!("linux.{what}Mappings[{at}]: {reason}")));
    for (at, range) in map.iter().enumerate() {
        if range.size == 0 {
            return refuse(at, "size must not be 0");
        }
        let last = range.size - 1;
        if range.container_id.checked_add(last).is_none() || range.host_id.checked_add(last).is_none() {
            return refuse(at, "range goes beyond the last id");
        }
        for earlier in &map[..at] {
            let overlap = |a: u32, b: u32| a <= b + (earlier.size - 1) && b <= a + last;
            if overlap(range.container_id, earlier.container_id) || overlap(range.host_id, earlier.host_id) {
                return refuse(at, "range overlaps an earlier one");
            }
        }
    }
    Ok(())
}

fn read_map(pid: i32, name: &str) -> Result<Vec<IdMapping>> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    let text = fs::read_to_string(&path).on("read", &path)?;
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        Some(IdMapping {
            container_id: numbers.next()?.ok()?,
            host_id: numbers.next()?.ok()?,
            size: numbers.next()?.ok()?,
        })
    };
    Ok(text.lines().filter_map(range).collect())
}

fn write_map(pid: i32, name: &str, map: &[IdMapping]) -> Result<()> {
    let text: String = map
        .iter()
        .map(|range| format!("{} {} {}\n", range.container_id, range.host_id, range.size))
        .collect();
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    fs::write(&path, text).on("write", path)
}

/// Lets the set-user-id helper write a map that the user is granted in `/etc/subuid` or `/etc/subgid`.
fn help(name: &str, pid: i32, map: &[IdMapping], path: Option<&str>) -> Result<()> {
    let program = path
        .unwrap_or_default()
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Path::new(dir).join(name))
        .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            Error::Config(format!(
                "cannot map more than your own id: {name} is not in PATH (package uidmap, and ranges of yours in /etc/subuid and /etc/subgid)"
            ))
        })?;
    let numbers = map
        .iter()
        .flat_map(|range| [range.container_id, range.host_id, range.size])
        .map(|number| number.to_string());
    let output = Command::new(&program)
        .arg(pid.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .output()
        .on("run", &program)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
