//! What a group has used, in the shape of runc's `events`, which is v1's on both interfaces.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::group::{Group, number};
use crate::{Error, Version};

/// Counters of a group. A controller that is not there counts nothing.
#[derive(Debug, Clone, Default, Serialize)]
#[expect(missing_docs, reason = "the names are runc's document, documented there")]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Not supported: empty.
    pub intel_rdt: BTreeMap<String, ()>,
    /// Interfaces that the runtime made: none.
    pub network_interfaces: Option<()>,
}

fn zero(value: &u64) -> bool {
    *value == 0
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "zero")]
    pub throttled_time: u64,
}

/// Pressure stall information.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Percent of the last seconds, and microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// v1's placement.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Bytes; no limit is the largest number.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Tasks; no limit is 0.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A counter of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "zero")]
    pub value: u64,
}

/// Bytes of huge pages of one size.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

impl Group {
    /// What the group has used. What cannot be read is left at nothing; a group that is gone is an error.
    pub fn stats(&self) -> Result<Stats, Error> {
        let any = self
            .directory_of("devices")
            .or(self.paths().first().map(|(_, path)| path.as_path()));
        if let Some(dir) = any
            && let Err(source) = fs::metadata(dir)
        {
            return Err(Error::Read {
                path: dir.to_owned(),
                source,
            });
        }
        Ok(match self.version() {
            Version::V1 => self.legacy(),
            Version::V2 => self.directory_of("").map(unified).unwrap_or_default(),
        })
    }

    fn legacy(&self) -> Stats {
        let mut stats = Stats::default();
        if let Some(dir) = self.directory_of("cpuset") {
            let one = |file: &str| number(&dir.join(file)).unwrap_or(0);
            stats.cpuset = Cpuset {
                cpus: list(&dir.join("cpuset.cpus")),
                cpu_exclusive: one("cpuset.cpu_exclusive"),
                mems: list(&dir.join("cpuset.mems")),
                mem_hardwall: one("cpuset.mem_hardwall"),
                mem_exclusive: one("cpuset.mem_exclusive"),
                memory_migrate: one("cpuset.memory_migrate"),
                memory_spread_page: one("cpuset.memory_spread_page"),
                memory_spread_slab: one("cpuset.memory_spread_slab"),
                memory_pressure: one("cpuset.memory_pressure"),
                sched_load_balance: one("cpuset.sched_load_balance"),
                sched_relax_domain_level: text(&dir.join("cpuset.sched_relax_domain_level"))
                    .trim()
                    .parse()
                    .unwrap_or(0),
            };
        }
        if let Some(dir) = self.directory_of("memory") {
            let entry = |prefix: &str| {
                let one = |file: &str| number(&dir.join(format!("memory.{prefix}{file}"))).unwrap_or(0);
                MemoryEntry {
                    limit: one("limit_in_bytes"),
                    usage: one("usage_in_bytes"),
                    max: one("max_usage_in_bytes"),
                    failcnt: one("failcnt"),
                }
            };
            let raw = pairs(&dir.join("memory.stat"));
            stats.memory = Memory {
                cache: raw.get("cache").copied().unwrap_or(0),
                usage: entry(""),
                swap: entry("memsw."),
                kernel: entry("kmem."),
                kernel_tcp: entry("kmem.tcp."),
                raw,
                psi: None,
            };
        }
        if let Some(dir) = self.directory_of("cpu") {
            let raw = pairs(&dir.join("cpu.stat"));
            let one = |name: &str| raw.get(name).copied().unwrap_or(0);
            stats.cpu.throttling = Throttling {
                periods: one("nr_periods"),
                throttled_periods: one("nr_throttled"),
                throttled_time: one("throttled_time"),
            };
        }
        if let Some(dir) = self.directory_of("cpuacct") {
            // In clock ticks, of which the kernel shows 100 a second on every machine.
            let ticks = pairs(&dir.join("cpuacct.stat"));
            let nanoseconds = |name: &str| ticks.get(name).copied().unwrap_or(0) * 10_000_000;
            stats.cpu.usage = CpuUsage {
                total: number(&dir.join("cpuacct.usage")).unwrap_or(0),
                percpu: text(&dir.join("cpuacct.usage_percpu"))
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect(),
                kernel: nanoseconds("system"),
                user: nanoseconds("user"),
                ..CpuUsage::default()
            };
            for line in text(&dir.join("cpuacct.usage_all")).lines().skip(1) {
                let mut fields = line.split(' ').skip(1).filter_map(|field| field.parse().ok());
                if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
                    stats.cpu.usage.percpu_user.push(user);
                    stats.cpu.usage.percpu_kernel.push(kernel);
                }
            }
        }
        if let Some(dir) = self.directory_of("pids") {
            stats.pids = pids(dir);
        }
        if let Some(dir) = self.directory_of("blkio") {
            stats.blkio = blkio(dir);
        }
        if let Some(dir) = self.directory_of("hugetlb") {
            stats.hugetlb = hugetlb(dir, "usage_in_bytes", |dir, prefix| Hugetlb {
                usage: 0,
                max: number(&dir.join(format!("{prefix}max_usage_in_bytes"))).unwrap_or(0),
                failcnt: number(&dir.join(format!("{prefix}failcnt"))).unwrap_or(0),
            });
        }
        stats
    }
}

fn unified(dir: &Path) -> Stats {
    let raw = pairs(&dir.join("cpu.stat"));
    let cpu = |name: &str| raw.get(name).copied().unwrap_or(0);
    let memory = |prefix: &str| {
        let one = |file: &str| number(&dir.join(format!("memory.{prefix}{file}"))).unwrap_or(0);
        MemoryEntry {
            limit: one("max"),
            usage: one("current"),
            max: one("peak"),
            failcnt: 0,
        }
    };
    let (usage, mut swap) = (memory(""), memory("swap."));
    // Of both together, as on v1; when each was at its highest nobody knows.
    swap.usage += usage.usage;
    if swap.limit != u64::MAX {
        swap.limit = swap.limit.saturating_add(usage.limit);
    }
    swap.max = 0;
    let memory = pairs(&dir.join("memory.stat"));
    let mut stats = Stats {
        cpu: Cpu {
            usage: CpuUsage {
                total: cpu("usage_usec") * 1000,
                kernel: cpu("system_usec") * 1000,
                user: cpu("user_usec") * 1000,
                ..CpuUsage::default()
            },
            throttling: Throttling {
                periods: cpu("nr_periods"),
                throttled_periods: cpu("nr_throttled"),
                throttled_time: cpu("throttled_usec") * 1000,
            },
            psi: pressure(&dir.join("cpu.pressure")),
        },
        memory: Memory {
            cache: memory.get("file").copied().unwrap_or(0),
            usage,
            swap,
            raw: memory,
            psi: pressure(&dir.join("memory.pressure")),
            ..Memory::default()
        },
        pids: pids(dir),
        blkio: io(&text(&dir.join("io.stat"))),
        hugetlb: hugetlb(dir, "current", |dir, prefix| Hugetlb {
            failcnt: pairs(&dir.join(format!("{}events", prefix.replace("rsvd.", ""))))
                .get("max")
                .copied()
                .unwrap_or(0),
            ..Hugetlb::default()
        }),
        ..Stats::default()
    };
    stats.blkio.psi = pressure(&dir.join("io.pressure"));
    stats
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Lines `NAME VALUE`.
fn pairs(path: &Path) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text(path).lines().filter_map(pair).collect()
}

/// `0-2,5`.
fn list(path: &Path) -> Vec<u16> {
    let mut numbers = Vec::new();
    for part in text(path).trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

fn pids(dir: &Path) -> Pids {
    let current = number(&dir.join("pids.current"));
    Pids {
        // Without the controller: as many processes as are listed.
        current: current.unwrap_or_else(|| text(&dir.join("cgroup.procs")).lines().count() as u64),
        limit: number(&dir.join("pids.max"))
            .filter(|limit| *limit != u64::MAX)
            .unwrap_or(0),
    }
}

/// By page size; `usage` is the file whose name tells the sizes. What is reserved, where the kernel counts it.
fn hugetlb(dir: &Path, usage: &str, rest: impl Fn(&Path, &str) -> Hugetlb) -> BTreeMap<String, Hugetlb> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size = name
            .to_str()
            .and_then(|name| name.strip_prefix("hugetlb.")?.split_once('.'));
        let Some((size, file)) = size else { continue };
        let reserved = file.strip_prefix("rsvd.").is_some_and(|file| file == usage);
        if !reserved && (file != usage || found.contains_key(size)) {
            continue;
        }
        let prefix = format!("hugetlb.{size}.{}", if reserved { "rsvd." } else { "" });
        let value = Hugetlb {
            usage: number(&entry.path()).unwrap_or(0),
            ..rest(dir, &prefix)
        };
        found.insert(size.to_owned(), value);
    }
    found
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn pressure(path: &Path) -> Option<Pressure> {
    let text = fs::read_to_string(path).ok()?;
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let field = |name: &str| {
            let mut fields = rest.split(' ').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let average = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0.0);
        let stall = Stall {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: field("total").and_then(|value| value.parse().ok()).unwrap_or(0),
        };
        match kind {
            "some" => pressure.some = stall,
            "full" => pressure.full = stall,
            _ => {}
        }
    }
    Some(pressure)
}

/// `io.stat`: lines `MAJOR:MINOR rbytes=1 wbytes=2 rios=3 ...`, under v1's names.
fn io(text: &str) -> Blkio {
    let mut stats = Blkio::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else {
            continue;
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut stats.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.io_serviced_recursive, "Write"),
                _ => continue,
            };
            table.push(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().unwrap_or(0),
            });
        }
    }
    stats
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The first family of files that the kernel's schedulers have.
fn blkio(dir: &Path) -> Blkio {
    let table = |file: &str| -> Vec<BlkioEntry> {
        let entry = |line: &str| {
            let mut fields = line.split(' ');
            let (major, minor) = device(fields.next()?)?;
            let (first, second) = (fields.next()?, fields.next());
            let (op, value) = second.map_or(("", first), |value| (first, value));
            Some(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().ok()?,
            })
        };
        text(&dir.join(file)).lines().filter_map(entry).collect()
    };
    for prefix in ["blkio.bfq.", "blkio."] {
        let sectors = table(&format!("{prefix}sectors_recursive"));
        let serviced = table(&format!("{prefix}io_serviced_recursive"));
        if sectors.is_empty() && serviced.is_empty() {
            continue;
        }
        let table = |name: &str| table(&format!("{prefix}{name}_recursive"));
        return Blkio {
            io_service_bytes_recursive: table("io_service_bytes"),
            io_serviced_recursive: serviced,
            io_queue_recursive: table("io_queued"),
            io_service_time_recursive: table("io_service_time"),
            io_wait_time_recursive: table("io_wait_time"),
            io_merged_recursive: table("io_merged"),
            io_time_recursive: table("time"),
            sectors_recursive: sectors,
            psi: None,
        };
    }
    let throttle = if dir.join("blkio.throttle.io_serviced_recursive").exists() {
        "_recursive"
    } else {
        ""
    };
    Blkio {
        io_service_bytes_recursive: table(&format!("blkio.throttle.io_service_bytes{throttle}")),
        io_serviced_recursive: table(&format!("blkio.throttle.io_serviced{throttle}")),
        ..Blkio::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_counters_have_v1_names() {
        let stats = io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5\n7:1 \n");
        let entry = |op: &str, value| BlkioEntry {
            major: 8,
            minor: 0,
            op: op.into(),
            value,
        };
        assert_eq!(
            stats.io_service_bytes_recursive,
            [entry("Read", 1), entry("Write", 2)]
        );
        assert_eq!(stats.io_serviced_recursive, [entry("Read", 3), entry("Write", 4)]);
    }
}
