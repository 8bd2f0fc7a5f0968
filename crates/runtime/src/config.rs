//! `config.json` of the OCI runtime spec, as far as Linux knows it. Unknown fields are ignored, `null` is absent.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md

use std::collections::BTreeMap;
use std::path::PathBuf;

use lighter_cgroups::Resources;
use lighter_seccomp::Profile;
use serde::{Deserialize, Deserializer, Serialize};

use crate::attributes::{CpuAffinity, IoPriority, MemoryPolicy, Scheduler};

/// The whole document.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    /// Version of the spec that the document follows.
    #[serde(deserialize_with = "null")]
    pub(crate) oci_version: String,
    /// The root file system.
    pub(crate) root: Option<Root>,
    /// The process to run.
    pub(crate) process: Option<Process>,
    /// Host name.
    #[serde(deserialize_with = "null")]
    pub(crate) hostname: String,
    /// NIS domain name.
    #[serde(deserialize_with = "null")]
    pub(crate) domainname: String,
    /// Mounts, in order.
    #[serde(deserialize_with = "null")]
    pub(crate) mounts: Vec<Mount>,
    /// Programs to run at points of the life.
    pub(crate) hooks: Option<Hooks>,
    /// Anything.
    #[serde(deserialize_with = "null")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// What only Linux has.
    pub(crate) linux: Option<Linux>,
}

pub(crate) fn null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The root file system.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    /// Absolute, or below the bundle.
    #[serde(deserialize_with = "null")]
    pub(crate) path: PathBuf,
    /// Whether it is mounted read-only.
    #[serde(deserialize_with = "null")]
    pub(crate) readonly: bool,
}

/// A process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    /// Whether it has a terminal.
    #[serde(deserialize_with = "null")]
    pub(crate) terminal: bool,
    /// Size of that terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console_size: Option<ConsoleSize>,
    /// Who runs it.
    #[serde(deserialize_with = "null")]
    pub(crate) user: User,
    /// Program and arguments.
    #[serde(deserialize_with = "null")]
    pub(crate) args: Vec<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "null")]
    pub(crate) env: Vec<String>,
    /// Working directory, absolute.
    #[serde(deserialize_with = "null")]
    pub(crate) cwd: PathBuf,
    /// Capabilities; missing: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(deserialize_with = "null")]
    pub(crate) rlimits: Vec<Rlimit>,
    /// No exec gives privileges.
    #[serde(deserialize_with = "null")]
    pub(crate) no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(deserialize_with = "null")]
    pub(crate) apparmor_profile: String,
    /// Preference of the OOM killer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(deserialize_with = "null")]
    pub(crate) selinux_label: String,
    /// How it is scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduler: Option<Scheduler>,
    /// How urgent its reads and writes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) io_priority: Option<IoPriority>,
    /// Where later processes run.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub(crate) exec_cpu_affinity: Option<CpuAffinity>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConsoleSize {
    /// Rows.
    #[serde(deserialize_with = "null")]
    pub(crate) height: u16,
    /// Columns.
    #[serde(deserialize_with = "null")]
    pub(crate) width: u16,
}

/// Ids of a process, as the container sees them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    /// User id.
    #[serde(deserialize_with = "null")]
    pub(crate) uid: u32,
    /// Group id.
    #[serde(deserialize_with = "null")]
    pub(crate) gid: u32,
    /// File mode creation mask; missing: 022.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) umask: Option<u32>,
    /// Supplementary groups.
    #[serde(deserialize_with = "null")]
    pub(crate) additional_gids: Vec<u32>,
}

/// Names of capabilities by set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    /// Limit of what exec can give.
    #[serde(deserialize_with = "null")]
    pub(crate) bounding: Vec<String>,
    /// In force.
    #[serde(deserialize_with = "null")]
    pub(crate) effective: Vec<String>,
    /// Kept over exec of a file that inherits.
    #[serde(deserialize_with = "null")]
    pub(crate) inheritable: Vec<String>,
    /// May be put in force.
    #[serde(deserialize_with = "null")]
    pub(crate) permitted: Vec<String>,
    /// Kept over exec of any file.
    #[serde(deserialize_with = "null")]
    pub(crate) ambient: Vec<String>,
}

/// A resource limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rlimit {
    /// `RLIMIT_NOFILE`, ...
    #[serde(deserialize_with = "null", rename = "type")]
    pub(crate) kind: String,
    /// In force.
    #[serde(deserialize_with = "null")]
    pub(crate) soft: u64,
    /// Most that may be in force.
    #[serde(deserialize_with = "null")]
    pub(crate) hard: u64,
}

/// A mount.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Mount {
    /// Path in the container.
    #[serde(deserialize_with = "null")]
    pub(crate) destination: PathBuf,
    /// Kind of file system; `bind` is said by options too.
    #[serde(rename = "type", deserialize_with = "null")]
    pub(crate) kind: String,
    /// Path on the host, or what the file system takes.
    #[serde(deserialize_with = "null")]
    pub(crate) source: String,
    /// Options of `mount(8)`.
    #[serde(deserialize_with = "null")]
    pub(crate) options: Vec<String>,
    /// Id mapping of this mount.
    #[serde(deserialize_with = "null")]
    pub(crate) uid_mappings: Vec<IdMapping>,
    /// Id mapping of this mount.
    #[serde(deserialize_with = "null")]
    pub(crate) gid_mappings: Vec<IdMapping>,
}

/// Programs to run at points of the life.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Hooks {
    /// Obsolete: as `createRuntime`.
    #[serde(deserialize_with = "null")]
    pub(crate) prestart: Vec<Hook>,
    /// Namespaces are there, root is not pivoted; run by the runtime.
    #[serde(deserialize_with = "null")]
    pub(crate) create_runtime: Vec<Hook>,
    /// As `createRuntime`, run inside the namespaces.
    #[serde(deserialize_with = "null")]
    pub(crate) create_container: Vec<Hook>,
    /// Before the process is executed, inside.
    #[serde(deserialize_with = "null")]
    pub(crate) start_container: Vec<Hook>,
    /// The process was executed; by the runtime.
    #[serde(deserialize_with = "null")]
    pub(crate) poststart: Vec<Hook>,
    /// The container is deleted; by the runtime.
    #[serde(deserialize_with = "null")]
    pub(crate) poststop: Vec<Hook>,
}

/// One program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Hook {
    /// Absolute.
    #[serde(deserialize_with = "null")]
    pub(crate) path: PathBuf,
    /// Arguments, the first is the program's name.
    #[serde(deserialize_with = "null")]
    pub(crate) args: Vec<String>,
    /// `NAME=value`; nothing else is in its environment.
    #[serde(deserialize_with = "null")]
    pub(crate) env: Vec<String>,
    /// Seconds after which it is killed and has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<i64>,
}

/// What only Linux has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Linux {
    /// Of a new user namespace.
    #[serde(deserialize_with = "null")]
    pub(crate) uid_mappings: Vec<IdMapping>,
    /// Of a new user namespace.
    #[serde(deserialize_with = "null")]
    pub(crate) gid_mappings: Vec<IdMapping>,
    /// Kernel parameters of the namespaces.
    #[serde(deserialize_with = "null")]
    pub(crate) sysctl: BTreeMap<String, String>,
    /// Limits and device rules.
    pub(crate) resources: Option<Resources>,
    /// Name of the cgroup.
    #[serde(deserialize_with = "null")]
    pub(crate) cgroups_path: String,
    /// Namespaces to make or join.
    #[serde(deserialize_with = "null")]
    pub(crate) namespaces: Vec<Namespace>,
    /// Device nodes to make.
    #[serde(deserialize_with = "null")]
    pub(crate) devices: Vec<Device>,
    /// Devices of the host that move into the network namespace, by name.
    #[serde(deserialize_with = "null")]
    pub(crate) net_devices: BTreeMap<String, NetDevice>,
    /// System call filter.
    pub(crate) seccomp: Option<Profile>,
    /// Propagation of the root mount.
    #[serde(deserialize_with = "null")]
    pub(crate) rootfs_propagation: String,
    /// Paths that nothing can be read from.
    #[serde(deserialize_with = "null")]
    pub(crate) masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written to.
    #[serde(deserialize_with = "null")]
    pub(crate) readonly_paths: Vec<PathBuf>,
    /// SELinux label of mounts.
    #[serde(deserialize_with = "null")]
    pub(crate) mount_label: String,
    /// Execution domain.
    pub(crate) personality: Option<Personality>,
    /// Which nodes memory comes from.
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// Offsets of a new time namespace.
    #[serde(deserialize_with = "null")]
    pub(crate) time_offsets: BTreeMap<String, TimeOffset>,
    /// Intel RDT: refused.
    pub(crate) intel_rdt: Option<serde::de::IgnoredAny>,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IdMapping {
    /// First id inside.
    #[serde(deserialize_with = "null", rename = "containerID")]
    pub(crate) container_id: u32,
    /// First id outside.
    #[serde(deserialize_with = "null", rename = "hostID")]
    pub(crate) host_id: u32,
    /// How many.
    #[serde(deserialize_with = "null")]
    pub(crate) size: u32,
}

/// A namespace.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(deserialize_with = "null", rename = "type")]
    pub(crate) kind: String,
    /// To join; missing: a new one.
    #[serde(deserialize_with = "null")]
    pub(crate) path: PathBuf,
}

/// A device node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Device {
    /// In the container.
    #[serde(deserialize_with = "null")]
    pub(crate) path: PathBuf,
    /// `c`, `u`, `b` or `p`.
    #[serde(deserialize_with = "null", rename = "type")]
    pub(crate) kind: String,
    /// Major number.
    #[serde(deserialize_with = "null")]
    pub(crate) major: i64,
    /// Minor number.
    #[serde(deserialize_with = "null")]
    pub(crate) minor: i64,
    /// Permission bits.
    pub(crate) file_mode: Option<u32>,
    /// Owner.
    pub(crate) uid: Option<u32>,
    /// Group.
    pub(crate) gid: Option<u32>,
}

/// A network device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetDevice {
    /// Its name in the container; missing: the same.
    #[serde(deserialize_with = "null")]
    pub(crate) name: String,
}

/// Execution domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Personality {
    /// `LINUX` or `LINUX32`.
    #[serde(deserialize_with = "null")]
    pub(crate) domain: String,
    /// None is supported.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<String>,
}

/// Offset of a clock.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TimeOffset {
    /// Seconds.
    #[serde(deserialize_with = "null")]
    pub(crate) secs: i64,
    /// Nanoseconds.
    #[serde(deserialize_with = "null")]
    pub(crate) nanosecs: u32,
}
