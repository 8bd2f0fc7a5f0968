//! What the shim knows of its containers and their processes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lighter_log_write::Time;
use lighter_shim_api::Timestamp;
use lighter_shim_api::runc_options::Options;
use lighter_shim_api::status::Status;

use crate::checkpoint::Restore;
use crate::io::Io;
use crate::logger::Logger;
use crate::oom;
use crate::runtime::Runtime;
use crate::stdio::Stdio;

/// Whom to answer: a connection and the stream of a request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) connection: u32,
    pub(crate) stream: u32,
}

/// A container: its first process and those that joined it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) runtime: Runtime,
    /// Number of the first process.
    pub(crate) init: u32,
    /// By exec id.
    pub(crate) execs: BTreeMap<String, u32>,
    pub(crate) paused: bool,
    /// The shim mounted the root file system.
    pub(crate) mounted: bool,
    /// Processes outlive the first one: it has no PID namespace of its own.
    pub(crate) shared_pids: bool,
    /// Lines of the first process's `/proc/PID/cgroup` when it was made: it may move itself below that later.
    pub(crate) cgroups: String,
    /// OOM kills that were told.
    pub(crate) oom_kills: u64,
    /// Wakes when memory has run out.
    pub(crate) oom: Option<oom::Watch>,
    /// When it did, if the kill was not counted yet.
    pub(crate) oom_announced: Option<Time>,
    /// Directory of the memory controller's or the unified cgroup, once known.
    pub(crate) cgroup: Option<PathBuf>,
    /// It comes back from a checkpoint when it is started.
    pub(crate) restore: Option<Restore>,
    /// As the caller set them.
    pub(crate) options: Options,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) status: u32,
    pub(crate) at: Timestamp,
}

/// A process of a container.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) container: String,
    /// Empty for the first.
    pub(crate) exec_id: String,
    pub(crate) stdio: Stdio,
    pub(crate) io: Io,
    /// 0 before it is known.
    pub(crate) pid: i32,
    pub(crate) started: bool,
    /// Its death, told or not yet.
    pub(crate) exit: Option<Exit>,
    /// The exit was told: drained, answered, published.
    pub(crate) told: bool,
    /// A runtime command about it is under way: its death is told after that.
    pub(crate) busy: bool,
    pub(crate) waiters: Vec<Caller>,
    pub(crate) logger: Option<Logger>,
    /// Deleted; kept while output is on its way.
    pub(crate) deleted: bool,
    /// OCI process document of an exec.
    pub(crate) spec: Vec<u8>,
}

impl Process {
    pub(crate) fn status(&self, paused: bool) -> Status {
        match (self.told, self.started, paused) {
            (true, ..) => Status::Stopped,
            (_, true, true) => Status::Paused,
            (_, true, false) => Status::Running,
            (_, false, _) => Status::Created,
        }
    }
}
