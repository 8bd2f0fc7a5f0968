//! One epoll, and descriptors that know what they are waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

/// Readable.
pub(crate) const READ: EventFlags = EventFlags::IN;
/// Writable.
pub(crate) const WRITE: EventFlags = EventFlags::OUT;
/// Something exceptional: a number of a cgroup has changed.
pub(crate) const PRIORITY: EventFlags = EventFlags::PRI;
/// Nothing: not even a hang-up wakes the loop.
pub(crate) const NOTHING: EventFlags = EventFlags::empty();

/// What a wake-up is about: which kind of thing, which one, which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Number of the connection or process.
    pub(crate) id: u32,
    /// Number of the client of a process's attach socket.
    pub(crate) part: u32,
}

/// Kinds of things that wake the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Signal,
    Listener,
    Connection,
    Publisher,
    /// Output of a process; the part is the stream.
    Output,
    /// Input of a process, when it may take more.
    Input,
    /// Where input comes from.
    InputFifo,
    /// Where output goes to, when it may take more; the part is the stream.
    Sink,
    Attach,
    Client,
    /// A `binary://` logger says that it is ready.
    Logger,
    /// Memory has run out in a container; the id is its first process's.
    Oom,
}

const KINDS: [Kind; 12] = [
    Kind::Signal,
    Kind::Listener,
    Kind::Connection,
    Kind::Publisher,
    Kind::Output,
    Kind::Input,
    Kind::InputFifo,
    Kind::Sink,
    Kind::Attach,
    Kind::Client,
    Kind::Logger,
    Kind::Oom,
];

impl Token {
    pub(crate) fn new(kind: Kind, id: u32, part: u32) -> Self {
        Self { kind, id, part }
    }

    fn pack(self) -> u64 {
        (self.kind as u64) << 56 | u64::from(self.part & 0x00ff_ffff) << 32 | u64::from(self.id)
    }

    fn unpack(data: u64) -> Option<Self> {
        let kind = *KINDS.get(usize::try_from(data >> 56).ok()?)?;
        Some(Self {
            kind,
            id: data as u32,
            part: (data >> 32) as u32 & 0x00ff_ffff,
        })
    }
}

/// The epoll of the loop.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Waits up to `milliseconds` (`None`: for ever) and returns what came, with its flags.
    pub(crate) fn wait(&self, milliseconds: Option<u32>) -> io::Result<Vec<(Token, EventFlags)>> {
        let timeout = milliseconds.map(|all| rustix::time::Timespec {
            tv_sec: i64::from(all / 1000),
            tv_nsec: i64::from(all % 1000) * 1_000_000,
        });
        let mut events = Vec::with_capacity(16);
        match epoll::wait(
            &self.0,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events
            .iter()
            .filter_map(|event: &epoll::Event| Some((Token::unpack(event.data.u64())?, event.flags)))
            .collect())
    }
}

/// A descriptor with what it is waited for. Closing it takes it out of the epoll.
#[derive(Debug)]
pub(crate) struct Watched {
    fd: OwnedFd,
    token: Token,
    now: EventFlags,
}

impl Watched {
    /// Not waited for yet.
    pub(crate) fn new(fd: OwnedFd, token: Token) -> Self {
        Self {
            fd,
            token,
            now: NOTHING,
        }
    }

    /// The same descriptor under another name; it must not be waited for at the moment.
    pub(crate) fn with_token(self, token: Token) -> Self {
        Self { token, ..self }
    }

    /// Waits for `flags` from now on. Hang-ups come with any but [`NOTHING`]. What cannot be waited for (a regular
    /// file) is always ready and is left alone.
    pub(crate) fn want(&mut self, poll: &Poll, flags: EventFlags) {
        if flags == self.now {
            return;
        }
        let data = EventData::new_u64(self.token.pack());
        let done = match (self.now.is_empty(), flags.is_empty()) {
            (true, _) => epoll::add(&poll.0, &self.fd, data, flags),
            (_, true) => epoll::delete(&poll.0, &self.fd),
            _ => epoll::modify(&poll.0, &self.fd, data, flags),
        };
        if done.is_ok() {
            self.now = flags;
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a non-blocking read or write did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Not now.
    Later,
    /// Never again: the end, or the other side is gone.
    Ended,
}

/// Reads what is there.
pub(crate) fn read(fd: impl AsFd, buffer: &mut [u8]) -> Moved {
    loop {
        return match rustix::io::read(&fd, &mut *buffer) {
            Ok(0) => Moved::Ended,
            Ok(count) => Moved::Bytes(count),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Ended,
        };
    }
}

/// Writes what is taken. SIGPIPE is ignored in this program: a reader that is gone is [`Moved::Ended`].
pub(crate) fn write(fd: impl AsFd, bytes: &[u8]) -> Moved {
    loop {
        return match rustix::io::write(&fd, bytes) {
            Ok(count) => Moved::Bytes(count),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Ended,
        };
    }
}

/// Bytes on their way to a descriptor that may not take them now.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// The buffer itself, for what encodes into a `Vec`.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        // What was sent must not pile up before what was not.
        if self.sent > 0 && self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Writes as much as is taken. `false`: the other side is gone.
    pub(crate) fn flush(&mut self, fd: impl AsFd) -> bool {
        while !self.is_empty() {
            match write(&fd, &self.bytes[self.sent..]) {
                Moved::Bytes(count) => self.sent += count,
                Moved::Later => return true,
                Moved::Ended => return false,
            }
        }
        // Empty is the common state: hold no memory in it.
        *self = Self::default();
        true
    }
}
