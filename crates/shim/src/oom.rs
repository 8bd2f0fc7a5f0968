//! Telling OOM kills when they happen, not when somebody looks.
//!
//! cgroup v2: a poll of `memory.events` wakes whenever one of its numbers changes. v1: an eventfd that is registered
//! in `cgroup.event_control` wakes at an OOM, a moment before the kill is counted. The count in either file is the
//! fact; the wake-up only says when to look.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};

use crate::cgroup;
use crate::poll::{Kind, PRIORITY, Poll, READ, Token, Watched};
use crate::server::Server;
use lighter_shim_api::events::TaskOom;

/// How long to look for a kill that was announced, in milliseconds.
const ANNOUNCED: u64 = 1000;

/// A descriptor that wakes.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: Watched,
    /// v1: the count comes after the wake-up.
    early: bool,
}

impl Watch {
    /// Watches the cgroup at `dir` for the container whose first process has number `process`.
    pub(crate) fn new(dir: &Path, process: u32, poll: &Poll) -> io::Result<Self> {
        let token = Token::new(Kind::Oom, process, 0);
        let read_only = OFlags::RDONLY | OFlags::CLOEXEC;
        let (fd, early, flags) = match open(dir.join("memory.events"), read_only, Mode::empty()) {
            Ok(file) => {
                drain(&file);
                (file, false, PRIORITY)
            }
            Err(_) => (register(dir)?, true, READ),
        };
        let mut fd = Watched::new(fd, token);
        fd.want(poll, flags);
        Ok(Self { fd, early })
    }

    /// Takes the wake-up. `false`: the cgroup is gone.
    fn take(&self) -> bool {
        drain(&self.fd)
    }
}

/// Reads what there is: until then the kernel wakes again and again. `false`: it cannot be read any more.
fn drain(fd: &impl std::os::fd::AsFd) -> bool {
    let mut buffer = [0; 512];
    // A cgroup's file keeps a position; an eventfd has none and says so.
    let _ = rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0));
    !matches!(rustix::io::read(fd, &mut buffer), Err(error) if error != rustix::io::Errno::AGAIN)
}

fn register(dir: &Path) -> io::Result<OwnedFd> {
    let read_only = OFlags::RDONLY | OFlags::CLOEXEC;
    let control = open(dir.join("memory.oom_control"), read_only, Mode::empty())?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let text = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    let write_only = OFlags::WRONLY | OFlags::CLOEXEC;
    let to = open(dir.join("cgroup.event_control"), write_only, Mode::empty())?;
    rustix::io::write(&to, text.as_bytes())?;
    Ok(event)
}

impl Server {
    /// Begins to watch a container that was made.
    pub(crate) fn watch_oom(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(dir) = &container.cgroup else { return };
        container.oom_kills = cgroup::oom_kills(dir);
        // Without a watch, kills are told with the exit of a process.
        container.oom = Watch::new(dir, container.init, &self.poll).ok();
    }

    /// Something happened to the memory of the container whose first process has this number.
    pub(crate) fn oom_woke(&mut self, number: u32) {
        let now = self.now();
        let Some((id, container)) = self
            .containers
            .iter_mut()
            .find(|(_, container)| container.init == number)
        else {
            return;
        };
        let id = id.clone();
        if let Some(watch) = &container.oom {
            let early = watch.early;
            if !watch.take() || container.cgroup.as_ref().is_some_and(|dir| !dir.exists()) {
                container.oom = None;
            }
            container.oom_announced = early.then_some(now);
        }
        self.tell_oom(&id);
    }

    /// Looks for kills that were announced and not counted yet.
    pub(crate) fn look_for_oom(&mut self) {
        let announced: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.oom_announced.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        let now = self.now();
        for id in announced {
            let told = self.tell_oom(&id);
            if let Some(container) = self.containers.get_mut(&id) {
                let old = container
                    .oom_announced
                    .is_some_and(|since| crate::server::milliseconds(since, now) > ANNOUNCED);
                if told || old {
                    container.oom_announced = None;
                }
            }
        }
    }

    /// Tells kills that were not told yet. `true`: there were some.
    pub(crate) fn tell_oom(&mut self, id: &str) -> bool {
        let Some(container) = self.containers.get_mut(id) else {
            return false;
        };
        let kills = container.cgroup.as_deref().map_or(0, cgroup::oom_kills);
        if kills <= container.oom_kills {
            return false;
        }
        container.oom_kills = kills;
        let event = TaskOom {
            container_id: id.to_owned(),
        };
        let now = crate::server::timestamp(self.now());
        self.publisher.publish(&event, now, &self.poll);
        true
    }
}
