//! Where output goes that containerd's clients ask for: fifos, files, logging programs.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};

use crate::fifo::{self, Opened, Unread};
use crate::poll::{Kind, NOTHING, Outbox, Poll, Token, WRITE, Watched};

/// One destination of one stream. What it does not take now waits, and the stream with it.
#[derive(Debug)]
pub(crate) struct Sink {
    target: Target,
    out: Outbox,
    token: Token,
}

#[derive(Debug)]
enum Target {
    /// A fifo that nobody reads yet. What would be written and closed before its reader comes were lost.
    Waiting(String, Unread),
    /// Between two others.
    None,
    /// May not take everything at once.
    Watched {
        fd: Watched,
        /// Holds a fifo open, so that it never breaks.
        _reader: Option<OwnedFd>,
    },
    /// A regular file, shared by both streams when they name the same.
    File(Rc<OwnedFd>),
}

impl Sink {
    /// A fifo, opened when somebody reads it. The error is of one that cannot be opened at all.
    pub(crate) fn fifo(path: &str, process: u32, stream: u32, poll: &Poll) -> std::io::Result<Self> {
        let token = Token::new(Kind::Sink, process, stream);
        let target = match fifo::open(path, token, poll)? {
            Opened::Read(end) => read_by_somebody(path, end, token),
            Opened::Unread(unread) => Target::Waiting(path.to_owned(), unread),
        };
        Ok(Self {
            target,
            out: Outbox::default(),
            token,
        })
    }

    pub(crate) fn pipe(fd: OwnedFd, process: u32, stream: u32) -> Self {
        let token = Token::new(Kind::Sink, process, stream);
        Self {
            target: Target::Watched {
                fd: Watched::new(fd, token),
                _reader: None,
            },
            out: Outbox::default(),
            token,
        }
    }

    pub(crate) fn file(fd: Rc<OwnedFd>, process: u32, stream: u32) -> Self {
        let token = Token::new(Kind::Sink, process, stream);
        Self {
            target: Target::File(fd),
            out: Outbox::default(),
            token,
        }
    }

    /// Looks whether a fifo's reader has come.
    pub(crate) fn look(&mut self, poll: &Poll) {
        self.target = match std::mem::replace(&mut self.target, Target::None) {
            Target::Waiting(path, unread) => match unread.look(poll) {
                Opened::Read(end) => read_by_somebody(&path, end, self.token),
                Opened::Unread(unread) => Target::Waiting(path, unread),
            },
            other => other,
        };
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.target, Target::Waiting(..))
    }

    /// A fifo without a reader that nothing wakes us for.
    pub(crate) fn must_be_looked_at(&self) -> bool {
        matches!(&self.target, Target::Waiting(_, unread) if unread.must_be_looked_at())
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn push(&mut self, bytes: &[u8], poll: &Poll) -> bool {
        self.out.push(bytes);
        self.flush(poll)
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn flush(&mut self, poll: &Poll) -> bool {
        self.look(poll);
        match &mut self.target {
            Target::Waiting(..) | Target::None => true,
            Target::Watched { fd, .. } => {
                let alive = self.out.flush(&*fd);
                fd.want(poll, if self.out.is_empty() { NOTHING } else { WRITE });
                alive
            }
            // A full disk loses output, as it must; it does not stop the container.
            Target::File(fd) => self.out.flush(&**fd),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_waiting() || !self.out.is_empty()
    }
}

/// Our own reading end keeps a fifo whole when its reader goes and comes again.
fn read_by_somebody(path: &str, end: OwnedFd, token: Token) -> Target {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Target::Watched {
        fd: Watched::new(end, token),
        _reader: rustix::fs::open(path, flags, Mode::empty()).ok(),
    }
}
