//! The attach socket of a process: any number of clients, none of which can be waited for for ever.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lighter_shim_api::attach::{self as frame, HEADER_LEN};

use crate::poll::{Kind, Moved, NOTHING, Outbox, Poll, READ, Token, WRITE, Watched, read};
use crate::socket;

/// A client with so much unsent output stops the process's pipe from being read.
pub(crate) const CLIENT_MAX: usize = 1 << 20;
/// Input that the process has not taken; beyond it clients are not read.
pub(crate) const INPUT_MAX: usize = 64 * 1024;

/// The listening socket and who came.
#[derive(Debug)]
pub(crate) struct Attach {
    listener: Watched,
    path: PathBuf,
    clients: BTreeMap<u32, Client>,
    next: u32,
    process: u32,
}

/// One connection to the attach socket.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Watched,
    out: Outbox,
    /// What came and is no whole frame yet.
    input: Vec<u8>,
}

/// What clients asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// For the process's standard input.
    pub(crate) input: Vec<u8>,
    /// No more input.
    pub(crate) close: bool,
}

impl Attach {
    /// Binds `path`, replacing a socket that a dead shim left.
    pub(crate) fn bind(path: &Path, process: u32, poll: &Poll) -> io::Result<Self> {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = socket::listen(path)?;
        let mut listener = Watched::new(listener, Token::new(Kind::Attach, process, 0));
        listener.want(poll, READ);
        Ok(Self {
            listener,
            path: path.to_owned(),
            clients: BTreeMap::new(),
            next: 0,
            process,
        })
    }

    pub(crate) fn accept(&mut self, poll: &Poll) {
        while let Some(fd) = socket::accept(&self.listener) {
            let number = self.next;
            self.next += 1;
            let socket = Watched::new(fd, Token::new(Kind::Client, self.process, number));
            self.clients.insert(
                number,
                Client {
                    socket,
                    out: Outbox::default(),
                    input: Vec::new(),
                },
            );
            self.send_to(number, frame::READY, &[], poll);
            if let Some(client) = self.clients.get_mut(&number) {
                client.wait(poll, true);
            }
        }
    }

    /// Whether some client has not taken what it should have.
    pub(crate) fn is_full(&self) -> bool {
        self.clients.values().any(|client| client.out.len() >= CLIENT_MAX)
    }

    /// Sends a frame to every client; forgets those that are gone.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8], poll: &Poll) {
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        for number in numbers {
            self.send_to(number, kind, payload, poll);
        }
    }

    fn send_to(&mut self, number: u32, kind: u8, payload: &[u8], poll: &Poll) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        client.out.push(&frame::header(kind, length));
        client.out.push(payload);
        if client.out.flush(&client.socket) {
            client.wait(poll, true);
        } else {
            self.clients.remove(&number);
        }
    }

    /// A client can be read or written. `room`: how much input may be taken.
    pub(crate) fn ready(&mut self, number: u32, room: usize, poll: &Poll) -> Asked {
        let mut asked = Asked::default();
        let Some(client) = self.clients.get_mut(&number) else {
            return asked;
        };
        let mut alive = client.out.flush(&client.socket);
        if alive && room > 0 {
            alive = client.take(&mut asked);
        }
        if alive {
            client.wait(poll, asked.input.len() < room);
        } else {
            self.clients.remove(&number);
        }
        asked
    }

    /// Lets clients speak again, or not.
    pub(crate) fn listen_to_clients(&mut self, listen: bool, poll: &Poll) {
        for client in self.clients.values_mut() {
            client.wait(poll, listen);
        }
    }

    /// The process is gone: says so, removes the socket. Returns clients that have not taken everything yet.
    pub(crate) fn end(mut self, poll: &Poll) -> Vec<Client> {
        // Those that connected and were not accepted yet get their two frames as well.
        self.accept(poll);
        self.send(frame::END, &[], poll);
        let _ = rustix::fs::unlink(&self.path);
        self.clients
            .into_values()
            .filter(|client| !client.out.is_empty())
            .map(|mut client| {
                client.socket.want(poll, NOTHING);
                client
            })
            .collect()
    }
}

impl Client {
    fn wait(&mut self, poll: &Poll, listen: bool) {
        let mut flags = if self.out.is_empty() { NOTHING } else { WRITE };
        if listen {
            flags |= READ;
        }
        self.socket.want(poll, flags);
    }

    /// Reads frames. `false`: the client is gone or does not keep to the protocol.
    fn take(&mut self, asked: &mut Asked) -> bool {
        let mut buffer = [0; 4096];
        match read(&self.socket, &mut buffer) {
            Moved::Bytes(count) => self.input.extend_from_slice(&buffer[..count]),
            Moved::Later => return true,
            Moved::Ended => return false,
        }
        while let Some(header) = self.input.first_chunk::<HEADER_LEN>() {
            let (kind, length) = frame::parse(header);
            let end = HEADER_LEN + length as usize;
            match kind {
                // Input is passed on as it comes: a frame may be longer than what is read at once.
                frame::STDIN => {
                    let here = end.min(self.input.len());
                    asked.input.extend_from_slice(&self.input[HEADER_LEN..here]);
                    let missing = end - here;
                    self.input.drain(..here);
                    if missing > 0 {
                        let rest = frame::header(frame::STDIN, missing as u32);
                        self.input.splice(..0, rest);
                        return true;
                    }
                }
                frame::CLOSE_STDIN if length == 0 => {
                    asked.close = true;
                    self.input.drain(..HEADER_LEN);
                }
                _ => return false,
            }
        }
        true
    }

    /// Sends what is left, as a farewell. `false`: nothing more to do.
    pub(crate) fn linger(&mut self, poll: &Poll) -> bool {
        let going_on = self.out.flush(&self.socket) && !self.out.is_empty();
        self.socket.want(poll, if going_on { WRITE } else { NOTHING });
        going_on
    }

    /// The same client, known to the loop as number `part` of process 0.
    pub(crate) fn renumber(self, part: u32) -> Self {
        let Self { socket, out, input } = self;
        Self {
            socket: socket.with_token(Token::new(Kind::Client, 0, part)),
            out,
            input,
        }
    }
}
