//! One component at a time: for kernels without `openat2`, and for making what is missing.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::root::components;

/// As many symbolic links as the kernel follows.
const MOST_LINKS: u32 = 40;
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `path` below `root`. The directories passed are kept open, so that `..` goes back to where we came from, not to
/// where that directory was moved meanwhile.
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let mut walk = Walk::new(path);
    let mut stack: Vec<OwnedFd> = Vec::new();
    while let Some(name) = walk.left.pop_front() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let here = stack.last().map_or(root, AsFd::as_fd);
        let found = rustix::fs::openat(here, &name, STEP, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        let last = walk.left.is_empty();
        if kind == FileType::Symlink && !(last && flags.contains(OFlags::NOFOLLOW)) {
            if links == Links::Refuse {
                return Err(Errno::LOOP);
            }
            if walk.follow(&found)? {
                stack.clear();
            }
        } else if last {
            // The same name again with the flags asked for; NOFOLLOW, so that a link put there meanwhile is refused.
            return rustix::fs::openat(here, &name, flags | OFlags::NOFOLLOW, mode);
        } else if kind == FileType::Directory {
            stack.push(found);
        } else {
            return Err(Errno::NOTDIR);
        }
    }
    let here = stack.last().map_or(root, AsFd::as_fd);
    rustix::fs::openat(here, ".", flags, mode)
}

/// What to do with symbolic links on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    Refuse,
}

/// Opens `path` below `root` without following a link or entering another mount.
pub(crate) fn open_on_mount(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mount = mount_id(root)?;
    let mut here: Option<OwnedFd> = None;
    let mut left = components(path).peekable();
    while let Some(name) = left.next() {
        if name == ".." {
            return Err(Errno::XDEV);
        }
        let dir = here.as_ref().map_or(root, AsFd::as_fd);
        let flags = if left.peek().is_some() {
            STEP | OFlags::DIRECTORY
        } else {
            flags | OFlags::NOFOLLOW | OFlags::CLOEXEC
        };
        let found = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        if mount_id(found.as_fd())? != mount {
            return Err(Errno::XDEV);
        }
        here = Some(found);
    }
    here.ok_or(Errno::INVAL)
}

fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::NOSYS);
    }
    Ok(stat.stx_mnt_id)
}

/// Makes what is missing of `path` below `root`, of which `start` is a second descriptor: directories of mode
/// `directory`, and as the last one an empty file when `file` gives its mode.
pub(crate) fn create(
    root: BorrowedFd<'_>,
    start: OwnedFd,
    path: &Path,
    directory: Mode,
    file: Option<Mode>,
) -> Result<OwnedFd, Errno> {
    let mut walk = Walk::new(path);
    let mut stack = vec![start];
    while let Some(name) = walk.left.pop_front() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let here = stack.last().map_or(root, AsFd::as_fd);
        let file = file.filter(|_| walk.left.is_empty());
        let found = match rustix::fs::openat(here, &name, STEP, Mode::empty()) {
            Err(Errno::NOENT) => {
                // mknod neither follows a link that was put there meanwhile nor opens what is there.
                let made = match file {
                    Some(mode) => rustix::fs::mknodat(here, &name, FileType::RegularFile, mode, 0),
                    None => rustix::fs::mkdirat(here, &name, directory),
                };
                match made {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                rustix::fs::openat(here, &name, STEP, Mode::empty())?
            }
            result => result?,
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory => stack.push(found),
            FileType::Symlink => {
                if walk.follow(&found)? {
                    stack.truncate(1);
                }
            }
            _ if file.is_some() => return Ok(found),
            _ => return Err(Errno::NOTDIR),
        }
    }
    stack.pop().ok_or(Errno::INVAL)
}

/// What is left to walk.
struct Walk {
    left: VecDeque<OsString>,
    links: u32,
}

impl Walk {
    fn new(path: &Path) -> Self {
        Self {
            left: components(path).map(OsStr::to_os_string).collect(),
            links: 0,
        }
    }

    /// Puts the target of the symbolic link in front of what is left. True when it is absolute.
    fn follow(&mut self, link: &OwnedFd) -> Result<bool, Errno> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes());
        let target = Path::new(&target);
        for part in components(target).rev() {
            self.left.push_front(part.to_os_string());
        }
        Ok(target.is_absolute())
    }
}
