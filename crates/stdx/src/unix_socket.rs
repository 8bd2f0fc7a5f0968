//! Unix sockets whose path may be longer than the kernel's `sun_path` (107 bytes).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens on `path`. What lies there is not removed: the caller knows whether it may be.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_dir, short) = through_descriptor(path)?;
    UnixListener::bind(short)
}

/// Connects to the socket at `path`. Blocks no longer than the listener's backlog does.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_dir, short) = through_descriptor(path)?;
    UnixStream::connect(short)
}

/// The same place by a path that is short, and good while the descriptor is open.
fn through_descriptor(path: &Path) -> io::Result<(File, PathBuf)> {
    let dir = match path.parent() {
        Some(dir) if dir != OsStr::new("") => dir,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no socket"))?;
    let dir = File::open(dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_path_of_any_length_is_bound_and_reached() {
        let dir = std::env::temp_dir().join(format!("stdx-socket-{}", std::process::id()));
        let deep = dir.join("d".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("s.sock");
        let listener = bind(&path).unwrap();
        let mut client = connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        let mut got = String::new();
        listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
