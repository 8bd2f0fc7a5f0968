//! What the container sees of its cgroups.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use lighter_cgroups::{Group, Version};
use lighter_safe_fs::Root;
use lighter_sys::descriptors::close_later;
use lighter_sys::mount::{self as m, Attributes, attribute};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::masks;
use crate::mount_flags;
use crate::options::Options;
use crate::program::c_string;

const MS_PRIVATE: u64 = 1 << 18;
const MS_BIND: u64 = 0x1000;
const MS_REC: u64 = 0x4000;

/// The container, as far as cgroup mounts are concerned.
pub(crate) struct View<'a> {
    pub(crate) group: Option<&'a Group>,
    /// Whether it has a cgroup namespace.
    pub(crate) private: bool,
    pub(crate) in_userns: bool,
}

impl View<'_> {
    /// Mounts on `target`: the unified hierarchy, or on v1 a small tmpfs with a directory a hierarchy.
    pub(crate) fn mount(&self, target: BorrowedFd<'_>, options: &Options) -> Result<()> {
        let Some(group) = self.group else {
            return cover(target);
        };
        match group.version() {
            Version::V2 => self.mount_v2(group, target, options),
            Version::V1 => self.mount_v1(group, target, options),
        }
    }

    fn mount_v2(&self, group: &Group, target: BorrowedFd<'_>, options: &Options) -> Result<()> {
        let refused = |error: &io::Error| {
            [Errno::PERM, Errno::BUSY]
                .map(Errno::raw_os_error)
                .map(Some)
                .contains(&error.raw_os_error())
        };
        rustix::process::fchdir(target).doing("enter the mount point")?;
        match m::mount(
            Some(c"cgroup"),
            c".",
            Some(c"cgroup2"),
            options.mount_flags(),
            None,
        ) {
            // A user namespace without a cgroup namespace of its own may not: the host's view, bound. With one it is the
            // container's own directory.
            Err(error) if refused(&error) => {
                let own = group.paths().first().map(|(_, path)| path.as_path());
                let source = own
                    .filter(|_| self.private)
                    .unwrap_or(Path::new("/sys/fs/cgroup"));
                let bound = match (self.in_userns, self.private) {
                    (true, false) => bind(source, target, &read_only(options)),
                    _ => bind(source, target, options),
                };
                match bound {
                    // A rootless container's cgroup may be out of sight. What lies there must not be the writable
                    // hierarchy of the host (CVE-2023-25809).
                    Err(error) if self.in_userns && is_absent(&error) => cover(target),
                    result => result,
                }
            }
            result => result.doing("mount"),
        }
    }

    fn mount_v1(&self, group: &Group, target: BorrowedFd<'_>, options: &Options) -> Result<()> {
        let flags = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
        let size = [(c"mode", Some(c"755")), (c"size", Some(c"64k"))];
        let tmpfs =
            m::new_filesystem(c"tmpfs", Some(c"tmpfs"), &size, flags).doing("make the cgroup tmpfs")?;
        m::attach(tmpfs.as_fd(), target).doing("mount the cgroup tmpfs")?;
        let dir = Root::from_fd(tmpfs);
        rustix::process::fchdir(&dir).doing("enter the cgroup tmpfs")?;
        // Flags that the tmpfs may have too are given to all at once.
        let together = options.set & !(flags | attribute::RDONLY) == 0;
        for (hierarchy, path) in group.paths() {
            // The tmpfs is new and nobody else's: nothing to resolve, and a name in it is what it seems.
            rustix::fs::mkdirat(&dir, hierarchy.as_str(), Mode::from_raw_mode(0o755))
                .doing("make a directory")?;
            if self.private {
                let (source, data) = match hierarchy.as_str() {
                    "systemd" => (c"systemd", c"none,name=systemd".to_owned()),
                    controllers => (c"cgroup", c_string(controllers)),
                };
                let (here, kind) = (c_string(hierarchy), Some(c"cgroup"));
                m::mount(Some(source), &here, kind, options.mount_flags(), Some(&data))
                    .on("mount the hierarchy", hierarchy)?;
            } else if together {
                let (source, here) = (c_string(path), c_string(hierarchy));
                // Private as in `bind`.
                let bound = m::mount(Some(&source), &here, None, MS_BIND | MS_REC, None)
                    .and_then(|()| m::mount(None, &here, None, MS_PRIVATE | MS_REC, None));
                match bound {
                    Err(error) if self.in_userns && error.kind() == io::ErrorKind::NotFound => {
                        bind_own(hierarchy, &dir, options)?;
                    }
                    result => result.on("bind", path)?,
                }
            } else {
                let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let here = rustix::fs::openat(&dir, hierarchy.as_str(), path_only, Mode::empty())
                    .doing("open a directory")?;
                match bind(path, here.as_fd(), options) {
                    Err(error) if self.in_userns && is_absent(&error) => bind_own(hierarchy, &dir, options)?,
                    result => result?,
                }
            }
            if hierarchy.contains(',') {
                for name in hierarchy.split(',') {
                    dir.symlink(hierarchy, Path::new(name))?;
                }
            }
        }
        if !self.private && together && options.set != 0 {
            let all = Attributes {
                set: options.set,
                ..Attributes::default()
            };
            m::set_attributes(dir.as_fd(), true, &all).doing("protect the cgroup mounts")?;
        } else if options.set & attribute::RDONLY != 0 {
            mount_flags::make_readonly(dir.as_fd()).doing("make the cgroup tmpfs read-only")?;
        }
        close_later(dir.into());
        Ok(())
    }
}

/// An ordinary user's container without a group of its own is in its caller's, which it sees, as with runc, and cannot
/// write to, whatever the configuration says (CVE-2023-25809).
fn bind_own(hierarchy: &str, dir: &Root, options: &Options) -> Result<()> {
    const FILE: &str = "/proc/self/cgroup";
    let text = std::fs::read_to_string(FILE).on("read", FILE)?;
    let Some(own) = own_group(&text, hierarchy) else {
        return Ok(());
    };
    let source = Path::new("/sys/fs/cgroup")
        .join(hierarchy)
        .join(own.trim_start_matches('/'));
    let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here = rustix::fs::openat(dir, hierarchy, path_only, Mode::empty()).doing("open a directory")?;
    match bind(&source, here.as_fd(), &read_only(options)) {
        // Out of sight, or not this user's to see: an empty directory.
        Err(error) if is_absent(&error) || is_denied(&error) => Ok(()),
        result => result,
    }
}

/// What may be asked, in a user namespace, of a view that is the host's: how times of access are kept is the host's to say.
fn read_only(options: &Options) -> Options {
    let kept = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    Options {
        set: options.set & kept | attribute::RDONLY,
        ..Options::default()
    }
}

/// The path of a hierarchy, by its directory's name, in `/proc/PID/cgroup`.
fn own_group<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        (controllers.strip_prefix("name=").unwrap_or(controllers) == hierarchy).then_some(path)
    })
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Path { source, .. } if source.raw_os_error() == Some(Errno::ACCESS.raw_os_error()))
}

fn cover(target: BorrowedFd<'_>) -> Result<()> {
    let empty = masks::empty_directory()?;
    m::attach(empty.as_fd(), target).doing("cover the place of cgroups")
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Path { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn bind(source: &Path, target: BorrowedFd<'_>, options: &Options) -> Result<()> {
    let tree = m::clone_tree(CWD, &c_string(source), true).on("open", source)?;
    let attributes = Attributes {
        set: options.set,
        clear: if options.set & attribute::ATIME != 0 {
            attribute::ATIME
        } else {
            0
        },
        ..Attributes::default()
    };
    m::set_attributes(tree.as_fd(), true, &attributes).on("protect", source)?;
    m::attach(tree.as_fd(), target).on("bind", source)?;
    // Whatever the root's propagation: what is mounted there is nobody's of the host's.
    let private = Attributes {
        propagation: MS_PRIVATE,
        ..Attributes::default()
    };
    m::set_attributes(tree.as_fd(), true, &private).on("make private", source)
}
