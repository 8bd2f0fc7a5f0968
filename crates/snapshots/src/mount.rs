//! Mounts as they are passed on: type, source, target, options.

use std::path::{Path, PathBuf};

use lighter_sys::mount::attribute;
use lighter_sys::overlay::{Overlay, mount_overlay};
use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::error::io;
use crate::{Error, Result};

/// A mount that somebody else shall make.
///
/// Source of the shape: containerd's `types.Mount`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The file system: `bind` or `overlay`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The device, or the directory that is bound.
    pub source: String,
    /// Where below the mount point; empty: at it.
    #[serde(default)]
    pub target: String,
    /// As mount(8) takes them: `ro`, `rbind`, `lowerdir=/a:/b`, …
    pub options: Vec<String>,
}

impl Mount {
    /// The directory that takes what is written: the upper one of an overlay, the source of a bind that is not read-only. Layers may be
    /// unpacked right into it (with overlay's own whiteouts) while nothing has it mounted.
    pub fn upper_dir(&self) -> Option<PathBuf> {
        match self.kind.as_str() {
            "overlay" => self.option("upperdir").map(PathBuf::from),
            "bind" if !self.options.iter().any(|option| option == "ro") => Some(PathBuf::from(&self.source)),
            _ => None,
        }
    }

    /// The directories that are only read, topmost first.
    pub fn lower_dirs(&self) -> Vec<PathBuf> {
        match self.kind.as_str() {
            "overlay" => self
                .option("lowerdir")
                .into_iter()
                .flat_map(|dirs| dirs.split(':'))
                .map(PathBuf::from)
                .collect(),
            "bind" if self.options.iter().any(|option| option == "ro") => vec![PathBuf::from(&self.source)],
            _ => Vec::new(),
        }
    }

    /// Makes this mount on the directory `at` (and below it, at `target`), in the caller's mount namespace. An overlay may have any number
    /// of layers.
    pub fn mount(&self, at: &Path) -> Result<()> {
        let at = at.join(self.target.trim_start_matches('/'));
        let result = match self.kind.as_str() {
            "overlay" => self.mount_overlay(&at),
            "bind" => self.mount_bind(&at),
            kind => {
                let why = "a snapshot is a bind or an overlay".to_owned();
                return Err(Error::Invalid {
                    what: "mount type",
                    value: kind.to_owned(),
                    why,
                });
            }
        };
        result.map_err(io("mount on", &at))
    }

    fn mount_overlay(&self, at: &Path) -> std::io::Result<()> {
        let lower = self.lower_dirs();
        let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
        let upper = self.upper_dir();
        let work = self.option("workdir").map(Path::new);
        let mut options = Vec::new();
        let mut attributes = 0;
        for option in &self.options {
            match option.as_str() {
                "ro" => attributes |= attribute::RDONLY,
                "rw" => {}
                option
                    if ["lowerdir=", "upperdir=", "workdir="]
                        .iter()
                        .any(|name| option.starts_with(name)) => {}
                option => options.push(option),
            }
        }
        let overlay = Overlay {
            lower: &lower,
            upper_and_work: upper.as_deref().zip(work),
            options: &options,
            attributes,
        };
        mount_overlay(&overlay, at)
    }

    fn mount_bind(&self, at: &Path) -> std::io::Result<()> {
        rustix::mount::mount_bind_recursive(self.source.as_str(), at)?;
        if self.options.iter().any(|option| option == "ro") {
            rustix::mount::mount_remount(at, MountFlags::BIND | MountFlags::RDONLY, c"")?;
        }
        Ok(())
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The bind of a snapshot that is one directory.
pub(crate) fn bind(directory: &Path, writable: bool) -> Mount {
    let access = if writable { "rw" } else { "ro" };
    Mount {
        kind: "bind".into(),
        source: directory.to_string_lossy().into_owned(),
        target: String::new(),
        options: vec![access.to_owned(), "rbind".to_owned()],
    }
}

/// Unmounts what [`Mount::mount`] made on `at`; that it is busy is no reason to wait: it goes with its last user.
pub fn unmount(at: &Path) -> Result<()> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    rustix::mount::unmount(at, flags).map_err(|errno| io("unmount", at)(errno.into()))
}
