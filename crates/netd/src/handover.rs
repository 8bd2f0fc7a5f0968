//! Sockets handed from keeper to worker, and from a keeper to the program that replaces it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lighter_sys::fdpass;
use serde::{Deserialize, Serialize};

use crate::state::{MESSAGE, Port, Proto};

/// Sockets in a message.
const TOGETHER: usize = 32;

/// What the worker needs to know of a port; its socket comes with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) id: String,
    pub(crate) proto: Proto,
    pub(crate) container_ip: IpAddr,
    pub(crate) container_port: u16,
}

impl From<&Port> for Served {
    fn from(port: &Port) -> Self {
        Self {
            id: port.id.clone(),
            proto: port.proto,
            container_ip: port.container_ip,
            container_port: port.container_port,
        }
    }
}

/// From keeper to worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Serve these; as many sockets come along, in the same order.
    Add(Vec<Served>),
    /// Close these. Answered by [`Closed`].
    Remove(Vec<String>),
}

/// From worker to keeper: the sockets of a [`Order::Remove`] are closed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) closed: usize,
}

/// From keeper to its successor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Heirloom {
    /// The lock and the control socket come along.
    Own,
    /// As many sockets come along.
    Ports(Vec<Port>),
    /// That was all.
    End,
}

/// Sends `items` with the socket of each, a few in a message.
pub(crate) fn send_with<'a, T, M: Serialize>(
    channel: impl AsFd,
    items: &[(T, BorrowedFd<'a>)],
    message: impl Fn(Vec<T>) -> M,
) -> io::Result<()>
where
    T: Clone,
{
    for part in items.chunks(TOGETHER) {
        let fds: Vec<_> = part.iter().map(|(_, fd)| *fd).collect();
        send(
            channel.as_fd(),
            &message(part.iter().map(|(item, _)| item.clone()).collect()),
            &fds,
        )?;
    }
    Ok(())
}

/// Sends one message.
pub(crate) fn send(channel: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    fdpass::send(channel, &bytes, fds).map(drop)
}

/// Receives one message; None: the other side is gone.
pub(crate) fn receive<M: for<'a> Deserialize<'a>>(
    channel: impl AsFd,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE];
    let (length, fds) = fdpass::receive(channel, &mut buffer)?;
    match length {
        0 => Ok(None),
        _ => serde_json::from_slice(&buffer[..length])
            .map(|message| Some((message, fds)))
            .map_err(io::Error::other),
    }
}
