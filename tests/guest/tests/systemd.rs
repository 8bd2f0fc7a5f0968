//! The guest with systemd is what the tests of the systemd driver take it for.

use lighter_guest::{Guest, Kind};

#[test]
fn systemd_delegates_and_limits_scopes() {
    let ran = Guest::new(Kind::Systemd).run(
        "cat /proc/1/comm; stat -fc %T /sys/fs/cgroup; systemctl is-active dbus.service systemd-logind.service
         systemd-run --quiet --scope --slice lt-a.slice -p MemoryMax=32M -p TasksMax=20 -p Delegate=yes bash -c \\
           'g=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); dirname ${g#/sys/fs/cgroup}; cat $g/memory.max $g/pids.max'",
    );
    assert_eq!(ran.code, 0, "{}", ran.output);
    let lines: Vec<&str> = ran.output.lines().collect();
    let expected = [
        "systemd",
        "cgroup2fs",
        "active",
        "active",
        "/lt.slice/lt-a.slice",
        "33554432",
        "20",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_guest_answers_the_exit_code_and_leaves_nothing() {
    let ran = Guest::new(Kind::Plain).run("echo 1 >/lighter-guest-was-here; exit 7");
    assert_eq!(ran.code, 7, "{}", ran.output);
    assert!(
        !lighter_harness::lab()
            .join("guest/root/lighter-guest-was-here")
            .exists()
    );
}
