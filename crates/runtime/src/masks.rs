//! Paths that the container may not read, or not write.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#masked-paths

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter_safe_fs::Root;
use lighter_sys::descriptors::close_later;
use lighter_sys::mount::{self as m, Attributes, attribute};
use rustix::fs::{FileType, OFlags};

use crate::error::{Context, Error, Result};

/// Makes what `path` names read-only; what is not there needs no protection.
pub(crate) fn protect(root: &Root, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let target = match root.locate(path) {
        Err(error) if error.is_absent() => return Ok(()),
        result => result?,
    };
    let tree = m::clone_tree(target.as_fd(), c"", true).doing("clone")?;
    let readonly = Attributes {
        set: attribute::RDONLY,
        ..Attributes::default()
    };
    m::set_attributes(tree.as_fd(), false, &readonly).doing("make read-only")?;
    m::attach(tree.as_fd(), target.as_fd()).doing("attach")?;
    close_later(tree);
    close_later(target);
    Ok(())
}

/// What usually is a directory where engines ask for masks: a wrong guess costs a call, a right one saves it.
const DIRECTORIES: [&str; 6] = [
    "acpi",
    "asound",
    "scsi",
    "firmware",
    "powercap",
    "thermal_throttle",
];

/// Covers each path, from the container's root whether it begins with a slash or not, as with both peers: a directory by an empty read-only one, anything else by `/dev/null`.
///
/// The covers are detached mounts opened once, and the null device is looked at before it is trusted (CVE-2025-31133).
pub(crate) fn mask(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let mut covers = Covers {
        root,
        null: None,
        empty: None,
    };
    for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
        let target = match root.locate(path) {
            Err(error) if error.is_absent() => continue,
            result => result?,
        };
        let guess = path
            .file_name()
            .is_some_and(|name| DIRECTORIES.iter().any(|known| name == *known));
        // The kernel covers a directory by nothing but a directory, and a file by nothing but a file.
        if covers.attach(&target, guess).is_err() {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&target).doing("stat")?.st_mode);
            covers
                .attach(&target, kind == FileType::Directory)
                .map_err(|error| wrap("masked path", path, error))?;
        }
        close_later(target);
    }
    covers.null.into_iter().chain(covers.empty).for_each(close_later);
    Ok(())
}

struct Covers<'a> {
    root: &'a Root,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Covers<'_> {
    fn attach(&mut self, target: &OwnedFd, directory: bool) -> Result<()> {
        let cover = match (directory, &self.null, &self.empty) {
            (true, _, Some(cover)) | (false, Some(cover), _) => cover,
            (true, _, None) => self.empty.insert(empty_directory()?),
            (false, None, _) => self.null.insert(null_device(self.root)?),
        };
        let tree = m::clone_tree(cover.as_fd(), c"", false).doing("attach")?;
        let attached = m::attach(tree.as_fd(), target.as_fd()).doing("attach");
        close_later(tree);
        attached
    }
}

/// Says which path of the configuration an error is about.
pub(crate) fn wrap(what: &str, path: &Path, error: Error) -> Error {
    Error::Mount {
        what: what.to_owned(),
        destination: path.to_owned(),
        source: Box::new(error),
    }
}

/// A detached directory with nothing in it, that nothing can be put into.
pub(crate) fn empty_directory() -> Result<OwnedFd> {
    m::new_filesystem(
        c"tmpfs",
        Some(c"tmpfs"),
        &[
            (c"nr_blocks", Some(c"1")),
            (c"nr_inodes", Some(c"1")),
            (c"ro", None),
        ],
        attribute::RDONLY,
    )
    .doing("make an empty directory")
}

fn null_device(root: &Root) -> Result<OwnedFd> {
    let null = root.at(Path::new("dev/null"), OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = rustix::fs::fstat(&null).on("stat", "/dev/null")?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(Error::Config(
            "/dev/null of the container is not the null device".into(),
        ));
    }
    Ok(null)
}
