//! Sockets bound for published ports.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::state::{Port, Proto};

/// Waiting connections; the kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds a port and, for TCP that is served, listens. The socket does not block.
pub(crate) fn bind(port: &Port) -> io::Result<OwnedFd> {
    let family = if port.host_ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match port.proto {
        Proto::Tcp => SocketType::STREAM,
        Proto::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    let listens = port.proto == Proto::Tcp && !port.reserve;
    if listens {
        // Over connections of an earlier listener that are still closing. Not without listening, nor for UDP: there it would let
        // two programs share the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(port.host_ip, port.host_port))?;
    if listens {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
