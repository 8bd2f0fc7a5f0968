//! Published ways out by mounts, links and `/dev`, each test named after its number: it attacks as the report tells.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Links of the image in the way of mounts stay inside.
#[test]
fn cve_2021_30465_links_of_the_image_stay_in_the_root() {
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

fn add(config: &mut Value, kind: &str, source: impl AsRef<Path>, destination: &str, options: &[&str]) {
    let mount =
        json!({"type": kind, "source": source.as_ref(), "destination": destination, "options": options});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

fn refused(host: &Host, config: &Value, expected: &str) {
    host.write(config);
    let text = host.ok("runc run c 2>&1; [ $? = 1 ]");
    assert!(text.contains(expected), "{expected:?} in {text}");
}

fn without(config: &mut Value, destinations: &[&str]) {
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !destinations.iter().any(|d| mount["destination"] == *d));
}

/// An image with a volume on /proc: labels would be written to files of the image.
#[test]
fn cve_2019_16884_nothing_but_procfs_is_mounted_on_proc() {
    let host = Host::new();
    fs::create_dir_all(host.path("volume/self/attr")).unwrap();
    let volume = host.path("volume");
    for (kind, source, destination, expected) in [
        (
            "bind",
            volume.as_path(),
            "/proc",
            "because it is not of type proc",
        ),
        (
            "tmpfs",
            Path::new("tmpfs"),
            "/proc",
            "because it is not of type proc",
        ),
        (
            "bind",
            volume.as_path(),
            "/proc/self",
            "because it is inside /proc",
        ),
        (
            "tmpfs",
            Path::new("tmpfs"),
            "/proc/sys",
            "because it is inside /proc",
        ),
        (
            "tmpfs",
            Path::new("tmpfs"),
            "/tmp/../proc/./sys",
            "because it is inside /proc",
        ),
        (
            "tmpfs",
            Path::new("tmpfs"),
            "/link/sys",
            "because it is inside /proc",
        ),
        (
            "bind",
            volume.as_path(),
            "/link",
            "because it is not of type proc",
        ),
    ] {
        let mut config = host.config(&["true"]);
        let _ = symlink("proc", host.path("rootfs/link"));
        let options: &[&str] = if kind == "bind" { &["rbind"] } else { &[] };
        add(&mut config, kind, source, destination, options);
        refused(&host, &config, expected);
    }
    // What lxcfs emulates is welcome, and a true procfs.
    fs::write(host.path("meminfo"), "emulated\n").unwrap();
    let mut config = host.config(&["cat", "/proc/meminfo"]);
    add(
        &mut config,
        "bind",
        host.path("meminfo"),
        "/proc/meminfo",
        &["bind"],
    );
    assert_eq!(host.ok_config(&config), "emulated\n");
    let mut config = host.config(&["test", "-e", "/proc/self/status"]);
    config["mounts"][0] =
        json!({"type": "bind", "source": "/proc", "destination": "/proc", "options": ["rbind"]});
    host.ok_config(&config);
}

/// Links on the way to /proc and /sys: the check of the destination was by its name.
#[test]
fn cve_2023_28642_links_do_not_hide_proc() {
    let host = Host::new();
    fs::remove_dir(host.path("rootfs/proc")).unwrap();
    fs::create_dir(host.path("rootfs/other")).unwrap();
    symlink("other", host.path("rootfs/proc")).unwrap();
    let mut config = host.config(&["true"]);
    config["mounts"][0] =
        json!({"type": "bind", "source": "/proc", "destination": "/other", "options": ["rbind"]});
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    host.write(&config);
    let output = host.run("runc run c");
    assert!(!output.status.success(), "{}", words(&output));
}

/// sysctls are written to procfs or not at all.
#[test]
fn cve_2023_27561_sysctls_go_to_procfs() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    without(&mut config, &["/proc"]);
    fs::create_dir_all(host.path("rootfs/proc/sys/net/ipv4")).unwrap();
    fs::write(host.path("rootfs/proc/sys/net/ipv4/ip_forward"), "false").unwrap();
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    refused(&host, &config, "/proc is not the root of a procfs");
    let text = fs::read_to_string(host.path("rootfs/proc/sys/net/ipv4/ip_forward")).unwrap();
    assert_eq!(text, "false");
}

/// Writes below /proc were led to other files of procfs: by what is mounted over the file, or a link.
#[test]
fn cve_2025_52881_a_write_is_not_led_elsewhere() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    // A hook of the container's stands for the racing process: it mounts within the new root while we prepare it.
    let target = host.path("rootfs/proc/sys/net/ipv4/ip_forward");
    for way in [
        format!("mount --bind /proc/version {0}", target.display()),
        format!("mount -t tmpfs tmpfs {}", target.parent().unwrap().display()),
    ] {
        config["hooks"] = json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", way], "env": ["PATH=/bin:/sbin:/usr/bin"]}]});
        refused(&host, &config, "a mount or a symbolic link is in its way");
    }
}

/// The place of the terminal led to a file of procfs, which then was no longer masked.
#[test]
fn cve_2025_52565_the_console_is_not_mounted_through_a_link() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["process"]["terminal"] = json!(true);
    without(&mut config, &["/dev", "/dev/mqueue", "/dev/shm"]);
    symlink("/proc/sys/kernel/core_pattern", host.path("rootfs/dev/console")).unwrap();
    host.write(&config);
    let text = host.ok("script -qec \"$RUNC run c\" /dev/null 2>&1 </dev/null; true");
    assert!(text.contains("dev/console"), "{text}");
    assert!(text.contains("failed"), "{text}");
}

/// Without a cgroup namespace the whole hierarchy of the host shows: never writable when it is asked for read-only.
#[test]
fn cve_2023_25809_the_hosts_cgroups_are_read_only() {
    for user in [false, true] {
        let host = Host::new();
        let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/escaped 2>/dev/null && echo $d; done; \
                      grep ' /sys/fs/cgroup' /proc/mounts | grep -v ' ro,'; echo end";
        let mut config = host.config(&["sh", "-c", script]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
        if user {
            namespaces.push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 0, "size": 65_536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        }
        assert_eq!(host.ok_config(&config), "end\n", "user namespace: {user}");
    }
}

/// A /dev of the image's that leads out: a file `ptmx` was removed there, and links made.
#[test]
fn cve_2026_41579_dev_of_the_image_may_be_a_link() {
    let host = Host::new();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("ptmx"), "decoy").unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    for link in [outside.as_path(), Path::new(&up)] {
        let dev = host.path("rootfs/dev");
        let _ = fs::remove_dir(&dev);
        let _ = fs::remove_file(&dev);
        symlink(link, &dev).unwrap();
        // There, inside the root, it is harmless.
        fs::create_dir_all(host.path("rootfs").join(outside.strip_prefix("/").unwrap())).unwrap();
        let mut config = host.config(&["true"]);
        without(&mut config, &["/dev", "/dev/pts", "/dev/mqueue", "/dev/shm"]);
        host.write(&config);
        host.ok("runc run c");
        let names: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["ptmx"]);
        assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "decoy");
    }
}

/// A volume that two containers share, in which one swaps a directory for a link to the host's root while mounts of the
/// other go through it (2021-30465), and moves directories about while they are made (2024-45310).
fn race(script: &str) {
    let host = Host::new();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(host.path("volume/dir")).unwrap();
    symlink(&outside, host.path("volume/absolute")).unwrap();
    symlink(
        format!("../../../../../../../../../..{}", outside.display()),
        host.path("volume/relative"),
    )
    .unwrap();
    fs::write(host.path("file"), "").unwrap();
    let mut config = host.config(&["true"]);
    add(&mut config, "bind", host.path("volume"), "/volume", &["rbind"]);
    add(&mut config, "tmpfs", "tmpfs", "/volume/dir/made", &["mode=700"]);
    add(
        &mut config,
        "bind",
        host.path("file"),
        "/volume/dir/deep/er/file",
        &["bind"],
    );
    add(
        &mut config,
        "tmpfs",
        "tmpfs",
        "/volume/dir/a/b/../c/d",
        &["tmpcopyup", "ro"],
    );
    host.write(&config);
    // Some runs fail: what they were told to make was taken away. None gets out.
    let output = host.run(&format!(
        "cd volume; (while :; do {script}; done) 2>/dev/null & racer=$!; cd ..; won=0; \
         for n in $(seq 25); do runc run c >/dev/null 2>&1 && won=$((won+1)); \
         [ $(grep -c '/outside' /proc/self/mountinfo) = 0 ] || echo escaped; done; kill $racer; wait $racer 2>/dev/null; echo $won; \
         ls -A /run/lighter-runc 2>/dev/null"
    ));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("escaped"), "{}", words(&output));
    assert_eq!(text.lines().count(), 1, "{}", words(&output));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{}", words(&output));
}

#[test]
fn cve_2021_30465_links_swapped_in_a_shared_volume_stay_inside() {
    race("mv dir kept; mv absolute dir; mv dir absolute; mv relative dir; mv dir relative; mv kept dir");
}

#[test]
fn cve_2024_45310_directories_moved_in_a_shared_volume_stay_inside() {
    race(
        "mv dir/a kept; ln -s ../absolute dir/a; rm dir/a; mv kept dir/a; mv dir/deep kept; ln -s ../relative dir/deep; rm dir/deep; mv kept dir/deep",
    );
}
