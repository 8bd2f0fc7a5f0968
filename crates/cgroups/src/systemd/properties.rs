//! Resources as properties of a unit.
//!
//= https://www.freedesktop.org/wiki/Software/systemd/ControlGroupInterface/

use super::wire::Value;
use super::{Error, devices};
use crate::resources::{Cpu, Resources};
use crate::{Version, device, v2};

/// A property to set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) value: Value,
    /// Whether an older (or, for v1, newer) systemd may not know it. It is in the group's files too.
    pub(super) optional: bool,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Self {
        Self {
            name: name.to_owned(),
            value,
            optional: false,
        }
    }

    fn optional(name: &str, value: Value) -> Self {
        Self {
            optional: true,
            ..Self::new(name, value)
        }
    }

    /// `(sv)`.
    pub(super) fn to_value(&self) -> Value {
        Value::Struct(vec![
            Value::text(&self.name),
            Value::Variant(Box::new(self.value.clone())),
        ])
    }
}

/// The device rules, for a new unit.
pub(super) fn devices(resources: &Resources, version: Version) -> Vec<Property> {
    if resources.devices.is_empty() {
        return Vec::new();
    }
    let (allow, policy) = match devices::allow_list(&device::effective(&resources.devices)) {
        Some(list) => list,
        // On v2 our program stands alone: systemd's would deny what it cannot say. On v1 systemd writes its own policy
        // into our files at each reload: rather too little than everything.
        None if version == Version::V2 => return Vec::new(),
        None => (Vec::new(), "strict"),
    };
    vec![
        Property::new("DevicePolicy", Value::text(policy)),
        Property::new("DeviceAllow", Value::Array("(ss)".into(), allow)),
    ]
}

/// A bit for each number of a list like `0-3,5`, as bytes from the least significant.
fn bits(list: &str) -> Result<Value, Error> {
    let bad = || Error::Value {
        value: list.to_owned(),
        what: "no list of numbers",
    };
    let mut bytes = vec![0u8; 0];
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| bad())?;
        let last: usize = last.trim().parse().map_err(|_| bad())?;
        // As many as any kernel has.
        if first > last || last > 1 << 16 {
            return Err(bad());
        }
        for number in first..=last {
            if bytes.len() <= number / 8 {
                bytes.resize(number / 8 + 1, 0);
            }
            bytes[number / 8] |= 1 << (number % 8);
        }
    }
    if bytes.is_empty() {
        return Err(bad());
    }
    Ok(Value::bytes(&bytes))
}

const DEFAULT_PERIOD: u64 = 100_000;

/// systemd keeps whole percents of a processor: a quota in between becomes the next higher, in the group's file as well,
/// or the two would differ.
pub(super) fn round_quota(cpu: &Cpu) -> Option<i64> {
    let quota = cpu.quota.filter(|quota| *quota > 0)?;
    let period = cpu.period.filter(|period| *period != 0).unwrap_or(DEFAULT_PERIOD);
    let per_second = per_second(quota, period);
    i64::try_from(u128::from(per_second) * u128::from(period) / 1_000_000).ok()
}

fn per_second(quota: i64, period: u64) -> u64 {
    let exact = i128::from(quota) * 1_000_000 / i128::from(period.max(1));
    u64::try_from(exact)
        .unwrap_or(u64::MAX)
        .div_ceil(10_000)
        .saturating_mul(10_000)
}

fn quota(found: &mut Vec<Property>, quota: i64, period: u64) {
    if period != 0 {
        found.push(Property::optional("CPUQuotaPeriodUSec", Value::Uint64(period)));
    }
    if quota != 0 || period != 0 {
        let value = if quota > 0 {
            per_second(quota, if period == 0 { DEFAULT_PERIOD } else { period })
        } else {
            u64::MAX
        };
        found.push(Property::new("CPUQuotaPerSecUSec", Value::Uint64(value)));
    }
}

/// -1 is systemd's infinity, `u64::MAX`.
fn limit(value: i64) -> Value {
    Value::Uint64(u64::try_from(value).unwrap_or(u64::MAX))
}

/// The limits that systemd knows; it and the group's files must say the same, or systemd takes its own back when it
/// reloads.
pub(super) fn limits(resources: &Resources, version: Version) -> Result<Vec<Property>, Error> {
    let mut found = Vec::new();
    let unified = version == Version::V2;
    if let Some(memory) = &resources.memory {
        if let Some(value) = memory.limit.filter(|value| *value != 0) {
            let name = if unified { "MemoryMax" } else { "MemoryLimit" };
            let property = Property::new(name, limit(value));
            found.push(Property {
                optional: !unified,
                ..property
            });
        }
        if let Some(value) = memory.reservation.filter(|value| *value != 0 && unified) {
            found.push(Property::new("MemoryLow", limit(value)));
        }
        if unified
            && let Some(swap) = v2::swap(memory).map_err(|what| Error::Value {
                value: "memory.swap".into(),
                what,
            })?
        {
            found.push(Property::new("MemorySwapMax", limit(swap)));
        }
    }
    if let Some(cpu) = &resources.cpu {
        let idle = unified && cpu.idle == Some(1);
        if idle {
            // Since systemd 252.
            found.push(Property::optional("CPUWeight", Value::Uint64(0)));
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && !idle) {
            found.push(if unified {
                Property::new("CPUWeight", Value::Uint64(v2::weight_of_shares(shares)))
            } else {
                Property::optional("CPUShares", Value::Uint64(shares))
            });
        }
        quota(&mut found, cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if !list.is_empty() {
                found.push(Property::optional(name, bits(list)?));
            }
        }
    }
    if let Some(value) = resources.pids.as_ref().and_then(|pids| pids.limit)
        && value != 0
    {
        found.push(Property::new("TasksMax", limit(value)));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight)
        && weight != 0
    {
        found.push(if unified {
            Property::new("IOWeight", Value::Uint64(v2::io_weight(weight)))
        } else {
            Property::optional("BlockIOWeight", Value::Uint64(weight.into()))
        });
    }
    for (file, value) in &resources.unified {
        from_file(&mut found, resources, file, value.trim())?;
    }
    Ok(found)
}

/// What systemd has a property for among the files of `unified`.
fn from_file(found: &mut Vec<Property>, resources: &Resources, file: &str, value: &str) -> Result<(), Error> {
    let bad = |what| Error::Value {
        value: format!("{file}={value}"),
        what,
    };
    let number = |text: &str| {
        if text == "max" {
            Ok(u64::MAX)
        } else {
            text.parse().map_err(|_| bad("no number"))
        }
    };
    let idle = resources
        .unified
        .get("cpu.idle")
        .is_some_and(|value| value.trim() == "1");
    let name = match file {
        "cpu.idle" => {
            if idle {
                found.push(Property::optional("CPUWeight", Value::Uint64(0)));
            }
            return Ok(());
        }
        "cpu.weight" if idle => return Ok(()),
        "cpu.weight" => "CPUWeight",
        "cpu.max" => {
            let mut fields = value.split_whitespace();
            let (Some(first), second, None) = (fields.next(), fields.next(), fields.next()) else {
                return Err(bad("neither QUOTA nor QUOTA PERIOD"));
            };
            let most = if first == "max" {
                0
            } else {
                first.parse().map_err(|_| bad("no number"))?
            };
            quota(found, most, second.map_or(Ok(DEFAULT_PERIOD), number)?);
            return Ok(());
        }
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file == "cpuset.cpus" {
                "AllowedCPUs"
            } else {
                "AllowedMemoryNodes"
            };
            found.push(Property::optional(name, bits(value)?));
            return Ok(());
        }
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return Ok(()),
    };
    found.push(Property::new(name, Value::Uint64(number(value)?)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Pids};

    fn names(resources: &Resources, version: Version) -> Vec<String> {
        let limits = limits(resources, version).unwrap();
        limits
            .iter()
            .map(|property| match &property.value {
                Value::Uint64(u64::MAX) => format!("{}=max", property.name),
                Value::Uint64(value) => format!("{}={value}", property.name),
                value => format!("{}={value:?}", property.name),
            })
            .collect()
    }

    #[test]
    fn limits_have_their_names_on_both_interfaces() {
        let resources = Resources {
            memory: Some(Memory {
                limit: Some(100),
                swap: Some(300),
                reservation: Some(50),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(33_333),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(-1) }),
            ..Resources::default()
        };
        assert_eq!(
            names(&resources, Version::V2),
            [
                "MemoryMax=100",
                "MemoryLow=50",
                "MemorySwapMax=200",
                "CPUWeight=100",
                "CPUQuotaPerSecUSec=340000",
                "TasksMax=max"
            ]
        );
        assert_eq!(
            names(&resources, Version::V1),
            [
                "MemoryLimit=100",
                "CPUShares=1024",
                "CPUQuotaPerSecUSec=340000",
                "TasksMax=max"
            ]
        );
        assert_eq!(round_quota(resources.cpu.as_ref().unwrap()), Some(34_000));
    }

    #[test]
    fn files_that_systemd_knows_become_properties() {
        let unified = [
            ("cpu.max", "max 50000"),
            ("cpu.idle", "1"),
            ("cpu.weight", "7"),
            ("memory.high", "max"),
            ("pids.max", " 9 "),
            ("io.max", "8:0 riops=1"),
        ];
        let unified = unified.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let resources = Resources {
            unified: unified.collect(),
            ..Resources::default()
        };
        assert_eq!(
            names(&resources, Version::V2),
            [
                "CPUWeight=0",
                "CPUQuotaPeriodUSec=50000",
                "CPUQuotaPerSecUSec=max",
                "MemoryHigh=max",
                "TasksMax=9"
            ]
        );
    }

    #[test]
    fn lists_of_processors_become_bits() {
        assert_eq!(bits("0-3,9").unwrap(), Value::bytes(&[0x0f, 0x02]));
        assert_eq!(bits(" 7 ").unwrap(), Value::bytes(&[0x80]));
        for bad in ["", "x", "3-1", "1-", "99999999"] {
            assert!(bits(bad).is_err(), "{bad:?}");
        }
    }
}
