//! Limits and devices: from the API's words to cgroup's.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use lighter_engine_api::{DeviceMapping, HostConfig};

use super::types::{BlockIo, Cpu, Device, DeviceRule, Memory, Pids, Resources, Rlimit};
use crate::{Error, Result};

/// Microseconds of a period of the CPU limit.
const PERIOD: u64 = 100_000;

/// Everything the container's cgroup is to limit. `devices` are those that [`devices`] found.
pub(crate) fn resources(host: &HostConfig, devices: &[(Device, String)]) -> Resources {
    let positive = |value: i64| (value > 0).then_some(value);
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let (quota, period) = match u64::try_from(host.nano_cpus).unwrap_or(0) {
        0 => (positive(host.cpu_quota), unsigned(host.cpu_period)),
        nano => (
            i64::try_from(nano * (PERIOD / 1000) / 1_000_000).ok(),
            Some(PERIOD),
        ),
    };
    Resources {
        devices: device_rules(host, devices),
        memory: Memory {
            limit: positive(host.memory),
            reservation: positive(host.memory_reservation),
            swap: (host.memory_swap != 0).then_some(host.memory_swap),
            swappiness: host.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
            disable_oom_killer: host.oom_kill_disable.filter(|disable| *disable),
        },
        cpu: Cpu {
            shares: unsigned(host.cpu_shares),
            quota,
            period,
            cpus: host.cpuset_cpus.clone(),
            mems: host.cpuset_mems.clone(),
        },
        pids: host
            .pids_limit
            .filter(|limit| *limit != 0)
            .map(|limit| Pids { limit: limit.max(-1) }),
        block_io: (host.blkio_weight > 0).then_some(BlockIo {
            weight: host.blkio_weight,
        }),
    }
}

/// What Docker allows every container: the harmless devices, its terminals, and to make (not to use) any node.
fn device_rules(host: &HostConfig, devices: &[(Device, String)]) -> Vec<DeviceRule> {
    let rule = |allow, kind, major, minor, access: &str| DeviceRule {
        allow,
        kind,
        major,
        minor,
        access: access.to_owned(),
    };
    if host.privileged {
        return vec![rule(true, None, None, None, "rwm")];
    }
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        rule(true, Some('c'), None, None, "m"),
        rule(true, Some('b'), None, None, "m"),
    ];
    // zero, null, urandom, random, full, tty, console, ptmx
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (1, 7), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, Some('c'), Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, Some('c'), Some(136), None, "rwm"));
    // fuse
    rules.push(rule(false, Some('c'), Some(10), Some(229), "rwm"));
    for (device, access) in devices {
        rules.push(rule(
            true,
            Some(device.kind),
            Some(device.major),
            Some(device.minor),
            access,
        ));
    }
    rules
}

/// The nodes to make in the container, each with the access it gives (`rwm`).
pub(crate) fn devices(host: &HostConfig) -> Result<Vec<(Device, String)>> {
    let mut found = Vec::new();
    if host.privileged {
        collect(Path::new("/dev"), "/dev", &mut found);
        return Ok(found
            .into_iter()
            .map(|device| (device, "rwm".to_owned()))
            .collect());
    }
    let mut all = Vec::new();
    for mapping in host.devices.iter().flatten() {
        let access = if mapping.cgroup_permissions.is_empty() {
            "rwm"
        } else {
            &mapping.cgroup_permissions
        };
        if !access.bytes().all(|byte| b"rwm".contains(&byte)) {
            return Err(Error::invalid(format!("invalid device mode: {access}")));
        }
        found.clear();
        mapped(mapping, &mut found)?;
        all.extend(found.drain(..).map(|device| (device, access.to_owned())));
    }
    Ok(all)
}

fn mapped(mapping: &DeviceMapping, found: &mut Vec<Device>) -> Result<()> {
    let source = Path::new(&mapping.path_on_host);
    let target = if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    };
    let failed = |why: &str| {
        Error::system(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            source.display()
        ))
    };
    let real = fs::canonicalize(source).map_err(|_| failed("no such file or directory"))?;
    if real.is_dir() {
        collect(&real, target, found);
    } else if let Some(device) = node(&real, target) {
        found.push(device);
    }
    if found.is_empty() {
        Err(failed("not a device node"))
    } else {
        Ok(())
    }
}

/// All device nodes below `dir`. What vanishes while it is walked is left out.
fn collect(dir: &Path, target: &str, found: &mut Vec<Device>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let target = format!("{target}/{name}");
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"].contains(&&*name) {
                collect(&entry.path(), &target, found);
            }
        } else if name != "console"
            && let Some(device) = node(&entry.path(), &target)
        {
            found.push(device);
        }
    }
}

fn node(path: &Path, target: &str) -> Option<Device> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => 'b',
        kind if kind.is_char_device() => 'c',
        _ => return None,
    };
    Some(Device {
        path: target.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()).into(),
        minor: rustix::fs::minor(metadata.rdev()).into(),
        file_mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// `--ulimit`.
pub(crate) fn rlimits(host: &HostConfig) -> Vec<Rlimit> {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let limit = |limit: &lighter_engine_api::Ulimit| Rlimit {
        kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        hard: number(limit.hard),
        soft: number(limit.soft),
    };
    host.ulimits.iter().flatten().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota() {
        let host = HostConfig {
            nano_cpus: 1_500_000_000,
            memory: 64 << 20,
            memory_swap: 128 << 20,
            ..HostConfig::default()
        };
        let resources = resources(&host, &[]);
        assert_eq!(
            (resources.cpu.quota, resources.cpu.period),
            (Some(150_000), Some(100_000))
        );
        assert_eq!(
            (resources.memory.limit, resources.memory.swap),
            (Some(64 << 20), Some(128 << 20))
        );
        assert_eq!(resources.pids, None);
    }

    #[test]
    fn a_mapped_device_is_made_and_allowed() {
        let mapping = DeviceMapping {
            path_on_host: "/dev/null".into(),
            path_in_container: "/dev/x".into(),
            cgroup_permissions: "r".into(),
        };
        let host = HostConfig {
            devices: Some(vec![mapping]),
            ..HostConfig::default()
        };
        let found = devices(&host).unwrap();
        assert_eq!(
            (found[0].0.path.as_str(), found[0].0.major, found[0].0.minor),
            ("/dev/x", 1, 3)
        );
        let rules = resources(&host, &found).devices;
        assert_eq!(rules.last().unwrap().access, "r");
    }
}
