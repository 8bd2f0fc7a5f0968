//! Metrics of a container's cgroup, in containerd's messages.

use std::path::{Path, PathBuf};

use lighter_shim_api::{Any, cgroups_v1, cgroups_v2, service};
use prost::Message;

use crate::cgroup::{directory_in, field, number};

/// The metrics of the cgroup in the text of `/proc/PID/cgroup`; `None` when it names none.
pub(crate) fn of(text: &str) -> Option<Any> {
    let dir = |controller: &str| directory_in(text, controller);
    let controllers: Vec<PathBuf> = ["memory", "cpuacct", "cpu", "pids", "blkio"]
        .iter()
        .filter_map(|name| dir(name))
        .collect();
    if controllers.is_empty() {
        let value = unified(&dir("")?).encode_to_vec();
        return Some(Any {
            type_url: service::CGROUPS_V2.to_owned(),
            value,
        });
    }
    let value = legacy(dir).encode_to_vec();
    Some(Any {
        type_url: service::CGROUPS_V1.to_owned(),
        value,
    })
}

fn unified(dir: &Path) -> cgroups_v2::Metrics {
    let one = |file: &str| number(&dir.join(file)).unwrap_or(0);
    let cpu = |name: &str| field(&dir.join("cpu.stat"), name).unwrap_or(0);
    let memory = |name: &str| field(&dir.join("memory.stat"), name).unwrap_or(0);
    let event = |name: &str| field(&dir.join("memory.events"), name).unwrap_or(0);
    cgroups_v2::Metrics {
        pids: Some(cgroups_v2::PidsStat {
            current: one("pids.current"),
            limit: limit(one("pids.max")),
        }),
        cpu: Some(cgroups_v2::CpuStat {
            usage_usec: cpu("usage_usec"),
            user_usec: cpu("user_usec"),
            system_usec: cpu("system_usec"),
            nr_periods: cpu("nr_periods"),
            nr_throttled: cpu("nr_throttled"),
            throttled_usec: cpu("throttled_usec"),
        }),
        memory: Some(cgroups_v2::MemoryStat {
            anon: memory("anon"),
            file: memory("file"),
            kernel_stack: memory("kernel_stack"),
            slab: memory("slab"),
            shmem: memory("shmem"),
            file_mapped: memory("file_mapped"),
            file_dirty: memory("file_dirty"),
            inactive_anon: memory("inactive_anon"),
            active_anon: memory("active_anon"),
            inactive_file: memory("inactive_file"),
            active_file: memory("active_file"),
            unevictable: memory("unevictable"),
            pgfault: memory("pgfault"),
            pgmajfault: memory("pgmajfault"),
            usage: one("memory.current"),
            usage_limit: one("memory.max"),
            swap_usage: one("memory.swap.current"),
            swap_limit: one("memory.swap.max"),
            max_usage: one("memory.peak"),
            ..Default::default()
        }),
        io: Some(cgroups_v2::IoStat {
            usage: io(&dir.join("io.stat")),
        }),
        memory_events: Some(cgroups_v2::MemoryEvents {
            low: event("low"),
            high: event("high"),
            max: event("max"),
            oom: event("oom"),
            oom_kill: event("oom_kill"),
        }),
        ..Default::default()
    }
}

/// No limit is 0 in containerd's messages about processes.
fn limit(number: u64) -> u64 {
    if number == u64::MAX { 0 } else { number }
}

fn io(path: &Path) -> Vec<cgroups_v2::IoEntry> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        let mut entry = cgroups_v2::IoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            ..Default::default()
        };
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(entry).collect()
}

fn legacy(dir: impl Fn(&str) -> Option<PathBuf>) -> cgroups_v1::Metrics {
    let one = |controller: &str, file: &str| {
        dir(controller)
            .and_then(|dir| number(&dir.join(file)))
            .unwrap_or(0)
    };
    let named = |controller: &str, file: &str, name: &str| {
        dir(controller)
            .and_then(|dir| field(&dir.join(file), name))
            .unwrap_or(0)
    };
    let memory = |name: &str| named("memory", "memory.stat", name);
    let entry = |prefix: &str| cgroups_v1::MemoryEntry {
        limit: one("memory", &format!("{prefix}.limit_in_bytes")),
        usage: one("memory", &format!("{prefix}.usage_in_bytes")),
        max: one("memory", &format!("{prefix}.max_usage_in_bytes")),
        failcnt: one("memory", &format!("{prefix}.failcnt")),
    };
    // `cpuacct.stat` counts ticks of a hundredth of a second.
    let ticks = |name: &str| named("cpuacct", "cpuacct.stat", name) * 10_000_000;
    let throttle = |name: &str| named("cpu", "cpu.stat", name);
    let per_cpu =
        dir("cpuacct").and_then(|dir| std::fs::read_to_string(dir.join("cpuacct.usage_percpu")).ok());
    cgroups_v1::Metrics {
        pids: Some(cgroups_v1::PidsStat {
            current: one("pids", "pids.current"),
            limit: limit(one("pids", "pids.max")),
        }),
        cpu: Some(cgroups_v1::CpuStat {
            usage: Some(cgroups_v1::CpuUsage {
                total: one("cpuacct", "cpuacct.usage"),
                kernel: ticks("system"),
                user: ticks("user"),
                per_cpu: per_cpu
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect(),
            }),
            throttling: Some(cgroups_v1::Throttle {
                periods: throttle("nr_periods"),
                throttled_periods: throttle("nr_throttled"),
                throttled_time: throttle("throttled_time"),
            }),
        }),
        memory: Some(cgroups_v1::MemoryStat {
            cache: memory("cache"),
            rss: memory("rss"),
            mapped_file: memory("mapped_file"),
            pg_fault: memory("pgfault"),
            pg_maj_fault: memory("pgmajfault"),
            inactive_anon: memory("inactive_anon"),
            active_anon: memory("active_anon"),
            inactive_file: memory("inactive_file"),
            active_file: memory("active_file"),
            unevictable: memory("unevictable"),
            hierarchical_memory_limit: memory("hierarchical_memory_limit"),
            total_cache: memory("total_cache"),
            total_rss: memory("total_rss"),
            total_mapped_file: memory("total_mapped_file"),
            total_pg_fault: memory("total_pgfault"),
            total_pg_maj_fault: memory("total_pgmajfault"),
            total_inactive_anon: memory("total_inactive_anon"),
            total_active_anon: memory("total_active_anon"),
            total_inactive_file: memory("total_inactive_file"),
            total_active_file: memory("total_active_file"),
            total_unevictable: memory("total_unevictable"),
            usage: Some(entry("memory")),
            swap: Some(entry("memory.memsw")),
            kernel: Some(entry("memory.kmem")),
            kernel_tcp: Some(entry("memory.kmem.tcp")),
            ..Default::default()
        }),
        blkio: Some(cgroups_v1::BlkIoStat {
            io_service_bytes_recursive: blkio(dir("blkio"), "blkio.throttle.io_service_bytes_recursive"),
            io_serviced_recursive: blkio(dir("blkio"), "blkio.throttle.io_serviced_recursive"),
            ..Default::default()
        }),
        memory_oom_control: Some(cgroups_v1::MemoryOomControl {
            oom_kill_disable: named("memory", "memory.oom_control", "oom_kill_disable"),
            under_oom: named("memory", "memory.oom_control", "under_oom"),
            oom_kill: named("memory", "memory.oom_control", "oom_kill"),
        }),
        ..Default::default()
    }
}

fn blkio(dir: Option<PathBuf>, file: &str) -> Vec<cgroups_v1::BlkIoEntry> {
    let text = dir
        .and_then(|dir| std::fs::read_to_string(dir.join(file)).ok())
        .unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        Some(cgroups_v1::BlkIoEntry {
            op: words.next()?.to_owned(),
            device: String::new(),
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}
