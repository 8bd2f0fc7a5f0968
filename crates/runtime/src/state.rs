//! What one command leaves for the next: a directory a container below `--root`.
//!
//! `state.json` is replaced whole (rename, no fsync: it is gone with the machine anyway). `exec.fifo` is there from
//! create to start. `seccomp.bpf` holds the compiled filter for exec.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lighter_cgroups::{Group, Resources, Scope, Version};
use lighter_stdx::atomic::{self, Keep, Prepared};
use serde::{Deserialize, Serialize};

use crate::attributes::Inherited;
use crate::config::{Hook, Namespace};
use crate::error::{Context, Error, Result};
use crate::host_view::Before;
use crate::json;
use crate::notify::Agent;

/// Format of `state.json`.
const FORMAT: u32 = 1;
pub(crate) const RECORD: &str = "state.json";
pub(crate) const FIFO: &str = "exec.fifo";
pub(crate) const FILTER: &str = "seccomp.bpf";

/// A container as it was created.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) format: u32,
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// 0 while it is being created.
    pub(crate) pid: i32,
    /// Start time of `pid` in clock ticks after boot: tells it from a later process of the same number.
    pub(crate) started: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    pub(crate) cgroup_v2: bool,
    pub(crate) cgroup: Vec<(String, PathBuf)>,
    /// The unit of systemd that the group belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scope>,
    /// What is in force, without device rules: `update` builds on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Resources>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) poststart: Vec<Hook>,
    pub(crate) poststop: Vec<Hook>,
    pub(crate) seccomp_flags: Option<u32>,
    /// Later processes keep their caller's keyring too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_new_keyring: bool,
    /// Whom calls of later processes are told to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp_agent: Option<Agent>,
    /// Without a mount namespace: what to bring back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_view: Option<Before>,
    /// For later processes.
    pub(crate) inherited: Inherited,
}

/// `status` of the OCI state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
}

/// A container's name: what may be a file name, of at most 1024 bytes.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = !id.is_empty()
        && id.len() <= 1024
        && id != "."
        && id != ".."
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte));
    if good {
        Ok(())
    } else {
        Err(Error::Usage(format!("invalid container ID format {id:?}")))
    }
}

/// Makes the directory of all containers, unless it is there.
pub(crate) fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        // Below $XDG_RUNTIME_DIR what has no sticky bit may be tidied away.
        .mode(if crate::ids::ordinary() { 0o1700 } else { 0o700 })
        .recursive(true)
        .create(root)
        .on("create", root)
}

impl Home {
    pub(crate) fn new(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        Ok(Self { dir: root.join(id) })
    }

    /// Takes the name. The directory is the lock: two that create the same container meet here.
    pub(crate) fn create(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let make = || fs::DirBuilder::new().mode(0o711).create(&self.dir);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = self.dir.parent().unwrap_or(Path::new("/"));
                make_root(root)?;
                make()
            }
            result => result,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists),
            result => result.on("create", &self.dir),
        }
    }

    /// Held by `create`, and by its child until the exec: who deletes what is being created waits for both to end. Free
    /// again at once when they were killed.
    pub(crate) fn lock(&self) -> Result<File> {
        let dir = File::open(&self.dir).on("open", &self.dir)?;
        lighter_sys::flock::exclusive(&dir).on("lock", &self.dir)?;
        Ok(dir)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn load(&self) -> Result<Record> {
        let path = self.file(RECORD);
        match json::read(&path) {
            Ok(text) => {
                let record: Record = json::parse(&path, &text)?;
                if record.format > FORMAT {
                    return Err(Error::State(format!(
                        "state of a newer lighter-runc (format {}, this one knows {FORMAT})",
                        record.format
                    )));
                }
                Ok(record)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoContainer),
            Err(error) => Err(error).on("read", path),
        }
    }

    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let (path, text) = self.written(record)?;
        atomic::write(&path, &text, 0o600, Keep::Kill).on("write", path)
    }

    /// Writes the record beside its place, to be put there later by one call.
    pub(crate) fn prepare(&self, record: &Record) -> Result<Prepared> {
        let (path, text) = self.written(record)?;
        Prepared::new(&path, &text, 0o600).on("write", path)
    }

    fn written(&self, record: &Record) -> Result<(PathBuf, Vec<u8>)> {
        let record = Record {
            format: FORMAT,
            ..record.clone()
        };
        let path = self.file(RECORD);
        let text = serde_json::to_vec(&record).map_err(|source| Error::Parse {
            path: path.clone(),
            field: String::new(),
            source,
        })?;
        Ok((path, text))
    }

    pub(crate) fn status(&self, record: &Record) -> Status {
        if record.pid == 0 {
            return Status::Creating;
        }
        if !record.is_alive() {
            return Status::Stopped;
        }
        if record.group().wants_frozen() {
            Status::Paused
        } else if self.file(FIFO).exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    pub(crate) fn remove(&self) -> Result<()> {
        self.remove_files(true, true)
    }

    /// Like [`Home::remove`] for who knows whether a filter and a fifo can be there.
    pub(crate) fn remove_files(&self, filter: bool, fifo: bool) -> Result<()> {
        // Usually nothing else is there; the record goes last, as long as there is something to find by it.
        for (name, _) in [(FILTER, filter), (FIFO, fifo), (RECORD, true)]
            .into_iter()
            .filter(|(_, there)| *there)
        {
            let _ = rustix::fs::unlink(self.file(name));
        }
        if matches!(
            rustix::fs::rmdir(&self.dir),
            Ok(()) | Err(rustix::io::Errno::NOENT)
        ) {
            return Ok(());
        }
        lighter_stdx::tree::remove(&self.dir).on("remove", &self.dir)
    }
}

impl Record {
    /// Notes which group is the container's.
    pub(crate) fn with_group(&mut self, group: &Group) {
        self.cgroup_v2 = group.version() == Version::V2;
        self.cgroup = group.paths().to_vec();
        self.scope = group.scope().cloned();
    }

    pub(crate) fn group(&self) -> Group {
        let version = if self.cgroup_v2 { Version::V2 } else { Version::V1 };
        Group::from_paths(version, self.cgroup.clone(), self.scope.clone())
    }

    /// Whether the first process runs. A zombie does not. One that cannot be looked at does, until the kernel says that it
    /// is not there: who took it for dead would forget a container that runs.
    pub(crate) fn is_alive(&self) -> bool {
        match process_times(self.pid) {
            Ok((state, started)) => started == self.started && !matches!(state, b'Z' | b'X'),
            // ESRCH: it went between open and read.
            Err(error) => {
                error.kind() != io::ErrorKind::NotFound
                    && error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
            }
        }
    }

    /// The OCI state document.
    ///
    //= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#state
    pub(crate) fn oci_state(&self, status: Status) -> OciState<'_> {
        OciState {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.name(),
            bundle: &self.bundle,
            rootfs: None,
            created: None,
            annotations: &self.annotations,
            owner: None,
        }
    }
}

/// What `state` and `list` print, and hooks read.
#[derive(Debug, Serialize)]
pub(crate) struct OciState<'a> {
    #[serde(rename = "ociVersion")]
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<&'a str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) annotations: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

/// State letter and start time from `/proc/PID/stat`.
pub(crate) fn process_times(pid: i32) -> io::Result<(u8, u64)> {
    let mut buffer = [0; 1024];
    let file = File::open(format!("/proc/{pid}/stat"))?;
    let length = rustix::io::read(&file, &mut buffer);
    lighter_sys::descriptors::close_later(file.into());
    let length = length?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    // The name in parentheses may itself hold parentheses and blanks.
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().and_then(|field| field.bytes().next());
    let started = fields.nth(18).and_then(|field| field.parse().ok());
    state
        .zip(started)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
