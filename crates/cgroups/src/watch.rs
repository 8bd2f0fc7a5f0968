//! Events of a group as they happen: out of memory, and the end.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::group::{Group, write};
use crate::{Error, Version};

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// The time is over.
    Nothing,
    /// The group ran out of memory.
    OutOfMemory,
    /// Nobody is left in the group, or it is gone.
    End,
}

/// Watches one group.
#[derive(Debug)]
pub struct Watch {
    dir: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// v1: an eventfd, told by the kernel.
    Legacy(OwnedFd),
    /// v2: changes of `memory.events` and `cgroup.events`, and how many were killed when we last looked.
    Unified(OwnedFd, u64),
}

impl Watch {
    /// Begins to watch.
    pub fn new(group: &Group) -> Result<Self, Error> {
        let missing = || Error::NoController {
            controller: "memory".into(),
            file: "memory.events".into(),
        };
        let dir = group.directory_of("memory").ok_or_else(missing)?.to_owned();
        let failed = |path: PathBuf| {
            move |error: Errno| Error::Watch {
                path,
                source: error.into(),
            }
        };
        let kind = match group.version() {
            Version::V1 => {
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(failed(dir.clone()))?;
                let path = dir.join("memory.oom_control");
                let control = fs::File::open(&path).map_err(|source| Error::Watch { path, source })?;
                let text = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                write(&dir.join("cgroup.event_control"), &text)?;
                Kind::Legacy(event)
            }
            Version::V2 => {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let queue = inotify::init(flags).map_err(failed(dir.clone()))?;
                for name in ["memory.events", "cgroup.events"] {
                    let path = dir.join(name);
                    inotify::add_watch(&queue, &path, inotify::WatchFlags::MODIFY).map_err(failed(path))?;
                }
                Kind::Unified(queue, kills(&dir))
            }
        };
        Ok(Self { dir, kind })
    }

    /// Waits for the next event, at most `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Noticed, Error> {
        let failed = |source: io::Error| Error::Watch {
            path: self.dir.clone(),
            source,
        };
        let fd = match &self.kind {
            Kind::Legacy(fd) | Kind::Unified(fd, _) => fd.as_fd(),
        };
        let timeout = Timespec::try_from(patience).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Noticed::Nothing),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        // What it says matters less than that it says something.
        let mut buffer = [0; 4096];
        match rustix::io::read(fd, &mut buffer) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        match &mut self.kind {
            // The kernel also tells when the group is removed.
            Kind::Legacy(_) if !self.dir.join("cgroup.event_control").exists() => Ok(Noticed::End),
            Kind::Legacy(_) => Ok(Noticed::OutOfMemory),
            Kind::Unified(_, before) => {
                let now = kills(&self.dir);
                if now > *before {
                    *before = now;
                    return Ok(Noticed::OutOfMemory);
                }
                let populated = fs::read_to_string(self.dir.join("cgroup.events"))
                    .is_ok_and(|text| text.lines().any(|line| line == "populated 1"));
                Ok(if populated { Noticed::Nothing } else { Noticed::End })
            }
        }
    }
}

fn kills(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("memory.events")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap_or(0)
}
