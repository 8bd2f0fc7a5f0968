//! cgroup v2.

use std::path::Path;

use lighter_shim_api::cgroups_v2::{
    CpuStat, HugeTlbStat, IoEntry, IoStat, MemoryEvents, MemoryStat, Metrics, PidsStat, RdmaEntry, RdmaStat,
};

use super::{Fields, huge_pages, limit, rdma};
use crate::cgroup::number;

/// What the files in `dir` say. A controller that is off has none: zeros.
pub(super) fn metrics(dir: &Path) -> Metrics {
    let one = |file: &str| number(&dir.join(file)).unwrap_or(0);
    let cpu = Fields::of(&dir.join("cpu.stat"));
    let event = Fields::of(&dir.join("memory.events"));
    let huge = |size: String| HugeTlbStat {
        current: one(&format!("hugetlb.{size}.current")),
        max: one(&format!("hugetlb.{size}.max")),
        pagesize: size,
    };
    Metrics {
        pids: Some(PidsStat {
            current: one("pids.current"),
            limit: limit(one("pids.max")),
        }),
        cpu: Some(CpuStat {
            usage_usec: cpu.get("usage_usec"),
            user_usec: cpu.get("user_usec"),
            system_usec: cpu.get("system_usec"),
            nr_periods: cpu.get("nr_periods"),
            nr_throttled: cpu.get("nr_throttled"),
            throttled_usec: cpu.get("throttled_usec"),
        }),
        memory: Some(memory(dir)),
        rdma: Some(RdmaStat {
            current: devices(&dir.join("rdma.current")),
            limit: devices(&dir.join("rdma.max")),
        }),
        io: Some(IoStat {
            usage: io(&dir.join("io.stat")),
        }),
        hugetlb: huge_pages(dir, ".max").into_iter().map(huge).collect(),
        memory_events: Some(MemoryEvents {
            low: event.get("low"),
            high: event.get("high"),
            max: event.get("max"),
            oom: event.get("oom"),
            oom_kill: event.get("oom_kill"),
        }),
    }
}

fn memory(dir: &Path) -> MemoryStat {
    let one = |file: &str| number(&dir.join(file)).unwrap_or(0);
    let stat = Fields::of(&dir.join("memory.stat"));
    let get = |name: &str| stat.get(name);
    // One number up to Linux 5.8, two since.
    let set = |name: &str| get(name) + get(&format!("{name}_anon")) + get(&format!("{name}_file"));
    MemoryStat {
        anon: get("anon"),
        file: get("file"),
        kernel_stack: get("kernel_stack"),
        slab: get("slab"),
        sock: get("sock"),
        shmem: get("shmem"),
        file_mapped: get("file_mapped"),
        file_dirty: get("file_dirty"),
        file_writeback: get("file_writeback"),
        anon_thp: get("anon_thp"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        slab_reclaimable: get("slab_reclaimable"),
        slab_unreclaimable: get("slab_unreclaimable"),
        pgfault: get("pgfault"),
        pgmajfault: get("pgmajfault"),
        workingset_refault: set("workingset_refault"),
        workingset_activate: set("workingset_activate"),
        workingset_nodereclaim: get("workingset_nodereclaim"),
        pgrefill: get("pgrefill"),
        pgscan: get("pgscan"),
        pgsteal: get("pgsteal"),
        pgactivate: get("pgactivate"),
        pgdeactivate: get("pgdeactivate"),
        pglazyfree: get("pglazyfree"),
        pglazyfreed: get("pglazyfreed"),
        thp_fault_alloc: get("thp_fault_alloc"),
        thp_collapse_alloc: get("thp_collapse_alloc"),
        usage: one("memory.current"),
        usage_limit: one("memory.max"),
        swap_usage: one("memory.swap.current"),
        swap_limit: one("memory.swap.max"),
        max_usage: one("memory.peak"),
        swap_max_usage: one("memory.swap.peak"),
    }
}

fn devices(path: &Path) -> Vec<RdmaEntry> {
    let entry = |(device, hca_handles, hca_objects)| RdmaEntry {
        device,
        hca_handles,
        hca_objects,
    };
    rdma(path).into_iter().map(entry).collect()
}

fn io(path: &Path) -> Vec<IoEntry> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        let mut entry = IoEntry {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files as the kernel writes them (Documentation/admin-guide/cgroup-v2.rst).
    #[test]
    fn every_field_comes_from_its_file() {
        let dir = std::env::temp_dir().join(format!("lighter-unified-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = [
            (
                "memory.stat",
                "anon 1\nfile 2\nsock 3\nanon_thp 4\nslab_reclaimable 5\nslab_unreclaimable 6\nfile_writeback 7\n\
                 workingset_refault_anon 8\nworkingset_refault_file 9\nworkingset_nodereclaim 10\npgrefill 11\npgscan 12\n\
                 pgsteal 13\npgactivate 14\npgdeactivate 15\npglazyfree 16\npglazyfreed 17\nthp_fault_alloc 18\n\
                 thp_collapse_alloc 19\n",
            ),
            ("memory.max", "max\n"),
            ("memory.swap.peak", "20\n"),
            (
                "memory.events",
                "low 0\nhigh 21\nmax 22\noom 23\noom_kill 24\noom_group_kill 0\n",
            ),
            ("pids.max", "max\n"),
            (
                "rdma.current",
                "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=1 hca_object=max\n",
            ),
            ("hugetlb.2MB.max", "25\n"),
            ("hugetlb.2MB.current", "26\n"),
            ("hugetlb.2MB.rsvd.max", "max\n"),
            (
                "io.stat",
                "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n",
            ),
        ];
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let found = metrics(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        let memory = found.memory.unwrap();
        assert_eq!(
            (memory.anon, memory.file, memory.sock, memory.anon_thp),
            (1, 2, 3, 4)
        );
        assert_eq!((memory.slab_reclaimable, memory.slab_unreclaimable), (5, 6));
        assert_eq!((memory.file_writeback, memory.workingset_refault), (7, 17));
        assert_eq!((memory.workingset_nodereclaim, memory.pgrefill), (10, 11));
        assert_eq!((memory.pgscan, memory.pgsteal, memory.pgactivate), (12, 13, 14));
        assert_eq!(
            (memory.pgdeactivate, memory.pglazyfree, memory.pglazyfreed),
            (15, 16, 17)
        );
        assert_eq!((memory.thp_fault_alloc, memory.thp_collapse_alloc), (18, 19));
        assert_eq!((memory.usage_limit, memory.swap_max_usage), (u64::MAX, 20));
        let events = found.memory_events.unwrap();
        assert_eq!(
            (events.high, events.max, events.oom, events.oom_kill),
            (21, 22, 23, 24)
        );
        assert_eq!(found.pids.unwrap().limit, 0);
        let rdma = found.rdma.unwrap().current;
        assert_eq!((rdma[0].hca_handles, rdma[1].hca_objects), (2, u32::MAX));
        assert_eq!(
            (
                found.hugetlb.len(),
                found.hugetlb[0].max,
                found.hugetlb[0].current
            ),
            (1, 25, 26)
        );
        assert_eq!(found.io.unwrap().usage[0].wios, 353);
    }
}
