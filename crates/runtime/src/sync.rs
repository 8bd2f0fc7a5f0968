//! What the runtime and the process that becomes the container say to each other: one packet a message over a socket
//! pair. When one of them dies the other sees the end.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context, Error, Result};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// From the child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Namespaces and mounts are there, the root is not pivoted: hooks may run.
    Hooks,
    /// Everything is ready but the exec.
    Ready,
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

    pub(crate) fn say_hooks(&self) -> Result<()> {
        lighter_sys::fdpass::send(&self.0, b"H", &[])
            .map(drop)
            .doing("talk to the runtime")
    }

    pub(crate) fn say_ready(&self) -> Result<()> {
        lighter_sys::fdpass::send(&self.0, b"R", &[])
            .map(drop)
            .doing("talk to the runtime")
    }

    pub(crate) fn say_failed(&self, text: &str) {
        let mut message = vec![b'E'];
        message.extend_from_slice(&text.as_bytes()[..text.len().min(8000)]);
        // The runtime may be dead, and then nobody wants to know.
        let _ = lighter_sys::fdpass::send(&self.0, &message, &[]);
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
        let (length, _) = heard.doing("listen to the container")?;
        Ok(match buffer[..length].split_first() {
            Some((b'H', _)) => Said::Hooks,
            Some((b'R', _)) => Said::Ready,
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
