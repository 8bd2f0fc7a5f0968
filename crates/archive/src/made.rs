//! What a layer itself made in a tree that others made before.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::remove::remove;

/// The paths of a layer, with the directories that lead to them.
#[derive(Debug, Default)]
pub(crate) struct Made {
    paths: HashSet<PathBuf>,
    /// Device and number of the directories that have nothing of lower layers any more.
    emptied: HashSet<(u64, u64)>,
}

impl Made {
    pub(crate) fn add(&mut self, path: PathBuf) {
        let mut above = path.parent();
        while let Some(directory) = above
            && !directory.as_os_str().is_empty()
            && !self.paths.contains(directory)
        {
            self.paths.insert(directory.to_owned());
            above = directory.parent();
        }
        self.paths.insert(path);
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }
}

/// Removes what is in `directory`, which is at `path`, and is not of the layer.
///
/// A directory is walked once, however often a layer says that it hides what is below: what comes into it later is the
/// layer's (GHSA-rp3h-jf77-q9p4: work that grew with the square of the entries). The number of a directory that was removed may come
/// again, but only for one that the layer makes.
pub(crate) fn remove_all_but(directory: &OwnedFd, path: &Path, made: &mut Made) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    if !made.emptied.insert((stat.st_dev, stat.st_ino)) {
        return Ok(());
    }
    let entries: Vec<_> = Dir::read_from(directory)?.collect::<Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let name = OsStr::from_bytes(name.to_bytes());
        let inner = path.join(name);
        if !made.has(&inner) {
            remove(directory.as_fd(), name)?;
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(child) => remove_all_but(&child, &inner, made)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
