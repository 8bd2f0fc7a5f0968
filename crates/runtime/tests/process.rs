//! The fields of `process` (and of `linux`, where they concern the process) that ask the kernel for something rare, for
//! the first process and for later ones; and what is refused, by the path of its field.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};
use std::fs;

/// Policy, priority and nice value of the shell that runs this: fields 41, 40 and 19 of its `stat`.
const SCHEDULED: &str = "read -r line < /proc/$$/stat; set -- ${line##*)}; echo ${39} ${38} ${17}";

fn tools(host: &Host) {
    for name in ["cut", "ionice", "uname", "wc", "sort"] {
        std::os::unix::fs::symlink("busybox", host.path("rootfs/bin").join(name)).unwrap();
    }
}

/// The script's output in the first process, and in one that `exec` adds.
fn both(script: &str, change: impl FnOnce(&Host, &mut Value)) -> (String, String) {
    let host = Host::new();
    tools(&host);
    let mut config = host.config(&["sh", "-c", &format!("{{ {script}; }} > /tmp/out; sleep 100")]);
    change(&host, &mut config);
    host.write(&config);
    let later = host.ok(&format!(
        "runc run -d c || {{ cat /run/log.of.runc >&2; exit 1; }}; within 'grep -q . rootfs/tmp/out' && runc exec c sh -c '{}'; runc delete -f c",
        script.replace('\'', "'\\''")
    ));
    let first = fs::read_to_string(host.path("rootfs/tmp/out")).unwrap();
    (first.trim().to_owned(), later.trim().to_owned())
}

fn check_both(script: &str, change: impl FnOnce(&Host, &mut Value), expected: &str) {
    let (first, later) = both(script, change);
    assert_eq!(first, expected, "first process: {script}");
    assert_eq!(later, expected, "later process: {script}");
}

/// Creating with the change fails, with these words, and leaves nothing.
fn refused(change: impl FnOnce(&mut Value), expected: &str) {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    change(&mut config);
    host.write(&config);
    let output = host.run("runc run c 2>&1; code=$?; ls -A /run/lighter-runc 2>/dev/null; exit $code");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{}", words(&output));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(expected), "{text}\nwithout: {expected}");
}

#[test]
fn the_scheduler_is_set() {
    check_both(
        SCHEDULED,
        |_, c| c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 19}),
        "3 0 19",
    );
    check_both(
        SCHEDULED,
        |_, c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5, "flags": null}),
        "0 0 -5",
    );
}

#[test]
fn a_real_time_policy_is_set() {
    check_both(
        SCHEDULED,
        |host, c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
            // cgroup v1 may give real-time processes a budget of their own, at first none.
            let parent =
                std::path::Path::new("/sys/fs/cgroup/cpu").join(host.cgroup().trim_start_matches('/'));
            if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
                fs::create_dir(&parent).unwrap();
                fs::write(parent.join("cpu.rt_runtime_us"), "2000").unwrap();
                c["linux"]["resources"]["cpu"] =
                    json!({"realtimePeriod": 1_000_000, "realtimeRuntime": 1000});
            }
        },
        // It keeps its caller's niceness, which has no meaning there.
        &format!("1 7 {}", rustix::process::getpriority_process(None).unwrap()),
    );
}

#[test]
fn a_deadline_is_set_for_a_later_process() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let process = json!({"args": ["/bin/sleep", "100"], "cwd": "/", "scheduler": {"policy": "SCHED_DEADLINE",
        "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 19, "runtime": 42000, "deadline": 100_000, "period": 1_000_000}});
    fs::write(host.path("process.json"), process.to_string()).unwrap();
    let text = host.ok("runc run -d c; runc exec -d --pid-file /run/pid --process process.json c 2>&1; chrt -p $(pid); runc delete -f c");
    assert!(text.contains("SCHED_DEADLINE|SCHED_RESET_ON_FORK"), "{text}");
    assert!(text.contains("42000/100000/1000000"), "{text}");
}

#[test]
fn the_io_priority_is_set() {
    for (priority, expected) in [
        (
            json!({"class": "IOPRIO_CLASS_BE", "priority": 4}),
            "best-effort: prio 4",
        ),
        (json!({"class": "IOPRIO_CLASS_IDLE"}), "idle"),
        (
            json!({"class": "IOPRIO_CLASS_RT", "priority": 0}),
            "realtime: prio 0",
        ),
    ] {
        check_both("ionice", |_, c| c["process"]["ioPriority"] = priority, expected);
    }
}

#[test]
fn later_processes_run_on_their_processors() {
    let allowed = "grep Cpus_allowed_list: /proc/self/status | cut -f2";
    // One that has the machine to itself tells nothing.
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(cpus > 1, "this test wants two processors");
    let all = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.effective_cpus")
        .or_else(|_| fs::read_to_string("/sys/devices/system/cpu/online"))
        .unwrap();
    let (first, later) = both(allowed, |_, c| {
        c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": " 1,"});
    });
    assert_eq!((first.as_str(), later.as_str()), (all.trim(), "1"));
    let (_, later) = both(allowed, |_, c| {
        c["process"]["execCPUAffinity"] = json!({"initial": "1"});
    });
    assert_eq!(later, "1");

    // What the caller is confined to is not passed on.
    let host = Host::new();
    tools(&host);
    host.write(&host.config(&["sh", "-c", &format!("{allowed}; sleep 100")]));
    let text = host.ok(&format!(
        "taskset -c 0 $RUNC run -d c > /run/o; within 'grep -q . /run/o'; cat /run/o; taskset -c 0 $RUNC exec c sh -c '{allowed}'; runc delete -f c"
    ));
    assert_eq!(text.lines().collect::<Vec<_>>(), [all.trim(), all.trim()]);
}

#[test]
fn the_memory_policy_is_set() {
    let policy = "head -n 1 /proc/self/numa_maps | cut -d \" \" -f 2";
    for (value, expected) in [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (
            json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "prefer=relative:0",
        ),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({}), "default"),
    ] {
        check_both(policy, |_, c| c["linux"]["memoryPolicy"] = value, expected);
    }
}

#[test]
fn the_personality_is_set() {
    let machine = "uname -m; cat /proc/$$/personality";
    for (domain, expected) in [("LINUX", "x86_64\n00000000"), ("LINUX32", "i686\n00000008")] {
        check_both(
            machine,
            |_, c| c["linux"]["personality"] = json!({"domain": domain, "flags": []}),
            expected,
        );
    }
}

#[test]
fn limits_are_set_by_name() {
    check_both(
        "while read -r a b c d e f; do case $a$b$c in Max*) echo $a $b $c $d $e;; esac; done < /proc/self/limits | grep -E \"stack|processes|realtime p|locked|pending\"",
        |_, c| {
            c["process"]["rlimits"] = json!([
                {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608},
                {"type": "RLIMIT_NPROC", "soft": 900, "hard": 1000},
                {"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192},
                {"type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0},
                {"type": "RLIMIT_SIGPENDING", "soft": 10, "hard": 20},
                {"type": "RLIMIT_RTTIME", "soft": u64::MAX, "hard": u64::MAX},
            ]);
        },
        "Max stack size 4194304 8388608\nMax processes 900 1000 processes\nMax locked memory 4096 8192\nMax pending signals 10 20\nMax realtime priority 0 0",
    );
    refused(
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}, {"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]),
        "process.rlimits[1]: duplicate rlimit type: \"RLIMIT_NPROC\"",
    );
    refused(
        |c| c["process"]["rlimits"] = json!([{"type": "NPROC", "soft": 1, "hard": 1}]),
        "process.rlimits[0]: invalid rlimit type: \"NPROC\"",
    );
    refused(
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NPROC", "soft": 2, "hard": 1}]),
        "process.rlimits[0]: soft limit above the hard one",
    );
}

#[test]
fn the_environment_is_what_was_given_once() {
    let show = "env | grep -v -e ^SHLVL -e ^PWD | sort";
    check_both(
        show,
        |_, c| {
            c["process"]["env"] = json!([
                "ONE=two",
                "HOME=/x",
                "HOME=",
                "PATH=/bin",
                "ONE=",
                "ONE==",
                "L=a\nb"
            ])
        },
        "HOME=/root\nL=a\nONE==\nPATH=/bin\nb",
    );
    check_both(
        show,
        |_, c| {
            c["process"]["env"] = json!(["PATH=/bin", "HOME=", "HOME=/mine"]);
        },
        "HOME=/mine\nPATH=/bin",
    );
    for (pair, expected) in [
        (
            "NOTHING",
            "process.env[1]: invalid environment variable: missing '='",
        ),
        (
            "=x",
            "process.env[1]: invalid environment variable: name cannot be empty",
        ),
    ] {
        refused(|c| c["process"]["env"] = json!(["PATH=/bin", pair]), expected);
    }
}

#[test]
fn a_user_without_a_home_is_at_the_root() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok("runc run -d c; runc exec -u 4000 c sh -uc 'echo $HOME'; runc exec -u 1000:7 c sh -c 'echo $HOME; id -g'; \
                        for u in x 1:y -1 1: ''; do runc exec -u \"$u\" c id -u 2>&1; done; runc delete -f c");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["/", "/home/user", "7"]);
    assert!(
        lines[3].contains("bad uid") && lines[4].contains("bad gid"),
        "{text}"
    );
    assert!(
        lines[5].contains("bad uid") && lines[6].contains("bad gid"),
        "{text}"
    );
    // As with runc, an empty user is none.
    assert_eq!(lines[7], "0");
}

#[test]
fn what_makes_no_sense_is_refused_by_its_field() {
    for (field, value) in [
        ("uid", json!(u32::MAX)),
        ("gid", json!(u32::MAX)),
        ("additionalGids", json!([5, u32::MAX])),
    ] {
        refused(
            |c| c["process"]["user"][field] = value,
            &format!("process.user.{field}: 4294967295 is no id: the kernel takes it for \"no change\""),
        );
    }
    refused(
        |c| c["process"]["user"] = json!([5, 6]),
        "config.json: process.user: invalid type: sequence, expected struct User",
    );
    refused(
        |c| c["linux"]["devices"] = json!([{}]),
        "linux.devices[0].type: invalid device type \"\"",
    );
    refused(
        |c| c["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2"),
        "linux.mountLabel: selinux label is specified in config, but selinux is disabled or not supported",
    );
    let scheduler = |value: Value| move |c: &mut Value| c["process"]["scheduler"] = value;
    refused(
        scheduler(json!({})),
        "process.scheduler.policy: scheduler policy is required",
    );
    refused(
        scheduler(json!({"policy": "SCHED_NONE"})),
        "process.scheduler.policy: invalid scheduler policy: SCHED_NONE",
    );
    refused(
        scheduler(json!({"policy": "SCHED_BATCH", "nice": 20})),
        "process.scheduler.nice: invalid scheduler.nice: 20",
    );
    refused(
        scheduler(json!({"policy": "SCHED_OTHER", "priority": 1})),
        "process.scheduler.priority",
    );
    refused(
        scheduler(json!({"policy": "SCHED_FIFO", "priority": -1})),
        "process.scheduler.priority",
    );
    refused(
        scheduler(json!({"policy": "SCHED_OTHER", "runtime": 1})),
        "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
    );
    refused(
        scheduler(json!({"policy": "SCHED_OTHER", "flags": ["X"]})),
        "process.scheduler.flags: invalid scheduler flag: X",
    );
    refused(
        |c| c["process"]["ioPriority"] = json!({"class": "X"}),
        "process.ioPriority.class: invalid ioPriority.Class: \"X\"",
    );
    refused(
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
        "process.ioPriority.priority: invalid ioPriority.Priority: 8",
    );
    refused(
        |c| c["process"]["execCPUAffinity"] = json!({"initial": "0-"}),
        "process.execCPUAffinity.initial: bad CPU list \"0-\"",
    );
    let memory = |value: Value| move |c: &mut Value| c["linux"]["memoryPolicy"] = value;
    refused(
        memory(json!({"mode": "INTERLEAVE"})),
        "linux.memoryPolicy.mode: invalid memory policy mode",
    );
    refused(memory(json!({"nodes": "0"})), "invalid memory policy mode");
    refused(
        memory(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["x"]})),
        "linux.memoryPolicy.flags: invalid memory policy flag \"x\"",
    );
    refused(
        memory(json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"})),
        "linux.memoryPolicy.nodes: invalid memory policy node",
    );
    refused(
        memory(json!({"mode": "MPOL_DEFAULT", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})),
        "set_mempolicy: invalid argument",
    );
    refused(
        |c| c["linux"]["personality"] = json!({"domain": "BSD"}),
        "linux.personality.domain: invalid personality domain BSD",
    );
}

/// As runc has it: engines are older and newer than the spec that they name, and the spec has no flags yet.
#[test]
fn what_peers_pass_over_is_passed_over() {
    let host = Host::new();
    let base = host.config(&["sh", "-c", "echo ran"]);
    for version in [json!(null), json!(""), json!("2.0.0"), json!("1.0.0-rc5-dev")] {
        let mut config = base.clone();
        config["ociVersion"] = version;
        assert_eq!(host.ok_config(&config), "ran\n");
    }
    let mut config = base;
    config["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE", "X"]});
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    host.write(&config);
    assert_eq!(
        host.ok("runc run c; grep -o 'level=.*' /run/log.of.runc"),
        "ran\nlevel=warning msg=\"ignoring unsupported personality flags: [ADDR_NO_RANDOMIZE X]\"\n"
    );
}

/// From the container's root, whatever the working directory; an empty one is none.
#[test]
fn paths_to_guard_may_be_relative() {
    let host = Host::new();
    let script = "cat /etc/passwd /etc/group; touch /tmp/x 2>&1; touch /y && echo written";
    let mut config = host.config(&["sh", "-c", script]);
    fs::write(host.path("rootfs/etc/group"), "group\n").unwrap();
    config["process"]["cwd"] = json!("/usr/local");
    config["linux"]["maskedPaths"] = json!(["etc/passwd", ""]);
    config["linux"]["readonlyPaths"] = json!(["../tmp", ""]);
    let text = host.ok_config(&config);
    assert_eq!(text, "group\ntouch: /tmp/x: Read-only file system\nwritten\n");
}

/// Nothing is what a process has that is given nothing; crun has it so, runc leaves it all that its caller has.
#[test]
fn no_capabilities_are_none() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "grep -E Cap[PEB] /proc/self/status | cut -f2"]);
    tools(&host);
    config["process"].as_object_mut().unwrap().remove("capabilities");
    let text = host.ok_config(&config);
    assert_eq!(text.lines().collect::<Vec<_>>(), ["0000000000000000"; 3]);
}

/// A document that leaves something open means what the container has.
#[test]
fn a_process_document_inherits_what_it_does_not_say() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["process"]["user"]["umask"] = json!(0o77);
    config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    host.write(&config);
    let script = format!("umask; ulimit -n; grep CapEff /proc/self/status; {SCHEDULED}");
    let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/"});
    fs::write(host.path("process.json"), process.to_string()).unwrap();
    let text = host.ok("runc run -d c; runc exec --process process.json c; runc delete -f c");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["0077", "77", "CapEff:\t00000000a80425fb", "3 0 7"]
    );
}

/// `null` is absent, as in Go's JSON; what nobody knows is ignored; a wrong type is told with the path of its field.
#[test]
fn documents_are_read_as_leniently_as_the_spec_says() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "echo ran"]);
    let process = &mut config["process"];
    for name in [
        "terminal",
        "consoleSize",
        "noNewPrivileges",
        "apparmorProfile",
        "selinuxLabel",
        "rlimits",
        "scheduler",
        "ioPriority",
        "commandLine",
    ] {
        process[name] = Value::Null;
    }
    process["user"] =
        json!({"uid": null, "gid": null, "umask": null, "additionalGids": null, "username": "x"});
    process["commandLine"] = json!("only for Windows");
    process["futureField"] = json!({"a": [1, null]});
    config["domainname"] = Value::Null;
    config["hooks"] = Value::Null;
    config["root"]["readonly"] = Value::Null;
    config["windows"] = json!({"layerFolders": []});
    config["linux"]["personality"] = Value::Null;
    config["linux"]["intelRdt"] = Value::Null;
    config["linux"]["memoryPolicy"] = Value::Null;
    config["linux"]["future"] = json!(1);
    assert_eq!(host.ok_config(&config), "ran\n");

    refused(
        |c| c["linux"]["resources"]["memory"]["limit"] = json!("x"),
        "config.json: linux.resources.memory.limit: invalid type: string \"x\", expected i64 at line 1 column",
    );
    refused(
        |c| c["process"]["user"]["uid"] = json!(-1),
        "process.user.uid: invalid value: integer `-1`, expected u32",
    );
    refused(
        |c| c["process"]["args"][0] = json!(7),
        "process.args[0]: invalid type: integer `7`, expected a string",
    );

    host.write(&host.config(&["sleep", "100"]));
    fs::write(host.path("process.json"), r#"{"args": ["true"], "cwd": 1}"#).unwrap();
    let text = host.ok("runc run -d c; runc exec --process process.json c 2>&1; echo '{\"memory\": {\"limit\": []}}' | runc update -r - c 2>&1; runc delete -f c");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("process.json: cwd: invalid type: integer `1`"),
        "{text}"
    );
    assert!(
        lines[1].contains("memory.limit: invalid type: sequence"),
        "{text}"
    );
}

/// The process runs without it, as with runc.
#[test]
fn an_ambient_capability_that_cannot_be_is_warned_about() {
    let host = Host::new();
    let mut config = host.config(&["grep", "CapAmb", "/proc/self/status"]);
    config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
    config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    host.write(&config);
    let text = host.ok("runc run c; cat /run/log.of.runc");
    let (status, log) = text.split_once('\n').unwrap();
    assert_eq!(status, "CapAmb:\t0000000000000020");
    assert!(
        log.ends_with(
            "level=warning msg=\"can't raise ambient capability CAP_CHOWN: operation not permitted\"\n"
        ) && log.lines().count() == 1,
        "{log}"
    );
}

/// The id for "no change" does not run a later process as root.
#[test]
fn a_later_process_has_an_id_or_is_refused() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let process = json!({"args": ["/bin/id"], "cwd": "/", "user": {"uid": u32::MAX}, "capabilities": {"bounding": ["CAP_NOPE"]}});
    fs::write(host.path("process.json"), process.to_string()).unwrap();
    let text = host.ok(
        "runc run -d c; $RUNC exec -u 4294967295 c id 2>&1; $RUNC exec -u 5:4294967295 c id 2>&1; $RUNC exec -p process.json c 2>&1; \
         sed -i s/4294967295/7/ process.json; $RUNC --log /run/l exec -p process.json c; grep -o 'ignoring .*' /run/l; \
         $RUNC exec c 2>&1; runc kill c '' && echo sent; runc delete -f c",
    );
    let no = |field| {
        format!(
            "exec failed: process.user.{field}: 4294967295 is no id: the kernel takes it for \"no change\""
        )
    };
    let said: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("status"))
        .map(|line| line.split_once("msg=").map_or(line, |(_, said)| said))
        .collect();
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let expected = [
        quoted(&no("uid")),
        quoted(&no("gid")),
        quoted(&no("uid")),
        "uid=7 gid=0".into(),
        "ignoring unknown or unavailable capabilities: [CAP_NOPE]\"".into(),
        quoted("exec failed: exec args cannot be empty"),
        "sent".into(),
    ];
    assert_eq!(said, expected, "{text}");
}
