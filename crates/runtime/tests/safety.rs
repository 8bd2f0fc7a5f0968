//! Ways out that were published, and what must not leak. Each test is named after what it tries.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// The entry point of a container makes the runtime run itself, then writes to the file that it runs from.
#[test]
fn cve_2019_5736_the_runtime_cannot_be_overwritten() {
    let host = Host::new();
    // Whoever runs `/bin/evil` runs the runtime's own program inside; somebody else in the container waits for it.
    symlink("/proc/self/exe", host.path("rootfs/bin/evil")).unwrap();
    let script = "while :; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *lighter*|/) \
                  exec 5< $p/exe && (echo x > /proc/self/fd/5) 2>/tmp/why && touch /tmp/written; cat /tmp/why > /tmp/tried; exit 0;; esac; done; done";
    host.write(&host.config(&["sh", "-c", script]));
    let before = fs::read(common::program()).unwrap();
    let output = host
        .run("runc run -d c; for i in $(seq 50); do runc exec c /bin/evil state c; done; runc delete -f c");
    assert!(!host.path("rootfs/tmp/written").exists(), "{}", words(&output));
    assert_eq!(fs::read(common::program()).unwrap(), before);
}

/// And directly: what `/proc/self/exe` leads to is on a mount that nobody can write through.
#[test]
fn cve_2019_5736_our_file_is_behind_a_read_only_mount() {
    let host = Host::new();
    symlink("/proc/self/exe", host.path("rootfs/bin/evil")).unwrap();
    host.write(&host.config(&["/bin/evil", "--version"]));
    // The runtime runs inside as the container's process, which shows that the link led to it.
    let text = host.ok("runc run c");
    assert!(text.starts_with("lighter-runc version"), "{text}");
}

/// A working directory behind a descriptor of ours would lead out.
#[test]
fn cve_2024_21626_no_descriptor_and_no_directory_leak() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "ls /proc/self/fd"]);
    host.write(&config);
    let text = host.ok(
        "exec 7</ 8</etc/passwd; runc run c; runc run -d --pid-file /run/pid c </dev/null >/run/o; \
         within 'runc state c | grep stopped' >/dev/null; cat /run/o; runc delete -f c",
    );
    // 3 is the directory that `ls` reads.
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3", "0", "1", "2", "3"]
    );

    for fd in 3..20 {
        config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        config["process"]["args"] = json!(["sh", "-c", "pwd -P; ls"]);
        host.write(&config);
        let output = host.run("exec 7</ 8</etc; runc run c");
        assert!(!output.status.success(), "{fd}: {}", words(&output));
    }
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "exec 7</; runc run -d c; for n in $(seq 3 20); do runc exec --cwd /proc/self/fd/$n c ls 2>/dev/null && echo out $n; done; \
         runc exec c ls /proc/self/fd; runc delete -f c",
    );
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

/// What the caller wants to pass on is passed on, and nothing else.
#[test]
fn preserved_descriptors_are_those_asked_for() {
    let host = Host::new();
    host.write(&host.config(&["sh", "-c", "cat <&3; ls /proc/self/fd"]));
    fs::write(host.path("given"), "given\n").unwrap();
    let text = host.ok("exec 3<given 4</ 5</; runc run --preserve-fds 1 c");
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["given", "0", "1", "2", "3", "4"]
    );
}

/// Nobody in the container follows what hangs below `/proc/PID` of a process that is on its way in. (The numbers of its
/// descriptors can be listed: that takes no more than being root.)
#[test]
fn cve_2016_9962_a_joining_process_cannot_be_looked_into() {
    let host = Host::new();
    let script = "while :; do for p in /proc/[0-9]*; do case $(cat $p/comm 2>/dev/null) in lighter*|[0-9]*) echo >> /tmp/tried; \
                  for l in cwd root exe fd/3 fd/4 fd/5 fd/6; do to=$(readlink $p/$l) && case $(cat $p/comm) in lighter*|[0-9]*) \
                  echo $l $to >> /tmp/seen;; esac; done;; esac; done; done";
    host.write(&host.config(&["sh", "-c", script]));
    // Until one was met, however the processors are shared.
    host.ok(
        "runc run -d c; n=0; until [ $n -ge 100 ] && [ -s rootfs/tmp/tried ]; do runc exec c true; n=$((n+1)); [ $n -lt 3000 ] || break; done; \
         runc delete -f c",
    );
    let read = |name: &str| fs::read_to_string(host.path("rootfs/tmp").join(name)).unwrap_or_default();
    assert_ne!(read("tried"), "", "nobody was met");
    assert_eq!(read("seen"), "");
}

/// Root of a container who may trace others looks into a joining process all the same. So there is nothing of the host's to
/// see: its root, its working directory and its descriptors are the container's, from its first moment on (which is made
/// longer here). A file of the container's that it happens to read (`/etc/passwd`) is.
#[test]
fn cve_2016_9962_a_joining_process_has_nothing_of_the_hosts() {
    let host = Host::new();
    let mark = host.path("mark").display().to_string();
    fs::write(&mark, "the host's").unwrap();
    let script = format!(
        "while :; do for p in /proc/[0-9]*; do case $(cat $p/comm 2>/dev/null) in lighter*|[0-9]*) echo >> /tmp/tried; \
         [ -e $p/root{mark} ] && echo root >> /tmp/seen; [ -e $p/cwd/mark ] && echo cwd >> /tmp/seen; \
         for fd in $p/fd/*; do to=$(readlink $fd) && case $to in /dev/null|socket:*|pipe:*|anon_inode:*|'') ;; *) \
         [ $fd -ef $to ] || [ \"$(readlink $fd)\" = $to ] && [ ! $fd -ef $to ] && [ -e $p/root ] && echo $fd $to >> /tmp/seen;; esac; done;; esac; done; done"
    );
    let mut config = host.config(&["sh", "-c", &script]);
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set]
            .as_array_mut()
            .unwrap()
            .push(json!("CAP_SYS_PTRACE"));
    }
    host.write(&config);
    host.ok(
        "runc run -d c >/dev/null 2>&1 </dev/null; for call in setsid setns fchdir close_range prctl; do \
         strace -f -o /dev/null -e inject=$call:delay_enter=200000:when=1 $RUNC --log log --debug exec c true >/dev/null 2>&1 </dev/null || exit 1; done; \
         runc delete -f c",
    );
    let read = |name: &str| fs::read_to_string(host.path("rootfs/tmp").join(name)).unwrap_or_default();
    assert_ne!(read("tried"), "", "nobody was met");
    assert_eq!(read("seen"), "");
}

/// A null device of the caller's is not the host's inside: its mount would stay in use, and CRIU could not name it.
#[test]
fn null_devices_of_the_caller_become_the_containers_own() {
    let host = Host::new();
    let script = "for n in 0 1 2; do mount=$(busybox awk '/^mnt_id/ { print $2 }' /proc/$$/fdinfo/$n); \
                  grep -q \"^$mount \" /proc/self/mountinfo && echo $n >&3; done 3>/tmp/own; echo end >> /tmp/own";
    host.write(&host.config(&["sh", "-c", script]));
    host.ok("runc run c </dev/null >/dev/null 2>/dev/null");
    assert_eq!(
        fs::read_to_string(host.path("rootfs/tmp/own")).unwrap(),
        "0\n1\n2\nend\n"
    );
}

/// Signals that our caller ignores or blocks, its environment, its umask, its limits of processors: nothing of it is the
/// container's.
#[test]
fn nothing_of_the_callers_state_leaks() {
    let host = Host::new();
    symlink("busybox", host.path("rootfs/bin/tr")).unwrap();
    let script = "grep -E '^(SigIgn|SigBlk|Umask|ShdPnd)' /proc/self/status | tr -d '\\t\\n'; echo; tr '\\0' '\\n' < /proc/$$/environ; true\n";
    fs::write(host.path("rootfs/check"), script).unwrap();
    let mut config = host.config(&["sh", "-c", ". /check > /tmp/out; sleep 100"]);
    config["process"]["env"] = json!(["PATH=/bin"]);
    host.write(&config);
    let text = host.ok(
        "trap '' HUP INT QUIT PIPE TERM USR1 USR2 TSTP TTIN TTOU ALRM; umask 0; export SECRET=1; runc run -d c; within 'grep -q HOME rootfs/tmp/out'; \
         cat rootfs/tmp/out; runc exec c sh /check; runc delete -f c",
    );
    // Signals 32 and 33 are the C library's own: it lets nobody set them, and who uses them sets them first.
    let text = text.replace("SigIgn:0000000180000000", "SigIgn:0000000000000000");
    let clean = "Umask:0022ShdPnd:0000000000000000SigBlk:0000000000000000SigIgn:0000000000000000";
    let environment = ["PATH=/bin", "HOME=/root"];
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            clean,
            environment[0],
            environment[1],
            clean,
            environment[0],
            environment[1]
        ]
    );
}

/// The session keyring is the container's own, and later processes share it.
#[test]
fn the_session_keyring_is_the_containers() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "cat /proc/keys > /tmp/keys; sleep 100"]);
    config["linux"]["maskedPaths"] = json!([]);
    host.write(&config);
    let text = host.ok(
        "runc run -d c; within 'grep -q _ses rootfs/tmp/keys'; grep -c '_ses.c' rootfs/tmp/keys; runc exec c cat /proc/keys > /run/later; \
         [ \"$(grep _ses.c rootfs/tmp/keys | cut -d' ' -f1)\" = \"$(grep _ses.c /run/later | cut -d' ' -f1)\" ] && echo same; runc delete -f c",
    );
    assert_eq!(text, "1\nsame\n");
}

/// A capability that is inheritable would be given to programs of the image that ask for it by their files.
#[test]
fn cve_2022_29162_nothing_is_inheritable_unasked() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "grep -E 'Cap(Inh|Amb)' /proc/self/status; sleep 100"]);
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    host.write(&config);
    let text = host.ok(
        "runc run -d c > /run/out; within 'grep Amb /run/out'; cat /run/out; runc exec --cap CAP_NET_ADMIN c grep -E 'Cap(Inh|Amb)' /proc/self/status; \
         runc delete -f c; mkdir b; (cd b; runc spec; grep -c -i inheritable config.json; true)",
    );
    let none = ["CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"];
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [none[0], none[1], none[0], none[1], "0"]
    );
}

/// runc told its first process by netlink messages, whose length a long value could overflow into a message of its own.
/// There is no such message here (the child has our memory); values of every length are taken or refused as they are.
#[test]
fn cve_2021_43784_long_values_stay_values() {
    let host = Host::new();
    let long = "x".repeat(70_000);
    let mut config = host.config(&["sh", "-c", "echo ${#LONG}"]);
    config["process"]["env"]
        .as_array_mut()
        .unwrap()
        .push(json!(format!("LONG={long}")));
    config["annotations"] = json!({"long": long});
    assert_eq!(host.ok_config(&config), "70000\n");
    config["linux"]["namespaces"][1]["path"] = json!(format!("/{long}"));
    host.write(&config);
    let text = host.ok("runc run c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc");
    assert!(
        text.trim_end().ends_with("file name too long"),
        "{}",
        &text[text.len() - 100..]
    );
}

/// This kernel has no AppArmor and no SELinux. What they would be told is written to the host's procfs before anything of
/// the container's is in sight; here it is refused.
#[test]
fn cve_2019_16884_labels_are_not_lost_but_refused() {
    for (field, value, expected) in [
        (
            "apparmorProfile",
            "docker-default",
            "apparmor is not enabled on the system",
        ),
        (
            "selinuxLabel",
            "system_u:system_r:t:s0",
            "selinux is disabled or not supported",
        ),
    ] {
        let host = Host::new();
        let mut config = host.config(&["sleep", "100"]);
        host.write(&config);
        let flag = if field == "apparmorProfile" {
            "--apparmor"
        } else {
            "--process-label"
        };
        let text = host.ok(&format!(
            "runc run -d c; runc exec {flag} {value} c true 2>&1; runc delete -f c"
        ));
        assert!(text.contains(expected), "{text}");
        config["process"][field] = json!(value);
        host.write(&config);
        let text = host.ok("runc run c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc 2>/dev/null; true");
        assert!(
            text.contains(&format!("process.{field}: ")) && text.contains(expected),
            "{text}"
        );
    }
}

/// Sockets of socket activation and what `--preserve-fds` names after them; what is not there is refused.
#[test]
fn descriptors_are_passed_by_number() {
    let host = Host::new();
    fs::write(host.path("given"), "given\n").unwrap();
    host.write(&host.config(&[
        "sh",
        "-c",
        "echo $LISTEN_FDS $LISTEN_PID; cat <&5; ls /proc/self/fd",
    ]));
    let text = host.ok(
        "exec 3<given 4<given 5<given 6</; (export LISTEN_FDS=2; LISTEN_PID=$BASHPID exec $RUNC run --preserve-fds 1 c); \
         exec 4<&-; runc run --preserve-fds 2 c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc",
    );
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>().join(" "),
        "2 1 given 0 1 2 3 4 5 6 unable to stat preserved-fd 1 (of 2): bad file descriptor"
            .replace("6 unable", "6 runc run failed: unable"),
    );
}

/// The process that waited for its runtime says nothing when that gave up: one error, one line.
#[test]
fn what_fails_late_is_told_once() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "for i in 1 2 3; do $RUNC create --pid-file /nope/pid d 2>&1 | sed 's/.*msg=//'; runc run -d c; \
         $RUNC exec -d --pid-file /nope/pid c sleep 50 2>&1 | sed 's/.*msg=//'; runc delete -f c; done",
    );
    for (at, line) in text.lines().enumerate() {
        let command = if at % 2 == 0 { "create" } else { "exec" };
        assert!(
            line.contains(command) && line.contains("/nope/pid: no such file"),
            "{text}"
        );
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}
