//! Limits, updates, events and the group's life, on the interface that this machine has.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Host;
use serde_json::{Value, json};

/// Shell functions: `at CONTROLLER FILE` prints a file of the container's group, on v1 and v2.
fn script(host: &Host, script: &str) -> String {
    let group = host.cgroup();
    format!(
        "V2=; [ -e /sys/fs/cgroup/cgroup.controllers ] && V2=1; \
         dir() {{ if [ $V2 ]; then echo /sys/fs/cgroup{group}/c; else echo /sys/fs/cgroup/$1{group}/c; fi; }}; \
         at() {{ cat $(dir $1)/$2; }}\n{script}"
    )
}

fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn an_update_changes_what_it_names_and_keeps_what_belongs_to_it() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 64 << 20});
    config["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000});
    host.write(&config);
    let (files, expected) = if is_v2() {
        (
            "at memory memory.max; at memory memory.swap.max; at cpu cpu.max; at cpu cpu.weight; at pids pids.max",
            [
                "33554432 33554432 50000 100000 59 64",
                "67108864 67108864 70000 100000 59 64",
                "67108864 67108864 70000 50000 59 max",
                "max max 70000 50000 100 7",
            ],
        )
    } else {
        (
            "at memory memory.limit_in_bytes; at memory memory.memsw.limit_in_bytes; at cpu cpu.cfs_quota_us; \
             at cpu cpu.cfs_period_us; at cpu cpu.shares; at pids pids.max",
            [
                "33554432 67108864 50000 100000 512 64",
                "67108864 134217728 70000 100000 512 64",
                "67108864 134217728 70000 50000 512 max",
                "9223372036854771712 9223372036854771712 70000 50000 1024 7",
            ],
        )
    };
    let text = host.ok(&script(
        &host,
        &format!(
            "show() {{ echo $({files}); }}; runc run -d c; show; \
             runc update --memory 64m --memory-swap 128MiB --cpu-quota 70000 c; show; \
             runc update --cpu-period 50000 --pids-limit -1 c; show; \
             echo '{{\"memory\": {{\"limit\": -1}}, \"cpu\": {{\"shares\": 1024}}, \"pids\": {{\"limit\": 7}}}}' | runc update -r - c; show; \
             runc delete -f c"
        ),
    ));
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_refused_limit_names_its_field_and_leaves_the_old_ones() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(&script(
        &host,
        "runc run -d c; for f in '--memory x' '--cpu-period 1' '--l3-cache-schema L3:0=f' '--mem-bw-schema MB:0=1' '--pids-limit z'; do \
         runc update $f c 2>&1 && echo accepted; done; runc update --pids-limit 9 --cpuset-cpus 99999 c 2>&1; at pids pids.max; runc delete -f c",
    ));
    for words in [
        "invalid value for memory: invalid size: 'x'",
        "set linux.resources.cpu.period: write",
        "invalid argument",
        "Intel RDT/CAT: l3 cache schema is not enabled",
        "Intel RDT/MBA: memory bandwidth schema is not enabled",
        "invalid value \"z\" for flag -pids-limit: parse error",
        "set linux.resources.cpu.cpus",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    assert!(!text.contains("accepted"), "{text}");
}

fn refused(change: impl FnOnce(&mut Value), expected: &str) {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    change(&mut config);
    host.write(&config);
    let text = host.ok("runc run c 2>&1; [ $? = 1 ]");
    assert!(text.contains(expected), "{expected:?} in {text}");
}

#[test]
fn what_no_kernel_takes_is_refused() {
    let resources = |c: &mut Value, value: Value| c["linux"]["resources"] = value;
    if is_v2() {
        refused(
            |c| resources(c, json!({"memory": {"swap": 1 << 20}})),
            "unable to set swap limit without memory limit",
        );
        refused(
            |c| resources(c, json!({"memory": {"limit": 64 << 20, "swap": 1 << 20}})),
            "memory+swap limit should be >= memory limit",
        );
        refused(
            |c| resources(c, json!({"unified": {"nope.max": "1"}})),
            "unified resource \"nope.max\" can't be set: controller \"nope\" not available",
        );
        refused(
            |c| resources(c, json!({"unified": {"../x.max": "1"}})),
            "must be a file name (no slashes)",
        );
    } else {
        refused(
            |c| resources(c, json!({"unified": {"memory.max": "1"}})),
            "invalid configuration: cannot use unified on cgroup v1",
        );
        refused(
            |c| resources(c, json!({"memory": {"swappiness": 101}})),
            "invalid memory swappiness value: 101 (valid range is 0-100)",
        );
        refused(
            |c| resources(c, json!({"cpu": {"shares": 1}})),
            "the minimum allowed cpu-shares is 2",
        );
    }
}

#[test]
fn a_group_with_processes_or_frozen_is_not_taken_and_not_removed() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(&script(
        &host,
        "runc run -d c; runc --root /run/other run -d d 2>&1; ls /run/other; runc state c | grep running; runc delete -f c; \
         d=$(dir freezer); mkdir -p $d; if [ $V2 ]; then echo 1 > $d/cgroup.freeze; else echo FROZEN > $d/freezer.state; fi; \
         runc run -d c 2>&1; if [ $V2 ]; then echo 0 > $d/cgroup.freeze; else echo THAWED > $d/freezer.state; fi; rmdir $d",
    ));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "runc run failed: container's cgroup is not empty: 1 process(es) found",
            "\"status\": \"running\",",
            "runc run failed: container's cgroup unexpectedly frozen",
        ]
    );
}

#[test]
fn events_tell_what_is_used_and_the_end() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "runc run -d c; runc events --stats c; runc events --interval 10ms c > /run/events & within 'grep -q stats /run/events'; \
         runc delete -f c; wait $!; echo ended $?; head -n 1 /run/events; runc events --interval 0 c 2>&1; true",
    );
    let lines: Vec<&str> = text.lines().collect();
    for line in [lines[0], lines[2]] {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("c")));
        let data = &event["data"];
        assert_eq!(data["pids"], json!({"current": 1, "limit": 64}));
        assert_eq!(data["memory"]["usage"]["limit"], json!(64 << 20));
        // A kernel that counts by ticks may have seen nothing yet, and then it is left out, as runc does.
        assert!(
            data["cpu"]["usage"]
                .get("total")
                .is_none_or(|total| total.as_u64() > Some(0)),
            "{data}"
        );
        assert_eq!(data["network_interfaces"], Value::Null);
        assert!(data["blkio"].is_object() && data["hugetlb"].is_object() && data["intel_rdt"].is_object());
    }
    assert_eq!(lines[1], "ended 0");
    assert_eq!(lines[3], "container does not exist");
}

#[test]
fn running_out_of_memory_is_told() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    host.write(&config);
    let text = host.ok(
        "runc run -d c; runc events --interval 10ms c > /run/events & within 'grep -q stats /run/events'; \
         runc exec c dd if=/dev/zero of=/dev/null bs=64M count=1 2>&1; within 'grep -q oom /run/events'; \
         grep -m 1 oom /run/events; runc delete -f c; wait",
    );
    assert!(text.contains("{\"type\":\"oom\",\"id\":\"c\"}"), "{text}");
}

#[test]
fn exec_joins_the_groups_below_that_it_is_told() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    host.write(&config);
    let text = host.ok(&script(
        &host,
        "runc run -d --pid-file /run/pid c; if [ $V2 ]; then mkdir $(dir)/sub; else for h in /sys/fs/cgroup/*; do d=$h$(dir | sed 's#/sys/fs/cgroup/##'); [ -d $d ] && mkdir $d/sub; done; \
         d=$(dir cpuset)/sub; for f in cpus mems; do cat $(dir cpuset)/cpuset.$f > $d/cpuset.$f; done; fi; \
         runc exec --cgroup sub c cat /proc/self/cgroup | grep -v '^0::' | grep -c /sub$; [ $V2 ] && runc exec --cgroup sub c cat /proc/self/cgroup; \
         runc exec --cgroup ../x c true 2>&1; runc exec --cgroup nope:sub c true 2>&1; runc exec --cgroup nope c true >/run/out 2>&1 && echo joined nothing; \
         runc delete -f c",
    ));
    let lines: Vec<&str> = text.lines().collect();
    if is_v2() {
        assert_eq!(lines[..2], ["0", "0::/sub"]);
    } else {
        assert!(lines[0].parse::<u32>().unwrap() >= 5, "{text}");
    }
    let last = &lines[lines.len() - 2..];
    assert_eq!(
        last,
        [
            "exec failed: bad sub cgroup path: ../x leads out of the container's cgroup",
            "exec failed: unknown controller nope in SubCgroupPaths",
        ]
    );
}

/// A create that is killed at any moment leaves what `delete --force` finds.
#[test]
fn a_create_killed_half_way_is_deleted_without_a_trace() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    // `run` itself checks that no cgroup is left.
    let text = host.ok(
        "for t in 0.001 0.002 0.003 0.005 0.008 0.012 0.02 0.03; do timeout -s KILL $t $RUNC create c >/dev/null 2>&1; \
         runc delete --force c || echo failed; done; ls -A /run/lighter-runc; pgrep -x sleep; true",
    );
    assert_eq!(text.trim(), "");
}

/// As runc: least privilege, also for who says nothing. The numbers are nobody's, so that only the rules decide: who may open
/// the node hears that there is no such device.
#[test]
fn without_device_rules_only_the_default_devices_are_there() {
    let script =
        "busybox mknod /dev/nobody c 239 77; cat /dev/nobody 2>&1; head -c 1 /dev/zero | busybox wc -c";
    for (rules, expected) in [
        (None, "Operation not permitted"),
        (Some(json!({})), "Operation not permitted"),
        (Some(json!({"devices": []})), "Operation not permitted"),
        (
            Some(json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]})),
            "Operation not permitted",
        ),
        (
            Some(json!({"devices": [{"allow": true, "access": "rwm"}]})),
            "No such device or address",
        ),
    ] {
        let host = Host::new();
        let mut config = host.config(&["sh", "-c", script]);
        let linux = config["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.extend(rules.clone().map(|rules| ("resources".to_owned(), rules)));
        assert_eq!(
            host.ok_config(&config),
            format!("cat: can't open '/dev/nobody': {expected}\n1\n"),
            "{rules:?}"
        );
    }
}

/// A container that has all the processes it may have is still looked into.
#[test]
fn exec_finds_its_place_in_a_group_that_is_full() {
    let host = Host::new();
    for limit in [1, 2] {
        let mut config = host.config(&["sleep", "100"]);
        config["linux"]["resources"]["pids"] = json!({"limit": limit});
        host.write(&config);
        let text = host.ok(
            "runc run -d c; runc exec c cat /proc/self/cgroup >/run/out; runc exec c echo again; grep -vc ':/$' /run/out; \
             grep -c ':/$' /run/out; runc delete -f c",
        );
        let lines: Vec<&str> = text.lines().collect();
        // In its own cgroup namespace all of them are the root.
        assert_eq!((lines.len(), lines[0], lines[1]), (3, "again", "0"), "{text}");
        assert_ne!(lines[2], "0", "{text}");
    }
}
