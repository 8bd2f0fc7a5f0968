//! The directory of a task: what its shim reads, and what we must know after a restart.
//!
//! `<state>/io.containerd.runtime.v2.task/<namespace>/<id>/`: containerd's names, so that peer shims find theirs. The files are
//! kill-safe: replaced by rename, never synced; they go with the machine.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lighter_stdx::atomic::{self, Keep};
use lighter_stdx::failpoint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::watch;
use crate::Result;
use crate::error::io as failed;

/// The directory of all bundles, below the state directory.
pub(crate) const TASKS: &str = "io.containerd.runtime.v2.task";

/// A bundle.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
}

/// `bootstrap.json`: how the shim is reached. Containerd's name and fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    pub(crate) version: u32,
    pub(crate) address: String,
    pub(crate) protocol: String,
}

/// `task.json`: written once the shim made the task. Without it a bundle is half-made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: u32,
    /// Ticks since boot; with the pid it names the process for ever.
    #[serde(default)]
    pub(crate) start_time: u64,
    /// Lines of the init's `/proc/<pid>/cgroup`.
    #[serde(default)]
    pub(crate) cgroups: Vec<String>,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// `exit.json`: the exit of the init process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, or 128 and the signal.
    pub status: u32,
    /// When.
    pub at: Timestamp,
    /// Whether the code is what the kernel told, and not a guess after the shim's death.
    pub known: bool,
}

impl Record {
    pub(crate) fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
        self.start_time = watch::start_time(pid);
        self.cgroups = watch::cgroups(pid);
    }

    /// Whoever has this pid now is not the init.
    pub(crate) fn pid_is_stale(&mut self) {
        self.pid = 0;
        self.cgroups.clear();
    }
}

impl Bundle {
    pub(crate) fn new(state: &Path, namespace: &str, id: &str) -> Bundle {
        Bundle {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            path: state.join(TASKS).join(namespace).join(id),
        }
    }

    /// Makes the directory with `config.json` and an empty `rootfs`. A left-over without a task is the caller's to remove.
    pub(crate) fn create(&self, spec: &[u8]) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(0o711);
        // The spec is nobody else's business (CVE-2021-41103); the first process of a user namespace passes through to its root.
        let group = mapped_group(spec);
        if let Some(parent) = self.path.parent() {
            builder
                .recursive(true)
                .create(parent)
                .map_err(failed("create directory", parent))?;
        }
        builder.recursive(false).mode(0o700);
        builder
            .create(&self.path)
            .map_err(failed("create directory", &self.path))?;
        if let Some(group) = group {
            chown(&self.path, None, Some(group))
                .and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710)))
                .map_err(failed("let a user namespace into", &self.path))?;
        }
        let rootfs = self.rootfs();
        builder
            .mode(0o711)
            .create(&rootfs)
            .map_err(failed("create directory", &rootfs))?;
        let path = self.path.join("config.json");
        // Not through a rename: nobody reads it before the shim is started.
        fs::write(&path, spec).map_err(failed("write", &path))
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.path.join(name);
        serde_json::to_vec(value)
            .map_err(io::Error::from)
            .and_then(|data| atomic::write(&path, &data, 0o600, Keep::Kill))
            .map_err(failed("write", &path))
    }

    /// `None` when there is no such file, or one that makes no sense.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let data = fs::read(self.path.join(name)).ok()?;
        serde_json::from_slice(&data).ok()
    }

    /// A file of one line.
    pub(crate) fn read_text(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(failed("write", &path))
    }

    /// Unmounts what is on `rootfs`. That nothing is there is no error.
    pub(crate) fn unmount(&self) -> Result<()> {
        unmount_all(&self.rootfs()).map_err(failed("unmount", &self.rootfs()))
    }

    /// Removes the bundle. It first gets a name that no task can have, so that a removal that was cut short is seen as such.
    pub(crate) fn remove(&self) -> Result<()> {
        self.unmount()?;
        failpoint::hit("layer.delete.unmounted");
        let hidden = self.path.with_file_name(format!(".{}", self.id));
        if hidden.exists() {
            remove_hidden(&hidden)?;
        }
        match fs::rename(&self.path, &hidden) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("rename", &self.path))?,
        }
        failpoint::hit("layer.delete.hidden");
        remove_hidden(&hidden)
    }
}

/// The group that is the container's root group, if its spec maps one to it.
fn mapped_group(spec: &[u8]) -> Option<u32> {
    // Most have none, and are not parsed for it.
    const KEY: &[u8] = b"\"gidMappings\"";
    spec.windows(KEY.len()).find(|window| *window == KEY)?;
    let spec: serde_json::Value = serde_json::from_slice(spec).ok()?;
    let mappings = spec.get("linux")?.get("gidMappings")?.as_array()?;
    let root = mappings
        .iter()
        .find(|mapping| mapping.get("containerID").and_then(serde_json::Value::as_u64) == Some(0))?;
    u32::try_from(root.get("hostID")?.as_u64()?).ok()
}

/// Removes a bundle whose removal was begun. Never goes below a `rootfs` that is still mounted or has files.
pub(crate) fn remove_hidden(path: &Path) -> Result<()> {
    let rootfs = path.join("rootfs");
    unmount_all(&rootfs).map_err(failed("unmount", &rootfs))?;
    // Not recursive: if a mount is left, or files that are not ours, this fails and nothing is lost.
    match fs::remove_dir(&rootfs) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &rootfs)(error));
        }
        _ => {}
    }
    fs::remove_dir_all(path).map_err(failed("remove", path))
}

fn unmount_all(path: &Path) -> io::Result<()> {
    const DETACH_NOFOLLOW: i32 = 0x2 | 0x8;
    let target = CString::new(path.as_os_str().as_bytes())?;
    loop {
        match lighter_sys::mount::unmount(&target, DETACH_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there; or there is nothing.
            Err(error) if matches!(error.raw_os_error(), Some(22) | Some(2)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// What lies in the directory of all bundles: the tasks, and the hidden left-overs of removals.
pub(crate) fn walk(state: &Path) -> Result<(Vec<Bundle>, Vec<PathBuf>)> {
    let (mut bundles, mut leftovers) = (Vec::new(), Vec::new());
    let root = state.join(TASKS);
    for namespace in entries(&root)? {
        for id in entries(&root.join(&namespace))? {
            if id.starts_with('.') {
                leftovers.push(root.join(&namespace).join(id));
            } else {
                bundles.push(Bundle::new(state, &namespace, &id));
            }
        }
    }
    Ok((bundles, leftovers))
}

fn entries(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read directory", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read directory", dir))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
