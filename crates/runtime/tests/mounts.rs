//! Mounts of the configuration: what the container sees where.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Host;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

fn mount(kind: &str, source: impl AsRef<Path>, destination: &str, options: &str) -> Value {
    json!({"type": kind, "source": source.as_ref(), "destination": destination,
        "options": options.split(',').filter(|option| !option.is_empty()).collect::<Vec<_>>()})
}

fn add(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

fn map(ranges: &[(u32, u32, u32)]) -> Value {
    ranges
        .iter()
        .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
        .collect()
}

/// Gives the container a user namespace whose root is 100000, and the root file system to that.
fn user_namespace(host: &Host, config: &mut Value) {
    config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = map(&[(0, 100_000, 65_536)]);
    config["linux"]["gidMappings"] = map(&[(0, 100_000, 65_536)]);
    chown(host.path("rootfs"), Some(100_000), Some(100_000)).unwrap();
    for dir in ["proc", "sys", "dev", "tmp", "etc"] {
        chown(host.path("rootfs").join(dir), Some(100_000), Some(100_000)).unwrap();
    }
    fs::set_permissions(host.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn run(host: &Host, config: &Value) -> Vec<String> {
    host.ok_config(config).lines().map(str::to_owned).collect()
}

/// What a run is refused with.
fn refused(host: &Host, config: &Value) -> String {
    host.write(config);
    host.ok("runc run c 2>&1; [ $? = 1 ]")
}

/// A directory with files of several owners, and another file system in it.
fn owned(host: &Host) -> String {
    fs::create_dir_all(host.path("tree/below")).unwrap();
    for (name, uid, gid) in [("one", 0, 0), ("two", 100, 211)] {
        fs::write(host.path("tree").join(name), "").unwrap();
        chown(host.path("tree").join(name), Some(uid), Some(gid)).unwrap();
    }
    format!(
        "mount -t tmpfs tmpfs '{0}/below'; touch '{0}/below/three'; chown 100:211 '{0}/below/three'; ",
        host.path("tree").display()
    )
}

const OWNERS: [&str; 3] = ["sh", "-c", "cd /tmp/t; stat -c '%u %g' one two below/three"];

#[test]
fn a_mount_maps_ids() {
    let mapped = |options: &str, user: bool, ranges: &[(u32, u32, u32)]| {
        let host = Host::new();
        let script = owned(&host) + "runc run c";
        let mut config = host.config(&OWNERS);
        let mut mount = mount("", host.path("tree"), "/tmp/t", options);
        if !ranges.is_empty() {
            mount["uidMappings"] = map(ranges);
            mount["gidMappings"] = map(ranges);
        }
        add(&mut config, mount);
        if user {
            user_namespace(&host, &mut config);
        }
        host.write(&config);
        host.ok(&script).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let ranges = [(0, 1000, 10), (100, 5000, 200)];
    // Inside a mapping a file of id C shows as id H.
    assert_eq!(
        mapped("rbind", false, &ranges),
        ["1000 1000", "5000 5111", "100 211"]
    );
    assert_eq!(
        mapped("rbind,idmap", false, &ranges),
        ["1000 1000", "5000 5111", "100 211"]
    );
    assert_eq!(
        mapped("rbind,ridmap", false, &ranges),
        ["1000 1000", "5000 5111", "5000 5111"]
    );
    // In a user namespace the host's ids are looked at through it once more; what it does not map is nobody's.
    let whole = [(0, 100_000, 65_536)];
    assert_eq!(mapped("rbind", true, &whole), ["0 0", "100 211", "65534 65534"]);
    assert_eq!(mapped("rbind,ridmap", true, &[]), ["0 0", "100 211", "100 211"]);
}

#[test]
fn a_mapping_that_cannot_be_is_refused_clearly() {
    let host = Host::new();
    let check = |mount: &Value, expected: &str| {
        let mut config = host.config(&["true"]);
        add(&mut config, mount.clone());
        let text = refused(&host, &config);
        assert!(text.contains(expected), "{expected:?} in {text}");
    };
    let mut bind = mount("", "/sys/kernel", "/m", "rbind");
    bind["uidMappings"] = map(&[(0, 1000, 10)]);
    check(
        &bind,
        "id-mapped mounts must have both uid and gid mappings specified",
    );
    bind["gidMappings"] = map(&[(0, 1000, 10)]);
    check(&bind, "cannot id-map /sys/kernel (sysfs): invalid argument");
    bind["source"] = json!("/nowhere");
    check(
        &bind,
        "mount \"/nowhere\" on /m: open /nowhere: no such file or directory",
    );
    check(
        &mount("", "/tmp", "/m", "bind,idmap"),
        "id-mapped mounts must have both uid and gid mappings specified",
    );
    let mut tmpfs = mount("tmpfs", "tmpfs", "/m", "");
    tmpfs["uidMappings"] = map(&[(0, 1000, 10)]);
    check(&tmpfs, "id-mapped mounts are only supported for bind-mounts");
}

/// The host's root may have what the root of a user namespace may not even look at.
#[test]
fn a_source_behind_a_closed_directory_is_opened_by_the_runtime() {
    let host = Host::new();
    fs::create_dir_all(host.path("closed/data")).unwrap();
    fs::write(host.path("closed/data/file"), "content\n").unwrap();
    fs::set_permissions(
        host.path("closed"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let mut config = host.config(&["sh", "-c", "cat /m/file /f; touch /m/x 2>&1; true"]);
    user_namespace(&host, &mut config);
    add(&mut config, mount("", host.path("closed/data"), "/m", "rbind,ro"));
    add(
        &mut config,
        mount("", host.path("closed/data/file"), "/f", "bind"),
    );
    assert_eq!(
        run(&host, &config),
        ["content", "content", "touch: /m/x: Read-only file system"]
    );
}

#[test]
fn a_user_namespace_takes_all_that_is_mounted_below_or_nothing() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    user_namespace(&host, &mut config);
    add(&mut config, mount("", host.path("tree"), "/m", "bind"));
    host.write(&config);
    let text = host.ok(&(owned(&host) + "runc run c 2>&1; [ $? = 1 ]"));
    assert!(
        text.contains("cannot be left out in a user namespace: use rbind"),
        "{text}"
    );
}
