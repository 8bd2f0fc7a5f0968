//! What hangs, hangs alone: a shim, a runtime, a hook or a fifo that does not answer is its own container's trouble.

use std::time::{Duration, Instant};

use lighter_containerd_api::tasks::tasks_client::TasksClient;
use lighter_containerd_api::tasks::{ListTasksRequest, MetricsRequest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::containers::{Plan, nothing_left};
use crate::daemon::{Daemon, request};
use crate::kills::must;

const SLEEP: &str = "exec sleep 1000";
/// How long anything may take that has nothing to do with what hangs: far less than any patience of ours.
const AT_ONCE: Duration = Duration::from_secs(4);

/// The process of the container's shim.
fn shim(daemon: &Daemon, id: &str) -> Pid {
    let is = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == id.as_bytes())
    };
    let found = daemon
        .host
        .running("containerd-shim-lighter-v1")
        .into_iter()
        .find(is);
    let pid = found.and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).expect("the container has a shim")
}

/// Another container lives and dies as if nothing were.
fn others_live(daemon: &Daemon) {
    let begun = Instant::now();
    let other = Plan::new(&daemon.host, "other", SLEEP);
    assert_eq!(
        must(daemon, other.live(&daemon.channel), "another container"),
        137
    );
    assert!(
        begun.elapsed() < AT_ONCE,
        "another container took {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_stopped_shim_holds_up_nobody_and_its_container_can_be_killed() {
    let daemon = Daemon::start();
    let stuck = Plan::new(&daemon.host, "stuck", SLEEP);
    let well = Plan::new(&daemon.host, "well", SLEEP);
    must(&daemon, stuck.run(&daemon.channel), "stuck");
    must(&daemon, well.run(&daemon.channel), "well");
    kill_process(shim(&daemon, "stuck"), Signal::STOP).expect("stopping the shim");
    others_live(&daemon);
    // What asks everybody waits for nobody long.
    let begun = Instant::now();
    let mut tasks = TasksClient::new(daemon.channel.clone());
    let list = must(&daemon, tasks.list(request(ListTasksRequest::default())), "list");
    let mut ids: Vec<_> = list.into_inner().tasks.into_iter().map(|task| task.id).collect();
    ids.sort();
    assert_eq!(ids, ["stuck", "well"]);
    let metrics = must(
        &daemon,
        tasks.metrics(request(MetricsRequest::default())),
        "metrics",
    );
    let told: Vec<_> = metrics
        .into_inner()
        .metrics
        .into_iter()
        .map(|metric| metric.id)
        .collect();
    assert_eq!(told, ["well"]);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "it took {:?}",
        begun.elapsed()
    );
    must(&daemon, stuck.kill(&daemon.channel), "a kill");
    assert_eq!(must(&daemon, stuck.wait(&daemon.channel), "its end"), 137);
    must(&daemon, stuck.delete(&daemon.channel), "its removal");
    must(&daemon, well.kill(&daemon.channel), "well");
    must(&daemon, well.wait(&daemon.channel), "well");
    must(&daemon, well.delete(&daemon.channel), "well");
    nothing_left(&daemon);
}

#[test]
fn a_layer_starts_beside_a_stopped_shim_and_can_kill_its_container() {
    let mut daemon = Daemon::start();
    let stuck = Plan::new(&daemon.host, "stuck", SLEEP);
    must(&daemon, stuck.run(&daemon.channel), "stuck");
    kill_process(shim(&daemon, "stuck"), Signal::STOP).expect("stopping the shim");
    daemon.kill();
    let begun = Instant::now();
    daemon.restart();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "the start took {:?}",
        begun.elapsed()
    );
    others_live(&daemon);
    must(&daemon, stuck.kill(&daemon.channel), "a kill");
    assert_eq!(must(&daemon, stuck.wait(&daemon.channel), "its end"), 137);
    must(&daemon, stuck.delete(&daemon.channel), "its removal");
    nothing_left(&daemon);
}

/// A creation that never ends: others go on; when its client gives up, nothing stays and the name is free.
fn never_ends(daemon: &Daemon, stuck: &Plan, reached: &str) {
    must(daemon, stuck.record(&daemon.channel), "its record");
    let (plan, channel) = (stuck.clone(), daemon.channel.clone());
    let creating = daemon.runtime.spawn(async move {
        plan.create(&channel).await?;
        plan.start(&channel).await
    });
    lighter_harness::eventually("it hangs", || (!daemon.host.sh(reached).is_empty()).then_some(()));
    others_live(daemon);
    assert!(!creating.is_finished(), "it hangs still");
    creating.abort();
    // The one that hangs is told by nobody; that is given up, too, and what is left is killed.
    lighter_harness::within(Duration::from_secs(45), "nothing is left of it", || {
        let left = daemon.host.sh("ls -A /run/lighter/containerd/io.containerd.runtime.v2.task/* 2>/dev/null || true; pidof containerd-shim-lighter-v1 || true");
        left.is_empty().then_some(())
    });
    must(daemon, stuck.forget(&daemon.channel), "its record");
    let again = Plan::new(&daemon.host, &stuck.id, SLEEP);
    assert_eq!(
        must(daemon, again.live(&daemon.channel), "the same name again"),
        137
    );
    nothing_left(daemon);
}

#[test]
fn a_runtime_that_hangs_is_given_up_with_its_client() {
    let daemon = Daemon::start();
    let runtime = daemon.host.dir().join("hangs").display().to_string();
    daemon.host.sh(&format!(
        "printf '#!/bin/sh\\n[ -e {runtime}.there ] && exit 1; echo >{runtime}.there; exec sleep 1000\\n' >{runtime}; chmod +x {runtime}"
    ));
    let mut stuck = Plan::new(&daemon.host, "stuck", SLEEP);
    stuck.runtime.clone_from(&runtime);
    never_ends(
        &daemon,
        &stuck,
        &format!("ls {runtime}.there 2>/dev/null || true"),
    );
}

#[test]
fn a_hook_that_hangs_is_given_up_with_its_client() {
    let daemon = Daemon::start();
    let there = daemon.host.dir().join("there").display().to_string();
    let mut stuck = Plan::new(&daemon.host, "stuck", SLEEP);
    let script = format!("echo >{there}; exec sleep 1000");
    stuck.hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    never_ends(&daemon, &stuck, &format!("ls {there} 2>/dev/null || true"));
}

#[test]
fn a_fifo_without_a_reader_holds_up_nobody() {
    let daemon = Daemon::start();
    let fifo = daemon.host.dir().join("fifo").display().to_string();
    daemon.host.sh(&format!("mkfifo {fifo}"));
    let mut stuck = Plan::new(&daemon.host, "stuck", "while :; do echo much; done");
    stuck.stdout.clone_from(&fifo);
    let (plan, channel) = (stuck.clone(), daemon.channel.clone());
    let running = daemon.runtime.spawn(async move { plan.run(&channel).await });
    others_live(&daemon);
    // A reader comes, reads a little and never again: a full pipe is no more than the container's own trouble.
    let reader = daemon.host.dir().join("reader").display().to_string();
    daemon.host.sh(&format!(
        "(exec 3<{fifo}; read -r line <&3; echo $line >{reader}; exec sleep 1000) >/dev/null 2>&1 &"
    ));
    must(
        &daemon,
        async { running.await.expect("the client does not panic") },
        "its start",
    );
    lighter_harness::eventually("the reader read", || {
        (std::fs::read_to_string(&reader).unwrap_or_default().trim() == "much").then_some(())
    });
    others_live(&daemon);
    must(&daemon, stuck.kill(&daemon.channel), "a kill");
    assert_eq!(must(&daemon, stuck.wait(&daemon.channel), "its end"), 137);
    must(&daemon, stuck.delete(&daemon.channel), "its removal");
    nothing_left(&daemon);
}
