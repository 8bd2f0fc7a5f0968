//! Published ways out by mounts, links and `/dev`, each test named after its number: it attacks as the report tells.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Host;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// Links of the image in the way of mounts stay inside.
#[test]
fn cve_2021_30465_mounts_stay_in_the_root() {
    let host = Host::new();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    let root = host.path("rootfs");
    let up = format!("../../../../../../../..{}", outside.display());
    symlink(&up, root.join("relative")).unwrap();
    symlink(&outside, root.join("absolute")).unwrap();
    let mut config = host.config(&["true"]);
    for destination in ["/relative/a", "/absolute/b"] {
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": []});
        config["mounts"].as_array_mut().unwrap().push(mount);
        let file = json!({"destination": format!("{destination}-file"), "type": "bind", "source": "/etc/passwd", "options": ["bind"]});
        config["mounts"].as_array_mut().unwrap().push(file);
    }
    host.ok_config(&config);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(root.join(outside.strip_prefix("/").unwrap()).join("a").is_dir());
}

/// procfs behind a link would make all later writes below /proc go elsewhere.
#[test]
fn cve_2019_19921_proc_is_not_mounted_over_a_link() {
    for name in ["proc", "sys"] {
        let host = Host::new();
        fs::remove_dir(host.path("rootfs").join(name)).unwrap();
        symlink("/tmp", host.path("rootfs").join(name)).unwrap();
        host.write(&host.config(&["true"]));
        let text = host.ok("runc run c 2>&1; [ $? = 1 ]");
        assert!(text.contains("must be mounted on ordinary directory"), "{text}");
    }
}

/// Masks made of something else than the null device would be no masks.
#[test]
fn cve_2025_31133_a_false_null_device_is_refused() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    // The image's own /dev, with a link where the null device should be.
    config["mounts"][1] = json!({"destination": "/dev", "type": "bind", "source": host.path("rootfs/dev"), "options": ["bind"]});
    config["mounts"].as_array_mut().unwrap().retain(|mount| {
        !["/dev/pts", "/dev/mqueue", "/dev/shm"].contains(&mount["destination"].as_str().unwrap())
    });
    symlink("/proc/sys/kernel/core_pattern", host.path("rootfs/dev/null")).unwrap();
    host.write(&config);
    let text = host.ok("runc run c 2>&1; [ $? = 1 ]");
    assert!(text.contains("/dev/null"), "{text}");
}
