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
pub(crate) struct Made(HashSet<PathBuf>);

impl Made {
    pub(crate) fn add(&mut self, path: PathBuf) {
        let mut above = path.parent();
        while let Some(directory) = above
            && !directory.as_os_str().is_empty()
            && !self.0.contains(directory)
        {
            self.0.insert(directory.to_owned());
            above = directory.parent();
        }
        self.0.insert(path);
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.0.contains(path)
    }
}

/// Removes what is in `directory`, which is at `path`, and is not of the layer.
pub(crate) fn remove_all_but(directory: &OwnedFd, path: &Path, made: &Made) -> Result<(), Errno> {
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
