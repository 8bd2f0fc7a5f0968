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

/// Links of the image in the way of mounts stay inside.
#[test]
fn cve_2021_30465_mounts_stay_in_the_root() {
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
        assert!(
            text.contains("must be mounted on an ordinary directory"),
            "{text}"
        );
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

/// sysctls are written to procfs or not at all.
#[test]
fn cve_2023_27561_sysctls_go_to_procfs() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(
        json!({"destination": "/proc/sys/net/ipv4", "type": "tmpfs", "source": "tmpfs", "options": []}),
    );
    host.write(&config);
    let text = host.ok("runc run c 2>&1; [ $? = 1 ]");
    assert!(text.contains("ip_forward"), "{text}");
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
