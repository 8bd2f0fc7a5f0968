//! Resources as files of the v1 controllers.

use crate::Error;
use crate::limits::{When, Write};
use crate::resources::Resources;

fn bad<T>(field: &str, reason: String) -> Result<T, Error> {
    Err(Error::Value {
        field: field.to_owned(),
        reason,
    })
}

/// The writes that put `resources` in force, in order. `swap_first`: the group has limits already, and the new one for
/// memory and swap together makes room for the new one for memory.
///
/// Kernel memory limits are obsolete and ignored, as runc does.
pub(crate) fn plan(resources: &Resources, swap_first: bool) -> Result<Vec<Write>, Error> {
    if !resources.unified.is_empty() {
        return Err(Error::NoUnified);
    }
    let mut writes = Vec::new();
    let mut put = |write: Write| writes.push(write);
    if let Some(memory) = &resources.memory {
        let limit = memory
            .limit
            .filter(|limit| *limit != 0)
            .map(|value| Write::new("memory.limit", "memory", "memory.limit_in_bytes", value));
        let swap = match memory.swap.filter(|swap| *swap != 0) {
            Some(value) => Some(Write::new(
                "memory.swap",
                "memory",
                "memory.memsw.limit_in_bytes",
                value,
            )),
            // Unlimited memory is more than any limit of the sum; a kernel may not count swap at all.
            None if memory.limit == Some(-1) => Some(
                Write::new("memory.limit", "memory", "memory.memsw.limit_in_bytes", -1).when(When::IfThere),
            ),
            None => None,
        };
        let swap_first = swap_first || memory.limit == Some(-1);
        let both = if swap_first { [swap, limit] } else { [limit, swap] };
        both.into_iter().flatten().for_each(&mut put);
        if let Some(value) = memory.reservation.filter(|value| *value != 0) {
            put(Write::new(
                "memory.reservation",
                "memory",
                "memory.soft_limit_in_bytes",
                value,
            ));
        }
        if memory.disable_oom_killer == Some(true) {
            put(Write::new(
                "memory.disableOOMKiller",
                "memory",
                "memory.oom_control",
                1,
            ));
        }
        match memory.swappiness {
            // -1 in a u64 is how old callers say "leave it".
            None | Some(u64::MAX) => {}
            Some(value) if value <= 100 => {
                put(Write::new(
                    "memory.swappiness",
                    "memory",
                    "memory.swappiness",
                    value,
                ));
            }
            Some(value) => {
                let reason = format!("invalid memory swappiness value: {value} (valid range is 0-100)");
                return bad("memory.swappiness", reason);
            }
        }
    }
    if let Some(cpu) = &resources.cpu {
        let runtime = cpu.realtime_runtime.filter(|value| *value != 0);
        let quota = cpu.quota.filter(|value| *value != 0);
        // A period may be too short for the old share of time, and fit the new one.
        let again = |wanted: bool| if wanted { When::Again } else { When::Must };
        if let Some(value) = cpu.realtime_period.filter(|value| *value != 0) {
            let write = Write::new("cpu.realtimePeriod", "cpu", "cpu.rt_period_us", value);
            put(write.when(again(runtime.is_some())));
        }
        if let Some(value) = runtime {
            put(Write::new(
                "cpu.realtimeRuntime",
                "cpu",
                "cpu.rt_runtime_us",
                value,
            ));
        }
        match cpu.shares {
            None | Some(0) => {}
            // The kernel would take another value without a word.
            Some(1) => return bad("cpu.shares", "the minimum allowed cpu-shares is 2".into()),
            Some(value) if value > 262_144 => {
                return bad("cpu.shares", "the maximum allowed cpu-shares is 262144".into());
            }
            Some(value) => put(Write::new("cpu.shares", "cpu", "cpu.shares", value)),
        }
        if let Some(value) = cpu.period.filter(|value| *value != 0) {
            let write = Write::new("cpu.period", "cpu", "cpu.cfs_period_us", value);
            put(write.when(again(quota.is_some())));
        }
        if let Some(value) = cpu.burst {
            // More than the old quota, when the new one is larger; older kernels know none.
            let when = if quota.is_some() {
                When::Again
            } else {
                When::IfThere
            };
            put(Write::new("cpu.burst", "cpu", "cpu.cfs_burst_us", value).when(when));
        }
        if let Some(value) = quota {
            put(Write::new("cpu.quota", "cpu", "cpu.cfs_quota_us", value));
        }
        if let Some(value) = cpu.idle {
            put(Write::new("cpu.idle", "cpu", "cpu.idle", value));
        }
        if !cpu.cpus.is_empty() {
            put(Write::new("cpu.cpus", "cpuset", "cpuset.cpus", &cpu.cpus));
        }
        if !cpu.mems.is_empty() {
            put(Write::new("cpu.mems", "cpuset", "cpuset.mems", &cpu.mems));
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit)
        && limit != 0
    {
        let value = if limit > 0 {
            limit.to_string()
        } else {
            "max".into()
        };
        put(Write::new("pids.limit", "pids", "pids.max", value));
    }
    if let Some(io) = &resources.block_io {
        // The files' names depend on the scheduler that the kernel has.
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            let write = Write::new("blockIO.weight", "blkio", "blkio.weight", weight);
            put(write.or("blkio.bfq.weight", weight));
        }
        if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
            put(Write::new(
                "blockIO.leafWeight",
                "blkio",
                "blkio.leaf_weight",
                weight,
            ));
        }
        for device in &io.weight_device {
            let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
            if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
                let write = Write::new(
                    "blockIO.weightDevice",
                    "blkio",
                    "blkio.weight_device",
                    line(weight),
                );
                put(write.or("blkio.bfq.weight_device", line(weight)));
            }
            if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
                put(Write::new(
                    "blockIO.weightDevice",
                    "blkio",
                    "blkio.leaf_weight_device",
                    line(weight),
                ));
            }
        }
        let throttles = [
            ("ReadBps", "read_bps", &io.throttle_read_bps_device),
            ("WriteBps", "write_bps", &io.throttle_write_bps_device),
            ("ReadIOPS", "read_iops", &io.throttle_read_iops_device),
            ("WriteIOPS", "write_iops", &io.throttle_write_iops_device),
        ];
        for (field, file, devices) in throttles {
            for device in devices {
                put(Write::new(
                    &format!("blockIO.throttle{field}Device"),
                    "blkio",
                    format!("blkio.throttle.{file}_device"),
                    format!("{}:{} {}", device.major, device.minor, device.rate),
                ));
            }
        }
    }
    for page in &resources.hugepage_limits {
        let file = |kind: &str| format!("hugetlb.{}.{kind}limit_in_bytes", page.page_size);
        put(Write::new("hugepageLimits", "hugetlb", file(""), page.limit));
        // What is reserved, since Linux 5.7.
        put(Write::new("hugepageLimits", "hugetlb", file("rsvd."), page.limit).when(When::IfThere));
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|class| *class != 0) {
            put(Write::new("network.classID", "net_cls", "net_cls.classid", class));
        }
        for priority in &network.priorities {
            let line = format!("{} {}", priority.name, priority.priority);
            put(Write::new(
                "network.priorities",
                "net_prio",
                "net_prio.ifpriomap",
                line,
            ));
        }
    }
    for (device, limits) in &resources.rdma {
        put(Write::new("rdma", "rdma", "rdma.max", rdma(device, limits)));
    }
    Ok(writes)
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

    fn check(json: &str, swap_first: bool, expected: &[&str]) {
        let writes = plan(&parse(json), swap_first).unwrap();
        let found: Vec<_> = writes
            .into_iter()
            .map(|write| format!("{}={}", write.file, write.value))
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
