//! What the runtime and the process that becomes the container say to each other: one packet a message over a socket
//! pair. When one of them dies the other sees the end.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// From the child.
#[derive(Debug)]
pub(crate) enum Said {
    /// Namespaces and mounts are there, the root is not pivoted: hooks may run.
    Hooks,
    /// It needs the source of the mount of this number opened.
    Source(usize),
    /// Everything is ready but the exec.
    Ready,
    /// The filter is installed, and calls wait for whoever listens at this descriptor.
    Listener(OwnedFd),
    /// The same, by the number that the descriptor has in the process.
    ListenerAt(i32),
    /// It goes on, but a user should know this.
    Warning(String),
    /// It gave up.
    Failed(String),
    /// It died.
    Gone,
}

const GO: u8 = b'G';

impl Channel {
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (a, b) = lighter_sys::fdpass::seqpacket_pair().doing("make a socket pair")?;
        Ok((Self(a), Self(b)))
    }

    /// Nothing more is said or heard at this end.
    pub(crate) fn end(self) {
        lighter_sys::descriptors::close_later(self.0);
    }

    pub(crate) fn say_hooks(&self) -> Result<()> {
        self.say(b"H")
    }

    pub(crate) fn say_ready(&self) -> Result<()> {
        self.say(b"R")
    }

    /// Only `write`: a filter that is in force already may forbid the socket calls, or ask a listener about them who does
    /// not listen yet.
    fn say(&self, message: &[u8]) -> Result<()> {
        rustix::io::write(&self.0, message)
            .map(drop)
            .doing("talk to the runtime")
    }

    /// Hands the listener's descriptor over: along with a message where the filter allows that, else by its number. Does
    /// not wait, as whatever it waited with might itself be asked about; so the descriptor stays open until the exec.
    pub(crate) fn say_listener(&self, listener: OwnedFd, by_message: bool) -> Result<()> {
        if by_message {
            lighter_sys::fdpass::send(&self.0, b"L", &[listener.as_fd()])
                .doing("hand over the seccomp listener")?;
            // Even `close` may be asked about.
            let _ = listener.into_raw_fd();
            return Ok(());
        }
        let mut message = vec![b'N'];
        message.extend(listener.into_raw_fd().to_ne_bytes());
        self.say(&message)
    }

    /// Asks the runtime for the source of mount `index`, detached.
    pub(crate) fn ask_source(&self, index: usize) -> Result<OwnedFd> {
        let mut message = vec![b'M'];
        message.extend_from_slice(&index.to_le_bytes());
        lighter_sys::fdpass::send(&self.0, &message, &[]).doing("talk to the runtime")?;
        let mut buffer = [0; 8192];
        let (length, fds) =
            lighter_sys::fdpass::receive(&self.0, &mut buffer).doing("listen to the runtime")?;
        match (buffer[..length].split_first(), fds.into_iter().next()) {
            (Some((&GO, _)), Some(fd)) => Ok(fd),
            (Some((b'E', text)), _) => Err(Error::Config(String::from_utf8_lossy(text).into_owned())),
            _ => Err(Error::State("the runtime is gone".into())),
        }
    }

    /// Answers a request with why it cannot be granted.
    pub(crate) fn refuse(&self, text: &str) -> Result<()> {
        let mut message = vec![b'E'];
        message.extend_from_slice(&text.as_bytes()[..text.len().min(8000)]);
        lighter_sys::fdpass::send(&self.0, &message, &[])
            .map(drop)
            .doing("talk to the container")
    }

    pub(crate) fn say_warning(&self, text: &str) -> Result<()> {
        self.say(&[b"W", text.as_bytes()].concat())
    }

    pub(crate) fn say_failed(&self, text: &str) {
        let mut message = vec![b'E'];
        message.extend_from_slice(&text.as_bytes()[..text.len().min(8000)]);
        // The runtime may be dead, and then nobody wants to know.
        let _ = self.say(&message);
    }

    /// What the child said.
    ///
    /// One that dies with our last word unread resets the connection: the reset comes first and once, what it said or its end after it.
    pub(crate) fn hear(&self) -> Result<Said> {
        let mut buffer = [0; 8192];
        let heard = match lighter_sys::fdpass::receive(&self.0, &mut buffer) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                lighter_sys::fdpass::receive(&self.0, &mut buffer)
            }
            heard => heard,
        };
        let (length, mut fds) = heard.doing("listen to the container")?;
        Ok(match buffer[..length].split_first() {
            Some((b'L', _)) => match fds.pop() {
                Some(listener) => Said::Listener(listener),
                None => Said::Failed("no descriptor came with the seccomp listener".into()),
            },
            Some((b'N', number)) => Said::ListenerAt(
                number
                    .first_chunk()
                    .map_or(-1, |number| i32::from_ne_bytes(*number)),
            ),
            Some((b'H', _)) => Said::Hooks,
            Some((b'R', _)) => Said::Ready,
            Some((b'M', number)) => Said::Source(
                number
                    .try_into()
                    .map_or(usize::MAX, |bytes: [u8; size_of::<usize>()]| {
                        usize::from_le_bytes(bytes)
                    }),
            ),
            Some((b'W', text)) => Said::Warning(String::from_utf8_lossy(text).into_owned()),
            Some((_, text)) => Said::Failed(String::from_utf8_lossy(text).into_owned()),
            None => Said::Gone,
        })
    }

    /// Lets the child go on, with descriptors. One that is dead meanwhile is no error here: what it said before, or its
    /// end, is heard next.
    pub(crate) fn go(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match lighter_sys::fdpass::send(&self.0, &[GO], fds) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Ok(())
            }
            result => result.map(drop).doing("talk to the container"),
        }
    }

    /// Waits for the runtime, which sends no descriptors: false when it has given up, or is dead, and nobody wants this
    /// process any more. Only `read`, see [`Channel::say`].
    pub(crate) fn await_last_go(&self) -> Result<bool> {
        let mut buffer = [0; 1];
        match rustix::io::read(&self.0, &mut buffer) {
            // It left our last word unread.
            Err(Errno::CONNRESET) => Ok(false),
            result => Ok(result.doing("listen to the runtime")? == 1),
        }
    }

    /// Waits for the runtime. An error when it is dead: then nobody wants this container.
    pub(crate) fn await_go(&self) -> Result<Vec<OwnedFd>> {
        let mut buffer = [0; 1];
        let (length, fds) =
            lighter_sys::fdpass::receive(&self.0, &mut buffer).doing("listen to the runtime")?;
        if length == 1 {
            Ok(fds)
        } else {
            Err(Error::State("the runtime is gone".into()))
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
