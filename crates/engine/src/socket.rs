//! Unix sockets for async code, whose paths may be longer than an address holds.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

/// Connects to the socket at `path`.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = lighter_stdx::unix_socket::connect(path)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
