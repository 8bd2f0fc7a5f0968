//! What a run costs, counted: what a configuration does not ask for must cost nothing.
//!
//! Needs `strace`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};

/// Calls of a run on cgroup v1, the container's program included: those of the program as it is shipped (see docs/runtime-cost.md)
/// and the second start of the C library, which only the shipped program saves.
const MOST_CALLS: u32 = 390;
/// Started programs: ours, ours from its read-only mount, the container's.
const EXECS: u32 = 3;

/// Count by name, and the sum.
fn count(host: &Host, config: &serde_json::Value) -> (std::collections::BTreeMap<String, u32>, u32) {
    host.write(config);
    let output = host.run("runc run first && strace -f -c -U calls,name -o calls $RUNC run c && cat calls");
    assert!(output.status.success(), "{}", words(&output));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut calls = std::collections::BTreeMap::new();
    for line in report.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(Ok(number)), Some(name)) = (fields.next().map(str::parse), fields.next()) {
            calls.insert(name.to_owned(), number);
        }
    }
    let total = calls.remove("total").unwrap_or_else(|| panic!("{report}"));
    (calls, total)
}

#[test]
fn a_plain_run_stays_under_its_count_of_system_calls() {
    let host = Host::new();
    let (calls, total) = count(&host, &host.config(&["/bin/true"]));
    let calls_of = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u32>();
    assert!(total < MOST_CALLS, "{total}: {calls:#?}");
    assert_eq!(calls_of(&["execve", "execveat"]), EXECS, "{calls:#?}");
    // One child, and none of them sleeps, syncs or looks for a user database.
    assert_eq!(calls_of(&["clone3", "clone", "fork", "vfork"]), 1, "{calls:#?}");
    assert_eq!(
        calls_of(&["nanosleep", "clock_nanosleep", "fsync", "fdatasync"]),
        0,
        "{calls:#?}"
    );
}

/// The group's directories are bound then, not mounted by name.
#[test]
fn a_container_without_a_cgroup_namespace_costs_no_more() {
    let host = Host::new();
    let mut config = host.config(&["/bin/true"]);
    if let Some(list) = config["linux"]["namespaces"].as_array_mut() {
        list.retain(|one| one["type"] != "cgroup");
    }
    let (calls, total) = count(&host, &config);
    assert!(total < MOST_CALLS, "{total}: {calls:#?}");
}
