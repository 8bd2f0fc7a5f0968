//! Flags and propagation of mounts, by descriptor.

use std::io;
use std::os::fd::BorrowedFd;

use lighter_sys::mount::{self as m, Attributes, attribute};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::options::Options;

const NAMES: [(u64, &str); 5] = [
    (attribute::RDONLY, "ro"),
    (attribute::NOSUID, "nosuid"),
    (attribute::NODEV, "nodev"),
    (attribute::NOEXEC, "noexec"),
    (attribute::NOSYMFOLLOW, "nosymfollow"),
];

/// Gives the bind mount that `fd` is the root of the flags of `options`, plain and recursive.
pub(crate) fn bind(fd: BorrowedFd<'_>, options: &Options) -> Result<()> {
    if let Some([exact, careful]) = options.bind_changes() {
        match change(fd, false, exact) {
            // A user namespace may not drop flags that its mounts came with.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                change(fd, false, careful).map_err(|error| locked(error, careful))?;
            }
            result => result.doing("set attributes")?,
        }
    }
    recursive(fd, options)
}

fn locked(error: io::Error, (set, clear): (u64, u64)) -> Error {
    let unwanted: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| clear & bit & !attribute::NOSYMFOLLOW != 0)
        .map(|(_, name)| *name)
        .collect();
    let mut wishes = Vec::new();
    if !unwanted.is_empty() {
        wishes.push(format!("clear locked flags {}", unwanted.join(",")));
    }
    if (set | clear) & (attribute::ATIME | attribute::NODIRATIME) != 0 {
        wishes.push("change locked access times".to_owned());
    }
    Error::Config(format!(
        "cannot {}, which the source's mount has outside this user namespace: {}",
        wishes.join(" or "),
        crate::program::words(error)
    ))
}

/// Gives the mount that `fd` is the root of, and all below it, the recursive flags of `options`.
pub(crate) fn recursive(fd: BorrowedFd<'_>, options: &Options) -> Result<()> {
    let (set, mut clear) = (options.recursive_set, options.recursive_clear);
    // The access-time mode is one field: to set it is to clear it first.
    if set & attribute::ATIME != 0 {
        clear |= attribute::ATIME;
    }
    if set | clear != 0 {
        change(fd, true, (set, clear)).doing("set recursive attributes")?;
    }
    Ok(())
}

/// Gives the mount that `fd` is the root of the propagation of `options`: once it is attached, which may change it.
pub(crate) fn propagate(fd: BorrowedFd<'_>, options: &Options) -> Result<()> {
    for (propagation, recursive) in &options.propagation {
        let attributes = Attributes {
            propagation: *propagation,
            ..Attributes::default()
        };
        m::set_attributes(fd, *recursive, &attributes).doing("set propagation")?;
    }
    Ok(())
}

/// Makes the mount that `fd` is the root of read-only; other flags stay.
pub(crate) fn make_readonly(fd: BorrowedFd<'_>) -> io::Result<()> {
    change(fd, false, (attribute::RDONLY, 0))
}

fn change(fd: BorrowedFd<'_>, recursive: bool, (set, clear): (u64, u64)) -> io::Result<()> {
    let attributes = Attributes {
        set,
        clear,
        ..Attributes::default()
    };
    m::set_attributes(fd, recursive, &attributes)
}
