//! Where output goes that containerd's clients ask for: fifos, files, logging programs.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::poll::{Kind, NOTHING, Outbox, Poll, Token, WRITE, Watched};

/// One destination of one stream. What it does not take now waits, and the stream with it.
#[derive(Debug)]
pub(crate) struct Sink {
    fd: Target,
    out: Outbox,
}

#[derive(Debug)]
enum Target {
    /// May not take everything at once.
    Watched(Watched),
    /// A regular file, shared by both streams when they name the same.
    File(Rc<OwnedFd>),
}

impl Sink {
    pub(crate) fn pipe(fd: OwnedFd, process: u32, stream: u32) -> Self {
        let fd = Target::Watched(Watched::new(fd, Token::new(Kind::Sink, process, stream)));
        Self {
            fd,
            out: Outbox::default(),
        }
    }

    pub(crate) fn file(fd: Rc<OwnedFd>) -> Self {
        Self {
            fd: Target::File(fd),
            out: Outbox::default(),
        }
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn push(&mut self, bytes: &[u8], poll: &Poll) -> bool {
        self.out.push(bytes);
        self.flush(poll)
    }

    /// `false`: nobody will ever read it.
    pub(crate) fn flush(&mut self, poll: &Poll) -> bool {
        match &mut self.fd {
            Target::Watched(fd) => {
                let alive = self.out.flush(&*fd);
                fd.want(poll, if self.out.is_empty() { NOTHING } else { WRITE });
                alive
            }
            // A full disk loses output, as it must; it does not stop the container.
            Target::File(fd) => self.out.flush(&**fd),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        !self.out.is_empty()
    }
}
