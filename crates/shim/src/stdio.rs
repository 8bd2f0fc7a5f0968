//! From the addresses of a request to open streams: `lighter-log://`, fifos, `file://`, `binary://`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lighter_log_write::{JsonFile, Limits};
use lighter_shim_api::log_uri::{self, Driver, LogUri};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::attach::Attach;
use crate::child::{self, Program};
use crate::io::{Io, set_nonblocking};
use crate::poll::{Kind, Poll, Token, Watched};
use crate::sink::Sink;

/// The addresses, as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Uri(#[from] log_uri::LogUriError),
    #[error(transparent)]
    Log(#[from] lighter_log_write::Error),
    #[error("unknown STDIO scheme {0}")]
    Scheme(String),
    #[error("open {path}")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("bind the attach socket {path}")]
    Attach {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("make a pipe")]
    Pipe(#[source] io::Error),
    #[error("failed to start binary process")]
    Logger(#[source] io::Error),
}

/// A logging program that was started.
#[derive(Debug)]
pub(crate) struct Logger {
    /// Readable, or at its end, when it is ready.
    pub(crate) ready: Watched,
}

/// Opens everything. Blocks on nothing. The logger, if there is one, must be ready before the process starts.
pub(crate) fn open(
    stdio: &Stdio,
    process: u32,
    ids: (&str, &str),
    environment: &[CString],
    poll: &Poll,
) -> Result<(Io, Option<Logger>), Error> {
    let mut io = Io {
        process,
        terminal: stdio.terminal,
        ..Io::default()
    };
    let mut logger = None;
    let out = stdio.stdout.as_str();
    if out.starts_with(log_uri::SCHEME) {
        open_log(&mut io, &LogUri::parse(out)?, poll)?;
    } else if let Some(rest) = out.strip_prefix("binary://") {
        logger = Some(open_logger(&mut io, rest, ids, environment)?);
    } else if let Some(path) = out.strip_prefix("file://") {
        let file = Rc::new(open_file(&log_uri::decode(path)?)?);
        io.sinks = [
            Some(Sink::file(Rc::clone(&file), process, 0)),
            Some(Sink::file(file, process, 1)),
        ];
    } else {
        for (stream, path) in [out, stdio.stderr.as_str()].into_iter().enumerate() {
            io.sinks[stream] = open_sink(path, process, stream as u32)?;
        }
    }
    open_input(&mut io, &stdio.stdin, poll)?;
    if !io.terminal {
        open_pipes(&mut io, stdio)?;
    }
    Ok((io, logger))
}

fn open_log(io: &mut Io, uri: &LogUri, poll: &Poll) -> Result<(), Error> {
    if uri.driver == Driver::JsonFile {
        let limits = Limits {
            max_size: uri.max_size,
            max_file: uri.max_file,
        };
        io.log = Some(JsonFile::open(Path::new(&uri.path), limits)?);
    }
    if !uri.attach.is_empty() {
        let bound = Attach::bind(Path::new(&uri.attach), io.process, poll);
        io.attach = Some(bound.map_err(|source| Error::Attach {
            path: uri.attach.clone(),
            source,
        })?);
    }
    Ok(())
}

fn open_sink(path: &str, process: u32, stream: u32) -> Result<Option<Sink>, Error> {
    if path.is_empty() || path.starts_with(log_uri::SCHEME) {
        return Ok(None);
    }
    let path = match path.split_once("://") {
        None => path,
        Some(("fifo", path)) => path,
        Some((scheme, _)) => return Err(Error::Scheme(scheme.to_owned())),
    };
    let sink = Sink::fifo(path, process, stream);
    sink.map(Some).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

fn open_file(path: &str) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = Path::new(path).parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).map_err(|error| failed(error.into()))
}

/// containerd's contract: descriptors 3 and 4 are stdout and stderr, 5 is closed or written when it is ready; each
/// query parameter is two arguments.
fn open_logger(io: &mut Io, uri: &str, ids: (&str, &str), environment: &[CString]) -> Result<Logger, Error> {
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
    let started = child::start(Program {
        path: &path,
        arguments,
        environment,
        stdio: [None, None, None],
        more: vec![out.as_fd(), err.as_fd(), tell.as_fd()],
        mounts: &[],
    });
    for (stream, fd) in [our_out, our_err].into_iter().enumerate() {
        set_nonblocking(&fd).map_err(Error::Pipe)?;
        io.sinks[stream] = Some(Sink::pipe(fd, io.process, stream as u32));
    }
    set_nonblocking(&ready).map_err(Error::Pipe)?;
    let ready = Watched::new(ready, Token::new(Kind::Logger, io.process, 0));
    started.map_err(Error::Logger)?;
    Ok(Logger { ready })
}

fn open_input(io: &mut Io, stdin: &str, poll: &Poll) -> Result<(), Error> {
    if stdin.is_empty() || stdin.starts_with(log_uri::SCHEME) {
        return Ok(());
    }
    // Open for writing too: the fifo has no end before CloseIO, whoever comes and goes.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(stdin, flags, Mode::empty()).map_err(|error| Error::Open {
        path: stdin.to_owned(),
        source: error.into(),
    })?;
    let _ = poll;
    let fifo = Watched::new(fd, Token::new(Kind::InputFifo, io.process, 0));
    io.input_fifo = Some((fifo, stdin.to_owned()));
    Ok(())
}

/// Pipes to a process without a terminal, for the streams that anybody asked for.
fn open_pipes(io: &mut Io, stdio: &Stdio) -> Result<(), Error> {
    let ours = stdio.stdout.starts_with(log_uri::SCHEME);
    for stream in 0..2 {
        if ours || io.sinks[stream].is_some() {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()))?;
            set_nonblocking(&read).map_err(Error::Pipe)?;
            let token = Token::new(Kind::Output, io.process, stream as u32);
            io.outputs[stream] = Some(Watched::new(read, token));
            io.for_process[stream + 1] = Some(write);
        }
    }
    if !stdio.stdin.is_empty() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()))?;
        set_nonblocking(&write).map_err(Error::Pipe)?;
        io.input = Some(Watched::new(write, Token::new(Kind::Input, io.process, 0)));
        io.for_process[0] = Some(read);
    }
    Ok(())
}
