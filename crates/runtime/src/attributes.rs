//! How a process is scheduled and what it runs as: the rarely used fields of `process` and `linux`, checked before
//! anything is made, applied by the process itself.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-process
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#memory-policy

use lighter_sys::{process as p, schedule};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::caps;
use crate::config::{Linux, Personality, Process, Rlimit, null};
use crate::error::{Context, Error, Result};
use crate::log;

/// `process.scheduler`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Scheduler {
    /// `SCHED_*`.
    #[serde(deserialize_with = "null")]
    policy: String,
    /// -20 to 19.
    #[serde(deserialize_with = "null")]
    nice: i32,
    /// Of the real-time policies.
    #[serde(deserialize_with = "null")]
    priority: i32,
    /// `SCHED_FLAG_*`.
    #[serde(deserialize_with = "null")]
    flags: Vec<String>,
    /// Nanoseconds, as those that follow.
    #[serde(deserialize_with = "null")]
    runtime: u64,
    #[serde(deserialize_with = "null")]
    deadline: u64,
    #[serde(deserialize_with = "null")]
    period: u64,
}

/// `process.ioPriority`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IoPriority {
    /// `IOPRIO_CLASS_*`.
    #[serde(deserialize_with = "null")]
    class: String,
    /// 0 to 7, 0 is the most urgent.
    #[serde(deserialize_with = "null")]
    priority: i32,
}

/// `process.execCPUAffinity`: lists like `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CpuAffinity {
    /// Until the process is in the container's cgroup.
    #[serde(deserialize_with = "null")]
    initial: String,
    /// From then on.
    #[serde(rename = "final", deserialize_with = "null")]
    last: String,
}

/// `linux.memoryPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MemoryPolicy {
    /// `MPOL_*`.
    #[serde(deserialize_with = "null")]
    mode: String,
    /// A list like `0-1,3`.
    #[serde(deserialize_with = "null")]
    nodes: String,
    /// `MPOL_F_*`.
    #[serde(deserialize_with = "null")]
    flags: Vec<String>,
}

/// What a later process of the container has unless its own document says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Inherited {
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<caps::Sets>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rlimits: Vec<Rlimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    umask: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<Scheduler>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_priority: Option<IoPriority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_cpu_affinity: Option<CpuAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personality: Option<Personality>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cpuset: bool,
}

impl Inherited {
    pub(crate) fn new(process: &Process, linux: &Linux) -> Self {
        let cpu = linux
            .resources
            .as_ref()
            .and_then(|resources| resources.cpu.as_ref());
        Self {
            capabilities: process
                .capabilities
                .as_ref()
                .map(|names| caps::Sets::new(Some(names))),
            rlimits: process.rlimits.clone(),
            umask: process.user.umask,
            scheduler: process.scheduler.clone(),
            io_priority: process.io_priority.clone(),
            exec_cpu_affinity: process.exec_cpu_affinity.clone(),
            memory_policy: linux.memory_policy.clone(),
            personality: linux.personality.clone(),
            cpuset: cpu.is_some_and(|cpu| !cpu.cpus.is_empty()),
        }
    }

    /// Fills in what `process` leaves open.
    pub(crate) fn complete(&self, process: &mut Process) {
        fn or<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        if process.capabilities.is_none() {
            process.capabilities = self.capabilities.map(caps::Sets::names);
        }
        if process.rlimits.is_empty() {
            process.rlimits.clone_from(&self.rlimits);
        }
        or(&mut process.user.umask, &self.umask);
        or(&mut process.scheduler, &self.scheduler);
        or(&mut process.io_priority, &self.io_priority);
        or(&mut process.exec_cpu_affinity, &self.exec_cpu_affinity);
    }
}

/// Checked values, as the kernel takes them.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    scheduler: Option<schedule::Attributes>,
    io_priority: Option<u32>,
    memory_policy: Option<(i32, Vec<u64>)>,
    personality: Option<u64>,
    /// Processors until the cgroup is joined.
    initial: Option<Vec<u64>>,
    /// Processors from then on.
    last: Option<Vec<u64>>,
    cpuset: bool,
}

impl Attributes {
    /// `exec`: whether the processors of later processes concern this one.
    pub(crate) fn new(process: &Process, container: &Inherited, exec: bool) -> Result<Self> {
        let affinity = process.exec_cpu_affinity.as_ref();
        let initial = affinity.map_or(Ok(None), |list| cpus("initial", &list.initial))?;
        let last = affinity.map_or(Ok(None), |list| cpus("final", &list.last))?;
        Ok(Self {
            scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
            io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
            memory_policy: container.memory_policy.as_ref().map_or(Ok(None), memory_policy)?,
            personality: container.personality.as_ref().map(personality).transpose()?,
            initial: initial.filter(|_| exec),
            last: last.filter(|_| exec),
            cpuset: container.cpuset,
        })
    }

    /// In whoever is about to be or to fork the process, before it joins the cgroup.
    pub(crate) fn apply_initial(&self) -> Result<()> {
        match &self.initial {
            Some(mask) => {
                let digits: String = mask.iter().rev().map(|word| format!("{word:016x}")).collect();
                log::debug(format_args!(
                    "nsexec: affinity: 0x{}",
                    digits.trim_start_matches('0')
                ));
                schedule::set_affinity(mask).doing("set initial CPU affinity")
            }
            None => Ok(()),
        }
    }

    /// In the process, as a member of its cgroup and with all power still. Where nothing is asked for, it may run
    /// wherever its cpuset does, not just where our caller may.
    pub(crate) fn apply(&self) -> Result<()> {
        match (&self.last, &self.initial) {
            (Some(mask), _) => schedule::set_affinity(mask).doing("set final CPU affinity")?,
            (None, Some(_)) => {}
            // It goes on on fewer processors where that is refused.
            (None, None) => drop(schedule::reset_affinity()),
        }
        if let Some(attributes) = self.scheduler {
            schedule::set_attributes(attributes).or_else(|error| {
                if self.cpuset && error.raw_os_error() == Some(Errno::PERM.raw_os_error()) {
                    return Err(Error::Config(
                        "process scheduler can't be used together with AllowedCPUs".into(),
                    ));
                }
                Err(error).doing("set process.scheduler")
            })?;
        }
        if let Some(value) = self.io_priority {
            schedule::set_io_priority(value).doing("set process.ioPriority")?;
        }
        if let Some((mode, nodes)) = &self.memory_policy {
            schedule::set_memory_policy(*mode, nodes).doing("set linux.memoryPolicy: set_mempolicy")?;
        }
        if let Some(value) = self.personality {
            p::set_personality(value).doing("set linux.personality")?;
        }
        Ok(())
    }
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Error::Config(text))
}

fn scheduler(from: &Scheduler) -> Result<schedule::Attributes> {
    const POLICIES: [&str; 7] = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
    const FLAGS: [&str; 7] = [
        "RESET_ON_FORK",
        "RECLAIM",
        "DL_OVERRUN",
        "KEEP_POLICY",
        "KEEP_PARAMS",
        "UTIL_CLAMP_MIN",
        "UTIL_CLAMP_MAX",
    ];
    if from.policy.is_empty() {
        return refuse("process.scheduler.policy: scheduler policy is required".into());
    }
    let short = from.policy.strip_prefix("SCHED_").unwrap_or_default();
    let Some(policy) = POLICIES.iter().position(|known| *known == short) else {
        return refuse(format!(
            "process.scheduler.policy: invalid scheduler policy: {}",
            from.policy
        ));
    };
    if matches!(short, "OTHER" | "BATCH") && !(-20..=19).contains(&from.nice) {
        return refuse(format!(
            "process.scheduler.nice: invalid scheduler.nice: {} when scheduler.policy is {}",
            from.nice, from.policy
        ));
    }
    if from.priority != 0 && !matches!(short, "FIFO" | "RR") {
        return refuse(
            "process.scheduler.priority: scheduler.priority can only be specified for SchedFIFO or SchedRR policy"
                .into(),
        );
    }
    if short != "DEADLINE" && (from.runtime, from.deadline, from.period) != (0, 0, 0) {
        return refuse(
            "process.scheduler: scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
                .into(),
        );
    }
    let mut flags = 0;
    for name in &from.flags {
        let short = name.strip_prefix("SCHED_FLAG_").unwrap_or_default();
        let Some(bit) = FLAGS.iter().position(|known| *known == short) else {
            return refuse(format!("process.scheduler.flags: invalid scheduler flag: {name}"));
        };
        flags |= 1 << bit;
    }
    let Ok(priority) = u32::try_from(from.priority) else {
        return refuse(format!(
            "process.scheduler.priority: invalid scheduler.priority: {}",
            from.priority
        ));
    };
    Ok(schedule::Attributes {
        policy: policy as u32,
        flags,
        nice: from.nice,
        priority,
        runtime: from.runtime,
        deadline: from.deadline,
        period: from.period,
    })
}

fn io_priority(from: &IoPriority) -> Result<u32> {
    let class = match from.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return refuse(format!(
                "process.ioPriority.class: invalid ioPriority.Class: {other:?}"
            ));
        }
    };
    match u32::try_from(from.priority) {
        Ok(level @ 0..=7) => Ok(class << 13 | level),
        _ => refuse(format!(
            "process.ioPriority.priority: invalid ioPriority.Priority: {}",
            from.priority
        )),
    }
}

pub(crate) const MEMORY_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

pub(crate) const MEMORY_FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

fn memory_policy(from: &MemoryPolicy) -> Result<Option<(i32, Vec<u64>)>> {
    if from == &MemoryPolicy::default() {
        return Ok(None);
    }
    let Some(mode) = MEMORY_MODES.iter().position(|known| *known == from.mode) else {
        return refuse(format!(
            "linux.memoryPolicy.mode: invalid memory policy mode {:?}",
            from.mode
        ));
    };
    let mut value = mode as i32;
    for name in &from.flags {
        match MEMORY_FLAGS.iter().find(|(known, _)| known == name) {
            Some((_, bit)) => value |= bit,
            None => {
                return refuse(format!(
                    "linux.memoryPolicy.flags: invalid memory policy flag {name:?}"
                ));
            }
        }
    }
    // The kernel itself knows at most 1024 nodes.
    match list(&from.nodes, 1024) {
        Ok(nodes) => Ok(Some((value, nodes))),
        Err(reason) => refuse(format!(
            "linux.memoryPolicy.nodes: invalid memory policy node list {:?}: {reason}",
            from.nodes
        )),
    }
}

/// Says that flags of the personality are passed over, as runc does: config-linux.md has none yet.
pub(crate) fn warn_of_flags(linux: &Linux) {
    let flags = linux.personality.as_ref().map_or(&[][..], |from| &from.flags);
    if !flags.is_empty() {
        log::warn(format_args!(
            "ignoring unsupported personality flags: [{}]",
            flags.join(" ")
        ));
    }
}

fn personality(from: &Personality) -> Result<u64> {
    match from.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => refuse(format!(
            "linux.personality.domain: invalid personality domain {other}"
        )),
    }
}

fn cpus(field: &str, text: &str) -> Result<Option<Vec<u64>>> {
    if text.is_empty() {
        return Ok(None);
    }
    match list(text, 8192) {
        Ok(mask) if mask.is_empty() => Ok(None),
        Ok(mask) => Ok(Some(mask)),
        Err(reason) => refuse(format!(
            "process.execCPUAffinity.{field}: bad CPU list {text:?}: {reason}"
        )),
    }
}

/// A list like `0-3, 7` as a mask. Empty elements are let through, as runc does.
fn list(text: &str, most: usize) -> std::result::Result<Vec<u64>, String> {
    let number = |text: &str| match text.parse::<usize>() {
        Ok(number) if number < most => Ok(number),
        Ok(_) => Err(format!("values larger than {} are not supported", most - 1)),
        Err(error) => Err(error.to_string()),
    };
    let mut mask = Vec::new();
    for element in text
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
    {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{element} runs backwards"));
        }
        for bit in first..=last {
            if mask.len() <= bit / 64 {
                mask.resize(bit / 64 + 1, 0);
            }
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_masks() {
        assert_eq!(list("0-2, 5,,64", 8192), Ok(vec![0b10_0111, 1]));
        assert_eq!(list("", 8192), Ok(vec![]));
        for wrong in ["x", "1-", "-1", "3-2", "1-2-3", "8192", "0-9876543210"] {
            assert!(list(wrong, 8192).is_err(), "{wrong}");
        }
    }
}
