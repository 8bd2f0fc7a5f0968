//! Resources as files of cgroup v2.

use crate::Error;
use crate::limits::{When, Write};
use crate::resources::{Memory, Resources};
use crate::v1::rdma;

/// The writes that put `resources` in force, in order; those of `unified` follow.
///
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#unified
pub(crate) fn plan(resources: &Resources) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::new();
    let mut put = |write: Write| writes.push(write);
    let bytes = |value: i64| {
        if value == -1 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    if let Some(memory) = &resources.memory {
        let swap = swap(memory).map_err(|reason| Error::Value {
            field: "memory.swap".into(),
            reason: reason.into(),
        })?;
        if let Some(swap) = swap {
            let write = Write::new("memory.swap", "memory", "memory.swap.max", bytes(swap));
            // A kernel without swap accounting has no file to say "no swap" or "any" to.
            put(write.when(if swap <= 0 { When::IfThere } else { When::Must }));
        }
        if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
            put(Write::new("memory.limit", "memory", "memory.max", bytes(limit)));
        }
        if let Some(value) = memory.reservation.filter(|value| *value != 0) {
            put(Write::new(
                "memory.reservation",
                "memory",
                "memory.low",
                bytes(value),
            ));
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(idle) = cpu.idle {
            put(Write::new("cpu.idle", "cpu", "cpu.idle", idle));
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            put(Write::new(
                "cpu.shares",
                "cpu",
                "cpu.weight",
                weight_of_shares(shares),
            ));
        }
        let quota = cpu.quota.filter(|quota| *quota != 0);
        let period = cpu.period.filter(|period| *period != 0);
        if let Some(burst) = cpu.burst {
            // More than the old quota, when the new one is larger.
            let when = if quota.is_some() { When::Again } else { When::Must };
            put(Write::new("cpu.burst", "cpu", "cpu.max.burst", burst).when(when));
        }
        if quota.is_some() || period.is_some() {
            let most = quota
                .filter(|quota| *quota > 0)
                .map_or("max".to_owned(), |quota| quota.to_string());
            let field = if quota.is_some() {
                "cpu.quota"
            } else {
                "cpu.period"
            };
            put(Write::new(
                field,
                "cpu",
                "cpu.max",
                format!("{most} {}", period.unwrap_or(100_000)),
            ));
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
        put(Write::new("pids.limit", "pids", "pids.max", bytes(limit.max(-1))));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            // BFQ's scale is v1's.
            let write = Write::new("blockIO.weight", "io", "io.bfq.weight", weight);
            put(write.or("io.weight", io_weight(weight)));
        }
        for device in &io.weight_device {
            if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
                let line = format!("{}:{} {weight}", device.major, device.minor);
                // Only BFQ has it.
                put(Write::new("blockIO.weightDevice", "io", "io.bfq.weight", line).when(When::IfThere));
            }
        }
        let throttles = [
            ("ReadBps", "rbps", &io.throttle_read_bps_device),
            ("WriteBps", "wbps", &io.throttle_write_bps_device),
            ("ReadIOPS", "riops", &io.throttle_read_iops_device),
            ("WriteIOPS", "wiops", &io.throttle_write_iops_device),
        ];
        for (field, key, devices) in throttles {
            for device in devices {
                put(Write::new(
                    &format!("blockIO.throttle{field}Device"),
                    "io",
                    "io.max",
                    format!("{}:{} {key}={}", device.major, device.minor, device.rate),
                ));
            }
        }
    }
    for page in &resources.hugepage_limits {
        let file = |kind: &str| format!("hugetlb.{}.{kind}max", page.page_size);
        put(Write::new("hugepageLimits", "hugetlb", file(""), page.limit));
        put(Write::new("hugepageLimits", "hugetlb", file("rsvd."), page.limit).when(When::IfThere));
    }
    for (device, limits) in &resources.rdma {
        put(Write::new("rdma", "rdma", "rdma.max", rdma(device, limits)));
    }
    Ok(writes)
}

/// The limit of swap alone (-1: none), where OCI counts memory and swap together.
pub(crate) fn swap(memory: &Memory) -> Result<Option<i64>, &'static str> {
    match (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0)) {
        // As on v1, where no limit of memory takes the one of the sum away.
        (-1, 0) | (_, -1) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (-1, swap) => Ok(Some(swap)),
        (0, _) => Err("unable to set swap limit without memory limit"),
        (limit, _) if limit < 0 => Err("the memory limit is negative"),
        (limit, swap) if swap < limit => Err("memory+swap limit should be >= memory limit"),
        (limit, swap) => Ok(Some(swap - limit)),
    }
}

/// Shares 2..262144 to weight 1..10000: 1024 shares, the default of the one, become 100, the default of the other, on a
/// curve that meets both ends (what runc and crun do since 2025).
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // In range: the curve runs from 1 to 10000 between the ends above.
    10f64.powf(exponent).ceil() as u64
}

/// 10..1000 to 1..10000.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Memory, Pids};

    #[test]
    fn the_defaults_of_both_scales_meet() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (1, 1), (512, 59)] {
            assert_eq!(weight_of_shares(shares), weight);
        }
    }

    #[test]
    fn swap_is_counted_alone() {
        let resources = Resources {
            memory: Some(Memory {
                limit: Some(100),
                swap: Some(300),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                quota: Some(50_000),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(-1) }),
            ..Resources::default()
        };
        let found: Vec<_> = plan(&resources)
            .unwrap()
            .into_iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect();
        assert_eq!(
            found,
            [
                "memory.swap.max=200",
                "memory.max=100",
                "cpu.max=50000 100000",
                "pids.max=max"
            ]
        );
    }
}
