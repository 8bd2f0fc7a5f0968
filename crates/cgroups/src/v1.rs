//! Resources as files of the v1 controllers.

use crate::resources::Resources;

/// One write: the controller, the file in its group, what to write.
pub(crate) type Write = (&'static str, String, String);

/// The writes that put `resources` in force, in order. `update`: the group has limits already, so memory and swap must
/// be raised and lowered in an order that the kernel accepts (`raise`: the new limit is above the old swap limit).
pub(crate) fn plan(resources: &Resources, raise: bool) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut put = |controller, file: &str, value: String| writes.push((controller, file.to_owned(), value));
    if let Some(memory) = &resources.memory {
        let limit = memory
            .limit
            .filter(|limit| *limit != 0)
            .map(|v| ("memory.limit_in_bytes", v));
        let swap = memory
            .swap
            .filter(|swap| *swap != 0)
            .map(|v| ("memory.memsw.limit_in_bytes", v));
        // Without a swap limit of its own, taking the memory limit away takes the old swap limit with it.
        let swap = swap.or(limit
            .filter(|(_, v)| *v == -1 && raise)
            .map(|_| ("memory.memsw.limit_in_bytes", -1)));
        let both = if raise { [swap, limit] } else { [limit, swap] };
        for (file, value) in both.into_iter().flatten() {
            put("memory", file, value.to_string());
        }
        if let Some(value) = memory.reservation.filter(|value| *value != 0) {
            put("memory", "memory.soft_limit_in_bytes", value.to_string());
        }
        if let Some(value) = memory.kernel_tcp.filter(|value| *value != 0) {
            put("memory", "memory.kmem.tcp.limit_in_bytes", value.to_string());
        }
        if memory.disable_oom_killer == Some(true) {
            put("memory", "memory.oom_control", "1".into());
        }
        // -1 in a u64 is how old callers say "leave it".
        if let Some(value) = memory.swappiness.filter(|value| *value <= 200) {
            put("memory", "memory.swappiness", value.to_string());
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(value) = cpu.realtime_period.filter(|value| *value != 0) {
            put("cpu", "cpu.rt_period_us", value.to_string());
        }
        if let Some(value) = cpu.realtime_runtime.filter(|value| *value != 0) {
            put("cpu", "cpu.rt_runtime_us", value.to_string());
        }
        if let Some(value) = cpu.shares.filter(|value| *value != 0) {
            put("cpu", "cpu.shares", value.to_string());
        }
        if let Some(value) = cpu.period.filter(|value| *value != 0) {
            put("cpu", "cpu.cfs_period_us", value.to_string());
        }
        if let Some(value) = cpu.quota.filter(|value| *value != 0) {
            put("cpu", "cpu.cfs_quota_us", value.to_string());
        }
        if let Some(value) = cpu.burst {
            put("cpu", "cpu.cfs_burst_us", value.to_string());
        }
        if let Some(value) = cpu.idle {
            put("cpu", "cpu.idle", value.to_string());
        }
        if !cpu.cpus.is_empty() {
            put("cpuset", "cpuset.cpus", cpu.cpus.clone());
        }
        if !cpu.mems.is_empty() {
            put("cpuset", "cpuset.mems", cpu.mems.clone());
        }
    }
    if let Some(limit) = resources
        .pids
        .as_ref()
        .and_then(|pids| pids.limit)
        .filter(|limit| *limit != 0)
    {
        put(
            "pids",
            "pids.max",
            if limit > 0 {
                limit.to_string()
            } else {
                "max".into()
            },
        );
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            // The file's name depends on the scheduler that the kernel has.
            put("blkio", "blkio.bfq.weight|blkio.weight", weight.to_string());
        }
        for device in &io.weight_device {
            if let Some(weight) = device.weight {
                let value = format!("{}:{} {weight}", device.major, device.minor);
                put("blkio", "blkio.bfq.weight_device|blkio.weight_device", value);
            }
        }
        let throttles = [
            ("blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
            ("blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
            ("blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
            ("blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
        ];
        for (file, devices) in throttles {
            for device in devices {
                put(
                    "blkio",
                    file,
                    format!("{}:{} {}", device.major, device.minor, device.rate),
                );
            }
        }
    }
    for page in &resources.hugepage_limits {
        put(
            "hugetlb",
            &format!("hugetlb.{}.limit_in_bytes", page.page_size),
            page.limit.to_string(),
        );
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|class| *class != 0) {
            put("net_cls", "net_cls.classid", class.to_string());
        }
        for priority in &network.priorities {
            put(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", priority.name, priority.priority),
            );
        }
    }
    for (device, limits) in &resources.rdma {
        put("rdma", "rdma.max", rdma(device, limits));
    }
    writes
}

pub(crate) fn rdma(device: &str, limits: &crate::resources::Rdma) -> String {
    let text = |value: Option<u32>| value.map_or("max".to_owned(), |value| value.to_string());
    format!(
        "{device} hca_handle={} hca_object={}",
        text(limits.hca_handles),
        text(limits.hca_objects)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, raise: bool, expected: &[&str]) {
        let resources = parse(json);
        let found: Vec<_> = plan(&resources, raise)
            .into_iter()
            .map(|(_, f, v)| format!("{f}={v}"))
            .collect();
        assert_eq!(found, expected);
    }

    fn parse(json: &str) -> Resources {
        // The crate itself needs no JSON: a literal stands for what the runtime reads.
        match json {
            "memory" => Resources {
                memory: Some(crate::Memory {
                    limit: Some(1 << 20),
                    swap: Some(2 << 20),
                    ..Default::default()
                }),
                ..Default::default()
            },
            _ => Resources {
                cpu: Some(crate::Cpu {
                    shares: Some(512),
                    quota: Some(-1),
                    cpus: "0".into(),
                    ..Default::default()
                }),
                pids: Some(crate::Pids { limit: Some(-1) }),
                ..Default::default()
            },
        }
    }

    #[test]
    fn memory_before_swap_when_lowered_and_after_when_raised() {
        check(
            "memory",
            false,
            &[
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=2097152",
            ],
        );
        check(
            "memory",
            true,
            &[
                "memory.memsw.limit_in_bytes=2097152",
                "memory.limit_in_bytes=1048576",
            ],
        );
    }

    #[test]
    fn no_limit_is_written_as_each_file_wants_it() {
        check(
            "cpu",
            false,
            &[
                "cpu.shares=512",
                "cpu.cfs_quota_us=-1",
                "cpuset.cpus=0",
                "pids.max=max",
            ],
        );
    }
}
