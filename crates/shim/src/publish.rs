//! Events to whoever listens; the shim never waits for them.

use std::collections::VecDeque;
use std::path::PathBuf;

use lighter_shim_api::event::{Event, envelope};
use lighter_shim_api::forward::ForwardRequest;
use lighter_shim_api::{Timestamp, frame, service};

use crate::poll::{Kind, Moved, Outbox, Poll, READ, Token, WRITE, Watched, read};
use crate::socket;

/// Events kept while nobody listens; the oldest go first. The layer derives its state anew when it is back.
const KEPT: usize = 128;
/// How long to wait before the next attempt to connect, in milliseconds.
const RETRY: u32 = 1000;
/// Attempts before what is kept is dropped.
const ATTEMPTS: u32 = 60;

/// The connection to the event service.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Where; `None` when the caller named no place.
    address: Option<PathBuf>,
    namespace: String,
    connection: Option<Watched>,
    /// Sent, not yet answered: sent again when the connection breaks.
    unanswered: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    out: Outbox,
    stream: u32,
    failures: u32,
    input: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(address: Option<PathBuf>, namespace: &str) -> Self {
        Self {
            address,
            namespace: namespace.to_owned(),
            connection: None,
            unanswered: VecDeque::new(),
            waiting: VecDeque::new(),
            out: Outbox::default(),
            stream: 1,
            failures: 0,
            input: Vec::new(),
        }
    }

    pub(crate) fn publish<E: Event>(&mut self, event: &E, at: Timestamp, poll: &Poll) {
        if self.address.is_none() {
            return;
        }
        let request = ForwardRequest {
            envelope: Some(envelope(&self.namespace, at, event)),
        };
        let bytes = frame::request(
            self.stream,
            service::EVENTS,
            service::FORWARD,
            5_000_000_000,
            &request,
        );
        self.stream = self.stream.wrapping_add(2);
        if self.waiting.len() >= KEPT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(bytes);
        self.go_on(poll);
    }

    /// Milliseconds after which [`Publisher::go_on`] should be called again, if it should.
    pub(crate) fn patience(&self) -> Option<u32> {
        (self.connection.is_none() && !self.waiting.is_empty()).then_some(RETRY)
    }

    /// Whether everything was taken.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.unanswered.is_empty()
    }

    /// Connects when needed and sends what waits.
    pub(crate) fn go_on(&mut self, poll: &Poll) {
        let Some(address) = &self.address else { return };
        if self.waiting.is_empty() {
            return;
        }
        if self.connection.is_none() {
            match socket::connect(address) {
                Ok(fd) => {
                    self.failures = 0;
                    self.connection = Some(Watched::new(fd, Token::new(Kind::Publisher, 0, 0)));
                }
                Err(_) => {
                    self.failures += 1;
                    if self.failures > ATTEMPTS {
                        self.waiting.clear();
                        self.failures = 0;
                    }
                    return;
                }
            }
        }
        while let Some(bytes) = self.waiting.pop_front() {
            self.out.push(&bytes);
            self.unanswered.push_back(bytes);
        }
        self.flush(poll);
    }

    fn flush(&mut self, poll: &Poll) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if !self.out.flush(&*connection) {
            return self.broken();
        }
        connection.want(poll, if self.out.is_empty() { READ } else { READ | WRITE });
    }

    /// The connection can be read or written.
    pub(crate) fn ready(&mut self, poll: &Poll) {
        let mut buffer = [0; 512];
        let mut ended = false;
        while let Some(connection) = self.connection.as_ref().filter(|_| !ended) {
            match read(connection, &mut buffer) {
                Moved::Bytes(count) => self.input.extend_from_slice(&buffer[..count]),
                Moved::Later => break,
                Moved::Ended => ended = true,
            }
        }
        // An answer is all the same, good or bad: the event was heard. They come in any order; the count is what counts.
        while let Ok(Some((_, _, used))) = frame::split(&self.input) {
            self.input.drain(..used);
            self.unanswered.pop_front();
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if ended {
            self.broken();
        } else {
            self.flush(poll);
        }
    }

    fn broken(&mut self) {
        self.connection = None;
        self.out = Outbox::default();
        self.input = Vec::new();
        while let Some(bytes) = self.unanswered.pop_back() {
            self.waiting.push_front(bytes);
        }
    }
}
