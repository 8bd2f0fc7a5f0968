//! The keeper: holds every listening socket, applies the desired state, keeps a worker running. One thread, no runtime.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lighter_sys::{fdpass, flock};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::bind::bind;
use crate::handover::{self, Closed, Heirloom, Order, Served};
use crate::state::{self, Answer, CONTROL, Failed, LOCK, Port};
use crate::{Error, Result, step};

/// A worker that lived shorter than this died of something that a new one will die of too.
const SHORT: Duration = Duration::from_millis(50);
/// Pause before the next worker, after [`QUICK`] short lives.
const PAUSE: Duration = Duration::from_millis(25);
const QUICK: u32 = 5;
/// Between tries to bind what a dead keeper's worker still has.
const AGAIN: Duration = Duration::from_millis(1);
/// How long a worker may take to close sockets.
const CLOSING: Duration = Duration::from_millis(500);

/// How a keeper was started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of lock, control socket and state.
    pub root: PathBuf,
    /// The program file, to be executed anew by `reexec` and as the worker.
    pub program: PathBuf,
    /// Standard input holds what a predecessor hands over.
    pub inherit: bool,
}

/// Runs until the engine asks `quit`, or at once when another keeper has the root. Closes standard output when it listens.
pub fn run(options: Options) -> Result<()> {
    // Not of the engine's session: what is sent to that is not meant for us. Fails only for one that leads a group already.
    let _ = rustix::process::setsid();
    let Some(mut keeper) = Keeper::new(options)? else {
        return Ok(());
    };
    if let Err(error) = keeper.first_apply() {
        tracing::warn!(error = lighter_stdx::error::chain(&error), "state not applied");
    }
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(step("opening /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(step("closing standard input"))?;
    rustix::stdio::dup2_stdout(&null).map_err(step("closing standard output"))?;
    while keeper.turn()? {}
    // A successor need not wait for our worker. The lock goes last, with the process: whoever finds it free finds no socket either.
    let _ = keeper.lock.set_len(0);
    let _ = fs::remove_file(keeper.options.root.join(CONTROL));
    Ok(())
}

#[derive(Debug)]
struct Keeper {
    options: Options,
    lock: File,
    succeeds_a_dead_one: bool,
    control: OwnedFd,
    clients: Vec<OwnedFd>,
    ports: BTreeMap<String, (Port, OwnedFd)>,
    worker: Option<Worker>,
    short_lives: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    channel: OwnedFd,
    born: Instant,
}

/// What became ready.
enum Ready {
    Control,
    Client(usize),
    Worker,
}

impl Keeper {
    /// None: another keeper has the lock.
    fn new(options: Options) -> Result<Option<Self>> {
        let inherited = if options.inherit { inherit()? } else { None };
        let (lock, dead, control, ports) = match inherited {
            Some((lock, control, ports)) => (lock, false, control, ports),
            None => {
                let Some((lock, dead)) = lock(&options.root)? else {
                    return Ok(None);
                };
                (lock, dead, listen(&options.root)?, BTreeMap::new())
            }
        };
        Ok(Some(Self {
            options,
            lock,
            succeeds_a_dead_one: dead,
            control,
            clients: Vec::new(),
            ports,
            worker: None,
            short_lives: 0,
            not_before: None,
        }))
    }

    /// Applies the state that a predecessor left. When that was killed, its worker is about to go, with the same ports.
    fn first_apply(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let failed = self.apply()?;
            let taken = failed
                .iter()
                .any(|failed| failed.errno == rustix::io::Errno::ADDRINUSE.raw_os_error());
            if !taken || !self.succeeds_a_dead_one || start.elapsed() > CLOSING {
                return Ok(());
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Waits for one thing to happen and does what it asks. False: the end.
    fn turn(&mut self) -> Result<bool> {
        for ready in self.wait()? {
            match ready {
                Ready::Worker => self.bury(),
                Ready::Control => {
                    if let Ok(client) = rustix::net::accept_with(&self.control, SocketFlags::CLOEXEC) {
                        self.clients.push(client);
                    }
                }
                Ready::Client(index) => {
                    let client = self.clients.swap_remove(index);
                    let mut word = [0; 64];
                    let word = match fdpass::receive(&client, &mut word) {
                        Ok((length, _)) if length > 0 => {
                            String::from_utf8_lossy(&word[..length]).into_owned()
                        }
                        _ => continue,
                    };
                    let (answer, on) = self.obey(&word, &client);
                    // A client that is gone needs no answer.
                    let _ = handover::send(&client, &answer, &[]);
                    if !on {
                        return Ok(false);
                    }
                    self.clients.push(client);
                }
            }
        }
        self.ensure_worker()?;
        Ok(true)
    }

    /// Ready clients come from the last to the first, so that removing one moves none that is still to come.
    fn wait(&self) -> Result<Vec<Ready>> {
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        let worker = self
            .worker
            .iter()
            .map(|worker| PollFd::new(&worker.channel, PollFlags::IN));
        fds.extend(worker);
        let first_client = fds.len();
        fds.extend(
            self.clients
                .iter()
                .map(|client| PollFd::new(client, PollFlags::IN)),
        );
        let timeout = self.not_before.map(|until| {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            result => result.map_err(step("poll"))?,
        };
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut ready: Vec<_> = (first_client..fds.len())
            .rev()
            .filter(|at| is_ready(&fds[*at]))
            .map(|at| Ready::Client(at - first_client))
            .collect();
        if first_client == 2 && is_ready(&fds[1]) {
            ready.push(Ready::Worker);
        }
        if is_ready(&fds[0]) {
            ready.push(Ready::Control);
        }
        Ok(ready)
    }

    fn obey(&mut self, word: &str, client: &OwnedFd) -> (Answer, bool) {
        let done = |result: Result<Vec<Failed>>| match result {
            Ok(failed) => Answer {
                ok: failed.is_empty(),
                failed,
                error: String::new(),
            },
            Err(error) => Answer {
                error: lighter_stdx::error::chain(&error),
                ..Answer::default()
            },
        };
        match word {
            "sync" => (done(self.apply()), true),
            "reexec" => (done(self.reexec(client).map(|()| Vec::new())), true),
            "quit" if self.ports.is_empty() => (done(Ok(Vec::new())), false),
            "quit" => (
                Answer {
                    error: "ports are open".to_owned(),
                    ..Answer::default()
                },
                true,
            ),
            _ => (
                Answer {
                    error: format!("unknown request {word}"),
                    ..Answer::default()
                },
                true,
            ),
        }
    }

    /// Makes the sockets agree with the state file: closes first, so that a port may change hands in one request.
    fn apply(&mut self) -> Result<Vec<Failed>> {
        let wanted: BTreeMap<_, _> = state::read(&self.options.root)?
            .into_iter()
            .map(|port| (port.id.clone(), port))
            .collect();
        let gone: Vec<_> = self
            .ports
            .iter()
            .filter(|(id, (port, _))| wanted.get(*id).is_none_or(|wanted| wanted != port))
            .map(|(id, (port, _))| (id.clone(), port.reserve))
            .collect();
        let served: Vec<_> = gone
            .iter()
            .filter(|(_, reserve)| !reserve)
            .map(|(id, _)| id.clone())
            .collect();
        let mut kept = BTreeMap::new();
        for (id, _) in &gone {
            if let Some((port, socket)) = self.ports.remove(id)
                && wanted.get(id).is_some_and(|wanted| wanted.binds_like(&port))
            {
                kept.insert(id.clone(), socket);
            }
        }
        self.close_in_worker(&served);
        let (mut failed, mut new) = (Vec::new(), Vec::new());
        for (id, port) in wanted {
            if self.ports.contains_key(&id) {
                continue;
            }
            match kept.remove(&id).map_or_else(|| bind(&port), Ok) {
                Ok(socket) => {
                    if !port.reserve {
                        new.push(id.clone());
                    }
                    self.ports.insert(id, (port, socket));
                }
                Err(error) => failed.push(Failed {
                    id,
                    errno: error.raw_os_error().unwrap_or_default(),
                    error: error.to_string(),
                }),
            }
        }
        let fresh = self.worker.is_none();
        self.ensure_worker()?;
        if let Some(worker) = self.worker.as_ref().filter(|_| !fresh)
            && let Err(error) = worker.serve(new.iter().filter_map(|id| self.ports.get(id)))
        {
            tracing::warn!(%error, "the worker does not listen");
            self.bury();
        }
        Ok(failed)
    }

    /// A socket is closed when nobody holds it: waits for the worker to let go, or ends it.
    fn close_in_worker(&mut self, ids: &[String]) {
        let Some(worker) = self.worker.as_ref().filter(|_| !ids.is_empty()) else {
            return;
        };
        if let Err(error) = worker.close(ids) {
            tracing::warn!(%error, "the worker does not close");
            self.bury();
        }
    }

    /// Starts a worker when there is something to serve and none; one that died a moment ago again and again must wait.
    fn ensure_worker(&mut self) -> Result<()> {
        let needed = self.ports.values().any(|(port, _)| !port.reserve);
        if self.worker.is_some() || !needed || self.not_before.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.not_before = None;
        let worker = Worker::start(&self.options.program)?;
        if let Err(error) = worker.serve(self.ports.values()) {
            tracing::warn!(%error, "the worker died at once");
        }
        self.worker = Some(worker);
        Ok(())
    }

    /// Ends the worker for good and reaps it.
    fn bury(&mut self) {
        let Some(mut worker) = self.worker.take() else {
            return;
        };
        // It is dead already, or must be.
        let _ = worker.child.kill();
        let _ = worker.child.wait();
        self.short_lives = if worker.born.elapsed() < SHORT {
            self.short_lives + 1
        } else {
            0
        };
        if self.short_lives >= QUICK {
            self.not_before = Some(Instant::now() + PAUSE);
        }
    }

    /// Executes the program file anew: everything that is held waits in the new program's standard input. Returns only an error.
    fn reexec(&mut self, client: &OwnedFd) -> Result<()> {
        let (ours, theirs) = fdpass::seqpacket_pair().map_err(step("socket pair"))?;
        // Nobody reads before the exec: a full buffer must fail, not wait.
        rustix::io::ioctl_fionbio(&ours, true).map_err(step("socket pair"))?;
        let own = [self.lock.as_fd(), self.control.as_fd()];
        let ports: Vec<_> = self
            .ports
            .values()
            .map(|(port, socket)| (port.clone(), socket.as_fd()))
            .collect();
        handover::send(&ours, &Heirloom::Own, &own)
            .and_then(|()| handover::send_with(&ours, &ports, Heirloom::Ports))
            .and_then(|()| handover::send(&ours, &Heirloom::End, &[]))
            .map_err(step("handing sockets over"))?;
        self.bury();
        rustix::stdio::dup2_stdin(&theirs).map_err(step("handing sockets over"))?;
        // The answer comes before the deed; should that fail, the next request tells.
        let _ = handover::send(
            client,
            &Answer {
                ok: true,
                ..Answer::default()
            },
            &[],
        );
        let mut command = Command::new(&self.options.program);
        command.arg("--root").arg(&self.options.root).arg("--inherit");
        let source = command.exec();
        Err(Error::Start {
            program: self.options.program.clone(),
            source,
        })
    }
}

impl Worker {
    fn start(program: &Path) -> Result<Self> {
        let (ours, theirs) = fdpass::seqpacket_pair().map_err(step("socket pair"))?;
        let spawn = |program: &Path| {
            let stdin = theirs.try_clone()?;
            Command::new(program)
                .arg0("lighter-netd")
                .arg("worker")
                .stdin(Stdio::from(stdin))
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .spawn()
        };
        // The running program first: it speaks our protocol for sure, also when the file was replaced or removed.
        let child = spawn(Path::new("/proc/self/exe"))
            .or_else(|_| spawn(program))
            .map_err(|source| Error::Start {
                program: program.to_owned(),
                source,
            })?;
        Ok(Self {
            child,
            channel: ours,
            born: Instant::now(),
        })
    }

    fn serve<'a>(&self, ports: impl Iterator<Item = &'a (Port, OwnedFd)>) -> io::Result<()> {
        let ports: Vec<(Served, BorrowedFd<'_>)> = ports
            .filter(|(port, _)| !port.reserve)
            .map(|(port, socket)| (Served::from(port), socket.as_fd()))
            .collect();
        handover::send_with(&self.channel, &ports, Order::Add)
    }

    fn close(&self, ids: &[String]) -> io::Result<()> {
        handover::send(&self.channel, &Order::Remove(ids.to_vec()), &[])?;
        let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(CLOSING.subsec_nanos()),
        };
        match rustix::event::poll(&mut fds, Some(&timeout))? {
            0 => Err(io::Error::from(io::ErrorKind::TimedOut)),
            _ => match handover::receive::<Closed>(&self.channel)? {
                Some((closed, _)) if closed.closed == ids.len() => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            },
        }
    }
}

type Inherited = (File, OwnedFd, BTreeMap<String, (Port, OwnedFd)>);

/// What a predecessor left in standard input.
fn inherit() -> Result<Option<Inherited>> {
    let (mut own, mut ports) = (None, BTreeMap::new());
    loop {
        let (heirloom, fds) =
            match handover::receive::<Heirloom>(rustix::stdio::stdin()).map_err(step("inheriting"))? {
                Some(message) => message,
                None => break,
            };
        match heirloom {
            Heirloom::Own => own = <[OwnedFd; 2]>::try_from(fds).ok(),
            Heirloom::Ports(served) => {
                ports.extend(
                    served
                        .into_iter()
                        .zip(fds)
                        .map(|(port, fd)| (port.id.clone(), (port, fd))),
                );
            }
            Heirloom::End => break,
        }
    }
    Ok(own.map(|[lock, control]| (File::from(lock), control, ports)))
}

/// The lock, with our pid in it, and whether the last one who had it was killed.
fn lock(root: &Path) -> Result<Option<(File, bool)>> {
    let failed = |step: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { step, path, source }
    };
    fs::create_dir_all(root).map_err(failed("create", root))?;
    let path = root.join(LOCK);
    let mut file = flock::open(&path).map_err(failed("open", &path))?;
    if !flock::try_exclusive(&file).map_err(failed("lock", &path))? {
        return Ok(None);
    }
    let dead = file.metadata().is_ok_and(|found| found.len() > 0);
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(Some((file, dead)))
}

/// The control socket: under its name only once it listens, so that who can connect is answered.
fn listen(root: &Path) -> Result<OwnedFd> {
    let failed = |source| Error::File {
        step: "listen on",
        path: root.join(CONTROL),
        source,
    };
    let make = || {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let temporary = format!(".{CONTROL}.{}", std::process::id());
        // Through the directory's descriptor: the path may be longer than an address of a socket.
        let dir = File::open(root)?;
        rustix::net::bind(
            &socket,
            &SocketAddrUnix::new(format!("/proc/self/fd/{}/{temporary}", dir.as_raw_fd()))?,
        )?;
        rustix::net::listen(&socket, 64)?;
        rustix::fs::chmod(
            root.join(&temporary),
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )?;
        fs::rename(root.join(&temporary), root.join(CONTROL))?;
        Ok(socket)
    };
    make().map_err(failed)
}
