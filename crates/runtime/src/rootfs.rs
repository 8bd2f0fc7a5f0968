//! The container's view of files: its root, what is mounted in it, `/dev`. Runs inside the new mount namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lighter_cgroups::Version;
use lighter_safe_fs::Root;
use lighter_sys::descriptors::close_later;
use lighter_sys::mount as m;
use rustix::io::Errno;

use crate::config::{Linux, Spec};
use crate::error::{Context, Error, Result};
use crate::mounts::{Dev, Mounts, Runtime};
use crate::options::Options;
use crate::program::c_string;
use crate::{masks, mount_flags, mount_table, mountpoint};

const MS_BIND: u64 = 0x1000;
const MS_MOVE: u64 = 0x2000;
const MS_REC: u64 = 0x4000;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_UNBINDABLE: u64 = 1 << 17;
const MNT_DETACH: i32 = 2;

/// A mounted root that is not yet `/`.
#[derive(Debug)]
pub(crate) struct Rootfs<'a> {
    spec: &'a Spec,
    linux: &'a Linux,
    /// Its path, with no symbolic link.
    path: &'a Path,
    root: Root,
    /// Mounts to make read-only when everything is in them.
    late_readonly: Vec<OwnedFd>,
    /// What the mounts made of `/dev`.
    dev: Dev,
    /// Whether we are in a user namespace of our own: no device nodes.
    in_userns: bool,
    /// Whether the mount namespace is the caller's, who keeps his `/`.
    shared_view: bool,
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
    /// Makes the mount namespace private enough and the root a mount of its own. `shared_view`: the namespace is that of
    /// the runtime's caller, and nothing but the root's mount is changed.
    pub(crate) fn prepare(
        spec: &'a Spec,
        linux: &'a Linux,
        path: &'a Path,
        in_userns: bool,
        shared_view: bool,
    ) -> Result<Self> {
        let wished = propagation(&linux.rootfs_propagation)?;
        // What we mount must not show up outside, even when the root is to be shared.
        let first = if wished & MS_PRIVATE != 0 {
            MS_PRIVATE | MS_REC
        } else {
            MS_SLAVE | MS_REC
        };
        // No more is shared than was asked for: a bind mount of what is would be shared too.
        let first = if wished & MS_SHARED != 0 { wished } else { first };
        let c_path = c_string(path);
        if !shared_view {
            m::mount(None, c"/", None, first, None).on("change propagation of", "/")?;
            if wished & MS_SHARED != 0 {
                make_parent_private(path)?;
            }
        }
        m::mount(Some(&c_path), &c_path, None, MS_BIND | MS_REC, None).on("bind", path)?;
        if shared_view {
            // What is mounted in it, and unmounted with it, is its own affair.
            m::mount(None, &c_path, None, MS_PRIVATE | MS_REC, None).on("make private", path)?;
        }
        let root = Root::open(path)?;
        Ok(Self {
            spec,
            linux,
            path,
            root,
            late_readonly: Vec::new(),
            dev: Dev::Unknown,
            in_userns,
            shared_view,
        })
    }

    /// Makes the mounts of the configuration; relative sources are below `bundle`.
    pub(crate) fn mount_all(
        &mut self,
        cgroups: Version,
        bundle: &Path,
        runtime: &mut dyn Runtime,
    ) -> Result<()> {
        let mut mounts = Mounts {
            spec: self.spec,
            linux: self.linux,
            root: &self.root,
            rootfs: self.path,
            bundle,
            cgroups,
            in_userns: self.in_userns,
            late_readonly: Vec::new(),
            dev: Dev::Unknown,
        };
        mounts.all(runtime)?;
        self.late_readonly = mounts.late_readonly;
        self.dev = mounts.dev;
        Ok(())
    }

    /// Fills `/dev`, unless it is the host's.
    pub(crate) fn devices(&mut self) -> Result<()> {
        let bound = self.spec.mounts.iter().any(|mount| {
            mountpoint::lexical(self.path, &mount.destination) == Path::new("dev")
                && Options::parse(&mount.options).bind
        });
        if bound {
            return Ok(());
        }
        let dev = match std::mem::take(&mut self.dev) {
            Dev::Open(dev) => dev,
            _ => Root::from_fd(self.root.create_dir_all(Path::new("dev"), 0o755)?),
        };
        let filled = crate::devices::fill(&self.root, &dev, &self.linux.devices, self.in_userns);
        close_later(dev.into());
        filled
    }

    /// Makes the new root the working directory: where `createContainer` hooks are run.
    pub(crate) fn enter(&self) -> Result<()> {
        rustix::process::fchdir(&self.root).doing("enter the root")
    }

    /// Makes the root `/`, and the old one unreachable.
    pub(crate) fn pivot(&self, no_pivot: bool) -> Result<()> {
        if self.shared_view {
            self.enter()?;
            rustix::process::chroot(".").on("change root to", self.path)?;
            return rustix::process::chdir("/").on("enter", "/");
        }
        if no_pivot {
            // On a ramfs, which cannot be pivoted away from.
            hide_kernel_filesystems(self.path)?;
            self.enter()?;
            m::mount(Some(c"."), c"/", None, MS_MOVE, None).doing("move the root")?;
            rustix::process::chroot(".").doing("change root")?;
            return rustix::process::chdir("/").on("enter", "/");
        }
        self.enter()?;
        // Unmounting the old root must not travel to the host's mounts. `prepare` made sure, but for a shared root.
        let shared = propagation(&self.linux.rootfs_propagation)? & MS_SHARED != 0;
        let old = shared.then(|| Root::open(Path::new("/"))).transpose()?;
        m::pivot_root(c".", c".").doing("pivot root")?;
        // The old root now lies on top of the new one, which "." still means to anything but unmount.
        if let Some(old) = old {
            rustix::process::fchdir(&old).doing("enter the old root")?;
            m::mount(None, c".", None, MS_SLAVE | MS_REC, None).doing("cut the old root off")?;
        }
        m::unmount(c".", MNT_DETACH).doing("unmount the old root")?;
        rustix::process::chdir("/").on("enter", "/")
    }

    /// The rest, with the root in place: propagation, read-only mounts, masks.
    pub(crate) fn finish(&self) -> Result<()> {
        // The mount that became `/`.
        let root = &self.root;
        let wished = propagation(&self.linux.rootfs_propagation)?;
        if wished != 0 {
            m::mount(None, c"/", None, wished, None).on("change propagation of", "/")?;
        }
        for mount in &self.late_readonly {
            mount_flags::make_readonly(mount.as_fd()).doing("make a mount read-only")?;
        }
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            mount_flags::make_readonly(root.as_fd()).on("make read-only", "/")?;
        }
        for path in &self.linux.readonly_paths {
            masks::protect(root, path).map_err(|error| masks::wrap("readonly path", path, error))?;
        }
        masks::mask(root, &self.linux.masked_paths)
    }
}

/// Without a pivot the old root's procfs and sysfs stay mounted below, and the kernel lets whoever sees a whole one mount
/// another, without our masks. So they go.
fn hide_kernel_filesystems(rootfs: &Path) -> Result<()> {
    let text = std::fs::read_to_string(mount_table::FILE).on("read", mount_table::FILE)?;
    let mut found: Vec<_> = mount_table::parse(&text)
        .filter(|entry| entry.top == Path::new("/") && matches!(entry.kind.as_str(), "proc" | "sysfs"))
        .filter(|entry| !entry.point.starts_with(rootfs))
        .collect();
    // Our own way to descriptors goes through one of them: it is the last.
    found.sort_by_key(|entry| entry.point == Path::new("/proc"));
    for entry in found {
        let target = c_string(&entry.point);
        match m::mount(None, &target, None, MS_SLAVE | MS_REC, None) {
            // It went with one above it.
            Err(error)
                if [Errno::NOENT, Errno::INVAL]
                    .map(|errno| Some(errno.raw_os_error()))
                    .contains(&error.raw_os_error()) =>
            {
                continue;
            }
            result => result.on("cut off", &entry.point)?,
        }
        if m::unmount(&target, MNT_DETACH).is_err() {
            m::mount(Some(c"tmpfs"), &target, Some(c"tmpfs"), 0, None).on("cover", &entry.point)?;
        }
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
