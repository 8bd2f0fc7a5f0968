//! Unix sockets whose paths may be longer than an address holds.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// Bytes of a path that fit into a socket address, without its end mark.
const SUN_PATH: usize = 107;

/// Connects to the socket at `path`, through its directory's descriptor when the path is too long.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= SUN_PATH {
        return UnixStream::connect(path).await;
    }
    let (dir, short) = through_directory(path)?;
    let stream = UnixStream::connect(short).await;
    drop(dir);
    stream
}

/// The directory of `path`, held open, and a short path that leads through it while it is.
fn through_directory(path: &Path) -> io::Result<(File, PathBuf)> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a socket");
    let dir = File::open(path.parent().ok_or_else(missing)?)?;
    let name = path.file_name().ok_or_else(missing)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, short))
}
