//! Mounts whose source is outside the container: CRIU saves their names only, and finds them again at a restore.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use lighter_cgroups::{Group, Version};
use lighter_safe_fs::Root;

use super::criu::field;
use super::message::Writer;
use crate::config::{Mount, Spec};
use crate::error::{Context, Result};
use crate::options::Options;
use crate::program::c_string;

/// A mount from outside: the path inside, links resolved, and what is mounted there.
#[derive(Debug, PartialEq, Eq)]
struct External {
    inside: PathBuf,
    source: PathBuf,
}

/// Tells CRIU of them. `restore`: with their sources; else each by its own name.
pub(crate) fn tell(
    request: &mut Writer,
    spec: &Spec,
    bundle: &Path,
    rootfs: &Path,
    group: &Group,
    restore: bool,
) -> Result<()> {
    let root = Root::open(rootfs)?;
    for external in externals(spec, bundle, group) {
        let inside = resolve(&root, rootfs, &external.inside);
        let value = if restore { &external.source } else { &inside };
        request.bytes(
            field::EXTERNAL,
            format!("mnt[{}]:{}", inside.display(), value.display()),
        );
    }
    Ok(())
}

fn externals(spec: &Spec, bundle: &Path, group: &Group) -> Vec<External> {
    let linux = spec.linux.as_ref();
    let private = linux.is_some_and(|linux| linux.namespaces.iter().any(|one| one.kind == "cgroup"));
    let mut found = Vec::new();
    for mount in &spec.mounts {
        if is_bind(mount) {
            found.push(External {
                inside: mount.destination.clone(),
                source: bundle.join(&mount.source),
            });
        } else if is_cgroup(mount) && !private {
            // Without a view of its own the container was given the host's directories.
            if group.version() == Version::V2 {
                found.push(External {
                    inside: mount.destination.clone(),
                    source: "/sys/fs/cgroup".into(),
                });
            } else {
                found.extend(group.paths().iter().map(|(hierarchy, path)| External {
                    inside: mount.destination.join(hierarchy),
                    source: path.clone(),
                }));
            }
        }
    }
    found
}

fn is_bind(mount: &Mount) -> bool {
    mount.kind == "bind" || Options::parse(&mount.options).bind
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
}

/// The path that the kernel shows for a mount there: links on the way are followed when it is made.
fn resolve(root: &Root, rootfs: &Path, inside: &Path) -> PathBuf {
    let found = root.locate(inside).ok().and_then(|fd| {
        let path = std::fs::read_link(lighter_sys::mount::path_of(fd.as_fd()).to_str().ok()?).ok()?;
        Some(Path::new("/").join(path.strip_prefix(rootfs).ok()?))
    });
    // What is only there when the mounts above it are has no links of the image's.
    found.unwrap_or_else(|| Path::new("/").join(inside))
}

/// Makes the mount points that `create` would have made: the root, or a directory that is bound, may be a fresh one.
pub(crate) fn points(spec: &Spec, bundle: &Path, rootfs: &Path) -> Result<()> {
    for (at, mount) in spec.mounts.iter().enumerate() {
        let Some((root, path)) = holder(&spec.mounts[..at], bundle, rootfs, &mount.destination)? else {
            continue;
        };
        let is_file = is_bind(mount)
            && bundle
                .join(&mount.source)
                .metadata()
                .is_ok_and(|kind| !kind.is_dir());
        if is_file {
            root.create_file(&path, 0o755)?;
        } else {
            root.create_dir_all(&path, 0o755)?;
        }
    }
    Ok(())
}

/// The directory outside in which `inside` lies when `mounts` are made, and the path from there. None: it lies in a file
/// system that CRIU brings back itself.
fn holder(mounts: &[Mount], bundle: &Path, rootfs: &Path, inside: &Path) -> Result<Option<(Root, PathBuf)>> {
    let above = mounts.iter().rev().find(|mount| {
        inside.starts_with(&mount.destination)
            && inside != mount.destination
            && !mount.destination.as_os_str().is_empty()
    });
    let Some(above) = above else {
        return Ok(Some((Root::open(rootfs)?, inside.to_owned())));
    };
    let source = bundle.join(&above.source);
    if !is_bind(above) || !source.is_dir() {
        return Ok(None);
    }
    let rest = inside.strip_prefix(&above.destination).unwrap_or(inside);
    Ok(Some((Root::open(&source)?, rest.to_owned())))
}

/// The root as a mount of its own, for as long as the value lives: CRIU wants one.
#[derive(Debug)]
pub(crate) struct BoundRoot(PathBuf);

impl BoundRoot {
    pub(crate) fn new(rootfs: &Path, at: PathBuf) -> Result<Self> {
        const MS_BIND: u64 = 0x1000;
        const MS_REC: u64 = 0x4000;
        std::fs::create_dir(&at).on("create", &at)?;
        let bound = Self(at);
        lighter_sys::mount::mount(
            Some(&c_string(rootfs)),
            &c_string(&bound.0),
            None,
            MS_BIND | MS_REC,
            None,
        )
        .on("bind", rootfs)?;
        Ok(bound)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for BoundRoot {
    fn drop(&mut self) {
        const MNT_DETACH: i32 = 2;
        // Not mounted, when that failed.
        let _ = lighter_sys::mount::unmount(&c_string(&self.0), MNT_DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}
