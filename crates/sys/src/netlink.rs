//! Netlink: a socket, and messages built and read byte by byte. What the messages say (links, routes, firewall) is the
//! caller's.
//!
//! Source: `netlink(7)`, `linux/netlink.h`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLM_F_REQUEST`: in every message to the kernel.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: answer with an error message of number 0 on success.
pub const ACK: u16 = 0x04;
/// `NLM_F_DUMP`: answer with everything.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`: of a `NEW` request.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: of a `NEW` request.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: of a `NEW` request.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: of a `NEW` request.
pub const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// The kernel's families of netlink that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours: `rtnetlink(7)`.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// A request of one message or of several, built in place. Numbers are in the machine's order unless a name says `be`.
#[derive(Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the last message begins.
    start: usize,
    count: u32,
}

/// Where a nested attribute began: given back to [`Request::close`].
#[derive(Debug)]
#[must_use]
pub struct Open(usize);

impl Request {
    /// A request with no message in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages were begun.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Begins a message: its type, its `NLM_F_*` flags, and the fixed header of its family. Sequence numbers count from 0.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.count += 1;
        self.raw(header)
    }

    /// Asks for an answer to the last message.
    pub fn acknowledge(&mut self) -> &mut Self {
        if let Some(flags) = self.bytes.get_mut(self.start + 6..self.start + 8) {
            let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
        self
    }

    /// Bytes as they are, padded to four: a fixed header inside a nested attribute.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value)
    }

    /// A text attribute with its closing zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// A number in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// A number in the network's order, as netfilter wants them.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Opens a nested attribute; what follows up to [`Request::close`] is in it. At most 64 KiB.
    pub fn open(&mut self, kind: u16) -> Open {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        Open(at)
    }

    /// Closes a nested attribute.
    pub fn close(&mut self, open: Open) -> &mut Self {
        let length = u16::try_from(self.bytes.len() - open.0).unwrap_or(u16::MAX);
        self.bytes[open.0..open.0 + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad()
    }

    fn pad(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        if let Ok(length) = u32::try_from(self.bytes.len() - self.start)
            && self.bytes.len() >= self.start + 4
        {
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
        self
    }
}

/// A failure that the kernel answered to one message of a request.
#[derive(Debug)]
pub struct Refused {
    /// Which message, from 0.
    pub message: u32,
    /// Why.
    pub source: io::Error,
}

/// One message of an answer.
#[derive(Debug, Clone)]
pub struct Message {
    /// The message's type.
    pub kind: u16,
    /// What follows the netlink header.
    pub payload: Vec<u8>,
}

/// A netlink socket of the network namespace in which it was opened. Close-on-exec.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Socket {
    /// One that another process opened: it asks about that process's network namespace.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            // The family's number is zero, which rustix writes as no protocol.
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        // The first message gives it an address.
        Ok(Self(fd))
    }

    /// Sends messages each of which carries [`ACK`], and waits for all the answers. The first refusal of each message
    /// that was refused is returned.
    pub fn acknowledged(&self, request: &Request) -> io::Result<Vec<Refused>> {
        self.send(request)?;
        let (mut refused, mut answered) = (Vec::new(), 0);
        while answered < request.count {
            self.receive(|sequence, message| {
                if message.kind == ERROR {
                    answered += 1;
                    refused.extend(refusal(sequence, &message));
                }
            })?;
        }
        Ok(refused)
    }

    /// Sends a netfilter batch whose message number `last` (and no other) carries [`ACK`], and waits for its answer or
    /// for a refusal: the kernel answers refusals of all messages at once, and then applies nothing.
    pub fn batch(&self, request: &Request, last: u32) -> io::Result<Vec<Refused>> {
        self.send(request)?;
        let (mut refused, mut done) = (Vec::new(), false);
        while !done {
            self.receive(|sequence, message| {
                if message.kind == ERROR {
                    refused.extend(refusal(sequence, &message));
                    // Refusals come in order of the messages; one of the batch as a whole bears another's number.
                    done |= sequence >= last || !refused.is_empty();
                }
            })?;
        }
        Ok(refused)
    }

    /// Throws away answers that nobody read. The kernel answers while it is asked, so none is still to come.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        while rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }

    /// Sends one [`DUMP`] request and gathers the answer.
    pub fn dump(&self, request: &Request) -> io::Result<Vec<Message>> {
        self.send(request)?;
        let (mut messages, mut end) = (Vec::new(), None);
        while end.is_none() {
            self.receive(|sequence, message| match message.kind {
                DONE => end = Some(Ok(())),
                ERROR => {
                    end = Some(refusal(sequence, &message).map_or(Ok(()), |refused| Err(refused.source)))
                }
                _ => messages.push(message),
            })?;
        }
        end.unwrap_or(Ok(())).map(|()| messages)
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        loop {
            match rustix::net::sendto(&self.0, &request.bytes, SendFlags::empty(), &kernel) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map(drop).map_err(Into::into),
            }
        }
    }

    /// One datagram, which holds one message or several.
    fn receive(&self, mut each: impl FnMut(u32, Message)) -> io::Result<()> {
        // The kernel packs dumps into at most this. Not filled with zeros: a plain answer is one line, and memory that nobody
        // touches is nobody's.
        let mut buffer = Vec::with_capacity(32 * 1024);
        loop {
            match rustix::net::recv(&self.0, spare_capacity(&mut buffer), RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    result?;
                    break;
                }
            }
        }
        let mut rest = &buffer[..];
        while let Some(header) = rest.get(..HEADER) {
            let length = number(header, 0) as usize;
            let Some(payload) = rest.get(HEADER..length) else {
                break;
            };
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            each(
                number(header, 8),
                Message {
                    kind,
                    payload: payload.to_vec(),
                },
            );
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn refusal(sequence: u32, message: &Message) -> Option<Refused> {
    match number(&message.payload, 0).cast_signed() {
        0 => None,
        error => Some(Refused {
            message: sequence,
            source: io::Error::from_raw_os_error(-error),
        }),
    }
}

/// The number at `at`, or 0 when the message is too short.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

/// The attributes in `bytes` (a payload after its fixed header, or a nested value): type without its flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_link_is_in_a_dump_of_links() {
        const GETLINK: u16 = 18;
        const IFNAME: u16 = 3;
        let mut request = Request::new();
        request.message(GETLINK, DUMP, &[0; 16]);
        let links = Socket::open(Family::Route).unwrap().dump(&request).unwrap();
        let names: Vec<_> = links
            .iter()
            .flat_map(|link| attributes(&link.payload[16..]).filter(|(kind, _)| *kind == IFNAME))
            .map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
            .collect();
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
    }

    #[test]
    fn nested_attributes_read_back() {
        let mut request = Request::new();
        request.message(1, 0, &[]);
        let outer = request.open(5);
        request.text(1, "ab").be32(2, 7);
        request.close(outer);
        let (kind, nested) = attributes(&request.bytes[HEADER..]).next().unwrap();
        assert_eq!(kind, 5);
        let read: Vec<_> = attributes(nested).collect();
        assert_eq!(read, [(1, &b"ab\0"[..]), (2, &[0, 0, 0, 7][..])]);
        assert_eq!(number(&request.bytes, 0) as usize, request.bytes.len());
    }
}
