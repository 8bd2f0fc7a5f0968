//! Where output goes that containerd's clients ask for: fifos, files, logging programs.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

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
    Waiting(String),
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
    pub(crate) fn fifo(path: &str, process: u32, stream: u32) -> std::io::Result<Self> {
        let target = Target::Waiting(path.to_owned());
        let mut sink = Self {
            target,
            out: Outbox::default(),
            token: Token::new(Kind::Sink, process, stream),
        };
        sink.open()?;
        Ok(sink)
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

    /// Tries to open a fifo whose reader had not come.
    pub(crate) fn open(&mut self) -> std::io::Result<()> {
        let Target::Waiting(path) = &self.target else {
            return Ok(());
        };
        let open = |flags| {
            rustix::fs::open(
                path.as_str(),
                flags | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        match open(OFlags::WRONLY | OFlags::APPEND) {
            Ok(fd) => {
                let reader = open(OFlags::RDONLY).ok();
                self.target = Target::Watched {
                    fd: Watched::new(fd, self.token),
                    _reader: reader,
                };
                Ok(())
            }
            Err(Errno::NXIO) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.target, Target::Waiting(_))
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn push(&mut self, bytes: &[u8], poll: &Poll) -> bool {
        self.out.push(bytes);
        self.flush(poll)
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn flush(&mut self, poll: &Poll) -> bool {
        match &mut self.target {
            Target::Waiting(_) => true,
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
