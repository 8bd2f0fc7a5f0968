//! What the runtime and the process that becomes the container say to each other: one packet a message over a socket
//! pair. When one of them dies the other sees the end.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lighter_cgroups::{Group, Version};
use lighter_seccomp::Filter;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::error::{Context, Error, Result};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What the child is told when its group is there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: Group,
    /// The files by which it joins (v1).
    pub(crate) joins: Vec<OwnedFd>,
}

/// From the child.
#[derive(Debug)]
pub(crate) enum Said {
    /// Namespaces and mounts are there, the root is not pivoted: hooks may run.
    Hooks,
    /// Its network namespace is there: the loopback is to be switched on over this socket.
    Network(OwnedFd),
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
/// A part of what is too long for one message.
const PART: u8 = b'P';
const FILTER: u8 = b'F';
/// Most of the group's description in one message.
const MOST: usize = 2000;
/// The longest filter: 4096 instructions of 8 bytes (`BPF_MAXINSNS`), with its flags and what the message is.
const LONGEST: usize = 4096 * 8 + 5;

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

    /// Leaves the loopback to the runtime, which waits anyway. `socket`: netlink, of the namespace.
    pub(crate) fn say_network(&self, socket: BorrowedFd<'_>) -> Result<()> {
        lighter_sys::fdpass::send(&self.0, b"I", &[socket])
            .map(drop)
            .doing("talk to the runtime")
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
            Some((b'I', _)) => match fds.pop() {
                Some(socket) => Said::Network(socket),
                None => Said::Failed("no descriptor came with the network namespace".into()),
            },
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

    /// Lets the child go on.
    pub(crate) fn go(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.tell(&[GO], fds)
    }

    /// Lets the child go on into its group, which it was made without knowing.
    pub(crate) fn go_into(&self, group: &Group, joins: &[BorrowedFd<'_>]) -> Result<()> {
        let mut text = vec![u8::from(group.version() == Version::V2)];
        for (hierarchy, path) in group.paths() {
            for part in [hierarchy.as_bytes(), path.as_os_str().as_bytes()] {
                text.extend_from_slice(part);
                text.push(0);
            }
        }
        let mut parts = text.chunks(MOST).peekable();
        while let Some(part) = parts.next() {
            let (kind, fds) = match parts.peek() {
                Some(_) => (PART, &[][..]),
                None => (GO, joins),
            };
            self.tell(&[&[kind], part].concat(), fds)?;
        }
        Ok(())
    }

    /// Waits for [`Channel::go_into`]. An error when the runtime is dead: then nobody wants this container.
    pub(crate) fn await_place(&self) -> Result<Place> {
        let mut text = Vec::new();
        let mut buffer = [0; MOST + 1];
        let joins = loop {
            let (length, fds) =
                lighter_sys::fdpass::receive(&self.0, &mut buffer).doing("listen to the runtime")?;
            let (kind, part) = buffer[..length].split_first().ok_or_else(gone)?;
            text.extend_from_slice(part);
            if *kind == GO {
                break fds;
            }
        };
        let (version, paths) = text.split_first().ok_or_else(gone)?;
        let mut words = paths.split(|byte| *byte == 0);
        let mut directories = Vec::new();
        while let (Some(hierarchy), Some(path)) = (words.next(), words.next()) {
            let hierarchy = String::from_utf8_lossy(hierarchy).into_owned();
            directories.push((hierarchy, PathBuf::from(OsStr::from_bytes(path))));
        }
        let version = if *version == 0 { Version::V1 } else { Version::V2 };
        Ok(Place {
            group: Group::from_paths(version, directories, None),
            joins,
        })
    }

    /// Gives the child the filter that was compiled meanwhile.
    pub(crate) fn give_filter(&self, filter: &Filter) -> Result<()> {
        let mut message = vec![FILTER];
        message.extend(filter.flags.to_ne_bytes());
        message.extend(filter.to_bytes());
        self.tell(&message, &[])
    }

    /// Waits for [`Channel::give_filter`].
    pub(crate) fn await_filter(&self) -> Result<Filter> {
        // Not filled with zeros: most filters are much shorter.
        let mut message = Vec::with_capacity(LONGEST);
        loop {
            match rustix::net::recv(&self.0, spare_capacity(&mut message), RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                result => {
                    result.doing("listen to the runtime")?;
                    break;
                }
            }
        }
        match message.split_first() {
            Some((&FILTER, rest)) => {
                let (flags, program) = rest.split_first_chunk().ok_or_else(gone)?;
                Ok(Filter::from_bytes(program, u32::from_ne_bytes(*flags)))
            }
            _ => Err(gone()),
        }
    }

    /// One that is dead meanwhile is no error here: what it said before, or its end, is heard next.
    fn tell(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        match lighter_sys::fdpass::send(&self.0, message, fds) {
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
        if length == 1 { Ok(fds) } else { Err(gone()) }
    }
}

fn gone() -> Error {
    Error::State("the runtime is gone".into())
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
