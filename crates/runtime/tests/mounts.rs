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
        "error mounting \"/nowhere\" to rootfs at \"/m\": open /nowhere: no such file or directory",
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

#[test]
fn propagation_is_as_asked_for_with_and_without_a_user_namespace() {
    for user in [false, true] {
        let host = Host::new();
        fs::create_dir_all(host.path("source")).unwrap();
        let script = "grep ' /m/' /proc/self/mountinfo";
        let mut config = host.config(&["sh", "-c", script]);
        if user {
            user_namespace(&host, &mut config);
        }
        for name in ["shared", "slave", "private", "unbindable"] {
            add(
                &mut config,
                mount(
                    "",
                    host.path("source"),
                    &format!("/m/{name}"),
                    &format!("bind,{name}"),
                ),
            );
        }
        let lines = run(&host, &config);
        let shown: Vec<String> = lines
            .iter()
            .map(|line| {
                let (left, _) = line.split_once(" - ").unwrap();
                let fields: Vec<&str> = left.split(' ').collect();
                let how = fields.get(6).map_or("", |how| how.split(':').next().unwrap());
                format!("{} {how}", fields[4])
            })
            .collect();
        assert_eq!(
            shown,
            [
                "/m/shared shared",
                "/m/slave ",
                "/m/private ",
                "/m/unbindable unbindable"
            ],
            "user namespace: {user}"
        );
    }
}

#[test]
fn a_bind_mount_has_the_flags_asked_for() {
    let flags = |user: bool, options: &str| {
        let host = Host::new();
        fs::create_dir_all(host.path("source")).unwrap();
        let script = "while read a where b c; do [ $where = /m ] && echo $c; done < /proc/mounts; true";
        let mut config = host.config(&["sh", "-c", script]);
        if user {
            user_namespace(&host, &mut config);
        }
        add(&mut config, mount("", host.path("source"), "/m", options));
        host.write(&config);
        let source = host.path("source").display().to_string();
        let output = host.run(&format!(
            "mount -t tmpfs -o nodev,noexec,nosymfollow tmpfs '{source}'; runc run c 2>&1"
        ));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let known = ["ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"];
        if !output.status.success() {
            return text;
        }
        let found: Vec<&str> = text
            .trim()
            .split([',', ' '])
            .filter(|flag| known.contains(flag))
            .collect();
        found.join(",")
    };
    assert_eq!(flags(false, "bind"), "nodev,noexec,nosymfollow");
    // Exactly what is asked for, as runc, crun and mount(8) do it.
    assert_eq!(flags(false, "bind,ro"), "ro");
    assert_eq!(
        flags(false, "bind,ro,nosuid,noatime,nosymfollow"),
        "ro,nosuid,noatime,nosymfollow"
    );
    assert_eq!(flags(false, "bind,dev"), "");
    assert_eq!(
        flags(false, "bind,rnosuid,rro"),
        "ro,nosuid,nodev,noexec,nosymfollow"
    );
    // In a user namespace the flags of the host's mount stay that the kernel locks; to be rid of them is refused.
    assert_eq!(flags(true, "bind"), "nodev,noexec,nosymfollow");
    assert_eq!(flags(true, "bind,ro"), "ro,nodev,noexec");
    assert_eq!(flags(true, "bind,nosuid"), "nosuid,nodev,noexec");
    let text = flags(true, "bind,dev");
    assert!(
        text.contains("error mounting") && text.contains("cannot clear locked flags nodev, which"),
        "{text}"
    );
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers() {
    let host = Host::new();
    let there = host.path("rootfs/there");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o710)).unwrap();
    let mut config = host.config(&["stat", "-c", "%a", "/there", "/there/given", "/not/there"]);
    add(&mut config, mount("tmpfs", "tmpfs", "/there", ""));
    add(&mut config, mount("tmpfs", "tmpfs", "/there/given", "mode=1500"));
    add(&mut config, mount("tmpfs", "tmpfs", "/not/there", ""));
    assert_eq!(run(&host, &config), ["710", "1500", "1777"]);
}

#[test]
fn sources_and_destinations_may_be_relative_and_links_lead_inside() {
    let host = Host::new();
    fs::write(host.path("file"), "content\n").unwrap();
    std::os::unix::fs::symlink("/made/here", host.path("rootfs/link")).unwrap();
    let mut config = host.config(&["cat", "/rel/file", "/made/here", "/inroot"]);
    add(&mut config, mount("", "file", "rel/file", "bind,ro"));
    add(&mut config, mount("", "file", "/link", "bind"));
    let inside = host.path("rootfs/inroot").display().to_string();
    add(&mut config, mount("", "file", &inside, "bind"));
    host.write(&config);
    assert_eq!(host.ok("b=$PWD; cd /; runc run -b $b c"), "content\n".repeat(3));
    for (mount, expected) in [
        (mount("", "file", "/", "bind"), "on the top of rootfs"),
        (
            mount("tmpfs", "tmpfs", "/m", &format!("x={}", "y".repeat(5000))),
            "the kernel takes 4095",
        ),
        (
            mount("", "file", "/m", "bind,size=4k"),
            "cannot have any filesystem-specific options",
        ),
        (
            mount("nofs", "x", "/m", ""),
            "mount a file system of the type nofs: no such device",
        ),
    ] {
        let mut config = host.config(&["true"]);
        add(&mut config, mount);
        let text = refused(&host, &config);
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

/// In the words that engines make their advice of.
#[test]
fn a_file_is_not_mounted_over_a_directory_nor_a_directory_over_a_file() {
    let host = Host::new();
    fs::write(host.path("file"), "").unwrap();
    fs::create_dir(host.path("dir")).unwrap();
    for (source, destination) in [("file", "/bin"), ("dir", "/etc/passwd"), ("dir", "/proc/uptime")] {
        let mut config = host.config(&["true"]);
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(mount("bind", host.path(source), destination, "bind"));
        let said = refused(&host, &config);
        assert!(
            said.trim_end().trim_end_matches('"').ends_with("not a directory"),
            "{said}"
        );
    }
}

/// `tmpcopyup` copies what is below: the mode of the mount itself is that of its option, of what it hides, or a tmpfs's own.
#[test]
fn a_copied_up_tmpfs_has_the_mode_that_is_asked_for() {
    let host = Host::new();
    for (destination, options, expected) in [
        ("/etc", "tmpcopyup,mode=700", "700"),
        ("/etc", "tmpcopyup", "755"),
        ("/new", "tmpcopyup", "1777"),
    ] {
        let mut config = host.config(&["sh", "-c", &format!("stat -c %a {destination}; ls {destination}")]);
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(mount("tmpfs", "tmpfs", destination, options));
        let text = host.ok_config(&config);
        let below = if destination == "/etc" { "passwd\n" } else { "" };
        assert_eq!(text, format!("{expected}\n{below}"), "{destination} {options}");
        let _ = fs::remove_dir(host.path("rootfs/new"));
    }
}
