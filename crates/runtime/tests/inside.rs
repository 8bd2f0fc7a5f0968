//! What a process in a container sees and may do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{CAPS, Host, words};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Runs `script` inside, with the configuration changed; answers its stdout.
fn inside(script: &str, change: impl FnOnce(&Host, &mut Value)) -> String {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", script]);
    change(&host, &mut config);
    host.ok_config(&config)
}

fn check(script: &str, change: impl FnOnce(&Host, &mut Value), expected: &str) {
    assert_eq!(inside(script, change).trim(), expected, "{script}");
}

#[test]
fn the_process_is_who_the_configuration_says() {
    check(
        "id -u; id -g; id -G; echo $HOME; pwd; umask; hostname",
        |_, _| {},
        "0\n0\n0\n/root\n/\n0022\ninside",
    );
    check(
        "id -u; id -g; id -G; echo $HOME; pwd; umask; echo $A",
        |_, c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o77});
            c["process"]["cwd"] = json!("/made/here");
            c["process"]["env"].as_array_mut().unwrap().push(json!("A=b"));
        },
        "1000\n1001\n1001 5 7\n/home/user\n/made/here\n0077\nb",
    );
    check(
        "cat /proc/sys/kernel/domainname",
        |_, c| c["domainname"] = json!("nis"),
        "nis",
    );
    check(
        "cat /proc/self/oom_score_adj",
        |_, c| c["process"]["oomScoreAdj"] = json!(500),
        "500",
    );
    check(
        "ulimit -Sn; ulimit -Hn; ulimit -c",
        |_, c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
        "100\n200\n0",
    );
}

#[test]
fn capabilities_are_exactly_those_given() {
    let caps = "grep -E '^(Cap|NoNew)' /proc/self/status | tr -d '\\t\\n'";
    let (docker, none, chown) = ("00000000a80425fb", "0000000000000000", "0000000000000001");
    check(
        caps,
        |_, _| {},
        &format!("CapInh:{none}CapPrm:{docker}CapEff:{docker}CapBnd:{docker}CapAmb:{none}NoNewPrivs:0"),
    );
    check(
        caps,
        |_, c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"]["noNewPrivileges"] = json!(true);
        },
        // What exec leaves of permitted capabilities to an ordinary user.
        &format!("CapInh:{none}CapPrm:{none}CapEff:{none}CapBnd:{docker}CapAmb:{none}NoNewPrivs:1"),
    );
    check(
        caps,
        |_, c| {
            let one = json!(["CAP_CHOWN"]);
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"]["capabilities"] = json!({"bounding": one, "effective": one, "permitted": one, "inheritable": one, "ambient": one});
        },
        &format!("CapInh:{chown}CapPrm:{chown}CapEff:{chown}CapBnd:{chown}CapAmb:{chown}NoNewPrivs:0"),
    );
    check(
        caps,
        |_, c| drop(c["process"].as_object_mut().unwrap().remove("capabilities")),
        &format!("CapInh:{none}CapPrm:{none}CapEff:{none}CapBnd:{none}CapAmb:{none}NoNewPrivs:0"),
    );
    assert!(CAPS.contains(&"CAP_CHOWN"));
}

#[test]
fn devices_are_there_and_others_are_refused() {
    check(
        "stat -c '%n %a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; for l in fd stdin ptmx; do readlink /dev/$l; done; \
         echo x > /dev/null; head -c 4 /dev/zero | wc -c; mknod /tmp/n c 1 3; mknod /tmp/k c 1 1; cat /tmp/k 2>&1; rm /tmp/n /tmp/k",
        |host, c| {
            std::os::unix::fs::symlink("busybox", host.path("rootfs/bin/mknod")).unwrap();
            std::os::unix::fs::symlink("busybox", host.path("rootfs/bin/wc")).unwrap();
            let _ = c;
        },
        "/dev/null 666 1:3\n/dev/zero 666 1:5\n/dev/full 666 1:7\n/dev/random 666 1:8\n/dev/urandom 666 1:9\n/dev/tty 666 5:0\n\
         /proc/self/fd\n/proc/self/fd/0\npts/ptmx\n4\ncat: can't open '/tmp/k': Operation not permitted",
    );
    check(
        "stat -c '%a %u %g %t:%T' /dev/deep/fuse",
        |_, c| {
            c["linux"]["devices"] = json!([{"path": "/dev/deep/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4}]);
        },
        "640 3 4 a:e5",
    );
}

#[test]
fn masked_paths_are_empty_and_readonly_ones_refuse() {
    check(
        "cat /proc/kcore | head -c 1; cat /proc/keys; ls -A /sys/firmware /proc/acpi | grep -v :; echo 1 > /proc/sys/kernel/pid_max; \
         touch /sys/firmware/x; touch /sys/fs/cgroup/x; echo end",
        |_, _| {},
        "end",
    );
}

#[test]
fn mounts_have_their_options() {
    let options =
        "while read a where b c; do case $where in /m*|/dev|/) echo $where $c;; esac; done < /proc/mounts";
    let host = Host::new();
    for dir in ["source", "source/below"] {
        fs::create_dir_all(host.path(dir)).unwrap();
    }
    fs::write(host.path("file"), "content").unwrap();
    let source = host.path("source").display().to_string();
    let file = host.path("file").display().to_string();
    let bind = |source: &str, destination: &str, options: &str| json!({"source": source, "destination": destination, "type": "bind", "options": options.split(',').collect::<Vec<_>>()});
    let mut config = host.config(&[
        "sh",
        "-c",
        &format!(
            "{options} | while read where c; do echo $where ${{c%%,*}} $(echo $c | grep -oE 'nosuid|nodev|noexec|noatime' | tr '\\n' ,); done; \
             touch /m/ro/x 2>&1; touch /m/rw/x; cat /m/f; echo; touch /m/rro/below/x 2>&1; touch /x 2>&1; touch /dev/x 2>&1; touch /m/tmp/x 2>&1; \
             touch /dev/shm/x; stat -c %a /m/tmp"
        ),
    ]);
    config["root"]["readonly"] = json!(true);
    config["mounts"][1]["options"]
        .as_array_mut()
        .unwrap()
        .push(json!("ro"));
    for mount in [
        bind(&source, "/m/ro", "rbind,ro,noexec,noatime"),
        bind(&source, "/m/rw", "bind,nosuid,nodev"),
        bind(&source, "/m/rro", "rbind,rro"),
        bind(&file, "/m/f", "bind,ro"),
        json!({"destination": "/m/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=700", "size=4k"]}),
    ] {
        config["mounts"].as_array_mut().unwrap().push(mount);
    }
    host.write(&config);
    let text = host.ok(&format!("mount -t tmpfs tmpfs '{source}/below'; runc run c"));
    assert_eq!(
        text.lines()
            .filter(|line| !line.starts_with("/m/ro/below") && !line.starts_with("/m/rro/below"))
            .collect::<Vec<_>>(),
        [
            "/ ro",
            "/dev ro nosuid,",
            "/m/ro ro noexec,noatime,",
            "/m/rw rw nosuid,nodev,",
            "/m/rro ro",
            "/m/f ro",
            "/m/tmp ro",
            "touch: /m/ro/x: Read-only file system",
            "content",
            "touch: /m/rro/below/x: Read-only file system",
            "touch: /x: Read-only file system",
            "touch: /dev/x: Read-only file system",
            "touch: /m/tmp/x: Read-only file system",
            "700",
        ]
    );
    assert!(host.path("source/x").exists());
}

#[test]
fn a_tmpfs_can_keep_what_it_hides() {
    check(
        "cat /data/sub/f; readlink /data/l; stat -c %a /data/sub",
        |host, c| {
            let data = host.path("rootfs/data");
            fs::create_dir_all(data.join("sub")).unwrap();
            fs::write(data.join("sub/f"), "kept\n").unwrap();
            std::os::unix::fs::symlink("sub/f", data.join("l")).unwrap();
            fs::set_permissions(
                data.join("sub"),
                std::os::unix::fs::PermissionsExt::from_mode(0o750),
            )
            .unwrap();
            let mount =
                json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
            c["mounts"].as_array_mut().unwrap().push(mount);
        },
        "kept\nsub/f\n750",
    );
}

#[test]
fn limits_are_in_force() {
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null; echo not reached",
    ]);
    config["mounts"][6]["options"][4] = json!("size=200m");
    config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    config["process"]["args"] = json!(["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=100"]);
    host.write(&config);
    let output = host.run("runc run c");
    assert_eq!(output.status.code(), Some(137), "{}", words(&output));

    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["resources"] = json!({
        "memory": {"limit": 32 << 20, "reservation": 16 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        "pids": {"limit": 20},
    });
    // The files of either interface; a pure v2 machine without the controller cpuset is still one.
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let group = format!("{}/c", host.cgroup());
    let files = |names: &[&str]| -> String {
        let full = names.iter().map(|name| {
            let (controller, file) = name.split_once('/').unwrap();
            if unified {
                format!("/sys/fs/cgroup{group}/{file}")
            } else {
                format!("/sys/fs/cgroup/{controller}{group}/{file}")
            }
        });
        full.collect::<Vec<_>>().join(" ")
    };
    let (before, after, values): (_, _, &[&str]) = if unified {
        (
            files(&[
                "memory/memory.max",
                "memory/memory.low",
                "cpu/cpu.weight",
                "cpu/cpu.max",
                "pids/pids.max",
            ]),
            files(&[
                "memory/memory.max",
                "pids/pids.max",
                "cpu/cpu.max",
                "cpu/cpu.weight",
            ]),
            &[
                "33554432", "16777216", "59", "50000", "100000", "20", "67108864", "30", "20000", "100000",
                "17",
            ],
        )
    } else {
        config["linux"]["resources"]["cpu"]["cpus"] = json!("0");
        (
            files(&[
                "memory/memory.limit_in_bytes",
                "memory/memory.soft_limit_in_bytes",
                "cpu/cpu.shares",
                "cpu/cpu.cfs_quota_us",
                "cpuset/cpuset.cpus",
                "pids/pids.max",
            ]),
            files(&[
                "memory/memory.limit_in_bytes",
                "pids/pids.max",
                "cpu/cpu.cfs_quota_us",
                "cpu/cpu.shares",
            ]),
            &[
                "33554432", "16777216", "512", "50000", "0", "20", "67108864", "30", "20000", "100",
            ],
        )
    };
    host.write(&config);
    let text = host.ok(&format!(
        "runc run -d c; cat {before}; runc update --memory 67108864 --pids-limit 30 --cpu-quota 20000 c; \
         echo '{{\"cpu\":{{\"shares\":100}}}}' | runc update -r - c; cat {after}; runc delete -f c"
    ));
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), values);
}

#[test]
fn sysctls_are_set_and_namespaces_joined() {
    check(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        |_, c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "1234"}),
        "1\n1234",
    );
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/net; readlink /proc/self/ns/uts; ls /sys/class/net",
    ]);
    config["linux"]["namespaces"][1]["path"] = json!("/run/net");
    config["hostname"] = json!("");
    config["linux"]["namespaces"][2]["path"] = json!("/proc/1/ns/uts");
    host.write(&config);
    let text = host.ok(
        "touch /run/net; unshare -n sh -c 'ip link add v0 type veth peer v1; mount --bind /proc/self/ns/net /run/net'; \
         nsenter --net=/run/net readlink /proc/self/ns/net; readlink /proc/1/ns/uts; runc run c",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], lines[2..4]);
    assert!(lines[4..].contains(&"v0"), "{text}");
}

#[test]
fn a_pid_namespace_can_be_joined() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "set -- /proc/[0-9]*; echo $#"]);
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "pid" {
            namespace["path"] = json!("/run/pidns");
        }
    }
    config["linux"]["cgroupsPath"] = json!(format!("{}/joiner", host.cgroup()));
    fs::create_dir(host.path("second")).unwrap();
    std::os::unix::fs::symlink(host.path("rootfs"), host.path("second/rootfs")).unwrap();
    fs::write(host.path("second/config.json"), config.to_string()).unwrap();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "runc run -d --pid-file /run/pid c; touch /run/pidns; mount --bind /proc/$(pid)/ns/pid /run/pidns; \
         runc run -b second joiner; runc delete -f c",
    );
    // The first's sleep and our shell.
    assert_eq!(text.trim(), "2");
}

#[test]
fn ids_are_mapped_in_a_user_namespace() {
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; touch /made; echo x > /dev/null; stat -c %a:%t /dev/null; grep CapEff /proc/self/status; cat /proc/keys",
    ]);
    config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    host.write(&config);
    let text = host.ok("chmod 755 .; chown -R 100000:100000 rootfs; runc run c; stat -c %u rootfs/made");
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "0",
            "0 100000 65536",
            "666:1",
            "CapEff: 00000000a80425fb",
            "100000"
        ]
    );
}

#[test]
fn hooks_run_in_order_with_the_state() {
    let host = Host::new();
    let log = host.path("log");
    let mut config = host.config(&["sh", "-c", "echo process; test -e /hooked"]);
    let hook = |name: &str| {
        let script = format!(
            "echo {name} $(cat | tr -d ' \\n' | grep -oE '\"(status|pid|id)\":[^,]*' | tr '\\n' ' ') >> {}",
            log.display()
        );
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
    };
    config["hooks"] = json!({
        "prestart": [hook("prestart")],
        "createRuntime": [hook("createRuntime")],
        "createContainer": [hook("createContainer")],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /hooked"]}],
        "poststart": [hook("poststart")],
        "poststop": [hook("poststop")],
    });
    host.write(&config);
    host.ok("runc create --pid-file /run/pid c; cat /run/pid > pid; runc start c; within 'runc state c | grep stopped'; runc delete c");
    let pid = fs::read_to_string(host.path("pid")).unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = |name: &str, pid: &str, status: &str| {
        format!("{name} \"id\":\"c\" \"pid\":{pid} \"status\":\"{status}\"")
    };
    assert_eq!(
        lines,
        [
            line("prestart", &pid, "creating"),
            line("createRuntime", &pid, "creating"),
            line("createContainer", "1", "creating"),
            line("poststart", &pid, "running"),
            line("poststop", "0", "stopped"),
        ]
    );
}

#[test]
fn a_hook_that_takes_too_long_fails_the_create() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]});
    host.write(&config);
    let text = host.ok("runc create c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc");
    assert_eq!(
        text.trim(),
        "runc create failed: error running createRuntime hook #0: /bin/sleep: hook ran past specified timeout of 1.0s"
    );
}

#[test]
fn exec_is_in_the_container_with_its_own_process() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["process"]["env"]
        .as_array_mut()
        .unwrap()
        .push(json!("A=container"));
    host.write(&config);
    let process = json!({
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]}, "cwd": "/tmp", "noNewPrivileges": true, "capabilities": {},
        "args": ["sh", "-c", "id -u; id -G; pwd; echo $B; grep -E 'CapEff|NoNew' /proc/self/status; ulimit -n"],
        "env": ["PATH=/bin", "B=process"], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 50}],
    });
    fs::write(host.path("process.json"), process.to_string()).unwrap();
    let text = host.ok(
        "runc run -d --pid-file /run/pid c; \
         runc exec -e B=c -u 3:4 --cwd /etc c sh -c 'id -u; id -g; pwd; echo $A $B; hostname; cat /proc/1/cmdline | tr \"\\0\" \" \"'; echo; \
         runc exec --process process.json c; runc exec c sh -c 'exit 9'; echo code $?; \
         runc exec -d --pid-file /run/p2 c sleep 50; for h in memory pids; do cmp /proc/$(cat /run/p2)/cgroup /proc/$(pid)/cgroup && echo same; done; \
         for n in mnt pid net ipc uts cgroup; do [ $(readlink /proc/$(cat /run/p2)/ns/$n) = $(readlink /proc/$(pid)/ns/$n) ] || echo differs $n; done; \
         runc ps -f json c | tr , '\\n' | wc -l; runc pause c; runc exec c true 2>&1; runc resume c; runc delete -f c",
    );
    assert_eq!(
        text.lines().map(str::trim).collect::<Vec<_>>(),
        [
            "3",
            "4",
            "/etc",
            "container c",
            "inside",
            "sleep 100",
            "7",
            "8 9",
            "/tmp",
            "process",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "50",
            "code 9",
            "same",
            "same",
            "2",
            "exec failed: cannot exec in a paused container (use --ignore-paused to override)",
        ]
    );
}

#[test]
fn the_seccomp_profile_is_in_force_in_both() {
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "mkdir /tmp/d 2>&1; chmod 700 /tmp; echo end; sleep 100",
    ]);
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "nonsense"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11, "args": [{"index": 1, "value": 12, "op": "SCMP_CMP_EQ"}]},
        ],
    });
    host.write(&config);
    for nnp in [false, true] {
        config["process"]["noNewPrivileges"] = json!(nnp);
        host.write(&config);
        let text = host.ok(
            "runc run -d c > /run/out 2>&1; within 'grep end /run/out'; cat /run/out; \
             runc exec c sh -c 'mkdir /tmp/d 2>&1; kill -USR2 1 2>&1; kill -0 1 && echo sent'; runc delete -f c",
        );
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "mkdir: can't create directory '/tmp/d': Operation not supported",
                "end",
                "mkdir: can't create directory '/tmp/d': Operation not supported",
                "sh: can't kill pid 1: Resource temporarily unavailable",
                "sent",
            ]
        );
    }
}
