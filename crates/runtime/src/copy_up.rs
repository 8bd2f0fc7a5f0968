//! `tmpcopyup`: a new tmpfs begins with what it hides.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs as f;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies what is below the directory `from` into the directory `to`, and what `from` itself has: directories, files,
/// links, nodes; modes, owners, times, extended attributes.
///
/// The mode of `to` itself is as it should be, and `owner`: so is its owner.
pub(crate) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>, owner: bool) -> Result<()> {
    let copy = || {
        let target = f::openat(to, ".", OPEN | OFlags::DIRECTORY, Mode::empty())?;
        let asked = f::fstat(&target)?;
        copy_directory(from, to)?;
        if owner {
            let (uid, gid) = (Uid::from_raw(asked.st_uid), Gid::from_raw(asked.st_gid));
            f::fchown(&target, Some(uid), Some(gid))?;
        }
        f::fchmod(&target, Mode::from_raw_mode(asked.st_mode & 0o7777))?;
        Ok::<_, io::Error>(())
    };
    copy().doing("copy what the tmpfs hides (tmpcopyup)")
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let source = f::openat(from, ".", OPEN | OFlags::DIRECTORY, Mode::empty())?;
    let target = f::openat(to, ".", OPEN | OFlags::DIRECTORY, Mode::empty())?;
    for entry in f::Dir::read_from(&source)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            copy_entry(&source, &target, entry.file_name())?;
        }
    }
    attributes(&source, &target)?;
    finish(&target, &f::fstat(&source)?)
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    let stat = f::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            f::mkdirat(to, name, Mode::RWXU)?;
            let below = f::openat(from, name, OPEN | OFlags::DIRECTORY, Mode::empty())?;
            let copy = f::openat(to, name, OPEN | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(below.as_fd(), copy.as_fd())
        }
        FileType::RegularFile => {
            let source = f::openat(from, name, OPEN | OFlags::NONBLOCK, Mode::empty())?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = f::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (source, target) = (std::fs::File::from(source), std::fs::File::from(target));
            io::copy(&mut &source, &mut &target)?;
            let (source, target) = (OwnedFd::from(source), OwnedFd::from(target));
            attributes(&source, &target)?;
            finish(&target, &stat)
        }
        FileType::Symlink => {
            f::symlinkat(f::readlinkat(from, name, Vec::new())?, to, name)?;
            own(to, name, &stat)
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            f::mknodat(to, name, kind, mode, stat.st_rdev)?;
            own(to, name, &stat)?;
            f::chmodat(to, name, mode, AtFlags::empty())?;
            Ok(())
        }
    }
}

fn own(dir: &OwnedFd, name: &CStr, stat: &f::Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    f::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Owner, then mode (a change of owner takes set-id bits away), then times.
fn finish(target: &OwnedFd, stat: &f::Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    f::fchown(target, Some(uid), Some(gid))?;
    f::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    f::futimens(target, &times)?;
    Ok(())
}

/// Extended attributes, as far as both file systems and our power go: capabilities of files are among them.
fn attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0_u8; 4096];
    let length = match f::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::RANGE) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let mut value = vec![0_u8; 65_536];
        let Ok(length) = f::fgetxattr(from, name, &mut value[..]) else {
            continue;
        };
        match f::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL | Errno::NOSPC) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
