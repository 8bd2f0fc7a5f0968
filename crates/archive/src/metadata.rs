//! Owners, modes, attributes and times of what was created.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::entry::{Metadata, Time};
use crate::tree::belongs;

/// The attribute that what is created in a directory inherits: it is set when the directory is full.
pub(crate) const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Which call failed, and how.
pub(crate) type Failed = (&'static str, Errno);

/// Sets owner, attributes and mode (in this order: a change of owner takes setuid bits and capabilities away) of an open file or
/// directory. Its times come last, when it is whole.
pub(crate) fn set_open(file: BorrowedFd<'_>, metadata: &Metadata) -> Result<(), Failed> {
    let (uid, gid) = owner(metadata);
    rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(|error| ("set the owner of", error))?;
    for (name, value) in wanted(metadata) {
        tolerated(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode)).map_err(|error| ("set the mode of", error))
}

/// Takes away the attributes that a layer may set.
pub(crate) fn clear_attributes(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    for name in names[..length].split(|byte| *byte == 0) {
        if !name.is_empty() && belongs(name) {
            rustix::fs::fremovexattr(file, OsStr::from_bytes(name))?;
        }
    }
    Ok(())
}

/// Sets the ACL that is inherited from a directory.
pub(crate) fn set_default_acl(directory: BorrowedFd<'_>, acl: &[u8]) -> Result<(), Failed> {
    tolerated(rustix::fs::fsetxattr(
        directory,
        DEFAULT_ACL,
        acl,
        XattrFlags::empty(),
    ))
}

/// Sets the times of an open file or directory.
pub(crate) fn set_times(file: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Failed> {
    rustix::fs::futimens(file, times).map_err(|error| ("set the times of", error))
}

/// Sets all of what cannot be opened without harm: links, devices, pipes.
pub(crate) fn set_named(
    dir: &OwnedFd,
    name: &OsStr,
    metadata: &Metadata,
    is_link: bool,
) -> Result<(), Failed> {
    let (uid, gid) = owner(metadata);
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| ("set the owner of", error))?;
    for (attribute, value) in wanted(metadata) {
        // There is no call that takes a directory and a name.
        let path = Path::new("/proc/self/fd")
            .join(dir.as_fd().as_raw_fd().to_string())
            .join(name);
        tolerated(rustix::fs::lsetxattr(
            &path,
            attribute,
            value,
            XattrFlags::empty(),
        ))?;
    }
    if !is_link {
        // Without AT_SYMLINK_NOFOLLOW, which the call did not know before Linux 6.6: nothing else works in this directory.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())
            .map_err(|error| ("set the mode of", error))?;
    }
    rustix::fs::utimensat(dir, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| ("set the times of", error))
}

/// The times as the kernel takes them.
pub(crate) fn times(metadata: &Metadata) -> Timestamps {
    let spec = |time: Time| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: spec(metadata.accessed.unwrap_or(metadata.modified)),
        last_modification: spec(metadata.modified),
    }
}

/// Owner and group.
pub(crate) fn owner(metadata: &Metadata) -> (Uid, Gid) {
    (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid))
}

/// The attributes that a layer may set: overlayfs's own would let it point into other layers.
fn wanted(metadata: &Metadata) -> impl Iterator<Item = (&OsStr, &[u8])> {
    let is_overlay = |name: &OsStr| {
        let name = name.as_bytes();
        name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
    };
    let all = metadata.xattrs.iter();
    let all = all.filter(move |(name, _)| !is_overlay(name) && name != DEFAULT_ACL);
    all.map(|(name, value)| (name.as_os_str(), value.as_slice()))
}

/// A file system without attributes gives files without attributes, as the other container tools have it.
fn tolerated(result: Result<(), Errno>) -> Result<(), Failed> {
    match result {
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(error) => Err(("set an attribute of", error)),
    }
}
