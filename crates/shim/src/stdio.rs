//! From the addresses of a request to open streams: `lighter-log://`, fifos, `file://`, `binary://`.

use std::ffi::CString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use lighter_log_write::{JsonFile, Limits};
use lighter_shim_api::log_uri::{self, Driver, LogUri};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::attach::Attach;
use crate::io::{Io, set_nonblocking};
use crate::logger::Logger;
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
    #[error("give a pipe to the container's user")]
    Own(#[source] io::Error),
    #[error("failed to start binary process")]
    Logger(#[source] io::Error),
}

/// Opens everything; the process's ends are `owner`'s (uid, gid). Blocks on nothing. The logger, if there is one, must be
/// ready before the process starts.
pub(crate) fn open(
    stdio: &Stdio,
    process: u32,
    ids: (&str, &str),
    environment: &[CString],
    owner: (u32, u32),
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
        logger = Some(Logger::start(&mut io, rest, ids, environment)?);
    } else if let Some(path) = out.strip_prefix("file://") {
        open_files(&mut io, &log_uri::decode(path)?, poll)?;
    } else {
        for (stream, path) in [out, stdio.stderr.as_str()].into_iter().enumerate() {
            io.sinks[stream] = open_sink(path, process, stream as u32, poll)?;
        }
    }
    open_input(&mut io, &stdio.stdin)?;
    if !io.terminal {
        open_pipes(&mut io, stdio)?;
        io.give(owner)?;
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

fn open_sink(path: &str, process: u32, stream: u32, poll: &Poll) -> Result<Option<Sink>, Error> {
    if path.is_empty() || path.starts_with(log_uri::SCHEME) {
        return Ok(None);
    }
    let path = match path.split_once("://") {
        None => path,
        Some(("fifo", path)) => path,
        Some((scheme, _)) => return Err(Error::Scheme(scheme.to_owned())),
    };
    let sink = Sink::fifo(path, process, stream, poll);
    sink.map(Some).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

/// One file for both streams.
fn open_files(io: &mut Io, path: &str, poll: &Poll) -> Result<(), Error> {
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let process = io.process;
    if let Some(dir) = Path::new(path).parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    // What is no file after all (a fifo, a terminal) may not take everything at once, and must not block us.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)) {
        Err(rustix::io::Errno::NXIO) => {
            for stream in 0..2 {
                let sink = Sink::fifo(path, process, stream as u32, poll).map_err(failed)?;
                io.sinks[stream] = Some(sink);
            }
            return Ok(());
        }
        opened => opened.map_err(|error| failed(error.into()))?,
    };
    let kind = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(kind.st_mode) == rustix::fs::FileType::RegularFile {
        let file = Rc::new(file);
        io.sinks = [0, 1].map(|stream| Some(Sink::file(Rc::clone(&file), process, stream)));
        return Ok(());
    }
    let second = rustix::io::fcntl_dupfd_cloexec(&file, 3).map_err(|error| failed(error.into()))?;
    for (stream, fd) in [file, second].into_iter().enumerate() {
        io.sinks[stream] = Some(Sink::pipe(fd, process, stream as u32));
    }
    Ok(())
}

fn open_input(io: &mut Io, stdin: &str) -> Result<(), Error> {
    if stdin.is_empty() || stdin.starts_with(log_uri::SCHEME) {
        return Ok(());
    }
    // Open for writing too: the fifo has no end before CloseIO, whoever comes and goes.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(stdin, flags, Mode::empty()).map_err(|error| Error::Open {
        path: stdin.to_owned(),
        source: error.into(),
    })?;
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
