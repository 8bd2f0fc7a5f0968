//! Between our stdio and the container while `run` or `exec` stays in the foreground: signals are passed on, and with a
//! terminal its bytes and size.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Context, Result};

/// What `run` and `exec` do while the process runs.
#[derive(Debug)]
pub(crate) struct Relay {
    listener: Option<(OwnedFd, PathBuf)>,
    signals: SignalFd,
    /// The terminal, once it is received.
    master: std::cell::OnceCell<Option<OwnedFd>>,
}

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
/// HUP, INT, QUIT, USR1, USR2, PIPE, ALRM, TERM, CHLD, CONT, URG, WINCH, PWR.
const PASSED_ON: [i32; 13] = [1, 2, 3, 10, 12, 13, 14, 15, SIGCHLD, 18, 23, SIGWINCH, 30];

impl Relay {
    /// Catches signals from now on; with `terminal` also waits for one on [`Relay::socket`].
    /// `root`: where containers are kept.
    pub(crate) fn new(terminal: bool, root: &Path) -> Result<Self> {
        let signals = SignalFd::new(&PASSED_ON).doing("catch signals")?;
        let listener = if terminal { Some(listen(root)?) } else { None };
        Ok(Self {
            listener,
            signals,
            master: std::cell::OnceCell::new(),
        })
    }

    /// Where the terminal is to be sent.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.listener.as_ref().map(|(_, path)| path.as_path())
    }

    /// Takes the terminal, which has been sent, before the process writes its first line.
    pub(crate) fn take(&self) -> Result<()> {
        if self.master.get().is_some() {
            return Ok(());
        }
        let master = match &self.listener {
            Some((listener, path)) => {
                // It has been sent already: the process is ready.
                let socket = rustix::net::accept(listener).doing("accept the terminal")?;
                let _ = std::fs::remove_file(path);
                let mut name = [0; 256];
                let (_, mut fds) =
                    lighter_sys::fdpass::receive(&socket, &mut name).doing("receive the terminal")?;
                fds.pop()
            }
            None => None,
        };
        if let Some(master) = &master {
            leave_line_ends(master);
            copy_size(master);
        }
        // Empty until now, as was just seen.
        let _ = self.master.set(master);
        Ok(())
    }

    /// Relays until the process has exited and its terminal is drained.
    pub(crate) fn until_exit(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.take()?;
        let master = self.master.get().and_then(Option::as_ref);
        let before = master.as_ref().and_then(|_| raw_mode());
        let result = self.relay(pidfd, master);
        if let Some(before) = before {
            // Our own terminal may be gone; nothing to do about it.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
        }
        result
    }

    fn relay(&self, pidfd: BorrowedFd<'_>, master: Option<&OwnedFd>) -> Result<()> {
        let mut reading = master.is_some();
        let mut typing = master.is_some();
        loop {
            let stdin = rustix::stdio::stdin();
            let signals = self.signals.as_fd();
            let mut fds = vec![
                PollFd::new(&pidfd, PollFlags::IN),
                PollFd::new(&signals, PollFlags::IN),
            ];
            if let (Some(master), true) = (master, reading) {
                fds.push(PollFd::new(master, PollFlags::IN));
            }
            if typing {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result.doing("poll")?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut rest = ready[2..].iter().copied();
            if let (Some(master), true) = (master, reading) {
                if rest.next() == Some(true) {
                    reading = copy(master.as_fd(), rustix::stdio::stdout());
                } else if ready[0] {
                    return Ok(());
                }
            } else if ready[0] {
                return Ok(());
            }
            // What is typed once the process has ended is for whoever comes next.
            if let (Some(master), true, Some(true)) = (master, typing && !ready[0], rest.next()) {
                typing = copy(stdin, master.as_fd());
            }
            if ready[1] {
                while let Some(signal) = self.signals.read().doing("read signals")? {
                    match (i32::try_from(signal).unwrap_or(0), master) {
                        (SIGCHLD, _) => {}
                        (SIGWINCH, Some(master)) => copy_size(master),
                        // It may be gone already.
                        (signal, _) => drop(lighter_sys::pidfd::send_signal(pidfd, signal)),
                    }
                }
            }
        }
    }
}

/// One read's worth. False at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 * 1024];
    let Ok(length @ 1..) = rustix::io::read(from, &mut buffer) else {
        return false;
    };
    let mut left = &buffer[..length];
    while !left.is_empty() {
        match rustix::io::write(to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

fn raw_mode() -> Option<Termios> {
    let before = tcgetattr(rustix::stdio::stdin()).ok()?;
    let mut raw = before.clone();
    raw.make_raw();
    // Line ends are put right here, once; the container's terminal leaves them alone.
    raw.output_modes.insert(OutputModes::OPOST);
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
    Some(before)
}

/// What a program writes arrives as it is, also in a file: no carriage return before the end of a line.
fn leave_line_ends(master: &OwnedFd) {
    if let Ok(mut modes) = tcgetattr(master) {
        modes.output_modes.remove(OutputModes::ONLCR);
        let _ = tcsetattr(master, OptionalActions::Now, &modes);
    }
}

fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = lighter_sys::pty::set_size(master.as_fd(), size.ws_row, size.ws_col);
    }
}

fn listen(root: &Path) -> Result<(OwnedFd, PathBuf)> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let mut dir = Path::new("/run");
    if crate::ids::ordinary() {
        crate::state::make_root(root)?;
        dir = root;
    }
    let path = dir.join(format!("lighter-runc-console.{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .doing("create socket")?;
    let address = SocketAddrUnix::new(&path).on("name socket", &path)?;
    rustix::net::bind(&socket, &address).on("bind", &path)?;
    rustix::net::listen(&socket, 1).on("listen on", &path)?;
    Ok((socket, path))
}
