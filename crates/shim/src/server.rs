//! The loop: one thread, one epoll, nothing that blocks.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lighter_log_write::Time;
use lighter_shim_api::Timestamp;
use lighter_shim_api::task::DeleteRequest;
use lighter_shim_api::ttrpc::Status;
use lighter_shim_api::types::Mount;
use lighter_sys::signals::SignalFd;
use rustix::event::epoll::EventFlags;
use rustix::process::{WaitOptions, WaitStatus};

use crate::Config;
use crate::attach::Client;
use crate::connection::Connection;
use crate::container::{Caller, Container, Process};
use crate::logger::{END, KILL, Running};
use crate::operation::Operation;
use crate::poll::{Kind, Poll, READ, Token, Watched};
use crate::publish::Publisher;
use crate::sandbox::Sandbox;
use crate::{rootfs, socket};

const SIGCHLD: i32 = 17;
/// What asks a program to end. A shim ends when its containers have: nobody else would know how they did.
const REQUESTS: [i32; 3] = [1, 2, 15];
/// How long a shim that was asked to end lets slow readers read, in milliseconds.
const GRACE: u32 = 2000;
/// How long a deletion waits for output that is on its way, in milliseconds: as containerd's own shim does.
const DRAIN: u64 = 2000;
/// How long nothing must happen before memory is given back, in milliseconds.
const QUIET: u32 = 500;
/// How long to wait before looking again for the reader of a fifo that cannot be watched, in milliseconds.
const LOOK: u32 = 100;
/// How long to wait before looking again for the count of an OOM kill that was announced, in milliseconds.
const COUNTED: u32 = 5;
/// How long a shim whose last container and last client have gone stays, in milliseconds.
const FAREWELL: u32 = 100;
/// How long a shim without a container waits for a client that never came.
const LONELY: u32 = 60_000;

/// A process whose logger is not ready yet.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// Who waits.
    pub(crate) caller: Caller,
    /// What is to be mounted.
    pub(crate) plans: Vec<rootfs::Plan>,
    /// The same as it came.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) since: Time,
}

/// Everything that the shim is.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) poll: Poll,
    signals: SignalFd,
    listener: Option<Watched>,
    address: PathBuf,
    connections: BTreeMap<u32, Connection>,
    numbers: u32,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// Runtime commands and other helpers under way, by pid.
    pub(crate) operations: BTreeMap<i32, Operation>,
    /// Ends that belong to nobody yet: a process may die before the runtime has told its pid.
    pub(crate) strangers: Vec<(i32, WaitStatus, Time)>,
    /// Processes whose logger is not ready yet.
    pub(crate) deferred: BTreeMap<u32, Deferred>,
    /// `binary://` programs that run, by pid.
    pub(crate) loggers: BTreeMap<i32, Running>,
    /// Deletions that wait for output that is on its way.
    pub(crate) deleting: Vec<(Caller, DeleteRequest, Time)>,
    /// Attach clients of processes that are gone, still reading.
    late: BTreeMap<u32, Client>,
    pub(crate) publisher: Publisher,
    /// What the containers belong to, when the caller said so.
    pub(crate) sandbox: Option<Sandbox>,
    /// Asked to end, and since when.
    pub(crate) stopping: Option<Time>,
    /// Something happened since memory was given back.
    awake: bool,
    /// The time to give it back.
    rests: bool,
    /// Since when there is nobody to serve.
    lonely: Option<Time>,
    /// There was a container.
    pub(crate) served: bool,
}

impl Server {
    /// Serves on `listener`, bound at `address`.
    pub(crate) fn new(config: Config, listener: OwnedFd, address: PathBuf) -> io::Result<Self> {
        let poll = Poll::new()?;
        let [hangup, interrupt, terminate] = REQUESTS;
        let signals = SignalFd::new(&[SIGCHLD, hangup, interrupt, terminate])?;
        lighter_sys::process::set_subreaper()?;
        let mut watched = Watched::new(
            rustix::io::fcntl_dupfd_cloexec(&signals, 3)?,
            Token::new(Kind::Signal, 0, 0),
        );
        watched.want(&poll, READ);
        // The loop lives as long as the process: this descriptor is never closed.
        std::mem::forget(watched);
        let mut listener = Watched::new(listener, Token::new(Kind::Listener, 0, 0));
        listener.want(&poll, READ);
        let publisher = Publisher::new(config.events.clone(), &config.namespace);
        Ok(Self {
            config,
            poll,
            signals,
            listener: Some(listener),
            address,
            connections: BTreeMap::new(),
            numbers: 0,
            containers: BTreeMap::new(),
            processes: BTreeMap::new(),
            operations: BTreeMap::new(),
            strangers: Vec::new(),
            deferred: BTreeMap::new(),
            loggers: BTreeMap::new(),
            deleting: Vec::new(),
            late: BTreeMap::new(),
            publisher,
            sandbox: None,
            stopping: None,
            awake: true,
            rests: false,
            lonely: None,
            served: false,
        })
    }

    /// Runs until there is nothing left to do.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            let patience = self.patience();
            if self.rests {
                // Waiting needs little of the program; the rest is the page cache's. Right before the wait: what runs
                // in between comes back.
                let _ = lighter_sys::memory::forget_program();
            }
            let events = self.poll.wait(patience)?;
            self.rests = self.awake && events.is_empty() && self.operations.is_empty();
            self.awake = !events.is_empty() || (self.awake && !self.rests);
            for (token, flags) in events {
                self.wake(token, flags);
            }
            self.look_for_readers();
            self.look_for_oom();
            self.look_at_loggers();
            self.delete_drained();
            self.flush();
            self.publisher.go_on(&self.poll);
            self.leave_when_lonely();
        }
        Ok(())
    }

    /// Ends when there is nobody to serve any more, or nobody ever came.
    fn leave_when_lonely(&mut self) {
        let needed = self.sandbox.is_some() || !self.containers.is_empty() || !self.connections.is_empty();
        let lonely = !needed && self.stopping.is_none();
        if !lonely {
            self.lonely = None;
            return;
        }
        let now = self.now();
        let since = *self.lonely.get_or_insert(now);
        if milliseconds(since, now) >= u64::from(self.loneliness()) {
            self.stop();
        }
    }

    fn loneliness(&self) -> u32 {
        if self.served { FAREWELL } else { LONELY }
    }

    fn patience(&self) -> Option<u32> {
        let end = match (self.stopping, self.lonely) {
            (Some(_), _) => Some(50),
            (None, Some(_)) => Some(self.loneliness()),
            (None, None) => None,
        };
        let unread = self
            .processes
            .values()
            .any(|process| process.io.must_be_looked_at());
        let look = unread.then_some(LOOK);
        let drain = self.deleting.first().map(|(.., since)| {
            let left = DRAIN.saturating_sub(milliseconds(*since, self.now()));
            u32::try_from(left).unwrap_or(LOOK).max(1)
        });
        let quiet = self.awake.then_some(QUIET);
        // Programs that may not become ready, or not end.
        let idle = self.loggers.values().any(|logger| logger.idle.is_some());
        let loggers = (idle || !self.deferred.is_empty()).then_some(1000);
        let announced = |container: &Container| container.oom_announced.is_some();
        let oom = self.containers.values().any(announced).then_some(COUNTED);
        [end, self.publisher.patience(), look, drain, quiet, loggers, oom]
            .into_iter()
            .flatten()
            .min()
    }

    fn look_for_readers(&mut self) {
        let now = (self.config.clock)();
        for process in self
            .processes
            .values_mut()
            .filter(|process| process.io.must_be_looked_at())
        {
            process.io.look_for_readers(now, &self.poll);
        }
    }

    /// Goes on with deletions whose process has nothing more to say, or has had its time.
    fn delete_drained(&mut self) {
        for (caller, request, since) in std::mem::take(&mut self.deleting) {
            let late = milliseconds(since, self.now()) >= DRAIN;
            if !late && self.has_output(&request) {
                self.deleting.push((caller, request, since));
                continue;
            }
            match self.delete_now(caller, &request) {
                Ok(Some(payload)) => self.answer(caller, Ok(payload)),
                Ok(None) => {}
                Err(status) => self.answer(caller, Err(status)),
            }
        }
    }

    fn is_over(&self) -> bool {
        let Some(since) = self.stopping else { return false };
        let now = self.now();
        let waited = milliseconds(since, now);
        let sent = self.connections.values().all(Connection::is_flushed);
        let quiet = self.late.is_empty() && self.publisher.is_idle() && self.processes.is_empty();
        let logged = self.loggers.is_empty() || waited > (END + KILL) * 1000;
        self.operations.is_empty() && logged && ((sent && quiet) || waited > u64::from(GRACE))
    }

    /// No new clients, and the end when the old ones have what is theirs.
    pub(crate) fn stop(&mut self) {
        if self.listener.take().is_some() {
            let _ = rustix::fs::unlink(&self.address);
        }
        self.stopping = Some(self.now());
    }

    pub(crate) fn now(&self) -> Time {
        (self.config.clock)()
    }

    pub(crate) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    fn wake(&mut self, token: Token, _flags: EventFlags) {
        let now = self.now();
        let poll = &self.poll;
        match token.kind {
            Kind::Signal => return self.reap(),
            Kind::Listener => return self.accept(),
            Kind::Connection => return self.serve(token.id),
            Kind::Publisher => return self.publisher.ready(poll),
            Kind::Client if token.id == 0 => {
                if self
                    .late
                    .get_mut(&token.part)
                    .is_some_and(|client| !client.linger(poll))
                {
                    self.late.remove(&token.part);
                }
                return;
            }
            Kind::Logger => return self.logger_ready(token.id),
            Kind::Oom => return self.oom_woke(token.id),
            _ => {}
        }
        let Some(process) = self.processes.get_mut(&token.id) else {
            return;
        };
        let io = &mut process.io;
        match token.kind {
            Kind::Output => io.output_ready(token.part as usize & 1, now, poll),
            Kind::Input => io.input_ready(poll),
            Kind::InputFifo => io.fifo_ready(poll),
            Kind::Sink => io.sink_ready(token.part as usize & 1, now, poll),
            Kind::Attach => io.attach_ready(poll),
            Kind::Client => io.client_ready(token.part, poll),
            _ => {}
        }
        self.forget(token.id);
    }

    /// Drops a deleted process once its output has gone where it belongs.
    pub(crate) fn forget(&mut self, number: u32) {
        if self
            .processes
            .get(&number)
            .is_some_and(|process| process.deleted && process.io.is_done())
        {
            self.processes.remove(&number);
        }
    }

    fn accept(&mut self) {
        while let Some(fd) = self.listener.as_ref().and_then(socket::accept) {
            let number = self.number();
            self.connections
                .insert(number, Connection::new(fd, number, &self.poll));
        }
    }

    fn serve(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let Some(requests) = connection.requests() else {
            self.connections.remove(&number);
            return;
        };
        for (stream, request) in requests {
            let caller = Caller {
                connection: number,
                stream,
            };
            match self.call(caller, &request) {
                Ok(Some(payload)) => self.answer(caller, Ok(payload)),
                Ok(None) => {}
                Err(status) => self.answer(caller, Err(status)),
            }
        }
    }

    /// Answers a request; a caller that has gone is forgotten.
    pub(crate) fn answer(&mut self, caller: Caller, answer: Result<Vec<u8>, Status>) {
        if let Some(connection) = self.connections.get_mut(&caller.connection) {
            connection.answer(caller.stream, answer);
        }
    }

    fn flush(&mut self) {
        let poll = &self.poll;
        self.connections
            .retain(|_, connection| connection.is_flushed() || connection.flush(poll));
        for connection in self.connections.values_mut() {
            connection.flush(poll);
        }
    }

    /// Collects the dead. The first processes of containers come last: those that joined them died before.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read() {}
        let now = self.now();
        let mut firsts = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.loggers.remove(&pid).is_some() {
                continue;
            }
            if let Some(operation) = self.operations.remove(&pid) {
                self.finish(operation, status);
            } else if let Some(number) = self.number_of(pid) {
                if self
                    .processes
                    .get(&number)
                    .is_some_and(|process| process.exec_id.is_empty())
                {
                    firsts.push((number, status));
                } else {
                    self.died(number, status, now);
                }
            } else {
                self.strangers.push((pid, status, now));
            }
        }
        for (number, status) in firsts {
            self.died(number, status, now);
        }
        if self.operations.is_empty() {
            self.strangers = Vec::new();
        }
    }

    fn number_of(&self, pid: i32) -> Option<u32> {
        let alive = self
            .processes
            .iter()
            .find(|(_, process)| process.pid == pid && process.exit.is_none());
        alive.map(|(number, _)| *number)
    }

    /// Keeps what slow clients have not read yet.
    pub(crate) fn keep_late(&mut self, clients: Vec<Client>) {
        for client in clients {
            let number = self.number() & 0x00ff_ffff;
            let mut client = client.renumber(number);
            if client.linger(&self.poll) {
                self.late.insert(number, client);
            }
        }
    }
}

pub(crate) fn milliseconds(from: Time, to: Time) -> u64 {
    let all = |time: Time| time.seconds * 1000 + u64::from(time.nanos / 1_000_000);
    all(to).saturating_sub(all(from))
}

/// The moment as protobuf has it.
pub(crate) fn timestamp(time: Time) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(time.seconds).unwrap_or(i64::MAX),
        nanos: time.nanos.cast_signed(),
    }
}
