//! Writing to procfs, and to nothing else.
//!
//! What is written below `/proc` decides about labels, kernel parameters and ids. Whoever can put a link or a mount in
//! the way of such a write makes it go elsewhere, or nowhere (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561,
//! CVE-2023-28642, CVE-2025-52881). So it is written through a descriptor that was opened from the root of a true procfs,
//! with no link followed and no mount entered on the way.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter_safe_fs::Root;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

const MAGIC: i64 = 0x9fa0;
/// Only the root of a procfs has it.
const ROOT_INODE: u64 = 1;

/// A procfs by the descriptor of its root.
#[derive(Debug)]
pub(crate) struct Procfs(Root);

impl Procfs {
    /// The one on `/proc` of this process's root, when it is one.
    pub(crate) fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/proc", flags, rustix::fs::Mode::empty()).on("open", "/proc")?;
        if !is_root(&fd)? {
            return Err(Error::Config("/proc is not the root of a procfs".into()));
        }
        Ok(Self(Root::from_fd(fd)))
    }

    /// Writes `value` to the file `path`, relative to the root of the procfs.
    pub(crate) fn write(&self, path: &Path, value: &[u8]) -> Result<()> {
        let shown = || Path::new("/proc").join(path);
        let fd = self
            .0
            .on_same_mount(path, OFlags::WRONLY)
            .map_err(|error| redirected(error, shown()))?;
        // No mount was entered, so this is the same file system; to look is cheap beside what a mistake costs.
        if rustix::fs::fstatfs(&fd).on("look at", shown())?.f_type != MAGIC {
            return Err(Error::Config(format!("{} is not on a procfs", shown().display())));
        }
        rustix::io::write(&fd, value).on("write", shown()).map(drop)
    }
}

/// Whether `fd` is the root of a procfs.
pub(crate) fn is_root(fd: &OwnedFd) -> Result<bool> {
    Ok(is_procfs(fd)? && rustix::fs::fstat(fd).doing("stat /proc")?.st_ino == ROOT_INODE)
}

/// Whether `fd` is on a procfs.
pub(crate) fn is_procfs(fd: impl AsFd) -> Result<bool> {
    Ok(rustix::fs::fstatfs(fd)
        .doing("look at the file system of /proc")?
        .f_type
        == MAGIC)
}

fn redirected(error: lighter_safe_fs::Error, path: PathBuf) -> Error {
    let in_the_way = [Errno::XDEV, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    if in_the_way.contains(&error.errno()) {
        return Error::Config(format!(
            "{} is not written: a mount or a symbolic link is in its way",
            path.display()
        ));
    }
    error.into()
}
