//! `linux.resources` of the OCI runtime spec, with its field names.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#control-groups

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a group may use. A missing field is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Device nodes; later rules win. `None` or empty: no control.
    #[serde(deserialize_with = "null")]
    pub devices: Vec<DeviceRule>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Processor time and placement.
    pub cpu: Option<Cpu>,
    /// Number of tasks.
    pub pids: Option<Pids>,
    /// Block devices.
    #[serde(rename = "blockIO")]
    pub block_io: Option<BlockIo>,
    /// Huge pages.
    #[serde(deserialize_with = "null")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Network class and priorities (v1 only).
    pub network: Option<Network>,
    /// RDMA handles and objects by device.
    #[serde(deserialize_with = "null")]
    pub rdma: BTreeMap<String, Rdma>,
    /// Files of cgroup v2 to write as they are.
    #[serde(deserialize_with = "null")]
    pub unified: BTreeMap<String, String>,
}

/// `null` means the same as absent, as Go writes it.
fn null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// One rule of the device list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// `a` (all; also when missing), `c`, `u` or `b`.
    #[serde(rename = "type", deserialize_with = "null")]
    pub kind: String,
    /// Major number; missing or negative: any.
    pub major: Option<i64>,
    /// Minor number; missing or negative: any.
    pub minor: Option<i64>,
    /// Any of `r`, `w`, `m`; missing: all.
    #[serde(deserialize_with = "null")]
    pub access: String,
}

/// Limits in bytes; -1: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// Kernel memory: obsolete, ignored.
    pub kernel: Option<i64>,
    /// Kernel TCP memory (v1 only).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Whether the OOM killer stays away (v1 only).
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    /// Whether groups below count here (v1: always on today).
    pub use_hierarchy: Option<bool>,
    /// Whether a limit below the present use is refused.
    pub check_before_update: Option<bool>,
}

/// Processor time and placement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// Relative weight, 2 to 262144.
    pub shares: Option<u64>,
    /// Microseconds a period; -1: no limit.
    pub quota: Option<i64>,
    /// Microseconds that may be saved up.
    pub burst: Option<u64>,
    /// Length of a period in microseconds.
    pub period: Option<u64>,
    /// As `quota`, for real-time tasks (v1 only).
    pub realtime_runtime: Option<i64>,
    /// As `period`, for real-time tasks (v1 only).
    pub realtime_period: Option<u64>,
    /// List of processors.
    #[serde(deserialize_with = "null")]
    pub cpus: String,
    /// List of memory nodes.
    #[serde(deserialize_with = "null")]
    pub mems: String,
    /// 1: scheduled only when nothing else wants to run.
    pub idle: Option<i64>,
}

/// Number of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Most tasks; -1 (and, as runc has it, 0): no limit.
    pub limit: Option<i64>,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weight against own children.
    pub leaf_weight: Option<u16>,
    /// Weight by device.
    #[serde(deserialize_with = "null")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second.
    #[serde(deserialize_with = "null")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Bytes a second.
    #[serde(deserialize_with = "null")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleReadIOPSDevice", deserialize_with = "null")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleWriteIOPSDevice", deserialize_with = "null")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// Weight of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Relative weight.
    pub weight: Option<u16>,
    /// Weight against own children.
    pub leaf_weight: Option<u16>,
}

/// Limit of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottleDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Per second.
    pub rate: u64,
}

/// Limit of one huge page size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HugepageLimit {
    /// As the kernel names it: `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Network class and priorities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Class id of packets.
    #[serde(rename = "classID")]
    pub class_id: Option<u32>,
    /// Priority by interface.
    #[serde(deserialize_with = "null")]
    pub priorities: Vec<InterfacePriority>,
}

/// Priority of packets on one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfacePriority {
    /// Interface.
    pub name: String,
    /// Priority.
    pub priority: u32,
}

/// Limits of one RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// Most handles.
    pub hca_handles: Option<u32>,
    /// Most objects.
    pub hca_objects: Option<u32>,
}
