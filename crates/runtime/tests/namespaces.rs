//! Namespaces: made, joined by path, and those of users and clocks.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};

type Change = dyn Fn(&mut Value);

/// A configuration with a user namespace of 65536 ids from 100000 (groups: 200000), whose root owns the root file system.
fn with_user(host: &Host, args: &[&str]) -> Value {
    let mut config = host.config(args);
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
    set(&mut config, "user", None);
    config
}

/// The namespace of `kind`: new, or that behind `path`.
fn set(config: &mut Value, kind: &str, path: Option<&str>) {
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|namespace| namespace["type"] != kind);
    list.push(match path {
        Some(path) => json!({"type": kind, "path": path}),
        None => json!({"type": kind}),
    });
}

/// Lets mapped ids into the bundle.
const OPEN: &str = "chmod 755 .; chown -R 100000:200000 rootfs; ";

/// Runs a configuration that must be refused, and answers the words.
fn refused(host: &Host, config: &Value) -> String {
    host.write(config);
    let output = host.run("runc run c");
    assert!(!output.status.success(), "{}", words(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_other_namespace_is_joined_by_path() {
    let host = Host::new();
    let kinds = ["network", "uts", "ipc", "pid", "cgroup", "time"];
    let show = "for n in net uts ipc pid cgroup time; do readlink /proc/self/ns/$n; done";
    let mut config = host.config(&["sh", "-c", show]);
    config["hostname"] = json!("");
    for kind in kinds {
        let file = if kind == "network" { "net" } else { kind };
        set(&mut config, kind, Some(&format!("/run/ns/{file}")));
    }
    host.write(&config);
    // The holder's children are in its PID and time namespaces.
    let text = host.ok(
        "mkdir /run/ns; unshare -nuipCT --fork --mount-proc sh -c 'echo $$ >/dev/null; sleep 60' & holder=$!\n\
         within 'child=$(cat /proc/$holder/task/$holder/children); [ -n \"$child\" ]'\n\
         child=$(echo $child); within '[ $(readlink /proc/self/ns/pid) != $(readlink /proc/$child/ns/pid) ]'\n\
         for n in net uts ipc pid cgroup time; do touch /run/ns/$n; mount --bind /proc/$child/ns/$n /run/ns/$n; readlink /proc/$child/ns/$n; done\n\
         runc run c",
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert_eq!(lines[..6], lines[6..]);
}

#[test]
fn hooks_of_the_runtime_are_not_born_into_a_joined_pid_namespace() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    set(&mut config, "pid", Some("/run/pidns"));
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/self/ns/pid > /run/hook"]}]});
    host.write(&config);
    let text = host.ok(
        "unshare -p --fork sleep 60 & h=$!; within 'c=$(cat /proc/$h/task/$h/children); [ -n \"$c\" ]'; c=$(echo $c)\n\
         touch /run/pidns; mount --bind /proc/$c/ns/pid /run/pidns; runc run c; cat /run/hook; readlink /proc/self/ns/pid",
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], lines[1], "{text}");
}

#[test]
fn a_file_of_another_kind_is_no_namespace_to_join() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    set(&mut config, "uts", Some("/proc/self/ns/net"));
    let text = refused(&host, &config);
    assert!(
        text.contains(
            r#"namespace path /proc/self/ns/net is a namespace of type "network", not a namespace of type "uts""#
        ),
        "{text}"
    );
    set(&mut config, "uts", Some("/dev/null"));
    let text = refused(&host, &config);
    assert!(
        text.contains("namespace path /dev/null is no namespace"),
        "{text}"
    );
    set(&mut config, "uts", Some("/nothing"));
    assert!(refused(&host, &config).contains("open namespace /nothing"));
}

#[test]
fn a_user_namespace_has_its_maps_and_owns_what_is_made_with_it() {
    let host = Host::new();
    let mut config = with_user(
        &host,
        &[
            "sh",
            "-c",
            "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -u; hostname; hostname other && hostname; \
             stat -c '%u %g' /bin/sh; touch /new && stat -c '%u %g' /new; cat /proc/self/oom_score_adj; ulimit -n",
        ],
    );
    config["process"]["oomScoreAdj"] = json!(7);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]);
    config["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
    config["process"]["capabilities"]["effective"] = json!(["CAP_SYS_ADMIN"]);
    config["process"]["capabilities"]["permitted"] = json!(["CAP_SYS_ADMIN"]);
    host.write(&config);
    assert_eq!(
        host.ok(&format!("{OPEN} runc run c; stat -c '%u %g' rootfs/new")),
        " 0 100000 65536\n 0 200000 65536\n0\ninside\nother\n0 0\n0 0\n7\n99\n100000 200000\n"
    );
}

#[test]
fn a_map_of_several_ranges_and_one_without_root() {
    let host = Host::new();
    let mut config = with_user(
        &host,
        &[
            "sh",
            "-c",
            "cat /proc/self/uid_map | tr -s ' '; id -u; id -g; echo x > /dev/shm/x; stat -c '%u %g' /dev/shm/x",
        ],
    );
    config["linux"]["uidMappings"] = json!([
        {"containerID": 0, "hostID": 100_000, "size": 10},
        {"containerID": 1000, "hostID": 101_000, "size": 5},
    ]);
    config["process"]["user"] = json!({"uid": 1001, "gid": 7});
    host.write(&config);
    assert_eq!(
        host.ok(&format!("{OPEN} runc run c")),
        " 0 100000 10\n 1000 101000 5\n1001\n7\n1001 7\n"
    );

    config["linux"]["uidMappings"] = json!([{"containerID": 1000, "hostID": 101_000, "size": 5}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 7, "hostID": 200_007, "size": 1}]);
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["type"] != "devpts" && mount["type"] != "tmpfs");
    config["process"]["args"] = json!(["id"]);
    config["linux"]["maskedPaths"] = json!([]);
    host.write(&config);
    let text = host.ok("chmod 755 .; chown -R 101000:200007 rootfs; runc run c");
    assert!(text.starts_with("uid=1001 gid=7"), "{text}");
}

#[test]
fn ids_and_maps_that_cannot_be_are_refused() {
    let host = Host::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut config = with_user(&host, &["true"]);
        change(&mut config);
        refused(&host, &config)
    };
    let cases: [(&Change, &str); 7] = [
        (
            &|c| c["process"]["user"]["uid"] = json!(70_000),
            "cannot setuid to unmapped uid 70000 in user namespace",
        ),
        (
            &|c| c["process"]["user"]["gid"] = json!(70_000),
            "cannot setgid to unmapped gid 70000 in user namespace",
        ),
        (
            &|c| {
                c["linux"]["uidMappings"] = json!([]);
                c["linux"]["gidMappings"] = json!([]);
            },
            "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        ),
        (
            &|c| c["linux"]["gidMappings"] = json!([]),
            "user namespaces enabled, but no gid mappings found",
        ),
        (
            &|c| c["linux"]["uidMappings"][0]["size"] = json!(0),
            "linux.uidMappings[0]: size must not be 0",
        ),
        (
            &|c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 9}, {"containerID": 8, "hostID": 100, "size": 9}]),
            "linux.uidMappings[1]: range overlaps an earlier one",
        ),
        (
            &|c| c["linux"]["uidMappings"][0]["hostID"] = json!(u32::MAX),
            "linux.uidMappings[0]: range goes beyond the last id",
        ),
    ];
    for (change, expected) in cases {
        let text = with(change);
        assert!(text.contains(expected), "{text}");
    }
}

/// What rootless podman and an engine with user namespaces do: both are made before, and sysfs shows the network.
#[test]
fn a_user_and_a_network_namespace_are_joined_together_and_sysfs_is_mounted() {
    let host = Host::new();
    let mut config = with_user(
        &host,
        &[
            "sh",
            "-c",
            "readlink /proc/self/ns/user; readlink /proc/self/ns/net; ls /sys/class/net; id -u; touch /new; cat /proc/self/oom_score_adj",
        ],
    );
    set(&mut config, "user", Some("/run/user"));
    set(&mut config, "network", Some("/run/net"));
    config["process"]["oomScoreAdj"] = json!(9);
    let script = format!(
        "{OPEN} unshare -Un sleep 60 & h=$!; within '[ $(readlink /proc/$h/ns/net) != $(readlink /proc/self/ns/net) ]'\n\
         echo 0 100000 65536 > /proc/$h/uid_map; echo 0 200000 65536 > /proc/$h/gid_map\n\
         touch /run/user /run/net; mount --bind /proc/$h/ns/user /run/user; mount --bind /proc/$h/ns/net /run/net\n\
         nsenter -n/run/net ip link set lo up; readlink /proc/$h/ns/user /proc/$h/ns/net\n\
         runc run c; stat -c '%u %g' rootfs/new"
    );
    let check = |config: &Value| {
        host.write(config);
        let text = host.ok(&script);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], lines[2..4], "{text}");
        assert_eq!(lines[4..], ["lo", "0", "9", "100000 200000"]);
    };
    // Maps that are right may be given too.
    check(&config);
    config["linux"]["uidMappings"] = json!([]);
    config["linux"]["gidMappings"] = json!([]);
    check(&config);
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
    host.write(&config);
    let output = host.run(&script);
    assert!(
        words(&output).contains("both namespace path and non-matching mapping specified"),
        "{}",
        words(&output)
    );
}

/// The network namespace is the host's child's, not the user namespace's: it is joined with the host's power, before.
#[test]
fn a_joined_user_namespace_need_not_own_the_others() {
    let host = Host::new();
    let mut config = with_user(
        &host,
        &[
            "sh",
            "-c",
            "readlink /proc/self/ns/user; readlink /proc/self/ns/net",
        ],
    );
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
    config["linux"]["uidMappings"] = json!([]);
    config["linux"]["gidMappings"] = json!([]);
    set(&mut config, "user", Some("/run/user"));
    set(&mut config, "network", Some("/run/net"));
    host.write(&config);
    let text = host.ok(&format!(
        "{OPEN} unshare -U sleep 60 & h=$!; within '[ $(readlink /proc/$h/ns/user) != $(readlink /proc/self/ns/user) ]'\n\
         echo 0 100000 65536 > /proc/$h/uid_map; echo 0 200000 65536 > /proc/$h/gid_map\n\
         touch /run/user /run/net; mount --bind /proc/$h/ns/user /run/user; unshare -n mount --bind /proc/self/ns/net /run/net\n\
         echo \"user:[$(stat -c %i /run/user)]\"; echo \"net:[$(stat -c %i /run/net)]\"; runc run c"
    ));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], lines[2..], "{text}");
}

/// A new user namespace with the network of another container.
#[test]
fn a_new_user_namespace_goes_with_joined_ones() {
    let host = Host::new();
    let mut config = with_user(
        &host,
        &[
            "sh",
            "-c",
            "readlink /proc/self/ns/net; id -u; cat /proc/self/uid_map | tr -s ' '",
        ],
    );
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["type"] != "sysfs");
    config["linux"]["maskedPaths"] = json!([]);
    set(&mut config, "network", Some("/run/net"));
    host.write(&config);
    let text = host.ok(&format!(
        "{OPEN} touch /run/net; unshare -n mount --bind /proc/self/ns/net /run/net; echo \"net:[$(stat -c %i /run/net)]\"; runc run c"
    ));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], lines[1], "{text}");
    assert_eq!(lines[2..], ["0", " 0 100000 65536"]);
}

#[test]
fn clocks_are_set_off_in_a_time_namespace() {
    let host = Host::new();
    let mut config = host.config(&["cat", "/proc/self/timens_offsets"]);
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    set(&mut config, "time", None);
    assert_eq!(words(host.ok_config(&config)), "monotonic 0 0 boottime 0 0");
    let offsets = json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": 1337, "nanosecs": 3_141_519}});
    config["linux"]["timeOffsets"] = offsets.clone();
    let expected = "monotonic 7881 2718281 boottime 1337 3141519";
    assert_eq!(words(host.ok_config(&config)), expected);

    // With a user namespace that owns the clocks, and by a later process.
    let mut config = with_user(&host, &["sleep", "60"]);
    set(&mut config, "time", None);
    config["linux"]["timeOffsets"] = offsets;
    host.write(&config);
    let text = host.ok(&format!(
        "{OPEN} runc run -d c </dev/null >/dev/null 2>&1; runc exec c cat /proc/self/timens_offsets; runc delete -f c"
    ));
    assert_eq!(words(text), expected);
}

#[test]
fn offsets_without_clocks_of_ones_own_are_refused() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}});
    assert!(refused(&host, &config).contains("time namespace isn't enabled in the config"));
    set(&mut config, "time", Some("/proc/self/ns/time"));
    assert!(refused(&host, &config).contains("both namespace path and time offsets specified"));
    set(&mut config, "time", None);
    config["linux"]["timeOffsets"] = json!({"realtime": {"secs": 1}});
    assert!(refused(&host, &config).contains("linux.timeOffsets.realtime"));
}

#[test]
fn names_and_sysctls_need_namespaces_of_their_own() {
    let host = Host::new();
    let without = |kind: &str, change: &dyn Fn(&mut Value)| {
        let mut config = host.config(&["true"]);
        config["hostname"] = json!("");
        config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| namespace["type"] != kind);
        change(&mut config);
        refused(&host, &config)
    };
    let sysctl = |name: &'static str| move |c: &mut Value| c["linux"]["sysctl"] = json!({name: "1"});
    let cases: [(&str, Box<Change>, &str); 8] = [
        (
            "uts",
            Box::new(|c| c["hostname"] = json!("x")),
            "unable to set hostname without a private UTS namespace",
        ),
        (
            "uts",
            Box::new(|c| c["domainname"] = json!("x")),
            "unable to set domainname without a private UTS namespace",
        ),
        (
            "ipc",
            Box::new(sysctl("kernel.shmmax")),
            r#"sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace"#,
        ),
        (
            "network",
            Box::new(sysctl("net.ipv4.ip_forward")),
            r#"sysctl "net.ipv4.ip_forward" not allowed in host network namespace"#,
        ),
        (
            "",
            Box::new(|c| {
                set(c, "network", Some("/proc/self/ns/net"));
                c["linux"]["sysctl"] = json!({"net/ipv4/ip_forward": "1"});
            }),
            "not allowed in host network namespace",
        ),
        (
            "",
            Box::new(sysctl("kernel.hostname")),
            r#"sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field"#,
        ),
        (
            "uts",
            Box::new(sysctl("kernel.domainname")),
            r#"sysctl "kernel.domainname" is not in a separate kernel namespace"#,
        ),
        (
            "",
            Box::new(sysctl("vm.swappiness")),
            r#"sysctl "vm.swappiness" is not in a separate kernel namespace"#,
        ),
    ];
    for (kind, change, expected) in cases {
        let text = without(kind, &*change);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_new_network_namespace_has_its_loopback_on() {
    let host = Host::new();
    let text = host.ok_config(&host.config(&["ip", "addr", "show", "lo"]));
    assert!(text.contains(",UP") && text.contains("127.0.0.1/8"), "{text}");
}

#[test]
fn a_network_device_moves_in_with_its_addresses() {
    let host = Host::new();
    let show = "ip addr show inside0; ip link";
    for joined in [false, true] {
        let mut config = host.config(&["sh", "-c", show]);
        config["linux"]["netDevices"] = json!({"outside0": {"name": "inside0"}, "same0": {}});
        if joined {
            set(&mut config, "network", Some("/run/net"));
        }
        host.write(&config);
        let text = host.ok(
            "ip link add outside0 type veth peer name far0; ip addr add 10.9.8.7/24 dev outside0; ip addr add fd00:9::7/64 dev outside0 nodad\n\
             ip link set outside0 up; ip link add same0 type veth peer name far1\n\
             touch /run/net; unshare -n mount --bind /proc/self/ns/net /run/net\n\
             runc run c && ip link | grep -c outside0 || true",
        );
        for expected in ["inside0@", "10.9.8.7/24", "fd00:9::7/64", "same0@", ",UP"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.trim().ends_with('0'), "{text}");
    }
}

#[test]
fn network_devices_that_cannot_move_are_refused() {
    let host = Host::new();
    let cases: [(&Change, &str); 4] = [
        (
            &|c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|namespace| namespace["type"] != "network");
            },
            "unable to move network devices without a private NET namespace",
        ),
        (
            &|c| set(c, "network", Some("/proc/self/ns/net")),
            "unable to move network devices to the host's NET namespace",
        ),
        (&|_| (), "the host has no network device \"nothing0\""),
        (
            &|c| c["linux"]["netDevices"] = json!({"nothing0": {"name": "a name/with all"}}),
            "invalid network device name \"a name/with all\"",
        ),
    ];
    for (change, expected) in cases {
        let mut config = host.config(&["true"]);
        config["linux"]["netDevices"] = json!({"nothing0": {}});
        change(&mut config);
        let text = refused(&host, &config);
        assert!(text.contains(expected), "{text}");
    }
}

/// Into a mount namespace that others made the root and its mounts go as into a new one; the caller's own is left alone.
#[test]
fn a_mount_namespace_is_joined_and_given_the_root() {
    let host = Host::new();
    let script = "ls / | tr '\\n' ' '; echo; grep -c ' / / ' /proc/self/mountinfo; grep -o ' /dev/shm .*' /proc/self/mountinfo; \
                  ls /dev/null; readlink /proc/self/ns/mnt; (echo x >/proc/sys/kernel/domainname) 2>/dev/null || echo read-only";
    let mut config = host.config(&["sh", "-c", script]);
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "mount" {
            namespace["path"] = json!("/proc/HOLDER/ns/mnt");
        }
    }
    host.write(&config);
    let text = host.ok(
        "unshare -m sleep 1000 & h=$!; within '[ $(cat /proc/$h/comm) = sleep ]'; sed -i s/HOLDER/$h/ config.json\n\
         before=$(cat /proc/self/mountinfo); readlink /proc/$h/ns/mnt; runc run c\n\
         [ \"$before\" = \"$(cat /proc/self/mountinfo)\" ] && echo same; ls /proc/$h/root | tr '\\n' ' '",
    );
    let lines: Vec<&str> = text.lines().collect();
    let root = "bin dev etc proc sys tmp usr ";
    assert_eq!(lines.len(), 9, "{text}");
    assert_eq!(lines[1], root, "{text}");
    assert!(
        lines[3].starts_with(" /dev/shm ") && lines[3].contains("nosuid,nodev,noexec"),
        "{text}"
    );
    assert_eq!((lines[4], lines[5]), ("/dev/null", lines[0]), "{text}");
    // Whoever else is in it sees the container's root now, as with runc.
    assert_eq!(lines[6..], ["read-only", "same", root], "{text}");
}

/// The root is then a mount of the host's, which goes with the container, however that ends; and `exec` has that root too.
#[test]
fn without_a_mount_namespace_the_host_is_as_it_was_afterwards() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "ls /; echo; exec sleep 1000"]);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    for path in [None, Some("/proc/self/ns/mnt")] {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "mount");
        if let Some(path) = path {
            namespaces.push(json!({"type": "mount", "path": path}));
        }
        host.write(&config);
        let mut wrong = config.clone();
        wrong["process"]["args"] = json!(["nope"]);
        std::fs::write(host.path("wrong.json"), wrong.to_string()).unwrap();
        let text = host.ok(
            "mount --make-rshared /; table() { cut -d' ' -f5- /proc/self/mountinfo | grep -v ' proc proc '; }; before=$(table)\n\
             $RUNC run -d --pid-file /run/pid c >/run/out </dev/null; within 'grep -q usr /run/out'; grep -q rootfs /proc/self/mountinfo && echo mounts\n\
             [ \"$(runc exec c ls /)\" = \"$(sed '/^$/d' /run/out)\" ] && echo same root; readlink /proc/$(pid)/root | grep -o 'rootfs$'\n\
             runc delete -f c; [ \"$before\" = \"$(table)\" ] && echo as before; cp config.json good.json; cp wrong.json config.json\n\
             runc run c 2>/dev/null || echo refused; [ \"$before\" = \"$(table)\" ] && echo as before; cp good.json config.json\n\
             for n in 1 2 3 4 5 6; do $RUNC create c 2>/dev/null & sleep 0.00$n; kill -9 $!; wait $! 2>/dev/null; runc delete --force c; done\n\
             [ \"$before\" = \"$(table)\" ] && echo as before",
        );
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "mounts",
                "same root",
                "rootfs",
                "as before",
                "refused",
                "as before",
                "as before"
            ],
            "{text}"
        );
    }
}
