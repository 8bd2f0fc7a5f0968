//! A container in the mount namespace of whoever runs the runtime: its root is a mount of its own there, with the
//! configuration's mounts in it, and `/` of its processes only. runc leaves all that to its caller to unmount; here it
//! goes with the container.

use std::path::Path;

use lighter_sys::mount as m;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::program::c_string;

const MNT_DETACH: i32 = 2;
const UMOUNT_NOFOLLOW: i32 = 8;

/// What was mounted where the root goes before the container was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// The kernel's number of the mount that held the root's directory.
    mount: u64,
}

impl Before {
    /// Looks at `rootfs`, of which nothing is mounted yet.
    pub(crate) fn look(rootfs: &Path) -> Result<Self> {
        if rootfs == Path::new("/") {
            return Err(Error::Config(
                "root.path is / without a private mount namespace: its mounts would cover the host's".into(),
            ));
        }
        match mount_of(rootfs).on("find the mount of", rootfs)? {
            Some(mount) => Ok(Self { mount }),
            None => Err(Error::Config(
                "a container without a private mount namespace needs Linux 5.8 or newer: its mounts could not be told from the host's"
                    .into(),
            )),
        }
    }

    /// Unmounts what the container mounted on `rootfs`, with everything in it. Nothing there, or not any more, is as good.
    pub(crate) fn restore(self, rootfs: &Path) -> Result<()> {
        match mount_of(rootfs) {
            Ok(Some(mount)) if mount != self.mount => {}
            Err(Errno::NOENT) | Ok(_) => return Ok(()),
            Err(error) => return Err(error).on("find the mount of", rootfs),
        }
        match m::unmount(&c_string(rootfs), MNT_DETACH | UMOUNT_NOFOLLOW) {
            // The directory is on another mount by now, and not a mount point itself.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            result => result.on("unmount", rootfs),
        }
    }
}

fn mount_of(path: &Path) -> std::result::Result<Option<u64>, Errno> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?;
    Ok((stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id))
}
