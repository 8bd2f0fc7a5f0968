//! What a run costs the disk, counted: this machine's fsync may be too cheap to be seen in a time.

use std::process::{Command, Stdio};

use lighter_harness::{Client, Kind, Session, eventually};

/// In all processes together. Source: HOUSE.md, "Two kinds of records".
const AT_MOST: usize = 4;

#[test]
fn a_run_that_removes_itself_costs_at_most_four_fsyncs() {
    let session = Session::start(Kind::Lighter, Client::Stock);
    session.pull("busybox");
    session.docker(&["run", "--rm", "busybox", "true"]).ok();
    let trace = session.host.dir().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,syncfs,sync,sync_file_range",
            "-o",
        ])
        .arg(&trace);
    let daemons = ["lighterd", "lighter-containerd", "lighter-netd"];
    let pids: Vec<u32> = daemons
        .iter()
        .flat_map(|name| session.host.running(name))
        .collect();
    for pid in &pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace
        .stdin(Stdio::null())
        .spawn()
        .expect("this test needs strace");
    for pid in &pids {
        eventually("each daemon is traced", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("TracerPid:"))?;
            (!line.ends_with("\t0")).then_some(())
        });
    }
    session.docker(&["run", "--rm", "busybox", "true"]).ok();
    Command::new("kill")
        .arg(strace.id().to_string())
        .status()
        .expect("ending strace");
    strace.wait().expect("waiting for strace");
    let text = std::fs::read_to_string(&trace).expect("the trace");
    let calls: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("sync(") || line.contains("sync_file"))
        .collect();
    assert!(
        calls.len() <= AT_MOST,
        "{} fsyncs:\n{}",
        calls.len(),
        calls.join("\n")
    );
}
