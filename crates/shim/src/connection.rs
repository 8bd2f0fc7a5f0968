//! A client of the task service.

use std::os::fd::OwnedFd;

use lighter_shim_api::frame::{self, REQUEST};
use lighter_shim_api::ttrpc::{Request, Status};
use prost::Message;

use crate::poll::{Kind, Moved, Outbox, Poll, READ, Token, WRITE, Watched, read};

/// A client that has not taken so many bytes of answers is not asked for more, until it has.
const OUT_MAX: usize = 1 << 20;

/// One connection and its bytes under way.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Watched,
    input: Vec<u8>,
    out: Outbox,
}

impl Connection {
    pub(crate) fn new(fd: OwnedFd, number: u32, poll: &Poll) -> Self {
        let mut socket = Watched::new(fd, Token::new(Kind::Connection, number, 0));
        socket.want(poll, READ);
        Self {
            socket,
            input: Vec::new(),
            out: Outbox::default(),
        }
    }

    /// Reads what is there: whole requests with their streams. `None`: the client is gone or is none.
    pub(crate) fn requests(&mut self) -> Option<Vec<(u32, Request)>> {
        let mut buffer = [0; 8192];
        match read(&self.socket, &mut buffer) {
            Moved::Bytes(count) => self.input.extend_from_slice(&buffer[..count]),
            Moved::Later => {}
            Moved::Ended => return None,
        }
        let mut requests = Vec::new();
        let mut used = 0;
        while let Some((header, body, length)) = frame::split(&self.input[used..]).ok()? {
            if header.kind == REQUEST {
                requests.push((header.stream, Request::decode(body).ok()?));
            }
            used += length;
        }
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Some(requests)
    }

    pub(crate) fn answer(&mut self, stream: u32, answer: Result<Vec<u8>, Status>) {
        frame::put_response(self.out.buffer(), stream, answer);
    }

    /// Sends what waits. `false`: the client is gone.
    pub(crate) fn flush(&mut self, poll: &Poll) -> bool {
        let alive = self.out.flush(&self.socket);
        let wanted = match self.out.len() {
            0 => READ,
            len if len < OUT_MAX => READ | WRITE,
            _ => WRITE,
        };
        self.socket.want(poll, wanted);
        alive
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }
}
