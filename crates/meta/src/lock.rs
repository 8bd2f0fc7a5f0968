//! One process at a time per database.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::Error;

/// A program that is being replaced may hold its lock for a moment after its successor has started.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes the lock of the database at `path`: `<path>.lock`, held until the file is closed, also by a death.
pub(crate) fn take(path: &Path) -> Result<File, Error> {
    let path = path.with_added_extension("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|source| Error::File {
        operation: "open lock",
        path: path.clone(),
        source,
    })?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path }),
            Err(errno) => {
                return Err(Error::File {
                    operation: "lock",
                    path,
                    source: errno.into(),
                });
            }
        }
    }
}
