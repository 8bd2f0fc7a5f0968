//! `binary://`: a program that takes the output of a process.
//!
//! containerd's contract: descriptors 3 and 4 are stdout and stderr; 5 is closed, or written to, when the program is
//! ready; `CONTAINER_ID` and `CONTAINER_NAMESPACE` say whose output it is; each query parameter is two arguments.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use lighter_log_write::Time;
use lighter_shim_api::log_uri;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::child::{self, Program};
use crate::io::{Io, set_nonblocking};
use crate::poll::{Kind, Moved, Token, Watched, read};
use crate::server::Server;
use crate::sink::Sink;
use crate::stdio::Error;

/// How long a program may take to say that it is ready, in seconds.
pub(crate) const READY: u64 = 30;
/// How long a program may take to end when there is no more output, in seconds, before it is told to. As containerd's.
pub(crate) const END: u64 = 10;
/// How much longer before it is killed, in seconds.
pub(crate) const KILL: u64 = 2;

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) pid: i32,
    /// Readable, or at its end, when it is ready.
    pub(crate) ready: Watched,
    /// Why it could not be started, once `ready` is at its end.
    report: OwnedFd,
}

/// A program that still runs, by pid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    /// Number of the process whose output it takes.
    pub(crate) process: u32,
    /// Since when there is nothing left for it.
    pub(crate) idle: Option<Time>,
    /// It was told to end.
    pub(crate) told: bool,
}

impl Logger {
    /// Starts the program of `uri`, the part after `binary://`, and makes it the sink of both streams.
    pub(crate) fn start(
        io: &mut Io,
        uri: &str,
        ids: (&str, &str),
        environment: &[CString],
    ) -> Result<Self, Error> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let path = PathBuf::from(log_uri::decode(path)?);
        let text = |text: String| CString::new(text).map_err(|error| Error::Logger(error.into()));
        let mut arguments = vec![text(path.to_string_lossy().into_owned())?];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            arguments.push(text(log_uri::decode(key)?)?);
            if !value.is_empty() {
                arguments.push(text(log_uri::decode(value)?)?);
            }
        }
        let mut environment = environment.to_vec();
        environment.push(text(format!("CONTAINER_ID={}", ids.1))?);
        environment.push(text(format!("CONTAINER_NAMESPACE={}", ids.0))?);
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()));
        let ((out, our_out), (err, our_err), (ready, tell)) = (pipe()?, pipe()?, pipe()?);
        for fd in [&our_out, &our_err, &ready] {
            set_nonblocking(fd).map_err(Error::Pipe)?;
        }
        let started = child::start(Program {
            path: &path,
            arguments,
            environment,
            stdio: [None, None, None],
            more: vec![out.as_fd(), err.as_fd(), tell.as_fd()],
            mounts: &[],
            dir: None,
            // It writes what it has when the shim dies.
            bound: false,
        })
        .map_err(Error::Logger)?;
        for (stream, fd) in [our_out, our_err].into_iter().enumerate() {
            io.sinks[stream] = Some(Sink::pipe(fd, io.process, stream as u32));
        }
        Ok(Self {
            pid: started.pid,
            ready: Watched::new(ready, Token::new(Kind::Logger, io.process, 0)),
            report: started.report,
        })
    }

    /// Why it is not there, if it is not: to be asked when `ready` has something to say.
    fn failure(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        match read(&self.report, &mut bytes) {
            Moved::Bytes(count) => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
            Moved::Later | Moved::Ended => None,
        }
    }
}

impl Server {
    /// The logger of a process is ready, or gone.
    pub(crate) fn logger_ready(&mut self, number: u32) {
        let logger = self
            .processes
            .get_mut(&number)
            .and_then(|process| process.logger.take());
        let failure = logger.and_then(|logger| logger.failure());
        self.logged(
            number,
            failure.map(|why| format!("failed to start binary process: {why}")),
        );
    }

    /// Gives up loggers that never say that they are ready; ends those that have nothing left to do.
    pub(crate) fn look_at_loggers(&mut self) {
        let now = self.now();
        let late: Vec<u32> = self
            .deferred
            .iter()
            .filter(|(_, deferred)| now.seconds.saturating_sub(deferred.since.seconds) > READY)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if let Some(logger) = self
                .processes
                .get_mut(&number)
                .and_then(|process| process.logger.take())
            {
                let _ = lighter_sys::process::kill(logger.pid, 9);
            }
            let why = format!("the logging program did not become ready within {READY} s");
            self.logged(number, Some(why));
        }
        let stopping = self.stopping.is_some();
        for (pid, running) in &mut self.loggers {
            if self.processes.contains_key(&running.process) && !stopping {
                continue;
            }
            let since = *running.idle.get_or_insert(now);
            let waited = now.seconds.saturating_sub(since.seconds);
            if waited > END && !running.told {
                running.told = true;
                let _ = lighter_sys::process::kill(*pid, 15);
            } else if waited > END + KILL {
                let _ = lighter_sys::process::kill(*pid, 9);
            }
        }
    }
}
