//! What a service manager hands over, and what it is told. Source: sd_listen_fds(3), sd_notify(3).

use std::env;
use std::io;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

/// The first descriptor that is handed over.
const FIRST: i32 = 3;

/// The socket that the service manager listens on for us, if it does: the first of what it hands over.
pub(crate) fn listener() -> io::Result<Option<UnixListener>> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS").unwrap_or(0) == 0 {
        return Ok(None);
    }
    // By way of a pidfd of our own: a number in the environment is not a descriptor that we own.
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let own = lighter_sys::pidfd::open(own)?;
    let listener = UnixListener::from(lighter_sys::pidfd::get_fd(own.as_fd(), FIRST)?);
    // That it is a unix socket is seen here, not at the first connection.
    listener.local_addr()?;
    Ok(Some(listener))
}

/// Tells the service manager that we serve. One that does not listen is not our failure.
pub(crate) fn ready() {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").and_then(|name| name.into_string().ok()) else {
        return;
    };
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let sent = UnixDatagram::unbound().and_then(|from| from.send_to_addr(b"READY=1\n", &address?));
    if let Err(error) = sent {
        tracing::warn!(%error, socket, "the service manager is not told");
    }
}
