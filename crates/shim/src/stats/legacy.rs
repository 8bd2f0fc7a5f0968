//! cgroup v1.

use std::path::{Path, PathBuf};

use lighter_shim_api::cgroups_v1;

use super::{Fields, huge_pages, limit, rdma};
use crate::cgroup::number;

/// What the files in the directories of the controllers say.
pub(super) fn metrics(dir: impl Fn(&str) -> Option<PathBuf>) -> cgroups_v1::Metrics {
    let one = |controller: &str, file: &str| {
        dir(controller)
            .and_then(|dir| number(&dir.join(file)))
            .unwrap_or(0)
    };
    let fields = |controller: &str, file: &str| Fields::of(&dir(controller).unwrap_or_default().join(file));
    let stat = fields("memory", "memory.stat");
    let memory = |name: &str| stat.get(name);
    let entry = |prefix: &str| cgroups_v1::MemoryEntry {
        limit: one("memory", &format!("{prefix}.limit_in_bytes")),
        usage: one("memory", &format!("{prefix}.usage_in_bytes")),
        max: one("memory", &format!("{prefix}.max_usage_in_bytes")),
        failcnt: one("memory", &format!("{prefix}.failcnt")),
    };
    // `cpuacct.stat` counts ticks of a hundredth of a second.
    let used = fields("cpuacct", "cpuacct.stat");
    let ticks = |name: &str| used.get(name) * 10_000_000;
    let throttle = fields("cpu", "cpu.stat");
    let oom = fields("memory", "memory.oom_control");
    let hugetlb = dir("hugetlb").unwrap_or_default();
    let huge = |size: String| {
        let file = |name: &str| number(&hugetlb.join(format!("hugetlb.{size}.{name}"))).unwrap_or(0);
        cgroups_v1::HugetlbStat {
            usage: file("usage_in_bytes"),
            max: file("max_usage_in_bytes"),
            failcnt: file("failcnt"),
            pagesize: size.clone(),
        }
    };
    let rdma_dir = dir("rdma").unwrap_or_default();
    let per_cpu =
        dir("cpuacct").and_then(|dir| std::fs::read_to_string(dir.join("cpuacct.usage_percpu")).ok());
    cgroups_v1::Metrics {
        hugetlb: huge_pages(&hugetlb, ".usage_in_bytes")
            .into_iter()
            .map(huge)
            .collect(),
        rdma: Some(cgroups_v1::RdmaStat {
            current: devices(&rdma_dir.join("rdma.current")),
            limit: devices(&rdma_dir.join("rdma.max")),
        }),
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
                periods: throttle.get("nr_periods"),
                throttled_periods: throttle.get("nr_throttled"),
                throttled_time: throttle.get("throttled_time"),
            }),
        }),
        memory: Some(cgroups_v1::MemoryStat {
            cache: memory("cache"),
            rss: memory("rss"),
            rss_huge: memory("rss_huge"),
            dirty: memory("dirty"),
            writeback: memory("writeback"),
            pg_pg_in: memory("pgpgin"),
            pg_pg_out: memory("pgpgout"),
            hierarchical_swap_limit: memory("hierarchical_memsw_limit"),
            total_rss_huge: memory("total_rss_huge"),
            total_dirty: memory("total_dirty"),
            total_writeback: memory("total_writeback"),
            total_pg_pg_in: memory("total_pgpgin"),
            total_pg_pg_out: memory("total_pgpgout"),
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
        }),
        blkio: Some(cgroups_v1::BlkIoStat {
            io_service_bytes_recursive: blkio(dir("blkio"), "blkio.throttle.io_service_bytes_recursive"),
            io_serviced_recursive: blkio(dir("blkio"), "blkio.throttle.io_serviced_recursive"),
            ..Default::default()
        }),
        memory_oom_control: Some(cgroups_v1::MemoryOomControl {
            oom_kill_disable: oom.get("oom_kill_disable"),
            under_oom: oom.get("under_oom"),
            oom_kill: oom.get("oom_kill"),
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

fn devices(path: &Path) -> Vec<cgroups_v1::RdmaEntry> {
    let entry = |(device, hca_handles, hca_objects)| cgroups_v1::RdmaEntry {
        device,
        hca_handles,
        hca_objects,
    };
    rdma(path).into_iter().map(entry).collect()
}
