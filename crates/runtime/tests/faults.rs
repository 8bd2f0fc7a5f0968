//! A fault at each system call of create, start, exec and delete, and the death of the runtime there: nothing is left,
//! the failed step is named, and what claims to have succeeded has.
//!
//! Needs `strace` and `awk`. Each case is one call (by name and number) that fails in whichever process makes it first:
//! strace counts for each process, so there a call of the child's is reached where its name or number is its own; `inside` takes
//! the child alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::fs;

use common::{Host, words};
use serde_json::{Value, json};

/// What a process sees: compared with what it sees after a good run, so that no fault takes a protection away unseen.
/// HOME may differ: a file of users that cannot be read gives `/`, as with runc.
const PROBE: &str = "busybox awk '{ $1 = $2 = $3 = \"\"; print }' /proc/self/mountinfo; ls /dev; ls /proc/self/fd; \
    grep -E 'Cap|Seccomp|NoNewPrivs|Groups|[UG]id|Umask' /proc/self/status; cat /proc/self/cgroup \
    /proc/self/oom_score_adj /proc/self/limits; hostname; pwd; env | grep -v ^HOME; busybox stat -c '%a %u %n' /dev/* /tmp; echo end";

/// Cases of one command are thinned to each `every`-th, unless LIGHTER_ROUNDS asks for more than the usual 3 rounds.
fn faults(kind: &str, faults: &str, every: usize) {
    faults_of(kind, faults, every, |_, _| {});
}

/// Of a configuration that `change` makes.
fn faults_of(kind: &str, faults: &str, every: usize, change: impl FnOnce(&Host, &mut Value)) {
    let thorough = std::env::var("LIGHTER_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse::<usize>().ok())
        .is_some_and(|rounds| rounds > 3);
    let every = if thorough { 1 } else { every };
    let host = Host::new();
    let args = match kind {
        "create" | "inside" | "start" | "run" => vec!["sh".to_owned(), "-c".to_owned(), PROBE.to_owned()],
        _ => vec![
            "sh".to_owned(),
            "-c".to_owned(),
            "echo end; exec sleep 1000".to_owned(),
        ],
    };
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut config = host.config(&args);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]);
    config["process"]["noNewPrivileges"] = json!(true);
    config["linux"]["seccomp"] = seccomp();
    if kind == "inside" {
        let hook = json!({"path": "/bin/bash", "args": ["bash", "/run/hook"],
            "env": ["PATH=/usr/bin:/bin"], "timeout": 5});
        config["hooks"] = json!({"createRuntime": [hook]});
    }
    change(&host, &mut config);
    host.write(&config);
    let mut probe = config["process"].clone();
    probe["args"] = json!(["sh", "-c", PROBE]);
    fs::write(host.path("probe.json"), probe.to_string()).unwrap();
    let script = format!(
        "KIND={kind} FAULTS={faults} EVERY={every} FIRST=0 CGROUP={} PROBE={}\n{}",
        host.cgroup(),
        host.path("probe.json").display(),
        include_str!("faults/cases.sh"),
    );
    let output = host.run(&script);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success() && said.contains(" bad 0;") && !said.contains("cases 0"),
        "{}",
        words(&output)
    );
}

fn seccomp() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["add_key"], "action": "SCMP_ACT_ERRNO"}],
    })
}

#[test]
fn a_create_that_fails_leaves_nothing() {
    faults("create", "error", 5);
}

#[test]
fn a_create_that_is_killed_is_deleted_whole() {
    faults("create", "KILL", 8);
}

#[test]
fn a_create_whose_child_fails_leaves_nothing() {
    faults("inside", "error", 3);
}

#[test]
fn a_create_whose_child_is_killed_leaves_nothing() {
    faults("inside", "KILL", 6);
}

#[test]
fn a_start_that_fails_leaves_what_can_be_deleted() {
    faults("start", "error", 4);
}

#[test]
fn an_exec_that_fails_leaves_the_container_as_it_was() {
    faults("exec", "error", 5);
}

#[test]
fn an_exec_that_is_killed_leaves_the_container_as_it_was() {
    faults("exec", "KILL", 8);
}

#[test]
fn a_delete_that_fails_can_be_done_again() {
    faults("delete", "error", 4);
}

#[test]
fn a_delete_that_is_killed_can_be_done_again() {
    faults("delete", "KILL", 6);
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    faults("run", "error", 30);
}

/// With the stages that a user namespace takes, and clocks that are set off.
fn with_user(host: &Host, config: &mut Value) {
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(host.path(""), open).unwrap();
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 100}});
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.extend(["user", "time"].map(|kind| json!({"type": kind})));
}

#[test]
fn a_create_in_a_user_namespace_that_fails_leaves_nothing() {
    faults_of("create", "error", 24, with_user);
}

#[test]
fn an_exec_into_a_user_namespace_that_fails_leaves_the_container_as_it_was() {
    faults_of("exec", "error", 24, with_user);
}
