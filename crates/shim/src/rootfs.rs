//! The mounts of a container's root: read in the shim, made in a child that may hang.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lighter_shim_api::types::Mount;
use lighter_sys::mount;
use lighter_sys::process::{self, Fork};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::child::words;

/// A prepared mount: nothing is allocated to make it.
#[derive(Debug)]
pub(crate) struct Plan {
    kind: CString,
    source: CString,
    target: CString,
    flags: u64,
    data: CString,
    /// Where overlay's relative directories begin: mount data is one page.
    dir: Option<CString>,
    /// What and where, for an error.
    label: String,
}

const PAGE: usize = 4096;
const MS_BIND: u64 = 0x1000;
const MS_REC: u64 = 0x4000;
const MS_REMOUNT: u64 = 0x20;
const MS_RDONLY: u64 = 1;
const MNT_DETACH: i32 = 2;
const UMOUNT_NOFOLLOW: i32 = 8;

/// Reads containerd's mounts: options as in fstab, flags among them.
pub(crate) fn plan(mounts: &[Mount], rootfs: &Path) -> io::Result<Vec<Plan>> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut plans = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let (flags, mut data) = split(&mount.options);
        let mut dir = None;
        if data.len() >= PAGE - 1
            && mount.r#type == "overlay"
            && let Some((common, shorter)) = shorten(&data)
        {
            dir = Some(CString::new(common).map_err(invalid)?);
            data = shorter;
        }
        let target = match mount.target.trim_start_matches('/') {
            "" => rootfs.to_owned(),
            below => rootfs.join(below),
        };
        plans.push(Plan {
            kind: CString::new(mount.r#type.as_str()).map_err(invalid)?,
            source: CString::new(mount.source.as_str()).map_err(invalid)?,
            target: CString::new(target.as_os_str().as_bytes()).map_err(invalid)?,
            flags,
            data: CString::new(data).map_err(invalid)?,
            dir,
            label: format!("{} on {}", mount.r#type, target.display()),
        });
    }
    Ok(plans)
}

impl Plan {
    /// What is said when it could not be made.
    pub(crate) fn failure(&self, error: &io::Error) -> String {
        format!(
            "failed to mount rootfs component {}: {}",
            self.label,
            words(error)
        )
    }

    /// Makes the mount. May block for as long as the file system likes.
    pub(crate) fn make(&self) -> io::Result<()> {
        if let Some(dir) = &self.dir {
            rustix::process::chdir(dir.as_c_str())?;
        }
        let data = Some(self.data.as_c_str()).filter(|data| !data.is_empty());
        mount::mount(
            Some(&self.source),
            &self.target,
            Some(&self.kind),
            self.flags,
            data,
        )?;
        // A bind takes no flags of its own at first.
        if self.flags & MS_BIND != 0 && self.flags & MS_RDONLY != 0 {
            let flags = (self.flags & !MS_REC) | MS_REMOUNT;
            mount::mount(None, &self.target, None, flags, None)?;
        }
        Ok(())
    }
}

/// Takes everything off `rootfs` as [`unmount`] does, and leaves what the file system does at its end to a process that nobody
/// waits for: an overlay writes out the whole file system of its upper directory then, that is what everybody else has written.
pub(crate) fn detach(rootfs: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Keeps the uppermost mount alive. Without it this is just an unmount.
    let held = rustix::fs::open(rootfs, flags, Mode::empty());
    unmount(rootfs)?;
    let (Ok(held), Ok((until, ours))) = (held, pipe_with(PipeFlags::CLOEXEC)) else {
        return Ok(());
    };
    if let Ok(Fork::Child) = process::fork(0, None) {
        // Who lets go last does the work: not before the caller has.
        drop(ours);
        let _ = rustix::io::read(&until, &mut [0; 1]);
        drop(held);
        process::exit_now(0);
    }
    drop(held);
    Ok(())
}

/// Takes everything off `rootfs`, busy or not. May block. Not mounted is fine.
pub(crate) fn unmount(rootfs: &Path) -> io::Result<()> {
    let path = CString::new(rootfs.as_os_str().as_bytes())?;
    // Several mounts may lie on each other; more than a hundred is a loop.
    for _ in 0..100 {
        match mount::unmount(&path, MNT_DETACH | UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(error) if matches!(error.raw_os_error(), Some(2 | 22)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn split(options: &[String]) -> (u64, String) {
    let mut flags = 0_u64;
    let mut data: Vec<&str> = Vec::new();
    for option in options {
        let (set, bit) = match option.as_str() {
            "defaults" | "async" | "exec" | "dev" | "suid" | "rw" | "atime" | "diratime" | "mand"
            | "norelatime" | "nostrictatime" | "" => continue,
            "ro" => (true, MS_RDONLY),
            "nosuid" => (true, 2),
            "nodev" => (true, 4),
            "noexec" => (true, 8),
            "sync" => (true, 16),
            "remount" => (true, MS_REMOUNT),
            "dirsync" => (true, 128),
            "noatime" => (true, 1024),
            "nodiratime" => (true, 2048),
            "bind" => (true, MS_BIND),
            "rbind" => (true, MS_BIND | MS_REC),
            "relatime" => (true, 1 << 21),
            "strictatime" => (true, 1 << 24),
            other => {
                // Volatile-like loop and `X-` options of containerd are for helpers, not for the kernel.
                if !other.starts_with("X-containerd.") {
                    data.push(other);
                }
                continue;
            }
        };
        if set {
            flags |= bit;
        }
    }
    (flags, data.join(","))
}

/// Overlay options with their layer directories made relative to what all of them share.
fn shorten(data: &str) -> Option<(String, String)> {
    let lower = data
        .split(',')
        .find_map(|option| option.strip_prefix("lowerdir="))?;
    let dirs: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let mut common: PathBuf = dirs.first()?.parent()?.to_owned();
    while !dirs.iter().all(|dir| dir.starts_with(&common)) {
        common = common.parent()?.to_owned();
    }
    let relative = |dir: &Path| -> String {
        let rest = dir.strip_prefix(&common).unwrap_or(dir);
        let rest = if rest.as_os_str().is_empty() {
            Path::new(OsStr::new("."))
        } else {
            rest
        };
        rest.to_string_lossy().into_owned()
    };
    let lowers: Vec<String> = dirs.iter().map(|dir| relative(dir)).collect();
    let options: Vec<String> = data
        .split(',')
        .map(|option| match option.starts_with("lowerdir=") {
            true => format!("lowerdir={}", lowers.join(":")),
            false => option.to_owned(),
        })
        .collect();
    Some((common.to_string_lossy().into_owned(), options.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_apart_into_flags_and_data() {
        let options = ["rbind", "ro", "nodev", "size=5", "X-containerd.x", "mode=755"].map(str::to_owned);
        assert_eq!(
            split(&options),
            (MS_BIND | MS_REC | MS_RDONLY | 4, "size=5,mode=755".to_owned())
        );
    }

    #[test]
    fn many_layers_are_named_from_their_common_directory() {
        let data = "workdir=/a/b/9/work,lowerdir=/a/b/1/fs:/a/b/22/fs,userxattr";
        let (dir, shorter) = shorten(data).unwrap();
        assert_eq!(
            (dir.as_str(), shorter.as_str()),
            ("/a/b", "workdir=/a/b/9/work,lowerdir=1/fs:22/fs,userxattr")
        );
    }
}
