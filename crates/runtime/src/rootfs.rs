//! The container's view of files: mounts, `/dev`, pivot, masks. Runs inside the new mount namespace.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lighter_cgroups::{Group, Version};
use lighter_safe_fs::Root;
use lighter_sys::mount::{self as m, Attributes, attribute};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::{Linux, Mount, Spec};
use crate::error::{Context, Error, Result};
use crate::options::Options;
use crate::program::c_string;

const MS_RDONLY: u64 = 0x1;
const MS_REMOUNT: u64 = 0x20;
const MS_BIND: u64 = 0x1000;
const MS_REC: u64 = 0x4000;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_UNBINDABLE: u64 = 1 << 17;
const MNT_DETACH: i32 = 2;
const PROC_MAGIC: i64 = 0x9fa0;

/// A mounted root that is not yet `/`.
#[derive(Debug)]
pub(crate) struct Rootfs<'a> {
    spec: &'a Spec,
    linux: &'a Linux,
    root: Root,
    /// Mounts to make read-only when everything is in them.
    late_readonly: Vec<&'a Mount>,
    /// Whether we are in a user namespace of our own: no device nodes.
    in_userns: bool,
}

/// The flag of a propagation by name.
pub(crate) fn propagation(name: &str) -> Result<u64> {
    Ok(match name {
        "" => 0,
        "private" => MS_PRIVATE,
        "rprivate" => MS_PRIVATE | MS_REC,
        "shared" => MS_SHARED,
        "rshared" => MS_SHARED | MS_REC,
        "slave" => MS_SLAVE,
        "rslave" => MS_SLAVE | MS_REC,
        "unbindable" => MS_UNBINDABLE,
        "runbindable" => MS_UNBINDABLE | MS_REC,
        _ => {
            return Err(Error::Config(format!(
                "rootfsPropagation={name} is not supported"
            )));
        }
    })
}

impl<'a> Rootfs<'a> {
    /// Makes the mount namespace private enough and the root a mount of its own.
    pub(crate) fn prepare(spec: &'a Spec, linux: &'a Linux, path: &Path, in_userns: bool) -> Result<Self> {
        let wished = propagation(&linux.rootfs_propagation)?;
        // What we mount must not show up outside, even when the root is to be shared.
        let first = if wished & MS_PRIVATE != 0 {
            MS_PRIVATE | MS_REC
        } else {
            MS_SLAVE | MS_REC
        };
        let first = if wished & MS_SHARED != 0 {
            MS_SHARED | MS_REC
        } else {
            first
        };
        m::mount(None, c"/", None, first, None).on("change propagation of", "/")?;
        let c_path = c_string(path);
        if wished & MS_SHARED != 0 {
            make_parent_private(path)?;
        }
        m::mount(Some(&c_path), &c_path, None, MS_BIND | MS_REC, None).on("bind", path)?;
        let root = Root::open(path)?;
        Ok(Self {
            spec,
            linux,
            root,
            late_readonly: Vec::new(),
            in_userns,
        })
    }

    /// Makes the mounts of the configuration. `join`: makes us a member of the cgroup, called before the first mount
    /// that shows cgroups.
    pub(crate) fn mount_all(
        &mut self,
        group: Option<&Group>,
        mut join: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let spec = self.spec;
        // A cgroup mount waits for the cgroup, which is being made meanwhile: it may as well come last, when nothing is
        // mounted below it.
        let (late, now): (Vec<&Mount>, Vec<&Mount>) = spec.mounts.iter().partition(|mount| {
            matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
                && spec
                    .mounts
                    .iter()
                    .filter(|other| other.destination.starts_with(&mount.destination))
                    .count()
                    == 1
        });
        for mount in now.into_iter().chain(late) {
            let options = Options::parse(&mount.options);
            if matches!(mount.kind.as_str(), "cgroup" | "cgroup2") {
                join()?;
            }
            self.mount_one(mount, &options, group)
                .map_err(|error| Error::Mount {
                    what: if mount.source.is_empty() {
                        mount.kind.clone()
                    } else {
                        mount.source.clone()
                    },
                    destination: mount.destination.clone(),
                    source: Box::new(error),
                })?;
        }
        Ok(())
    }

    fn mount_one(&mut self, mount: &'a Mount, options: &Options, group: Option<&Group>) -> Result<()> {
        if options.remount {
            let target = self.root.locate(&mount.destination)?;
            let flags = options.mount_flags() | MS_REMOUNT | if options.bind { MS_BIND } else { 0 };
            return m::mount(
                None,
                &m::path_of(target.as_fd()),
                None,
                flags,
                data(&options.data).as_deref(),
            )
            .doing("remount");
        }
        if options.bind || mount.kind == "bind" {
            return self.bind(mount, options);
        }
        let target = match mount.kind.as_str() {
            "proc" | "sysfs" => self.plain_directory(&mount.destination)?,
            _ => self.root.create_dir_all(&mount.destination, 0o755)?,
        };
        match mount.kind.as_str() {
            "cgroup" | "cgroup2" => self.mount_cgroups(&target, options, group)?,
            kind => {
                let mut flags = options.mount_flags();
                let on_dev = mount.destination == Path::new("/dev");
                if flags & MS_RDONLY != 0 && (kind == "tmpfs" || on_dev) {
                    flags &= !MS_RDONLY;
                    self.late_readonly.push(mount);
                }
                let text = data(&options.data);
                let text = text.as_deref();
                mount_on(target.as_fd(), &mount.source, kind, flags, text)?;
                if options.copy_up {
                    let mounted = self.root.locate(&mount.destination)?;
                    copy_up(&target, &mounted)?;
                }
            }
        }
        if !options.propagation.is_empty() || options.recursive_set | options.recursive_clear != 0 {
            let mounted = self.root.locate(&mount.destination)?;
            finish(
                mounted.as_fd(),
                &Options {
                    set: 0,
                    clear: 0,
                    ..options.clone()
                },
            )?;
        }
        Ok(())
    }

    /// A directory that is where it seems to be: procfs and sysfs behind a link of the image's would fool every later
    /// check (CVE-2019-19921).
    fn plain_directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.root.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&found).doing("stat")?.st_mode);
                if kind != FileType::Directory {
                    return Err(Error::Config("must be mounted on an ordinary directory".into()));
                }
                Ok(found)
            }
            Err(error) if error.is_absent() => Ok(self.root.create_dir_all(path, 0o755)?),
            Err(error) => Err(error.into()),
        }
    }

    fn bind(&self, mount: &Mount, options: &Options) -> Result<()> {
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() || options.idmap.is_some() {
            return Err(Error::Config("id-mapped mounts are not supported yet".into()));
        }
        let source = Path::new(&mount.source);
        let tree = m::clone_tree(CWD, &c_string(source), options.recursive).on("open", source)?;
        finish(tree.as_fd(), options)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree).on("stat", source)?.st_mode);
        let target = if kind == FileType::Directory {
            self.root.create_dir_all(&mount.destination, 0o755)?
        } else {
            self.root.create_file(&mount.destination, 0o755)?
        };
        m::attach(tree.as_fd(), target.as_fd()).doing("attach")
    }

    fn mount_cgroups(&self, target: &OwnedFd, options: &Options, group: Option<&Group>) -> Result<()> {
        let flags = options.mount_flags();
        let private = self
            .linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == "cgroup");
        let Some(group) = group else {
            return Err(Error::Config("no cgroup to mount".into()));
        };
        if group.version() == Version::V2 {
            let mounted = mount_on(target.as_fd(), "cgroup", "cgroup2", flags, None);
            return match mounted {
                // A user namespace without a cgroup namespace may not: the host's view, bound.
                Err(_) if self.in_userns || !private => {
                    self.bind_cgroup(Path::new("/sys/fs/cgroup"), target.as_fd(), options)
                }
                result => result,
            };
        }
        // v1: a small tmpfs that holds a directory a hierarchy.
        let rw = flags & !MS_RDONLY;
        mount_on(target.as_fd(), "tmpfs", "tmpfs", rw, Some(c"mode=755,size=64k"))?;
        let destination = self
            .spec
            .mounts
            .iter()
            .find(|mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2"));
        let destination = destination
            .map(|mount| mount.destination.as_path())
            .unwrap_or(Path::new("/sys/fs/cgroup"));
        let dir = Root::from_fd(self.root.locate(destination)?);
        for (hierarchy, path) in group.paths() {
            // The tmpfs is new and nobody else's: nothing to resolve.
            rustix::fs::mkdirat(&dir, hierarchy.as_str(), Mode::from_raw_mode(0o755))
                .doing("make a directory")?;
            let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let here = rustix::fs::openat(&dir, hierarchy.as_str(), path_only, Mode::empty())
                .doing("open a directory")?;
            if private {
                let named = hierarchy == "systemd";
                let data = if named {
                    "name=systemd".to_owned()
                } else {
                    hierarchy.clone()
                };
                let data = if named { "none,".to_owned() + &data } else { data };
                mount_on(here.as_fd(), "cgroup", "cgroup", flags, Some(&c_string(&data)))?;
            } else {
                self.bind_cgroup(path, here.as_fd(), options)?;
            }
            if hierarchy.contains(',') {
                for name in hierarchy.split(',') {
                    dir.symlink(hierarchy, Path::new(name))?;
                }
            }
        }
        if flags & MS_RDONLY != 0 {
            let readonly = Attributes {
                set: attribute::RDONLY,
                ..Attributes::default()
            };
            m::set_attributes(dir.as_fd(), false, &readonly).doing("make the cgroup tmpfs read-only")?;
        }
        Ok(())
    }

    fn bind_cgroup(&self, source: &Path, target: BorrowedFd<'_>, options: &Options) -> Result<()> {
        let tree = m::clone_tree(CWD, &c_string(source), true).on("open", source)?;
        let set = options.set;
        m::set_attributes(
            tree.as_fd(),
            true,
            &Attributes {
                set,
                ..Attributes::default()
            },
        )
        .on("protect", source)?;
        m::attach(tree.as_fd(), target).on("bind", source)
    }

    /// Fills `/dev`, unless it is the host's.
    pub(crate) fn devices(&self) -> Result<()> {
        let bound = self.spec.mounts.iter().any(|mount| {
            mount.destination.components().eq(Path::new("/dev").components())
                && (mount.kind == "bind" || Options::parse(&mount.options).bind)
        });
        if bound {
            return Ok(());
        }
        crate::devices::fill(&self.root, &self.linux.devices, self.in_userns)
    }

    /// Makes the new root the working directory: where `createContainer` hooks are run.
    pub(crate) fn enter(&self) -> Result<()> {
        rustix::process::fchdir(&self.root).doing("enter the root")
    }

    /// Makes the root `/`, and the old one unreachable.
    pub(crate) fn pivot(&self, no_pivot: bool) -> Result<()> {
        self.enter()?;
        if no_pivot {
            // On a ramfs, which cannot be pivoted away from.
            m::mount(Some(c"."), c"/", None, 0x2000, None).doing("move the root")?;
            rustix::process::chroot(".").doing("change root")?;
            return rustix::process::chdir("/").on("enter", "/");
        }
        m::pivot_root(c".", c".").doing("pivot root")?;
        // The old root now lies on top of the new one. Unmounting must not travel to the host's mounts.
        m::mount(None, c".", None, MS_SLAVE | MS_REC, None).doing("cut the old root off")?;
        m::unmount(c".", MNT_DETACH).doing("unmount the old root")?;
        rustix::process::chdir("/").on("enter", "/")
    }

    /// The rest, with the root in place: propagation, read-only mounts, masks.
    pub(crate) fn finish(&self) -> Result<()> {
        let root = Root::open(Path::new("/"))?;
        let wished = propagation(&self.linux.rootfs_propagation)?;
        if wished != 0 {
            m::mount(None, c"/", None, wished, None).on("change propagation of", "/")?;
        }
        let readonly = Attributes {
            set: attribute::RDONLY,
            ..Attributes::default()
        };
        for mount in &self.late_readonly {
            let fd = root.locate(&mount.destination)?;
            m::set_attributes(fd.as_fd(), false, &readonly).on("make read-only", &mount.destination)?;
        }
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            m::set_attributes(root.as_fd(), false, &readonly).on("make read-only", "/")?;
        }
        for path in &self.linux.readonly_paths {
            protect(&root, path).map_err(|error| wrap("readonly path", path, error))?;
        }
        mask(&root, &self.linux.masked_paths)
    }
}

fn wrap(what: &str, path: &Path, error: Error) -> Error {
    Error::Mount {
        what: what.to_owned(),
        destination: path.to_owned(),
        source: Box::new(error),
    }
}

fn data(text: &str) -> Option<CString> {
    (!text.is_empty()).then(|| c_string(text))
}

/// `mount(2)` on what `target` names: by the working directory, which no path can redirect.
fn mount_on(
    target: BorrowedFd<'_>,
    source: &str,
    kind: &str,
    flags: u64,
    data: Option<&std::ffi::CStr>,
) -> Result<()> {
    rustix::process::fchdir(target).doing("enter the mount point")?;
    let source = c_string(if source.is_empty() { kind } else { source });
    m::mount(Some(&source), c".", Some(&c_string(kind)), flags, data).doing("mount")
}

/// Attributes and propagation of a mount that `fd` is on.
fn finish(fd: BorrowedFd<'_>, options: &Options) -> Result<()> {
    let changes = [
        (options.set, options.clear, false),
        (options.recursive_set, options.recursive_clear, true),
    ];
    for (set, clear, recursive) in changes {
        // The access-time mode is one field: to set it is to clear it first.
        let clear = if set & attribute::ATIME != 0 {
            clear | attribute::ATIME
        } else {
            clear
        };
        if set | clear != 0 {
            m::set_attributes(
                fd,
                recursive,
                &Attributes {
                    set,
                    clear,
                    ..Attributes::default()
                },
            )
            .doing("set attributes")?;
        }
    }
    for (propagation, recursive) in &options.propagation {
        let attributes = Attributes {
            propagation: *propagation,
            ..Attributes::default()
        };
        m::set_attributes(fd, *recursive, &attributes).doing("set propagation")?;
    }
    Ok(())
}

/// The mount that holds `path` must not be shared, or the root's own mount would show up outside.
fn make_parent_private(path: &Path) -> Result<()> {
    let mut here = Some(path);
    while let Some(dir) = here {
        match m::mount(None, &c_string(dir), None, MS_PRIVATE, None) {
            Ok(()) => return Ok(()),
            // Not a mount point: the one above.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => here = dir.parent(),
            Err(error) => return Err(error).on("make private", dir),
        }
    }
    Ok(())
}

/// Makes what `path` names read-only; what is not there needs no protection.
fn protect(root: &Root, path: &Path) -> Result<()> {
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
    m::attach(tree.as_fd(), target.as_fd()).doing("attach")
}

/// Covers each path: a directory by an empty read-only one, anything else by `/dev/null`.
///
/// The covers are detached mounts opened once, and the null device is looked at before it is trusted (CVE-2025-31133).
fn mask(root: &Root, paths: &[std::path::PathBuf]) -> Result<()> {
    let (mut null, mut empty) = (None, None);
    for path in paths {
        let target = match root.locate(path) {
            Err(error) if error.is_absent() => continue,
            result => result?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&target).doing("stat")?.st_mode);
        let cover = if kind == FileType::Directory {
            if empty.is_none() {
                empty = Some(empty_directory()?);
            }
            empty.as_ref()
        } else {
            if null.is_none() {
                null = Some(null_device(root)?);
            }
            null.as_ref()
        };
        if let Some(cover) = cover {
            m::clone_tree(cover.as_fd(), c"", false)
                .and_then(|tree| m::attach(tree.as_fd(), target.as_fd()))
                .doing("attach")
                .map_err(|error| wrap("masked path", path, error))?;
        }
    }
    Ok(())
}

fn empty_directory() -> Result<OwnedFd> {
    m::new_filesystem(
        c"tmpfs",
        Some(c"tmpfs"),
        &[(c"nr_blocks", Some(c"1")), (c"nr_inodes", Some(c"1"))],
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

/// Copies what the mount hides into it: directories, files, links; modes and owners.
fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let source = rustix::fs::openat(from, ".", flags, Mode::empty()).doing("open what is hidden")?;
    for entry in rustix::fs::Dir::read_from(&source).doing("read what is hidden")? {
        let entry = entry.doing("read what is hidden")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(&source, to, name).doing("copy up")?;
        let stat =
            rustix::fs::statat(&source, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).doing("copy up")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = rustix::fs::openat(&source, name, path, Mode::empty()).doing("copy up")?;
            let copy = rustix::fs::openat(to, name, path, Mode::empty()).doing("copy up")?;
            copy_up(&below, &copy)?;
        }
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr) -> std::io::Result<()> {
    use rustix::fs as f;
    let stat = f::statat(from, name, f::AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => f::mkdirat(to, name, mode)?,
        FileType::Symlink => f::symlinkat(f::readlinkat(from, name, Vec::new())?, to, name)?,
        FileType::RegularFile => {
            let source = f::openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = f::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target))?;
        }
        kind => f::mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (f::Uid::from_raw(stat.st_uid), f::Gid::from_raw(stat.st_gid));
    f::chownat(to, name, Some(uid), Some(gid), f::AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        f::chmodat(to, name, mode, f::AtFlags::empty())?;
    }
    Ok(())
}

/// Sets kernel parameters. Each is written through a descriptor that is known to be of procfs.
pub(crate) fn sysctls(linux: &Linux) -> Result<()> {
    if linux.sysctl.is_empty() {
        return Ok(());
    }
    let root = Root::open(Path::new("/"))?;
    for (key, value) in &linux.sysctl {
        // `net.ipv4.conf.eth0/1.x`: when the first separator is a slash, dots are part of names.
        let path = match key.find(['.', '/']) {
            Some(at) if key.as_bytes()[at] == b'.' => key
                .chars()
                .map(|c| {
                    if c == '.' {
                        '/'
                    } else if c == '/' {
                        '.'
                    } else {
                        c
                    }
                })
                .collect(),
            _ => key.clone(),
        };
        let path = Path::new("proc/sys").join(path);
        let fd = root.at(&path, OFlags::WRONLY)?;
        if rustix::fs::fstatfs(&fd).on("look at", &path)?.f_type != PROC_MAGIC {
            return Err(Error::Config(format!("{} is not on a procfs", path.display())));
        }
        rustix::io::write(&fd, value.as_bytes()).on("write", &path)?;
    }
    Ok(())
}
