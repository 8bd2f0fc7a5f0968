//! Who is whose child, read from /proc.

use std::fs;

use lighter_harness::{Client, Kind, Session};

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .expect("a parent")
}

fn name(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

#[test]
fn the_shim_is_the_parent_of_init_and_no_daemons_child() {
    let session = Session::start(Kind::Lighter, Client::Stock);
    session.pull("busybox");
    session
        .docker(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"])
        .ok();
    let init = session.init_pid("cc");
    let shim = parent(init);
    assert!(
        name(shim).ends_with("/containerd-shim-lighter-v1"),
        "the parent of init is {}",
        name(shim)
    );
    assert_eq!(
        parent(shim),
        session.host.pid(),
        "the shim belongs to the host's init, to no daemon"
    );
    // Three separate programs besides, and no runtime.
    let namespace =
        fs::read_link(format!("/proc/{}/ns/pid", session.host.pid())).expect("the host's pid namespace");
    let programs: Vec<String> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|own| own == namespace))
        .map(name)
        .collect();
    for daemon in ["/lighterd", "/lighter-containerd"] {
        assert_eq!(
            programs
                .iter()
                .filter(|program| program.ends_with(daemon))
                .count(),
            1,
            "{daemon} in {programs:?}"
        );
    }
    assert!(
        !programs.iter().any(|program| program.contains("lighter-runc")),
        "{programs:?}"
    );
}
