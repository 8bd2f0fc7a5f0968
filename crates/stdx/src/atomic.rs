//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The death of any process, not of the machine: rename without fsync.
    Kill,
    /// The death of the machine: the file and its directory are synced.
    Power,
}

/// A file that is written and not yet in its place. Dropped, it is gone.
#[derive(Debug)]
pub struct Prepared {
    temporary: PathBuf,
    path: PathBuf,
    placed: bool,
}

impl Prepared {
    /// Writes what is to be in `path` beside it: all of the work but the rename, for who has time now and none later.
    /// The file survives the death of processes ([`Keep::Kill`]).
    pub fn new(path: &Path, data: &[u8], mode: u32) -> io::Result<Self> {
        let prepared = Self {
            temporary: beside(path),
            path: path.to_owned(),
            placed: false,
        };
        write_new(&prepared.temporary, data, mode, Keep::Kill)?;
        Ok(prepared)
    }

    /// Puts it in its place: readers see the old file or this one.
    pub fn place(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)?;
        self.placed = true;
        Ok(())
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.placed {
            // Why it was given up is told elsewhere; its name is one that no reader looks for.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Replaces `path` by a file of `mode` that holds `data`: readers see the old one or the new one.
pub fn write(path: &Path, data: &[u8], mode: u32, keep: Keep) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_new(&temporary, data, mode, keep).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report; the left-over has a name that no reader looks for.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    match (keep, path.parent()) {
        (Keep::Power, Some(dir)) => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, data: &[u8], mode: u32, keep: Keep) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(data)?;
    match keep {
        Keep::Power => file.sync_all(),
        Keep::Kill => Ok(()),
    }
}

/// A name in the same directory, so that the rename stays in one file system. Unique per process and call.
fn beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{number}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let dir = std::env::temp_dir().join(format!("stdx-atomic-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (data, keep) in [("one", Keep::Kill), ("two", Keep::Power)] {
            write(&dir.join("f"), data.as_bytes(), 0o600, keep).unwrap();
            assert_eq!(fs::read_to_string(dir.join("f")).unwrap(), data);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let prepared = Prepared::new(&dir.join("f"), b"three", 0o600).unwrap();
        assert_eq!(fs::read_to_string(dir.join("f")).unwrap(), "two");
        prepared.place().unwrap();
        drop(Prepared::new(&dir.join("f"), b"four", 0o600).unwrap());
        assert_eq!(fs::read_to_string(dir.join("f")).unwrap(), "three");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
