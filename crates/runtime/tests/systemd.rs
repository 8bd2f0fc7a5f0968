//! The systemd driver. Where no systemd runs, as on a machine that only builds, each test asserts the clear refusal; the
//! guest of the test suite has one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Host, program, words};
use serde_json::{Value, json};

/// Runs `script` beside systemd: `runc` with the driver, `$UNIT` and `$G`, its group, `show PROPERTY`.
fn check(change: impl FnOnce(&mut Value), script: &str, expected: &[&str]) {
    let host = Host::new();
    let name = host.cgroup().trim_start_matches('/').to_owned();
    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["cgroupsPath"] = json!(format!("lt-deep.slice:lt:{name}"));
    config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 64 << 20});
    change(&mut config);
    host.write(&config);
    if !Path::new("/run/systemd/system").exists() {
        let text = host.ok("runc --systemd-cgroup run -d c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc");
        // A name that is none is refused with runc's words wherever it is asked for.
        let refusal = match config["linux"]["cgroupsPath"].as_str() {
            Some("/a/b") => {
                "runc run failed: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead"
            }
            _ => "runc run failed: systemd not running on this host, cannot use systemd cgroups manager",
        };
        assert!(text.contains(refusal), "{text}");
        return;
    }
    // No PID namespace here: systemd is told of processes by their numbers.
    let prologue = format!(
        "cd '{dir}'; runc() {{ '{}' --root '{dir}/state' --systemd-cgroup \"$@\"; }}; UNIT=lt-{name}.scope; \
         G=/sys/fs/cgroup/lt.slice/lt-deep.slice/$UNIT; show() {{ systemctl show $UNIT -p $1 --value; }}; \
         trap 'runc delete -f c 2>/dev/null' EXIT\n",
        program().display(),
        dir = host.path("").display(),
    );
    let output = Command::new("bash")
        .args(["-c", &(prologue + script)])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected: Vec<_> = expected
        .iter()
        .map(|line| line.replace("$UNIT", &format!("lt-{name}.scope")))
        .collect();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        expected,
        "{script}\n{}",
        words(&output)
    );
}

#[test]
fn a_container_is_a_scope_with_its_limits() {
    check(
        |c| {
            c["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 33_333, "period": 50_000});
            c["annotations"] = json!({
                "org.systemd.property.CollectMode": "'inactive-or-failed'",
                "org.systemd.property.TimeoutStopSec": "uint64 7",
            });
        },
        "runc run -d --pid-file pid c; show ControlGroup; show Slice; show Delegate; show MemoryMax; show MemorySwapMax; show TasksMax; \
         show CPUWeight; show CPUQuotaPerSecUSec; show DevicePolicy; show CollectMode; show TimeoutStopUSec; \
         systemctl show $UNIT -p DeviceAllow | grep -c .; \
         cat $G/memory.max $G/memory.swap.max $G/pids.max $G/cpu.max; cmp $G/cgroup.procs pid >/dev/null || [ $(cat $G/cgroup.procs) = $(cat pid) ] && echo inside; \
         runc exec c cat /proc/self/cgroup; \
         systemctl daemon-reload; cat $G/memory.max $G/cpu.max; runc exec c cat /dev/zero 2>&1 | head -c 1 | wc -c",
        &[
            "/lt.slice/lt-deep.slice/$UNIT",
            "lt-deep.slice",
            "yes",
            "67108864",
            "0",
            "64",
            "59",
            "670ms",
            "strict",
            "inactive-or-failed",
            "7s",
            "11",
            "67108864",
            "0",
            "64",
            "33500 50000",
            "inside",
            "0::/",
            "67108864",
            "33500 50000",
            "1",
        ],
    );
}

#[test]
fn an_update_reaches_the_unit_and_the_files() {
    check(
        |_| {},
        "runc run -d c; runc update --memory 128m --memory-swap 192m --pids-limit 99 --cpu-quota 70000 c; \
         show MemoryMax; show MemorySwapMax; show TasksMax; show CPUQuotaPerSecUSec; \
         cat $G/memory.max $G/memory.swap.max $G/pids.max $G/cpu.max; \
         echo '{\"unified\": {\"memory.high\": \"100000000\"}}' | runc update -r - c; show MemoryHigh; cat $G/memory.high",
        &[
            "134217728",
            "67108864",
            "99",
            "700ms",
            "134217728",
            "67108864",
            "99",
            "70000 100000",
            "100000000",
            "99999744",
        ],
    );
}

#[test]
fn a_deleted_container_leaves_no_unit() {
    check(
        |_| {},
        "runc run -d c; runc pause c; cat $G/cgroup.freeze; runc resume c; runc delete -f c; show LoadState; ls -d $G 2>/dev/null; \
         runc run -d c; show ActiveState; runc kill c KILL; runc delete c || { sleep 0.2; runc delete c; }; show LoadState; ls -d $G 2>/dev/null",
        &["1", "not-found", "active", "not-found"],
    );
}

#[test]
fn a_failed_create_leaves_no_unit() {
    check(
        |c| c["process"]["args"] = json!(["nope"]),
        "runc run -d c 2>&1 | grep -c 'executable file not found'; show LoadState; ls -d $G 2>/dev/null; ls -A state",
        &["1", "not-found"],
    );
    check(
        |c| c["annotations"] = json!({"org.systemd.property.NoSuchThing": "true"}),
        "runc run -d c 2>&1 | grep -o 'Cannot set property NoSuchThing'; show LoadState; ls -A state",
        &["Cannot set property NoSuchThing", "not-found"],
    );
    check(
        |c| c["linux"]["cgroupsPath"] = json!("/a/b"),
        "runc run -d c 2>&1 | grep -o 'expected cgroupsPath to be of format'; ls -A state",
        &["expected cgroupsPath to be of format"],
    );
}

/// The container's own root may make groups when it sees only its own, writable.
#[test]
fn a_writable_group_is_given_to_the_root_of_the_user_namespace() {
    check(
        |c| {
            let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
            let mounts = c["mounts"].as_array_mut().unwrap();
            let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
            cgroup["options"] = json!(["rw", "nosuid", "noexec", "nodev"]);
        },
        "chmod 755 . ; chown -R 100000 rootfs; runc run -d c; stat -c %u $G $G/cgroup.procs $G/memory.max; \
         runc exec c sh -c 'mkdir /sys/fs/cgroup/sub && echo made'",
        &["100000", "100000", "0", "made"],
    );
}
