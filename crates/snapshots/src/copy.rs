//! Copies of whole trees: all that a file system keeps of them, by descriptor.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use lighter_stdx::xattr;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::Result;
use crate::error::io;

type Step = rustix::io::Result<()>;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Copies the directory `from` and all below it to the empty directory `to` on the same file system: contents, holes, hard links, owners,
/// modes, times, extended attributes (ACLs, capabilities) and special files. No link is followed. Nobody changes either meanwhile. Blocks.
pub(crate) fn tree(from: &Path, to: &Path) -> Result<()> {
    let open = |path: &Path| {
        rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
            .map_err(|errno| io("open", path)(errno.into()))
    };
    let (source, target) = (open(from)?, open(to)?);
    let mut copier = Copier {
        root: target.try_clone().map_err(io("open", to))?,
        path: PathBuf::new(),
        links: HashMap::new(),
        shares: true,
    };
    copier
        .all(source, target)
        .map_err(|errno| io("copy", &from.join(&copier.path))(errno.into()))
}

struct Copier {
    /// The root of the copy.
    root: OwnedFd,
    /// What is being copied, below the root.
    path: PathBuf,
    /// Where the first name of a file is, by its device and number, and how many are still to come.
    links: HashMap<(u64, u64), (PathBuf, u64)>,
    /// Whether files may share their blocks; no, once the file system has said so.
    shares: bool,
}

/// A directory that is being copied.
struct Frame {
    source: Dir,
    target: OwnedFd,
    stat: Stat,
}

impl Frame {
    fn new(source: OwnedFd, target: OwnedFd) -> rustix::io::Result<Frame> {
        let stat = rustix::fs::fstat(&source)?;
        let source = Dir::new(source)?;
        Ok(Frame { source, target, stat })
    }
}

impl Copier {
    fn all(&mut self, source: OwnedFd, target: OwnedFd) -> Step {
        let mut frames = vec![Frame::new(source, target)?];
        while let Some(frame) = frames.last_mut() {
            let Some(entry) = frame.source.read() else {
                // Last of all, because what is made in a directory changes its times, and inherits its ACL.
                finish(frame.source.fd()?, &frame.target, &frame.stat)?;
                frames.pop();
                self.path.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let source = frame.source.fd()?;
            let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let source = rustix::fs::openat(source, name, DIRECTORY, Mode::empty())?;
                rustix::fs::mkdirat(&frame.target, name, Mode::RWXU)?;
                let target = rustix::fs::openat(&frame.target, name, DIRECTORY, Mode::empty())?;
                frames.push(Frame::new(source, target)?);
                continue;
            }
            if !self.is_linked(&stat, frame.target.as_fd(), name)? {
                self.one(source, frame.target.as_fd(), name, &stat)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Makes a hard link of what has been copied under another name.
    fn is_linked(&mut self, stat: &Stat, target: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let file = (stat.st_dev, stat.st_ino);
        let Some((first, left)) = self.links.get_mut(&file) else {
            let left = stat.st_nlink - 1;
            self.links.insert(file, (self.path.clone(), left));
            return Ok(false);
        };
        rustix::fs::linkat(&self.root, &*first, target, name, AtFlags::empty())?;
        *left -= 1;
        if *left == 0 {
            self.links.remove(&file);
        }
        Ok(true)
    }

    fn one(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Step {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let from = rustix::fs::openat(source, name, READ, Mode::empty())?;
                let to = rustix::fs::openat(target, name, CREATE, Mode::RUSR | Mode::WUSR)?;
                self.contents(&from, &to, stat)?;
                return finish(from.as_fd(), &to, stat);
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(text, target, name)?;
            }
            kind => rustix::fs::mknodat(target, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        finish_named(source, target, name, stat)
    }

    fn contents(&mut self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Step {
        if stat.st_size == 0 {
            return Ok(());
        }
        if self.shares {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::NOSYS) => {
                    self.shares = false;
                }
                // Of this file only (a swap file, say).
                Err(Errno::TXTBSY) => {}
                Err(errno) => return Err(errno),
            }
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if u64::try_from(stat.st_blocks).unwrap_or(0) * 512 >= size {
            return range(from, to, 0, size);
        }
        rustix::fs::ftruncate(to, size)?;
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole until the end.
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno),
            };
            let hole = rustix::fs::seek(from, SeekFrom::Hole(data))?.min(size);
            range(from, to, data, hole)?;
            at = hole;
        }
        Ok(())
    }
}

/// Copies the bytes from `start` to `end`; by the kernel alone where it can.
fn range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Step {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length) {
            // The file has become shorter.
            Ok(0) => return Err(Errno::STALE),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return through_memory(from, to, read, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn through_memory(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> Step {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let from = File::from(from.try_clone().map_err(errno)?);
    let to = File::from(to.try_clone().map_err(errno)?);
    let mut buffer = vec![0; 128 << 10];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..length];
        let count = from.read_at(piece, at).map_err(errno)?;
        if count == 0 {
            return Err(Errno::STALE);
        }
        to.write_all_at(&piece[..count], at).map_err(errno)?;
        at += count as u64;
    }
    Ok(())
}

/// All that is kept beside the contents, of what is open.
fn finish(from: BorrowedFd<'_>, to: &OwnedFd, stat: &Stat) -> Step {
    // A change of owner clears capabilities and bits of the mode: it comes first.
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    let names = xattr::list(|buffer| rustix::fs::flistxattr(from, buffer))?;
    for name in xattr::names(&names) {
        let value = xattr::read(|buffer| rustix::fs::fgetxattr(from, name, buffer))?;
        rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(to, &times(stat))
}

/// The same of what cannot be opened.
fn finish_named(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Step {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // There are no calls that take a directory and a name.
    let path = |dir: BorrowedFd<'_>| {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend(name.to_bytes());
        CString::new(path).map_err(|_| Errno::INVAL)
    };
    let (from, target) = (path(from)?, path(to)?);
    let names = xattr::list(|buffer| rustix::fs::llistxattr(&from, buffer))?;
    for name in xattr::names(&names) {
        let value = xattr::read(|buffer| rustix::fs::lgetxattr(&from, name, buffer))?;
        rustix::fs::lsetxattr(&target, name, &value, XattrFlags::empty())?;
    }
    // A link has no mode of its own.
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(
            to,
            name,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
            AtFlags::empty(),
        )?;
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
