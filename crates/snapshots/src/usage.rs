//! What a tree takes on the disk.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use crate::error::io;
use crate::{Result, Usage};

/// The usage of the directory at `root` and all below it, by descriptor: no link is followed. What vanishes meanwhile is not
/// counted. Blocks.
pub(crate) fn of(root: &Path) -> Result<Usage> {
    let mut count = Count::default();
    let dir = open(CWD, root).map_err(|errno| io("open", root)(errno.into()))?;
    count.add(&rustix::fs::fstat(&dir).map_err(|errno| io("stat", root)(errno.into()))?);
    count.below(dir).map_err(|errno| io("read", root)(errno.into()))?;
    Ok(count.usage)
}

#[derive(Default)]
struct Count {
    usage: Usage,
    seen: HashSet<(u64, u64)>,
}

impl Count {
    fn add(&mut self, stat: &rustix::fs::Stat) {
        // Only what has several names can be met twice.
        let several = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        if several && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.inodes += 1;
        // In units of 512 bytes, whatever the file system's.
        self.usage.size += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    }

    fn below(&mut self, top: OwnedFd) -> rustix::io::Result<()> {
        let mut open_dirs = vec![Dir::new(top)?];
        while let Some(dir) = open_dirs.last_mut() {
            let Some(entry) = dir.read() else {
                open_dirs.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let fd = dir.fd()?;
            let stat = match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue,
                stat => stat?,
            };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match open(fd, name) {
                    Ok(child) => open_dirs.push(Dir::new(child)?),
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }
}

fn open(dir: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, path, flags, Mode::empty())
}
