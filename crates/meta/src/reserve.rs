//! Room on the disk that is kept for the time when there is no other: a removal needs records written too, and is what makes room.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Bytes kept.
const SIZE: u64 = 512 << 10;
/// Free bytes below which the room is given up, so that the next writes find it.
const LOW: u64 = 256 << 10;
/// Free bytes above which it is taken again.
const HIGH: u64 = 8 << 20;

/// A file beside the database that holds nothing but room.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// That of the database at `path`.
    pub(crate) fn of(path: &Path) -> Reserve {
        let mut name = path.as_os_str().to_owned();
        name.push("-reserve");
        let path = PathBuf::from(name);
        let held = path.exists();
        Reserve { path, held }
    }

    /// To be asked before each commit. Failures are of no matter here: the commit itself tells of a full disk.
    pub(crate) fn look(&mut self) {
        let Some(free) = self.path.parent().and_then(|dir| statvfs(dir).ok()) else {
            return;
        };
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if self.held && free < LOW {
            self.held = fs::remove_file(&self.path).is_err();
        } else if !self.held && free > HIGH {
            self.held = File::create(&self.path)
                .is_ok_and(|file| fallocate(&file, FallocateFlags::empty(), 0, SIZE).is_ok());
        }
    }
}
