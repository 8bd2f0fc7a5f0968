//! Resources as files of cgroup v2.

use crate::resources::Resources;
use crate::v1::rdma;

/// The writes (file, value) that put `resources` in force, in order.
///
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#unified
pub(crate) fn plan(resources: &Resources) -> Vec<(String, String)> {
    let mut writes = Vec::new();
    let mut put = |file: &str, value: String| writes.push((file.to_owned(), value));
    let bytes = |value: i64| {
        if value == -1 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    if let Some(memory) = &resources.memory {
        if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
            // OCI counts memory and swap together, v2 swap alone.
            let alone = match memory.limit {
                _ if swap == -1 => -1,
                Some(limit) if limit > 0 => swap - limit,
                _ => 0,
            };
            put("memory.swap.max", bytes(alone.max(-1)));
        }
        if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
            put("memory.max", bytes(limit));
        }
        if let Some(value) = memory.reservation.filter(|value| *value != 0) {
            put("memory.low", bytes(value));
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(idle) = cpu.idle {
            put("cpu.idle", idle.to_string());
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            put("cpu.weight", weight_of_shares(shares).to_string());
        }
        let quota = cpu.quota.filter(|quota| *quota != 0);
        let period = cpu.period.filter(|period| *period != 0);
        if quota.is_some() || period.is_some() {
            let quota = quota
                .filter(|quota| *quota > 0)
                .map_or("max".to_owned(), |quota| quota.to_string());
            put("cpu.max", format!("{quota} {}", period.unwrap_or(100_000)));
        }
        if let Some(burst) = cpu.burst {
            put("cpu.max.burst", burst.to_string());
        }
        if !cpu.cpus.is_empty() {
            put("cpuset.cpus", cpu.cpus.clone());
        }
        if !cpu.mems.is_empty() {
            put("cpuset.mems", cpu.mems.clone());
        }
    }
    if let Some(limit) = resources
        .pids
        .as_ref()
        .and_then(|pids| pids.limit)
        .filter(|limit| *limit != 0)
    {
        put("pids.max", bytes(limit.max(-1)));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            put("io.bfq.weight|io.weight", io_weight(weight).to_string());
        }
        for device in &io.weight_device {
            if let Some(weight) = device.weight {
                put(
                    "io.bfq.weight",
                    format!("{}:{} {weight}", device.major, device.minor),
                );
            }
        }
        let throttles = [
            ("rbps", &io.throttle_read_bps_device),
            ("wbps", &io.throttle_write_bps_device),
            ("riops", &io.throttle_read_iops_device),
            ("wiops", &io.throttle_write_iops_device),
        ];
        for (key, devices) in throttles {
            for device in devices {
                put(
                    "io.max",
                    format!("{}:{} {key}={}", device.major, device.minor, device.rate),
                );
            }
        }
    }
    for page in &resources.hugepage_limits {
        put(&format!("hugetlb.{}.max", page.page_size), page.limit.to_string());
    }
    for (device, limits) in &resources.rdma {
        put("rdma.max", rdma(device, limits));
    }
    for (file, value) in &resources.unified {
        put(file, value.clone());
    }
    writes
}

/// Shares 2..262144 to weight 1..10000: 1024 shares, the default of the one, become 100, the default of the other, on a
/// curve that meets both ends (what runc and crun do since 2025).
fn weight_of_shares(shares: u64) -> u64 {
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
fn io_weight(weight: u16) -> u64 {
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
            .into_iter()
            .map(|(f, v)| format!("{f}={v}"))
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
