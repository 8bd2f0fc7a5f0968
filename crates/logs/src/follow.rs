//! Waiting for more.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes when something in a directory was written, made or renamed.
#[derive(Debug)]
pub(crate) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Watches the directory of `file`. `None` when there is no such directory: nothing will come.
    pub(crate) fn beside(file: &Path) -> io::Result<Option<Self>> {
        let dir = file.parent().unwrap_or(Path::new("."));
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::ONLYDIR;
        match inotify::add_watch(&fd, dir, flags) {
            Ok(_) => Ok(Some(Self(asynchronous(fd)?))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something happened since the last call. Which thing does not matter: the reader looks for itself.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut buffer[..]).map_err(Into::into)) {
                Ok(read) => return read.map(drop),
                // Another wait: the readiness was stale.
                Err(_would_block) => {}
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "an owned descriptor keeps the promise that the new constructor has its caller make with `unsafe`"
)]
fn asynchronous(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
