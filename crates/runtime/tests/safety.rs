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
    host.ok("runc run -d c; for i in $(seq 100); do runc exec c true; done; runc delete -f c");
    let read = |name: &str| fs::read_to_string(host.path("rootfs/tmp").join(name)).unwrap_or_default();
    assert_ne!(read("tried"), "", "nobody was met");
    assert_eq!(read("seen"), "");
}
