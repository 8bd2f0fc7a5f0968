//! Talking to a process: its streams, its terminal, its signals.

mod keys;
mod signals;

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lighter_client::{Output, Socket, Upgraded, demultiplex};

use crate::failure::Failure;
use crate::terminal::Raw;

pub(crate) use keys::Keys;
pub(crate) use signals::{Watched, end_by_signals};

/// What is connected to what.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    /// Standard input goes there.
    pub(crate) stdin: bool,
    /// It has a terminal: raw bytes both ways.
    pub(crate) tty: bool,
    /// What leaves it. Looked for only when both sides have a terminal.
    pub(crate) keys: Keys,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process closed its output, or went.
    Closed,
    /// The user left.
    Detached,
}

/// Puts standard input into raw mode where both sides are terminals.
pub(crate) fn raw(streams: &Streams) -> Option<Raw> {
    let wanted = streams.tty && streams.stdin && crate::terminal::is_input();
    wanted.then(Raw::enter).and_then(Result::ok)
}

/// Copies until the other side ends or the user leaves.
pub(crate) fn copy(connection: Upgraded, streams: &Streams) -> Result<End, Failure> {
    let Upgraded { mut output, input } = connection;
    let left = Arc::new(AtomicBool::new(false));
    if streams.stdin {
        let keys = if streams.tty {
            streams.keys.clone()
        } else {
            Keys::none()
        };
        let flag = Arc::clone(&left);
        // It is not waited for: it may be reading a terminal on which nobody types.
        std::thread::spawn(move || feed(input, keys, &flag));
    }
    let copied = match streams.tty {
        true => pass(&mut output),
        false => split(&mut output),
    };
    if left.load(Ordering::SeqCst) {
        return Ok(End::Detached);
    }
    match copied {
        Ok(()) => Ok(End::Closed),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(141)),
        // An engine that dies resets what it had open.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(End::Closed),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

/// Raw bytes to standard output.
pub(crate) fn pass(from: &mut impl io::Read) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stdout.write_all(&buffer[..count])?;
        stdout.flush()?;
    }
}

/// Frames to standard output and standard error.
pub(crate) fn split(from: &mut impl io::Read) -> io::Result<()> {
    // Past the line buffer of the standard library, which would copy and search every byte.
    let write = |fd: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]| {
        while !bytes.is_empty() {
            match rustix::io::write(fd, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait_writable(fd)?,
                Err(error) => return Err(io::Error::from(error)),
            }
        }
        Ok(())
    };
    demultiplex(from, |output, bytes| match output {
        Output::Stdout => write(rustix::stdio::stdout(), bytes),
        Output::Stderr => write(rustix::stdio::stderr(), bytes),
    })
}

fn wait_writable(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(
        fd,
        rustix::event::PollFlags::OUT,
    )];
    rustix::event::poll(&mut polled, None)?;
    Ok(())
}

/// Standard input into the connection, until it ends, the connection does, or the keys are seen.
fn feed(mut input: Socket, mut keys: Keys, left: &AtomicBool) {
    let mut buffer = vec![0; 32 * 1024];
    let mut stdin = io::stdin().lock();
    loop {
        let count = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (bytes, leave) = keys.scan(&buffer[..count]);
        if input.write_all(&bytes).is_err() {
            return;
        }
        if leave {
            left.store(true, Ordering::SeqCst);
            // The reader of the other half sees an end.
            let _ = rustix::net::shutdown(input.as_fd(), rustix::net::Shutdown::Both);
            return;
        }
    }
    // Nothing listens any more if this fails.
    let _ = input.close_write();
}
