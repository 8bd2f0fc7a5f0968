//! Unix sockets at paths of any length.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A non-blocking listener at `path`, mode 0600.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let (address, _dir) = address(path)?;
    let socket = new()?;
    rustix::net::bind(&socket, &address)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// A non-blocking connection to `path`.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let (address, _dir) = address(path)?;
    let socket = new()?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// The next connection, if one is there.
pub(crate) fn accept(listener: impl AsFd) -> Option<OwnedFd> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => return Some(fd),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(_) => return None,
        }
    }
}

fn new() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// `sun_path` holds 107 bytes: a longer path is reached through a descriptor of its directory, kept open meanwhile.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, Option<OwnedFd>)> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return Ok((address, None));
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let parent = path.parent().ok_or_else(invalid)?;
    let name = path.file_name().ok_or_else(invalid)?;
    let dir = rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((SocketAddrUnix::new(&through)?, Some(dir)))
}
