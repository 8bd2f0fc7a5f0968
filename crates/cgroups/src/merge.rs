//! `update`: resources over those that are in force.

use crate::resources::{Cpu, Memory, Resources, ThrottleDevice, WeightDevice};

impl Resources {
    /// What is to be put in force when `new` changes what `self` says, by runc's rules: a field that is not given keeps
    /// its value where that is needed to understand another (memory with swap, quota with period), and is not set again
    /// where it stands alone. Device rules stay out of it.
    #[must_use]
    pub fn updated(&self, new: &Self) -> Self {
        let mut result = self.clone();
        result.devices.clear();
        if let Some(new) = &new.memory {
            let mut new = new.clone();
            if new.limit == Some(-1) && new.swap.is_none() {
                // Without a limit of memory there is none of the sum.
                new.swap = Some(0);
            }
            let memory = result.memory.get_or_insert_default();
            memory.update(&new);
        }
        let (old, new_cpu) = (
            result.cpu.take().unwrap_or_default(),
            new.cpu.clone().unwrap_or_default(),
        );
        result.cpu = Some(old.updated(new_cpu));
        // Given or not: `unified` and the number of tasks are not remembered.
        result.pids.clone_from(&new.pids);
        result.unified.clone_from(&new.unified);
        if let Some(new) = &new.block_io {
            let io = result.block_io.get_or_insert_default();
            io.weight = new.weight.or(io.weight);
            io.leaf_weight = new.leaf_weight.or(io.leaf_weight);
            for device in &new.weight_device {
                set_weight(&mut io.weight_device, device);
            }
            for (old, new) in [
                (&mut io.throttle_read_bps_device, &new.throttle_read_bps_device),
                (&mut io.throttle_write_bps_device, &new.throttle_write_bps_device),
                (&mut io.throttle_read_iops_device, &new.throttle_read_iops_device),
                (
                    &mut io.throttle_write_iops_device,
                    &new.throttle_write_iops_device,
                ),
            ] {
                new.iter().for_each(|device| set_rate(old, device));
            }
        }
        if !new.hugepage_limits.is_empty() {
            result.hugepage_limits.clone_from(&new.hugepage_limits);
        }
        if new.network.is_some() {
            result.network.clone_from(&new.network);
        }
        for (device, limits) in &new.rdma {
            result.rdma.insert(device.clone(), limits.clone());
        }
        result
    }
}

impl Memory {
    fn update(&mut self, new: &Self) {
        self.limit = new.limit.or(self.limit);
        self.reservation = new.reservation.or(self.reservation);
        self.swap = new.swap.or(self.swap);
        self.swappiness = new.swappiness.or(self.swappiness);
        self.disable_oom_killer = new.disable_oom_killer.or(self.disable_oom_killer);
        // Of this update, not of the next.
        self.check_before_update = new.check_before_update;
    }
}

impl Cpu {
    fn updated(&self, new: Self) -> Self {
        let set = |quota: Option<i64>| quota.filter(|value| *value != 0);
        let long = |period: Option<u64>| period.filter(|value| *value != 0);
        let (quota, period) = match (set(new.quota), long(new.period)) {
            (None, Some(period)) => (self.quota, Some(period)),
            (Some(quota), None) => (Some(quota), self.period),
            both => both,
        };
        Self {
            quota,
            period,
            // An idle group has no weight.
            shares: if new.idle.is_some() && new.shares.is_none() {
                Some(0)
            } else {
                new.shares.or(self.shares)
            },
            realtime_runtime: new.realtime_runtime.or(self.realtime_runtime),
            realtime_period: new.realtime_period.or(self.realtime_period),
            ..new
        }
    }
}

fn set_weight(devices: &mut Vec<WeightDevice>, new: &WeightDevice) {
    match devices
        .iter_mut()
        .rev()
        .find(|old| (old.major, old.minor) == (new.major, new.minor))
    {
        Some(old) => {
            old.weight = new.weight.or(old.weight);
            old.leaf_weight = new.leaf_weight.or(old.leaf_weight);
        }
        None => devices.push(new.clone()),
    }
}

fn set_rate(devices: &mut Vec<ThrottleDevice>, new: &ThrottleDevice) {
    match devices
        .iter_mut()
        .rev()
        .find(|old| (old.major, old.minor) == (new.major, new.minor))
    {
        Some(old) => old.rate = new.rate,
        None => devices.push(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_remembered() {
        let memory = |limit, swap| {
            Some(Memory {
                limit,
                swap,
                ..Memory::default()
            })
        };
        let old = Resources {
            memory: memory(Some(100), Some(300)),
            cpu: Some(Cpu {
                quota: Some(50),
                period: Some(1000),
                shares: Some(7),
                ..Cpu::default()
            }),
            ..Resources::default()
        };
        let update = |memory: Option<Memory>, cpu: Cpu| {
            old.updated(&Resources {
                memory,
                cpu: Some(cpu),
                ..Resources::default()
            })
        };
        let new = update(memory(Some(50), None), Cpu::default());
        assert_eq!(new.memory, memory(Some(50), Some(300)));
        // Neither quota nor period given: neither is set again.
        assert_eq!(
            new.cpu.as_ref().map(|cpu| (cpu.quota, cpu.period, cpu.shares)),
            Some((None, None, Some(7)))
        );
        let quota = Cpu {
            quota: Some(60),
            ..Cpu::default()
        };
        let new = update(None, quota).cpu.unwrap();
        assert_eq!((new.quota, new.period), (Some(60), Some(1000)));
        let idle = Cpu {
            idle: Some(1),
            ..Cpu::default()
        };
        assert_eq!(update(None, idle).cpu.unwrap().shares, Some(0));
        assert_eq!(
            update(memory(Some(-1), None), Cpu::default()).memory,
            memory(Some(-1), Some(0))
        );
    }

    #[test]
    fn a_device_is_changed_in_its_place() {
        let rate = |minor, rate| ThrottleDevice {
            major: 8,
            minor,
            rate,
        };
        let mut devices = vec![rate(0, 1), rate(1, 2)];
        set_rate(&mut devices, &rate(0, 5));
        set_rate(&mut devices, &rate(2, 6));
        assert_eq!(devices, [rate(0, 5), rate(1, 2), rate(2, 6)]);
    }
}
