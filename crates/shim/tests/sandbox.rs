//! A pod as a sandbox of the shim: made, started, filled, stopped and waited for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use lighter_shim_api::frame::code;
use lighter_shim_api::sandbox::*;
use lighter_shim_api::service;
use support::{Bed, Client};

fn client(bed: &Bed) -> Client {
    let mut client = bed.client();
    client.service = service::SANDBOX;
    client
}

fn named(id: &str) -> Named {
    Named {
        sandbox_id: id.to_owned(),
    }
}

fn status(client: &mut Client) -> StatusResponse {
    let request = StatusRequest {
        sandbox_id: "c1".into(),
        verbose: true,
    };
    client.call("SandboxStatus", &request).unwrap()
}

#[test]
fn a_sandbox_lives_its_life_and_its_containers_end_with_it() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut client = client(&bed);
    let create = CreateRequest {
        sandbox_id: "c1".into(),
        bundle_path: bed.bundle().display().to_string(),
        netns_path: "/run/netns/of-the-pod".into(),
        ..Default::default()
    };
    let early = client.call::<()>("PingSandbox", &named("c1")).unwrap_err();
    assert_eq!(early.code, code::NOT_FOUND);
    client.call::<()>("CreateSandbox", &create).unwrap();
    let twice = client.call::<()>("CreateSandbox", &create).unwrap_err();
    assert_eq!(twice.code, code::ALREADY_EXISTS);
    assert_eq!(status(&mut client).state, "SANDBOX_NOTREADY");
    let started: StartResponse = client.call("StartSandbox", &named("c1")).unwrap();
    assert_eq!(started.pid, bed.shim_pid());
    let again = client
        .call::<StartResponse>("StartSandbox", &named("c1"))
        .unwrap_err();
    assert_eq!(again.code, code::FAILED_PRECONDITION);
    client.call::<()>("PingSandbox", &named("c1")).unwrap();
    let other = client.call::<()>("PingSandbox", &named("c2")).unwrap_err();
    assert_eq!(other.code, code::NOT_FOUND);
    let now = status(&mut client);
    assert_eq!((now.state.as_str(), now.pid), ("SANDBOX_READY", started.pid));
    assert_eq!(now.info["netnsPath"], "/run/netns/of-the-pod");
    assert_eq!(now.created_at, started.created_at);
    let platform: PlatformResponse = client.call("Platform", &named("c1")).unwrap();
    let platform = platform.platform.unwrap();
    assert_eq!(
        (platform.os.as_str(), platform.architecture.as_str()),
        ("linux", "amd64")
    );
    let metrics: MetricsResponse = client.call("SandboxMetrics", &named("c1")).unwrap();
    assert_eq!(metrics.metrics.unwrap().id, "c1");
    // A container comes and goes: the sandbox stays, whoever asks the task service to shut down.
    let mut task = bed.task();
    task.create();
    task.start("");
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
    task.shutdown();
    client.call::<()>("PingSandbox", &named("c1")).unwrap();
    // Another one ends with it; who waits is told.
    bed.make_bundle(&["sleep", "1000"], false);
    let mut task = bed.task();
    task.create();
    task.start("");
    let mut waiting = self::client(&bed);
    waiting.send("WaitSandbox", &named("c1"));
    let stop = StopRequest {
        sandbox_id: "c1".into(),
        timeout_secs: 5,
    };
    client.call::<()>("StopSandbox", &stop).unwrap();
    client.call::<()>("StopSandbox", &stop).unwrap();
    assert_eq!(task.wait(""), 137);
    task.delete("");
    let ended: WaitResponse = waiting.receive().unwrap();
    let now = status(&mut client);
    assert_eq!((now.state.as_str(), now.pid), ("SANDBOX_NOTREADY", 0));
    assert_eq!((ended.exit_status, ended.exited_at), (0, now.exited_at));
    let late: WaitResponse = client.call("WaitSandbox", &named("c1")).unwrap();
    assert_eq!(late.exited_at, ended.exited_at);
    let shim = bed.shim_pid();
    client.call::<()>("ShutdownSandbox", &named("c1")).unwrap();
    lighter_harness::eventually("the shim is gone", || {
        bed.host
            .sh(&format!(
                "test -d /proc/{shim} && grep State /proc/{shim}/status || echo gone"
            ))
            .contains("gone")
            .then_some(())
    });
    bed.is_clean();
}

#[test]
fn what_a_sandbox_cannot_be_is_refused() {
    let bed = Bed::new(&["true"]);
    let mut client = client(&bed);
    let rooted = CreateRequest {
        sandbox_id: "c1".into(),
        rootfs: vec![lighter_shim_api::types::Mount::default()],
        ..Default::default()
    };
    for request in [rooted, CreateRequest::default()] {
        let refused = client.call::<()>("CreateSandbox", &request).unwrap_err();
        assert_eq!(refused.code, code::INVALID_ARGUMENT, "{refused:?}");
    }
    let request = CreateRequest {
        sandbox_id: "c1".into(),
        ..Default::default()
    };
    client.call::<()>("CreateSandbox", &request).unwrap();
    let unknown = client.call::<()>("DanceSandbox", &named("c1")).unwrap_err();
    assert_eq!(unknown.code, code::UNIMPLEMENTED);
    client.call::<()>("ShutdownSandbox", &named("c1")).unwrap();
}
