//! Removal of a tree by descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes `name` in `dir` and, if it is a directory, all below it. Links are removed, never followed.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        result => return result,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let names: Vec<Vec<u8>> = Dir::read_from(&inner)?
        .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
        .filter(|name| !matches!(name.as_deref(), Ok(b"." | b"..")))
        .collect::<Result<_, _>>()?;
    for name in names {
        remove(inner.as_fd(), OsStr::from_bytes(&name))?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}
