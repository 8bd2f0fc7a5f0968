//! The layer below as our own child: started when none runs, taken over when one does, started again when it dies.
//!
//! A layer outlives us: after our death it goes on, and the next engine finds it by its socket. One that runs an older
//! program than the one beside us is replaced; its tasks do not notice.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lighter_sys::pidfd;

use crate::{Config, Error, Result};

const PROGRAM: &str = "lighter-containerd";

/// Before a layer that died is started again; doubled each time.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After a life of this length a death is not taken for one of a series.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// How long a layer may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// The layer of one engine.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: PathBuf,
    /// None: somebody else's.
    own: Option<Arc<Own>>,
}

/// A layer that we keep.
#[derive(Debug)]
struct Own {
    program: PathBuf,
    words: Vec<String>,
    socket: PathBuf,
    stopping: AtomicBool,
    current: Mutex<Option<Arc<OwnedFd>>>,
}

/// A layer that runs.
struct Running {
    pidfd: Arc<OwnedFd>,
    /// When we started it ourselves.
    child: Option<Child>,
}

impl Supervisor {
    /// Sees to it that a layer runs, and goes on to.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        if let Some(socket) = &config.containerd {
            return Ok(Self {
                socket: socket.clone(),
                own: None,
            });
        }
        let program = config.program(PROGRAM).ok_or_else(|| {
            let dirs: Vec<_> = config
                .programs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            Error::system(format!("{PROGRAM} was not found in {}", dirs.join(", ")))
        })?;
        let state = config.exec_root.join("containerd");
        let root = config.data_root.join("containerd");
        for dir in [&state, &root] {
            fs::create_dir_all(dir)
                .map_err(|error| Error::system(format!("create {}", dir.display())).with_source(error))?;
        }
        let socket = state.join("containerd.sock");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = vec![
            "--root".to_owned(),
            text(&root),
            "--state".to_owned(),
            text(&state),
        ];
        words.extend(["--address".to_owned(), text(&socket), "--log-level".to_owned()]);
        words.push(if config.debug {
            "debug".to_owned()
        } else {
            config.log_level.clone()
        });
        let own = Arc::new(Own {
            program,
            words,
            socket: socket.clone(),
            stopping: AtomicBool::new(false),
            current: Mutex::default(),
        });
        let failed = |error: io::Error| Error::system(format!("start {PROGRAM}")).with_source(error);
        let first = own.find_or_start(&config.layer_flags).map_err(failed)?;
        own.clone().keep_up(first).map_err(failed)?;
        Ok(Self {
            socket,
            own: Some(own),
        })
    }

    /// Where the layer listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Ends our own layer. Tasks run on. Blocks until it is gone.
    pub(crate) fn stop(&self) {
        let Some(own) = &self.own else { return };
        own.stopping.store(true, Ordering::SeqCst);
        let current = own.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(layer) = current {
            end(&layer);
        }
    }
}

impl Own {
    /// The layer that runs, if its program is the one that we would start; else a new one.
    fn find_or_start(&self, more: &[String]) -> io::Result<Running> {
        if let Some(pid) = self.listener() {
            let found = Arc::new(pidfd::open(pid)?);
            if self.is_current(pid) {
                return Ok(self.remember(Running {
                    pidfd: found,
                    child: None,
                }));
            }
            tracing::info!(pid, "replacing a layer of another version");
            end(&found);
        }
        // A group of its own: a Ctrl-C that is meant for us is not meant for it.
        let child = Command::new(&self.program)
            .args(&self.words)
            .args(more)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let pidfd = Arc::new(pidfd::open(pid)?);
        Ok(self.remember(Running {
            pidfd,
            child: Some(child),
        }))
    }

    fn remember(&self, running: Running) -> Running {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.pidfd.clone());
        running
    }

    /// The process that listens on the socket.
    fn listener(&self) -> Option<i32> {
        let stream = lighter_stdx::unix_socket::connect(&self.socket).ok()?;
        let credentials = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        Some(credentials.pid.as_raw_nonzero().get())
    }

    fn is_current(&self, pid: i32) -> bool {
        let file = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let runs = file(Path::new(&format!("/proc/{pid}/exe")));
        runs.is_some() && runs == file(&self.program)
    }

    fn keep_up(self: Arc<Self>, mut running: Running) -> io::Result<()> {
        let watch = move || {
            let mut pause = PAUSE;
            loop {
                let begin = Instant::now();
                wait(&mut running);
                if self.stopping.load(Ordering::SeqCst) {
                    return;
                }
                tracing::warn!("{PROGRAM} died; starting it again");
                if begin.elapsed() > GOOD_LIFE {
                    pause = PAUSE;
                }
                running = loop {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    match self.find_or_start(&[]) {
                        Ok(running) => break running,
                        Err(error) => tracing::error!(%error, "{PROGRAM} cannot be started"),
                    }
                };
            }
        };
        std::thread::Builder::new()
            .name("layer-watch".to_owned())
            .spawn(watch)
            .map(drop)
    }
}

/// Waits for its end and, when it is our child, takes note of it.
fn wait(running: &mut Running) {
    if let Err(error) = pidfd::wait_exit(running.pidfd.as_fd(), None) {
        tracing::warn!(%error, "waiting for {PROGRAM}");
    }
    if let Some(child) = &mut running.child {
        // It has ended, so this does not block.
        let _ = child.wait();
    }
}

/// Asks a process to end, and kills it when it does not.
fn end(process: &OwnedFd) {
    for signal in [SIGTERM, SIGKILL] {
        // It may be gone already.
        let _ = pidfd::send_signal(process.as_fd(), signal);
        if matches!(pidfd::wait_exit(process.as_fd(), Some(PATIENCE)), Ok(true)) {
            return;
        }
    }
}
