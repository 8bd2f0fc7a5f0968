//! The mounts of the configuration, in their order.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lighter_cgroups::{Group, Version};
use lighter_safe_fs::Root;
use lighter_sys::descriptors::close_later;
use lighter_sys::mount::{self as m, attribute};
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;

use crate::cgroup_mount::View;
use crate::config::{Linux, Mount, Spec};
use crate::error::{Context, Error, Result};
use crate::mount_flags;
use crate::mountpoint::{self, What};
use crate::options::Options;
use crate::program::c_string;

const MS_RDONLY: u64 = 0x1;
const MS_REMOUNT: u64 = 0x20;
/// The kernel reads a page of options and drops the rest.
const MOST_DATA: usize = 4095;

/// What the runtime does for the process that mounts, which lives in the container's namespaces already.
pub(crate) trait Runtime {
    /// Makes us a member of the container's cgroup; at the latest before the first mount that shows it.
    fn join_cgroup(&mut self) -> Result<()>;
    /// The source of the mount with this number in the configuration, detached and id-mapped as it says: opened with the
    /// power of the runtime, from our mounts. After `join_cgroup`.
    fn source(&mut self, index: usize) -> Result<OwnedFd>;
    /// The container's cgroup. After `join_cgroup`.
    fn group(&self) -> Option<&Group>;
}

/// The root that mounts go into.
pub(crate) struct Mounts<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) linux: &'a Linux,
    pub(crate) root: &'a Root,
    /// Its path, with no symbolic link.
    pub(crate) rootfs: &'a Path,
    pub(crate) bundle: &'a Path,
    /// The interface of cgroups that the machine has.
    pub(crate) cgroups: Version,
    pub(crate) in_userns: bool,
    /// Mounts to make read-only when everything is in them.
    pub(crate) late_readonly: Vec<OwnedFd>,
    /// The tmpfs that was mounted on `/dev`, by descriptor once it was needed: mount points in it need no search.
    pub(crate) dev: Dev,
}

/// What is known of `/dev`.
#[derive(Debug, Default)]
pub(crate) enum Dev {
    /// Nothing: it may be the image's.
    #[default]
    Unknown,
    /// It is a new tmpfs, and on top.
    New,
    /// The same, open.
    Open(Root),
}

impl Mounts<'_> {
    /// Makes all mounts.
    pub(crate) fn all(&mut self, runtime: &mut dyn Runtime) -> Result<()> {
        let mounts = &self.spec.mounts;
        // A cgroup mount waits for the cgroup, which is being made meanwhile: it may as well come last, when nothing else
        // is to be mounted on it, below it or over it.
        let late = |index: usize| {
            let mount = &mounts[index];
            is_cgroup(mount)
                && mounts.iter().enumerate().all(|(other, with)| {
                    other == index
                        || !with.destination.starts_with(&mount.destination)
                            && (other < index || !mount.destination.starts_with(&with.destination))
                })
        };
        let (last, now): (Vec<usize>, Vec<usize>) = (0..mounts.len()).partition(|index| late(*index));
        for index in now.into_iter().chain(last) {
            let mount = &mounts[index];
            let made = self.one(index, mount, runtime);
            made.map(|()| self.note(mount)).map_err(|error| Error::Mount {
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

    fn one(&mut self, index: usize, mount: &Mount, runtime: &mut dyn Runtime) -> Result<()> {
        let zero = |text: &str| text.contains('\0');
        if zero(&mount.source) || zero(&mount.kind) || zero(&mount.destination.to_string_lossy()) {
            return Err(Error::Config("mount field contains null byte".into()));
        }
        let options = Options::parse(&mount.options);
        if options.data.len() > MOST_DATA {
            return Err(Error::Config(format!(
                "options for the file system are {} bytes long, the kernel takes {MOST_DATA}",
                options.data.len()
            )));
        }
        let bind = options.bind;
        if options.remount {
            return self.remount(mount, &options, bind);
        }
        if bind {
            return self.bind(index, mount, &options, runtime);
        }
        if options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            return Err(Error::Config(
                "id-mapped mounts are only supported for bind-mounts".into(),
            ));
        }
        let plain_v2 = mount.kind == "cgroup2" && self.cgroups == Version::V1;
        if is_cgroup(mount) && !plain_v2 {
            runtime.join_cgroup()?;
            let target = self.target(mount, &What::Filesystem)?;
            let mounted = self.show_cgroups(target.as_fd(), &options, runtime.group());
            close_later(target);
            return mounted;
        }
        self.filesystem(mount, options)
    }

    /// Keeps in mind what `mount` made of `/dev`.
    fn note(&mut self, mount: &Mount) {
        let path = mountpoint::lexical(self.rootfs, &mount.destination);
        if path == Path::new("dev") || path.as_os_str().is_empty() {
            let options = Options::parse(&mount.options);
            let new = mount.kind == "tmpfs" && !options.bind && !options.remount && !options.copy_up;
            self.dev = if new { Dev::New } else { Dev::Unknown };
        }
    }

    /// The new `/dev`, when that is what is there. A symbolic link on the way, and it is not.
    fn new_dev(&mut self) -> Option<&Root> {
        if matches!(self.dev, Dev::New) {
            let found = self
                .root
                .plain(Path::new("dev"), OFlags::PATH | OFlags::DIRECTORY);
            self.dev = found.map_or(Dev::Unknown, |found| Dev::Open(Root::from_fd(found)));
        }
        match &self.dev {
            Dev::Open(dev) => Some(dev),
            _ => None,
        }
    }

    fn target(&mut self, mount: &Mount, what: &What<'_>) -> Result<OwnedFd> {
        let path = mountpoint::lexical(self.rootfs, &mount.destination);
        if matches!(what, What::Filesystem)
            && path.parent() == Some(Path::new("dev"))
            && let Some(name) = path.file_name()
            && let Some(made) = self.new_dev().and_then(|dev| dev.make_directory(name, 0o755))
        {
            return Ok(made);
        }
        let (found, plain) = mountpoint::open(self.root, self.rootfs, &mount.destination, what)?;
        if !plain {
            // It may lie on `/dev` whatever its name says.
            self.dev = Dev::Unknown;
        }
        Ok(found)
    }

    fn remount(&self, mount: &Mount, options: &Options, bind: bool) -> Result<()> {
        let path = mountpoint::lexical(self.rootfs, &mount.destination);
        let target = self.root.locate(&path)?;
        if bind {
            mount_flags::bind(target.as_fd(), options)?;
            return mount_flags::propagate(target.as_fd(), options);
        }
        let flags = options.mount_flags() | MS_REMOUNT;
        let remounted = m::mount(
            None,
            &m::path_of(target.as_fd()),
            None,
            flags,
            data(&options.data).as_deref(),
        );
        match remounted {
            // In a user namespace the file system itself is somebody else's; the mount is ours.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) && self.in_userns => {
                mount_flags::bind(target.as_fd(), options)?;
            }
            result => {
                result.doing("remount")?;
                mount_flags::recursive(target.as_fd(), options)?;
            }
        }
        mount_flags::propagate(target.as_fd(), options)
    }

    fn bind(
        &mut self,
        index: usize,
        mount: &Mount,
        options: &Options,
        runtime: &mut dyn Runtime,
    ) -> Result<()> {
        if !options.data.is_empty() {
            return Err(Error::Config(format!(
                "bind mounts cannot have any filesystem-specific options applied ({})",
                options.data
            )));
        }
        let mapped =
            options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        let source = self.bundle.join(&mount.source);
        let opened = if mapped {
            None
        } else {
            match m::clone_tree(CWD, &c_string(&source), options.recursive) {
                // The root of a user namespace is nobody to directories of the host's root.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && self.in_userns => None,
                Err(error)
                    if error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                        && self.in_userns
                        && !options.recursive =>
                {
                    return Err(Error::Config(format!(
                        "open {}: what is mounted below it cannot be left out in a user namespace: use rbind",
                        source.display()
                    )));
                }
                result => Some(result.on("open", &source)?),
            }
        };
        let tree = match opened {
            Some(tree) => tree,
            None => {
                runtime.join_cgroup()?;
                runtime.source(index)?
            }
        };
        mount_flags::bind(tree.as_fd(), options)?;
        let target = self.target(mount, &What::Bind(&tree))?;
        m::attach(tree.as_fd(), target.as_fd())
            .map_err(|error| unlike(error, &tree, &target))
            .doing("attach")?;
        mount_flags::propagate(tree.as_fd(), options)?;
        close_later(tree);
        close_later(target);
        Ok(())
    }

    fn show_cgroups(&self, target: BorrowedFd<'_>, options: &Options, group: Option<&Group>) -> Result<()> {
        let private = self.linux.namespaces.iter().any(|found| found.kind == "cgroup");
        let view = View {
            group,
            private,
            in_userns: self.in_userns,
        };
        view.mount(target, options)
    }

    fn filesystem(&mut self, mount: &Mount, mut options: Options) -> Result<()> {
        let kind = mount.kind.as_str();
        let what = match kind {
            "proc" | "sysfs" => What::Kernel(kind),
            _ => What::Filesystem,
        };
        if kind == "tmpfs" && !options.data.split(',').any(|option| option.starts_with("mode=")) {
            self.inherit_mode(mount, &mut options);
        }
        let target = self.target(mount, &what)?;
        let source = c_string(if mount.source.is_empty() {
            kind
        } else {
            &mount.source
        });
        let readonly = options.set & attribute::RDONLY != 0;
        let late = readonly && (kind == "tmpfs" || mount.destination == Path::new("/dev"));
        let label = match kind {
            "proc" | "sysfs" => "",
            _ => self.linux.mount_label.as_str(),
        };
        if !late && !options.copy_up && !options.has_more() && label.is_empty() {
            rustix::process::fchdir(&target).doing("enter the mount point")?;
            let (kind_c, text) = (c_string(kind), data(&options.data));
            close_later(target);
            return m::mount(
                Some(&source),
                c".",
                Some(&kind_c),
                options.mount_flags(),
                text.as_deref(),
            )
            .map_err(|error| explain(error, kind));
        }
        // What is to be done to the mount afterwards is done by descriptor, so it is made detached.
        if late {
            options.set &= !attribute::RDONLY;
        }
        let queues = kind == "mqueue";
        let made = detached(kind, &source, &options, if queues { "" } else { label })
            .map_err(|error| explain(error, kind))?;
        if options.copy_up && kind == "tmpfs" {
            let given = |name: &str| options.data.split(',').any(|option| option.starts_with(name));
            let owner = given("uid=") || given("gid=");
            crate::copy_up::copy_up(target.as_fd(), made.as_fd(), owner)?;
        }
        if queues && !label.is_empty() {
            // It has no option for that.
            let value = c_string(label);
            let place = m::path_of(made.as_fd());
            rustix::fs::setxattr(
                place.as_c_str(),
                "security.selinux",
                value.as_bytes_with_nul(),
                rustix::fs::XattrFlags::empty(),
            )
            .doing("label the message queues")?;
        }
        m::attach(made.as_fd(), target.as_fd()).doing("attach")?;
        close_later(target);
        mount_flags::recursive(made.as_fd(), &options)?;
        mount_flags::propagate(made.as_fd(), &options)?;
        if late {
            self.late_readonly.push(made);
        } else {
            close_later(made);
        }
        Ok(())
    }

    /// A tmpfs has the mode of the directory that it covers.
    fn inherit_mode(&self, mount: &Mount, options: &mut Options) {
        let path = mountpoint::lexical(self.rootfs, &mount.destination);
        let Ok(found) = self.root.locate(&path) else {
            return;
        };
        if let Ok(stat) = rustix::fs::fstat(&found) {
            let mode = format!("mode={:04o}", stat.st_mode & 0o7777);
            if !options.data.is_empty() {
                options.data.insert(0, ',');
            }
            options.data.insert_str(0, &mode);
        }
    }
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
        && !mount
            .options
            .iter()
            .any(|option| option == "bind" || option == "rbind")
}

fn data(text: &str) -> Option<CString> {
    (!text.is_empty()).then(|| c_string(text))
}

/// `label`: the SELinux label of everything in it, or none.
fn detached(kind: &str, source: &CStr, options: &Options, label: &str) -> std::io::Result<OwnedFd> {
    let mut settings: Vec<(CString, Option<CString>)> = Vec::new();
    let flags = options.mount_flags();
    for (flag, name) in [
        (MS_RDONLY, "ro"),
        (0x10, "sync"),
        (0x40, "mand"),
        (0x80, "dirsync"),
        (0x200_0000, "lazytime"),
    ] {
        if flags & flag != 0 {
            settings.push((c_string(name), None));
        }
    }
    for option in options.data.split(',').filter(|option| !option.is_empty()) {
        settings.push(match option.split_once('=') {
            Some((key, value)) => (c_string(key), Some(c_string(value))),
            None => (c_string(option), None),
        });
    }
    if !label.is_empty() {
        settings.push((c_string("context"), Some(c_string(label))));
    }
    let settings: Vec<(&CStr, Option<&CStr>)> = settings
        .iter()
        .map(|(key, value)| (key.as_c_str(), value.as_deref()))
        .collect();
    m::new_filesystem(&c_string(kind), Some(source), &settings, options.set)
}

/// A file over a directory, or a directory over a file: what `mount(2)` says of that, which engines look for.
fn unlike(error: std::io::Error, tree: &OwnedFd, target: &OwnedFd) -> std::io::Error {
    let is_dir = |fd| {
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) && is_dir(tree) != is_dir(target) {
        return Errno::NOTDIR.into();
    }
    error
}

fn explain(error: std::io::Error, kind: &str) -> Error {
    if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) {
        return Error::Path {
            operation: "mount a file system of the type",
            path: kind.into(),
            source: error,
        };
    }
    Error::Call {
        operation: "mount",
        source: error,
    }
}
