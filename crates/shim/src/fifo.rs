//! A fifo that nobody reads yet, and how its first reader is noticed without looking again and again.
//!
//! A writing end opened through a moment's reading end of our own makes no other's open wait. It tells by its poll whether
//! anybody reads (`POLLERR`: nobody, see `fifo(7)` and `pipe_poll` in the kernel); an inotify watch tells when to
//! look: whoever opens the fifo wakes it, and we do not open it any more.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::poll::{Poll, READ, Token, Watched};

/// What an attempt to open a fifo for writing gave.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Somebody reads it.
    Read(OwnedFd),
    /// Nobody does.
    Unread(Unread),
}

/// A fifo without a reader.
#[derive(Debug)]
pub(crate) struct Unread {
    end: OwnedFd,
    /// Wakes when somebody opens it; `None` when the kernel has no more of them for this user: then it must be looked at.
    watch: Option<Watched>,
}

/// Opens the fifo at `path` for writing; wakes of one without a reader come as `token`.
pub(crate) fn open(path: &str, token: Token, poll: &Poll) -> io::Result<Opened> {
    let open = |flags| rustix::fs::open(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let writing = OFlags::WRONLY | OFlags::APPEND;
    match open(writing) {
        Ok(end) => return Ok(Opened::Read(end)),
        Err(Errno::NXIO) => {}
        Err(error) => return Err(error.into()),
    }
    let own = open(OFlags::RDONLY)?;
    let end = open(writing)?;
    drop(own);
    // From here on nothing of ours opens it: every wake is somebody else's.
    let watch = watch(path).map(|fd| Watched::new(fd, token));
    Ok(Unread { end, watch }.look(poll))
}

fn watch(path: &str) -> Option<OwnedFd> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&fd, path, WatchFlags::OPEN).ok()?;
    Some(fd)
}

impl Unread {
    /// The writing end, once somebody reads; until then the loop is woken when somebody may have come.
    pub(crate) fn look(mut self, poll: &Poll) -> Opened {
        if let Some(watch) = &mut self.watch {
            let mut events = [0; 1024];
            while rustix::io::read(&*watch, &mut events).is_ok_and(|count| count > 0) {}
            // Asked for before the look: who comes in between wakes it.
            watch.want(poll, READ);
        }
        if self.is_read() {
            Opened::Read(self.end)
        } else {
            Opened::Unread(self)
        }
    }

    fn is_read(&self) -> bool {
        let mut asked = [PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::OUT)];
        let now = rustix::time::Timespec::default();
        let _ = rustix::event::poll(&mut asked, Some(&now));
        !asked[0].revents().contains(PollFlags::ERR)
    }

    /// Nothing wakes the loop for it.
    pub(crate) fn must_be_looked_at(&self) -> bool {
        self.watch.is_none()
    }
}
