//! The two bundles: what Docker asks for by default, and what `runc spec` proposes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{FLOOR, SHARE};
use crate::build;
use crate::run::output;

/// Their names; each is a directory of the share, and `NAME-pause` the same with a program that stays.
pub const NAMES: [&str; 2] = ["docker", "spec"];
/// The Docker-like bundle's filter, compiled.
pub const FILTER: &str = "filter.bpf";

const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Writes all four. The containers' cgroups are below `cgroup`.
pub fn write(share: &Path, lab: &Path, cgroup: &str) -> Result<()> {
    let seccomp = seccomp()?;
    let profile = serde_json::from_value(seccomp.clone())?;
    let filter = lighter_seccomp::compile(&profile).context("compiling the seccomp profile")?;
    fs::write(share.join(FILTER), filter.to_bytes())?;
    let docker = docker(&seccomp);
    let spec = spec(share, lab)?;
    for (name, config) in NAMES.into_iter().zip([docker, spec]) {
        for (suffix, program) in [("", "true"), ("-pause", "pause")] {
            let dir = share.join(format!("{name}{suffix}"));
            rootfs(&dir.join("rootfs"), &share.join(FLOOR))?;
            for file in ["resolv.conf", "hostname", "hosts"] {
                fs::write(dir.join(file), "")?;
            }
            let mut config = config.clone();
            config["process"]["args"] = json!(["/true", program]);
            config["process"]["terminal"] = json!(false);
            config["root"]["path"] = json!(format!("{SHARE}/{name}{suffix}/rootfs"));
            // Each runtime has one of its own: see `inside`.
            config["linux"]["cgroupsPath"] = json!(format!("{cgroup}/ID"));
            fs::write(dir.join("config.json"), config.to_string())?;
        }
    }
    Ok(())
}

fn rootfs(root: &Path, program: &Path) -> Result<()> {
    for dir in ["etc", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for file in ["resolv.conf", "hostname", "hosts"] {
        fs::write(root.join("etc").join(file), "")?;
    }
    fs::copy(program, root.join("true"))?;
    Ok(())
}

/// `runc spec`'s, as the peer writes it today.
fn spec(share: &Path, lab: &Path) -> Result<Value> {
    let dir = share.join("proposal");
    fs::create_dir_all(&dir)?;
    // By the loader of its own root: this one may have an older C library.
    let peers = lab.join("peers");
    output(
        Command::new(peers.join("lib64/ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(peers.join("usr/lib/x86_64-linux-gnu"))
            .arg(peers.join("usr/sbin/runc"))
            .args(["spec", "--bundle"])
            .arg(&dir),
    )?;
    Ok(serde_json::from_slice(&fs::read(dir.join("config.json"))?)?)
}

fn docker(seccomp: &Value) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        json!({"destination": destination, "type": kind, "source": source,
            "options": options.split(',').collect::<Vec<_>>()})
    };
    let file = |name: &str| {
        mount(
            &format!("/etc/{name}"),
            "bind",
            &format!("{SHARE}/docker/{name}"),
            "rbind,rprivate",
        )
    };
    let kinds = ["mount", "network", "uts", "pid", "ipc", "cgroup"];
    let device = |kind: &str, major: i64, minor: i64, access: &str| {
        let mut rule = json!({"allow": true, "type": kind, "access": access});
        for (name, number) in [("major", major), ("minor", minor)] {
            if number >= 0 {
                rule[name] = json!(number);
            }
        }
        rule
    };
    json!({
        "ociVersion": "1.2.1",
        "hostname": "inside",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=inside"],
            "cwd": "/",
            "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "oomScoreAdj": 0,
        },
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=67108864"),
            file("resolv.conf"), file("hostname"), file("hosts"),
        ],
        "linux": {
            "resources": {
                "devices": [
                    {"allow": false, "access": "rwm"},
                    device("c", 1, 5, "rwm"), device("c", 1, 3, "rwm"), device("c", 1, 9, "rwm"),
                    device("c", 1, 8, "rwm"), device("c", 5, 0, "rwm"), device("c", 5, 1, "rwm"),
                    {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
                ],
                "memory": {"limit": 64 << 20, "swap": 128 << 20},
                "cpu": {"shares": 512, "quota": 50000, "period": 100_000},
                "pids": {"limit": 64},
            },
            "namespaces": kinds.map(|kind| json!({"type": kind})),
            "seccomp": seccomp,
            "maskedPaths": [
                "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// The rules of our packaged profile for a default container on this architecture.
fn seccomp() -> Result<Value> {
    let path = build::root().join("packaging/seccomp-default.json");
    let profile: Value =
        serde_json::from_slice(&fs::read(&path).with_context(|| format!("reading {}", path.display()))?)?;
    let empty = Vec::new();
    let words = |rule: &Value, side: &str, what: &str| -> Vec<String> {
        let list = rule[side][what].as_array().unwrap_or(&empty);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let arches = ["amd64", "x86", "x32"];
    let holds = |rule: &Value| {
        let caps = |side| words(rule, side, "caps");
        let arch = |side| words(rule, side, "arches");
        let has_cap = |cap: &String| CAPS.contains(&cap.as_str());
        let has_arch = |arch: &String| arches.contains(&arch.as_str());
        caps("includes").iter().all(has_cap)
            && !caps("excludes").iter().any(has_cap)
            && (arch("includes").is_empty() || arch("includes").iter().any(has_arch))
            && !arch("excludes").iter().any(has_arch)
    };
    let rules = profile["syscalls"].as_array().unwrap_or(&empty).iter();
    let rules: Vec<Value> = rules
        .filter(|rule| holds(rule))
        .map(|rule| {
            let mut flat = json!({"names": rule["names"], "action": rule["action"]});
            for key in ["args", "errnoRet"] {
                if !rule[key].is_null() {
                    flat[key] = rule[key].clone();
                }
            }
            flat
        })
        .collect();
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }))
}
