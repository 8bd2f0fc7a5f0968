//! The engine's side.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lighter_sys::{flock, pidfd};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::handover;
use crate::state::{self, Answer, CONTROL, Failed, LOCK, MESSAGE, Port};
use crate::{Error, Result};

/// How long a keeper that holds the lock may take until it listens.
const START: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(1);

/// Starts, watches and instructs the keeper of one root. Cloned freely.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    root: PathBuf,
    keeper: Mutex<Keeper>,
    changed: Condvar,
}

/// The keeper that answered last.
#[derive(Debug, Default)]
struct Keeper {
    process: Option<(i32, Arc<OwnedFd>)>,
    closed: bool,
    /// Keepers that this process started, until they are reaped.
    children: Vec<Child>,
}

impl Keeper {
    fn reap(&mut self) {
        self.children
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Client {
    /// A client of the keeper that has `root`, which is `program` when it must be started. Starts nothing yet.
    pub fn new(program: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            program: program.into(),
            root: root.into(),
            keeper: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Whether a keeper answers.
    pub fn is_running(&self) -> bool {
        self.connect().is_ok()
    }

    /// Starts the keeper when there is none. Blocks until it listens: a few milliseconds.
    pub fn ensure_running(&self) -> Result<()> {
        self.connected().map(drop)
    }

    /// Makes `ports` the desired state, starting the keeper when there is none, and waits until each is bound or failed. Callers
    /// take turns: what is passed is the whole state.
    pub fn sync(&self, ports: &[Port]) -> Result<Vec<Failed>> {
        fs::create_dir_all(&self.0.root).map_err(|source| self.failed("create", &self.0.root, source))?;
        state::write(&self.0.root, ports)?;
        // A keeper that dies under our hands is replaced once; the next one reads the same state.
        match self.ask("sync") {
            Err(Error::Ask { .. }) => self.ask("sync"),
            result => result,
        }
        .map(|answer| answer.failed)
    }

    /// Makes the keeper execute its program file anew; its sockets stay open.
    pub fn reexec(&self) -> Result<()> {
        let answer = self.ask("reexec")?;
        refused("reexec", &answer)
    }

    /// Ends the keeper when it has no ports. None running is no error.
    pub fn quit(&self) -> Result<()> {
        let Ok(socket) = self.connect() else { return Ok(()) };
        let answer = request(&socket, "quit")?;
        refused("quit", &answer)
    }

    /// Blocks until the keeper dies, or the next one when there is none now. An error: the client was closed.
    pub fn wait_death(&self) -> Result<()> {
        let closed = || Error::Ask {
            request: "stay",
            source: io::Error::from(io::ErrorKind::NotConnected),
        };
        let (pid, process) = {
            let mut keeper = self.keeper();
            loop {
                if keeper.closed {
                    return Err(closed());
                }
                match &keeper.process {
                    Some(process) => break process.clone(),
                    None => {
                        keeper = self
                            .0
                            .changed
                            .wait(keeper)
                            .unwrap_or_else(PoisonError::into_inner)
                    }
                }
            }
        };
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        while rustix::event::poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
        let mut keeper = self.keeper();
        keeper.reap();
        if keeper
            .process
            .as_ref()
            .is_some_and(|(current, _)| *current == pid)
        {
            keeper.process = None;
        }
        match keeper.closed {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    /// Nobody needs to wait for the keeper any more.
    pub fn close(&self) {
        self.keeper().closed = true;
        self.0.changed.notify_all();
    }

    fn ask(&self, request: &'static str) -> Result<Answer> {
        let socket = self.connected()?;
        self::request(&socket, request)
    }

    /// A connection to the keeper, which is started when it is not there.
    fn connected(&self) -> Result<OwnedFd> {
        let mut left = START;
        loop {
            match self.connect() {
                Ok(socket) => return Ok(socket),
                Err(error) if left.is_zero() => {
                    return Err(self.failed("connect", &self.0.root.join(CONTROL), error));
                }
                Err(_) => {}
            }
            if self.lock_is_free()? {
                self.spawn()?;
            } else {
                // Another client has started it, and only the lock tells: it is about to listen, or about to end.
                std::thread::sleep(RETRY);
            }
            left = left.saturating_sub(RETRY);
        }
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Through the directory's descriptor: the path may be longer than an address of a socket.
        let dir = File::open(&self.0.root)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{CONTROL}", dir.as_raw_fd()))?;
        rustix::net::connect(&socket, &address)?;
        let pid = rustix::net::sockopt::socket_peercred(&socket)?
            .pid
            .as_raw_nonzero()
            .get();
        let mut keeper = self.keeper();
        if keeper.process.as_ref().is_none_or(|(known, _)| *known != pid) {
            keeper.process = Some((pid, Arc::new(pidfd::open(pid)?)));
            self.0.changed.notify_all();
        }
        Ok(socket)
    }

    fn lock_is_free(&self) -> Result<bool> {
        let path = self.0.root.join(LOCK);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            result => result
                .and_then(|file| flock::try_exclusive(&file))
                .map_err(|source| self.failed("lock", &path, source)),
        }
    }

    /// Starts a keeper and waits until it listens, which it says by closing its output.
    fn spawn(&self) -> Result<()> {
        let Inner { program, root, .. } = &*self.0;
        fs::create_dir_all(root).map_err(|source| self.failed("create", root, source))?;
        let failed = |source| Error::Start {
            program: program.clone(),
            source,
        };
        let mut command = Command::new(program);
        command
            .arg("--root")
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut ready) = child.stdout.take() {
            ready.read_to_end(&mut Vec::new()).map_err(failed)?;
        }
        // It may have found another keeper and ended well. One that was killed shows as nobody listening, and is replaced.
        let ended = child.try_wait().map_err(failed)?;
        let mut keeper = self.keeper();
        keeper.children.push(child);
        keeper.reap();
        match ended {
            Some(status) if status.code().is_some_and(|code| code != 0) => {
                Err(failed(io::Error::other(status.to_string())))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, step: &'static str, path: &Path, source: io::Error) -> Error {
        Error::File {
            step,
            path: path.to_owned(),
            source,
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(socket: &OwnedFd, request: &'static str) -> Result<Answer> {
    let failed = |source| Error::Ask { request, source };
    lighter_sys::fdpass::send(socket, request.as_bytes(), &[]).map_err(failed)?;
    debug_assert!(request.len() < MESSAGE);
    match handover::receive::<Answer>(socket.as_fd()).map_err(failed)? {
        Some((answer, _)) => Ok(answer),
        None => Err(failed(io::Error::from(io::ErrorKind::UnexpectedEof))),
    }
}

fn refused(request: &'static str, answer: &Answer) -> Result<()> {
    match answer.ok {
        true => Ok(()),
        false => Err(Error::Refused {
            request,
            answer: answer.error.clone(),
        }),
    }
}
