//! The standard streams of one process: from its pipes or terminal to log, clients and fifos, and back.

use std::os::fd::{AsFd, OwnedFd};

use lighter_log_write::{JsonFile, Stream, Time};
use lighter_shim_api::attach as frame;
use rustix::fs::{Gid, OFlags, Uid};

use crate::attach::{Attach, Client, INPUT_MAX};
use crate::poll::{Kind, Moved, NOTHING, Outbox, Poll, READ, Token, WRITE, Watched, read};
use crate::sink::Sink;
use crate::stdio::Error;

/// Bytes read from a process at once.
const CHUNK: usize = 32 * 1024;
/// Reads of one wake-up, so that one loud process leaves the others their turn.
const TURNS: usize = 8;
/// The most that is read after a process has gone: whatever was in its pipe, and no stream of a descendant.
const DRAIN_MAX: usize = 4 << 20;

/// Everything about the streams of a process.
#[derive(Debug, Default)]
pub(crate) struct Io {
    /// Number of the process.
    pub(crate) process: u32,
    pub(crate) terminal: bool,
    /// The process is there. Before that its pipes hold only what the runtime says on failing.
    pub(crate) live: bool,
    /// Our ends of stdout and stderr; the terminal's master is the first.
    pub(crate) outputs: [Option<Watched>; 2],
    /// Our end of stdin; with a terminal a second descriptor of the master.
    pub(crate) input: Option<Watched>,
    pub(crate) input_pending: Outbox,
    /// No more input comes; the pipe is closed once what is pending was taken.
    pub(crate) input_closed: bool,
    /// A fifo that input comes from, and its path.
    pub(crate) input_fifo: Option<(Watched, String)>,
    pub(crate) sinks: [Option<Sink>; 2],
    pub(crate) log: Option<JsonFile>,
    pub(crate) attach: Option<Attach>,
    /// Columns and rows that were asked for before there was a terminal.
    pub(crate) size: Option<(u16, u16)>,
    /// Ends that the process itself gets; dropped once the runtime has them.
    pub(crate) for_process: [Option<OwnedFd>; 3],
}

impl Io {
    /// Takes the terminal that the runtime made.
    pub(crate) fn set_terminal(&mut self, master: OwnedFd, poll: &Poll) {
        let _ = set_nonblocking(&master);
        if let Some((columns, rows)) = self.size {
            let _ = lighter_sys::pty::set_size(master.as_fd(), rows, columns);
        }
        if let Ok(second) = rustix::io::fcntl_dupfd_cloexec(&master, 3) {
            self.input = Some(Watched::new(second, Token::new(Kind::Input, self.process, 0)));
        }
        self.outputs[0] = Some(Watched::new(master, Token::new(Kind::Output, self.process, 0)));
        self.settle(poll);
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) -> std::io::Result<()> {
        self.size = Some((columns, rows));
        match (&self.outputs[0], self.terminal) {
            (Some(master), true) => lighter_sys::pty::set_size(master.as_fd(), rows, columns),
            _ => Ok(()),
        }
    }

    /// Output is there, or its end.
    pub(crate) fn output_ready(&mut self, stream: usize, now: Time, poll: &Poll) {
        for _ in 0..TURNS {
            if !self.may_read(stream) || !matches!(self.move_output(stream, now, poll), Moved::Bytes(_)) {
                break;
            }
        }
        self.settle(poll);
    }

    fn may_read(&self, stream: usize) -> bool {
        let full = self.attach.as_ref().is_some_and(Attach::is_full);
        self.live && !full && !self.sinks[stream].as_ref().is_some_and(Sink::is_full)
    }

    /// One read and where it goes: the log first, then clients and sinks.
    fn move_output(&mut self, stream: usize, now: Time, poll: &Poll) -> Moved {
        let Some(fd) = &self.outputs[stream] else {
            return Moved::Ended;
        };
        let mut buffer = [0; CHUNK];
        let moved = read(fd, &mut buffer);
        match moved {
            Moved::Bytes(count) => {
                let bytes = &buffer[..count];
                if let Some(log) = &mut self.log {
                    // The log is lost to a full disk or a removed directory; the container runs on.
                    let _ = log.write(name(stream), bytes, now);
                }
                if let Some(attach) = &mut self.attach {
                    attach.send(
                        if stream == 0 { frame::STDOUT } else { frame::STDERR },
                        bytes,
                        poll,
                    );
                }
                if self.sinks[stream]
                    .as_mut()
                    .is_some_and(|sink| !sink.push(bytes, poll))
                {
                    self.sinks[stream] = None;
                }
            }
            Moved::Later => {}
            Moved::Ended => {
                self.outputs[stream] = None;
                self.finish_log(stream, now);
                self.close_sink(stream);
            }
        }
        moved
    }

    fn finish_log(&mut self, stream: usize, now: Time) {
        if let Some(log) = &mut self.log {
            let _ = log.finish(name(stream), now);
        }
    }

    /// The end of a stream is the end of its sink, once that has taken everything.
    fn close_sink(&mut self, stream: usize) {
        if self.outputs[stream].is_none() && !self.sinks[stream].as_ref().is_some_and(Sink::is_full) {
            self.sinks[stream] = None;
        }
    }

    /// A sink takes more.
    pub(crate) fn sink_ready(&mut self, stream: usize, now: Time, poll: &Poll) {
        if self.sinks[stream].as_mut().is_some_and(|sink| !sink.flush(poll)) {
            self.sinks[stream] = None;
        }
        self.close_sink(stream);
        self.output_ready(stream, now, poll);
    }

    /// Someone connects to the attach socket.
    pub(crate) fn attach_ready(&mut self, poll: &Poll) {
        if let Some(attach) = &mut self.attach {
            attach.accept(poll);
        }
        self.settle(poll);
    }

    /// A client speaks, listens again, or is gone.
    pub(crate) fn client_ready(&mut self, client: u32, poll: &Poll) {
        let room = INPUT_MAX.saturating_sub(self.input_pending.len());
        let Some(attach) = &mut self.attach else { return };
        let asked = attach.ready(client, room, poll);
        if !self.input_closed {
            // Before there is a terminal, input waits for it.
            if self.input.is_some() || self.terminal {
                self.input_pending.push(&asked.input);
            }
            self.input_closed = asked.close && !self.terminal;
        }
        self.input_ready(poll);
    }

    /// The process may take input.
    pub(crate) fn input_ready(&mut self, poll: &Poll) {
        if let Some(input) = &self.input {
            let alive = self.input_pending.flush(input);
            if !alive || (self.input_closed && self.input_pending.is_empty()) {
                self.input = None;
                self.input_pending = Outbox::default();
                self.input_fifo = None;
            }
        }
        self.settle(poll);
    }

    /// Input comes through the fifo, or its end.
    pub(crate) fn fifo_ready(&mut self, poll: &Poll) {
        let mut buffer = [0; 4096];
        if let Some((fifo, _)) = &self.input_fifo {
            match read(fifo, &mut buffer) {
                Moved::Bytes(count) => self.input_pending.push(&buffer[..count]),
                Moved::Later => {}
                Moved::Ended => {
                    self.input_fifo = None;
                    self.input_closed = !self.terminal;
                }
            }
        }
        self.input_ready(poll);
    }

    /// No more input: the fifo is read to its end, then the process sees one.
    pub(crate) fn close_input(&mut self, poll: &Poll) {
        match self.input_fifo.take() {
            // Our own writing end kept the fifo open; without it, the last writer's close is the end.
            Some((old, path)) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let token = Token::new(Kind::InputFifo, self.process, 0);
                let reader = rustix::fs::open(path.as_str(), flags, rustix::fs::Mode::empty());
                drop(old);
                match reader {
                    Ok(fd) => {
                        self.input_fifo = Some((Watched::new(fd, token), path));
                        self.fifo_ready(poll);
                        // What is still in it, or a writer that stays, wakes the loop.
                    }
                    Err(_) => self.input_closed = !self.terminal,
                }
            }
            None => self.input_closed = !self.terminal,
        }
        self.input_ready(poll);
    }

    /// Waits for what can be dealt with, and for nothing else.
    fn settle(&mut self, poll: &Poll) {
        for stream in 0..2 {
            let wanted = if self.may_read(stream) { READ } else { NOTHING };
            if let Some(fd) = &mut self.outputs[stream] {
                fd.want(poll, wanted);
            }
        }
        if let Some(input) = &mut self.input {
            input.want(
                poll,
                if self.input_pending.is_empty() {
                    NOTHING
                } else {
                    WRITE
                },
            );
        }
        let room = self.input_pending.len() < INPUT_MAX;
        if let Some((fifo, _)) = &mut self.input_fifo {
            fifo.want(
                poll,
                if room && self.input.is_some() {
                    READ
                } else {
                    NOTHING
                },
            );
        }
        if let Some(attach) = &mut self.attach {
            attach.listen_to_clients(room, poll);
        }
    }

    /// Gives the process's ends to a user and a group, so that it may open them anew by `/dev/stdout`.
    pub(crate) fn give(&self, (uid, gid): (u32, u32)) -> Result<(), Error> {
        if (uid, gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        for end in self.for_process.iter().flatten() {
            rustix::fs::fchown(end, Some(uid), Some(gid)).map_err(|error| Error::Own(error.into()))?;
        }
        Ok(())
    }

    /// The runtime has the process's ends.
    pub(crate) fn handed_over(&mut self) {
        self.for_process = [None, None, None];
    }

    /// The process is there.
    pub(crate) fn begin(&mut self, poll: &Poll) {
        self.live = true;
        self.settle(poll);
    }

    /// The process never was: what the runtime wrote in its place is nobody's output.
    pub(crate) fn discard(&mut self) {
        self.for_process = [None, None, None];
        self.outputs = [None, None];
    }

    /// The process is gone. What it wrote is read and passed on, the clients are told. Returns clients that have not
    /// taken everything yet. Sinks (containerd's) go on until [`Io::is_done`].
    pub(crate) fn exited(&mut self, now: Time, poll: &Poll) -> Vec<Client> {
        let ours = self.log.is_some() || self.attach.is_some();
        for stream in 0..2 {
            let mut drained = 0;
            while drained < DRAIN_MAX && (ours || self.may_read(stream)) {
                match self.move_output(stream, now, poll) {
                    Moved::Bytes(count) => drained += count,
                    Moved::Later | Moved::Ended => break,
                }
            }
            self.finish_log(stream, now);
        }
        self.input = None;
        self.input_fifo = None;
        self.input_pending = Outbox::default();
        self.log = None;
        let late = self
            .attach
            .take()
            .map(|attach| attach.end(poll))
            .unwrap_or_default();
        if ours {
            // A descendant that still holds the pipe writes to nobody from here on.
            for stream in 0..2 {
                self.outputs[stream] = None;
                self.close_sink(stream);
            }
        }
        self.settle(poll);
        late
    }

    /// A fifo has no reader yet, and nothing tells when it has.
    pub(crate) fn must_be_looked_at(&self) -> bool {
        self.sinks.iter().flatten().any(Sink::must_be_looked_at)
    }

    /// Looks for readers of fifos.
    pub(crate) fn look_for_readers(&mut self, now: Time, poll: &Poll) {
        for stream in 0..2 {
            if self.sinks[stream].as_ref().is_some_and(Sink::must_be_looked_at) {
                self.sink_ready(stream, now, poll);
            }
        }
    }

    /// Nothing is left to be passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.outputs.iter().all(Option::is_none) && self.sinks.iter().all(Option::is_none)
    }

    /// Gives up what a descendant of the process may still write; what was read goes on to the sinks.
    pub(crate) fn abandon(&mut self, now: Time, poll: &Poll) {
        for stream in 0..2 {
            if self.outputs[stream].is_some() {
                self.output_ready(stream, now, poll);
                self.outputs[stream] = None;
            }
            self.close_sink(stream);
        }
    }
}

fn name(stream: usize) -> Stream {
    if stream == 0 {
        Stream::Stdout
    } else {
        Stream::Stderr
    }
}

pub(crate) fn set_nonblocking(fd: impl AsFd) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}
