//! From a container's record to the runtime's `config.json`, as Docker 28 writes it.

pub(crate) mod caps;
mod resources;
pub(crate) mod seccomp;
mod types;
pub(crate) mod user;

use std::path::Path;

pub(crate) use resources::devices;
use types::{Capabilities, Linux, Mount, Namespace, Root};
pub(crate) use types::{ConsoleSize, Process, Spec, User};

use crate::containers::Record;
use crate::{Error, Result};

/// Paths that a container sees empty. Source: Docker 28's default.
pub(crate) const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container sees read-only.
pub(crate) const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a specification needs beside the record.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// Where `hostname`, `hosts` and `resolv.conf` are.
    pub(crate) dir: &'a Path,
    pub(crate) user: types::User,
    /// The network namespace; none for the host's.
    pub(crate) network: Option<String>,
    /// The process whose PID, IPC and UTS namespaces are joined where the record says `container:`.
    pub(crate) pid_of: Option<u32>,
    pub(crate) ipc_of: Option<u32>,
    pub(crate) cgroup_parent: &'a str,
    /// The capabilities that this engine can give away.
    pub(crate) held: &'a [String],
}

/// The specification of a container.
pub(crate) fn container(record: &Record, around: &Surroundings<'_>) -> Result<Spec> {
    let host = &record.host_config;
    let capabilities = capabilities(record, around.held)?;
    let security = Security::parse(record)?;
    let devices = devices(host)?;
    let strings = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect();
    let paths = |own: &lighter_engine_api::Strings, default: &[&str]| match own {
        _ if host.privileged || security.unconfined_paths => Vec::new(),
        Some(own) => own.clone(),
        None => strings(default),
    };
    let process = Process {
        terminal: record.config.tty,
        console_size: console_size(record),
        user: around.user.clone(),
        args: std::iter::once(&record.path)
            .chain(&record.args)
            .cloned()
            .collect(),
        env: environment(record),
        cwd: match record.config.working_dir.as_str() {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        },
        capabilities: for_user(&capabilities, around.user.uid),
        rlimits: resources::rlimits(host),
        no_new_privileges: security.no_new_privileges,
        oom_score_adj: (host.oom_score_adj != 0).then_some(host.oom_score_adj),
    };
    Ok(Spec {
        oci_version: "1.2.0",
        process,
        root: Root {
            path: "rootfs",
            readonly: host.readonly_rootfs,
        },
        hostname: if host.uts_mode == "host" {
            String::new()
        } else {
            record.config.hostname.clone()
        },
        domainname: if host.uts_mode == "host" {
            String::new()
        } else {
            record.config.domainname.clone()
        },
        mounts: mounts(record, around),
        annotations: host.annotations.clone().unwrap_or_default(),
        linux: Linux {
            sysctl: sysctls(record, around),
            resources: resources::resources(host, &devices),
            cgroups_path: cgroup(record, around.cgroup_parent),
            namespaces: namespaces(record, around),
            devices: devices.into_iter().map(|(device, _)| device).collect(),
            seccomp: security.seccomp(host.privileged, &capabilities)?,
            rootfs_propagation: propagation(record),
            masked_paths: paths(&host.masked_paths, MASKED),
            readonly_paths: paths(&host.readonly_paths, READONLY),
        },
    })
}

/// A further process in the container: as its first one, but for what the caller changes afterwards.
pub(crate) fn exec(record: &Record, user: types::User, privileged: bool, held: &[String]) -> Result<Process> {
    let capabilities = if privileged {
        held.to_vec()
    } else {
        capabilities(record, held)?
    };
    Ok(Process {
        env: environment(record),
        cwd: match record.config.working_dir.as_str() {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        },
        capabilities: for_user(&capabilities, user.uid),
        rlimits: resources::rlimits(&record.host_config),
        no_new_privileges: Security::parse(record)?.no_new_privileges,
        oom_score_adj: (record.host_config.oom_score_adj != 0).then_some(record.host_config.oom_score_adj),
        user,
        ..Process::default()
    })
}

/// What of a request can be seen to be wrong before there is a container.
pub(crate) fn validate(record: &Record, held: &[String]) -> Result<()> {
    let capabilities = capabilities(record, held)?;
    Security::parse(record)?
        .seccomp(record.host_config.privileged, &capabilities)
        .map(drop)
}

fn capabilities(record: &Record, held: &[String]) -> Result<Vec<String>> {
    let host = &record.host_config;
    let list = |caps: &lighter_engine_api::Strings| caps.clone().unwrap_or_default();
    caps::resolve(host.privileged, &list(&host.cap_add), &list(&host.cap_drop), held)
}

/// Only root has them at work; for others they are a bound, as `execve` would leave it.
fn for_user(capabilities: &[String], uid: u32) -> Capabilities {
    let at_work = if uid == 0 {
        capabilities.to_vec()
    } else {
        Vec::new()
    };
    Capabilities {
        bounding: capabilities.to_vec(),
        effective: at_work.clone(),
        permitted: at_work,
    }
}

fn console_size(record: &Record) -> Option<ConsoleSize> {
    let [height, width] = record.host_config.console_size;
    (record.config.tty && height > 0 && width > 0).then_some(ConsoleSize { height, width })
}

/// The engine's variables, then the container's; a later one of the same name takes the earlier one's place.
fn environment(record: &Record) -> Vec<String> {
    let config = &record.config;
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    add_environment(&mut env, config.env.iter().flatten());
    env
}

/// Adds variables; `NAME` alone takes one away.
pub(crate) fn add_environment<'a>(env: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for variable in more {
        let name = variable
            .split_once('=')
            .map_or(variable.as_str(), |(name, _)| name);
        let place = env
            .iter()
            .position(|old| old.split_once('=').is_some_and(|(old, _)| old == name));
        match (place, variable.contains('=')) {
            (Some(place), true) => env[place].clone_from(variable),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(variable.clone()),
            (None, false) => {}
        }
    }
}

/// `<parent>/<id>`.
fn cgroup(record: &Record, default_parent: &str) -> String {
    let parent = match record.host_config.cgroup_parent.as_str() {
        "" => default_parent,
        parent => parent,
    };
    format!("/{}/{}", parent.trim_matches('/'), record.id)
}

fn namespaces(record: &Record, around: &Surroundings<'_>) -> Vec<Namespace> {
    let host = &record.host_config;
    let of = |pid: Option<u32>, name: &str| pid.map(|pid| format!("/proc/{pid}/ns/{name}"));
    let mut list = vec![Namespace {
        kind: "mount",
        path: None,
    }];
    if let Some(path) = &around.network {
        list.push(Namespace {
            kind: "network",
            path: Some(path.clone()),
        });
    }
    if host.uts_mode != "host" {
        list.push(Namespace {
            kind: "uts",
            path: None,
        });
    }
    if host.pid_mode != "host" {
        list.push(Namespace {
            kind: "pid",
            path: of(around.pid_of, "pid"),
        });
    }
    if host.ipc_mode != "host" {
        list.push(Namespace {
            kind: "ipc",
            path: of(around.ipc_of, "ipc"),
        });
    }
    if host.cgroupns_mode == "private" {
        list.push(Namespace {
            kind: "cgroup",
            path: None,
        });
    }
    list
}

fn sysctls(record: &Record, around: &Surroundings<'_>) -> std::collections::BTreeMap<String, String> {
    let mut all = record.host_config.sysctls.clone().unwrap_or_default();
    // With a network of its own a container may open low ports and ping without being root there.
    let own_network = around.network.is_some() && !record.host_config.network_mode.starts_with("container:");
    if own_network {
        all.entry("net.ipv4.ip_unprivileged_port_start".to_owned())
            .or_insert_with(|| "0".to_owned());
        all.entry("net.ipv4.ping_group_range".to_owned())
            .or_insert_with(|| "0 2147483647".to_owned());
    }
    all
}

/// A shared or slave bind needs a root that lets mounts through.
fn propagation(record: &Record) -> Option<&'static str> {
    let has = |names: [&str; 2]| {
        record
            .mounts
            .iter()
            .any(|mount| names.contains(&mount.propagation.as_str()))
    };
    match (has(["shared", "rshared"]), has(["slave", "rslave"])) {
        (true, _) => Some("rshared"),
        (false, true) => Some("rslave"),
        (false, false) => None,
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn mounts(record: &Record, around: &Surroundings<'_>) -> Vec<Mount> {
    let host = &record.host_config;
    let access = if host.privileged { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &[access, "nosuid", "noexec", "nodev"],
        ),
    ];
    if host.ipc_mode == "host" {
        // Not every host has message queues mounted.
        if Path::new("/dev/mqueue").exists() {
            list.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind"]));
        }
        list.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind"]));
    } else {
        let size = format!("size={}", host.shm_size);
        list.push(mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ));
        list.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &size],
        ));
    }
    let mut own = own_mounts(record);
    for (destination, file) in [
        ("/etc/resolv.conf", "resolv.conf"),
        ("/etc/hostname", "hostname"),
        ("/etc/hosts", "hosts"),
    ] {
        if !own.iter().any(|mount| mount.destination == destination) {
            let source = around.dir.join(file);
            own.push(mount(
                destination,
                "bind",
                &source.to_string_lossy(),
                &["rbind", "rprivate"],
            ));
        }
    }
    // A mount of the user's takes the place of one of ours, and outer ones come before those inside them.
    list.retain(|ours| !own.iter().any(|own| own.destination == ours.destination));
    own.sort_by_key(|mount| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    list.extend(own);
    list
}

fn own_mounts(record: &Record) -> Vec<Mount> {
    let mut list = Vec::new();
    for point in &record.mounts {
        match point.kind.as_str() {
            "tmpfs" => {
                let mut options = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
                if !point.rw {
                    options.push("ro".to_owned());
                }
                options.extend(
                    point
                        .mode
                        .split(',')
                        .filter(|option| !option.is_empty())
                        .map(str::to_owned),
                );
                list.push(Mount {
                    destination: point.destination.clone(),
                    kind: "tmpfs".to_owned(),
                    source: "tmpfs".to_owned(),
                    options,
                });
            }
            _ => {
                let propagation = if point.propagation.is_empty() {
                    "rprivate"
                } else {
                    &point.propagation
                };
                let mut options = vec!["rbind", propagation];
                if !point.rw {
                    options.push("ro");
                }
                list.push(mount(&point.destination, "bind", &point.source, &options));
            }
        }
    }
    for (destination, options) in record.host_config.tmpfs.iter().flatten() {
        let mut all = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
        for option in options.split(',').filter(|option| !option.is_empty()) {
            // `exec` takes back `noexec`, and so on.
            all.retain(|old| old.strip_prefix("no") != Some(option));
            all.push(option.to_owned());
        }
        list.push(Mount {
            destination: destination.clone(),
            kind: "tmpfs".to_owned(),
            source: "tmpfs".to_owned(),
            options: all,
        });
    }
    list
}

/// `--security-opt`.
#[derive(Debug, Default)]
struct Security {
    no_new_privileges: bool,
    /// `unconfined`, or a profile as JSON.
    seccomp: Option<String>,
    /// `systempaths=unconfined`; the client turns it into empty lists, older ones do not.
    unconfined_paths: bool,
}

impl Security {
    fn parse(record: &Record) -> Result<Self> {
        let mut security = Self::default();
        for option in record.host_config.security_opt.iter().flatten() {
            if option == "no-new-privileges" {
                security.no_new_privileges = true;
                continue;
            }
            let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
                return Err(Error::invalid(format!("invalid --security-opt 1: \"{option}\"")));
            };
            match (key, value) {
                ("no-new-privileges", value) => {
                    security.no_new_privileges = value
                        .parse()
                        .map_err(|_| Error::invalid(format!("invalid --security-opt 2: \"{option}\"")))?;
                }
                ("seccomp", "builtin") => security.seccomp = None,
                ("seccomp", value) => security.seccomp = Some(value.to_owned()),
                ("systempaths", "unconfined") => security.unconfined_paths = true,
                // Neither is at work here, so there is nothing to be confined by.
                ("apparmor", "unconfined") | ("label", "disable") | ("writable-cgroups", "false") => {}
                ("apparmor" | "label" | "writable-cgroups", _) => {
                    return Err(Error::not_implemented(format!(
                        "--security-opt {option} is not supported"
                    )));
                }
                _ => return Err(Error::invalid(format!("invalid --security-opt 2: \"{option}\""))),
            }
        }
        Ok(security)
    }

    fn seccomp(&self, privileged: bool, capabilities: &[String]) -> Result<Option<seccomp::Seccomp>> {
        match self.seccomp.as_deref() {
            Some("unconfined") => Ok(None),
            Some(profile) => seccomp::custom(profile, capabilities).map(Some),
            None if privileged => Ok(None),
            None => Ok(Some(seccomp::default(capabilities))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::tests::record;

    fn spec(record: &Record) -> serde_json::Value {
        let around = Surroundings {
            dir: Path::new("/c"),
            user: types::User::default(),
            network: Some("/run/netns/x".to_owned()),
            pid_of: None,
            ipc_of: None,
            cgroup_parent: "/docker",
            held: &["CAP_CHOWN".to_owned(), "CAP_SYS_ADMIN".to_owned()],
        };
        serde_json::to_value(container(record, &around).unwrap()).unwrap()
    }

    #[test]
    fn a_plain_container_gets_dockers_defaults() {
        let record = record();
        let spec = spec(&record);
        assert_eq!(spec["process"]["args"], serde_json::json!(["sh", "-c", "true"]));
        assert_eq!(spec["process"]["env"], serde_json::json!([PATH, "HOSTNAME=box"]));
        assert_eq!(
            spec["process"]["capabilities"]["effective"]
                .as_array()
                .unwrap()
                .len(),
            14
        );
        assert_eq!(spec["linux"]["cgroupsPath"], format!("/docker/{}", record.id));
        assert_eq!(
            spec["linux"]["maskedPaths"].as_array().unwrap().len(),
            MASKED.len()
        );
        assert_eq!(
            spec["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"],
            "0"
        );
        let destinations: Vec<_> = spec["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| mount["destination"].as_str().unwrap())
            .collect();
        assert_eq!(
            destinations,
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/sys",
                "/sys/fs/cgroup",
                "/dev/mqueue",
                "/dev/shm",
                "/etc/resolv.conf",
                "/etc/hostname",
                "/etc/hosts"
            ]
        );
    }

    #[test]
    fn a_privileged_container_is_confined_by_nothing() {
        let mut record = record();
        record.host_config.privileged = true;
        let spec = spec(&record);
        assert!(spec["linux"].get("seccomp").is_none() && spec["linux"].get("maskedPaths").is_none());
        assert_eq!(
            spec["process"]["capabilities"]["bounding"],
            serde_json::json!(["CAP_CHOWN", "CAP_SYS_ADMIN"])
        );
        assert_eq!(
            spec["linux"]["resources"]["devices"],
            serde_json::json!([{"allow": true, "access": "rwm"}])
        );
    }

    #[test]
    fn later_variables_take_the_place_of_earlier_ones() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        add_environment(&mut env, &["A=3".to_owned(), "B".to_owned(), "C=".to_owned()]);
        assert_eq!(env, ["A=3", "C="]);
    }

    #[test]
    fn unknown_security_options_are_refused() {
        let mut record = record();
        record.host_config.security_opt = Some(vec!["nonsense".into()]);
        assert_eq!(
            validate(&record, &[]).unwrap_err().message,
            "invalid --security-opt 1: \"nonsense\""
        );
    }
}
