//! The shim with other runtimes than ours: Debian 12's runc, from the lab.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use lighter_shim_api::Message as _;
use lighter_shim_api::status::Status;
use lighter_shim_api::task::*;
use lighter_shim_api::{Any, cgroups_v1, service};
use support::Bed;

/// Everything that a task can be asked for, with the program at `path` of the lab's older root in the runtime's place.
fn walk_through(path: &str) {
    let mut bed = Bed::new(&["sh", "-c", "echo out; echo err >&2; cat; exit 7"]);
    let peers = lighter_harness::lab().join("peers12");
    let program = peers.join(path);
    assert!(program.exists(), "no {path} in the lab: run `cargo xtask lab`");
    let libraries = peers.join("usr/lib/x86_64-linux-gnu");
    bed.runtime = bed.script(
        "peer-runtime",
        &format!(
            "LD_LIBRARY_PATH={} exec {} \"$@\"",
            libraries.display(),
            program.display()
        ),
    );
    let mut task = bed.task();
    let pid = task.create_with(CreateTaskRequest {
        stdin: lighter_shim_api::log_uri::STDIN.into(),
        ..bed.create_request()
    });
    assert_eq!(task.state("").status, Status::Created as i32);
    assert_eq!(task.start(""), pid);
    // Joined twice, one of them killed.
    task.exec("e1", &["sh", "-c", "exit 9"], false);
    task.start("e1");
    assert_eq!(task.wait("e1"), 9);
    task.delete("e1");
    task.exec("e2", &["sleep", "1000"], false);
    task.start("e2");
    task.kill("e2", 15);
    assert_eq!(task.wait("e2"), 143);
    task.delete("e2");
    // Limited.
    let update = UpdateTaskRequest {
        id: bed.id.clone(),
        resources: Some(Any {
            type_url: service::OCI_RESOURCES.into(),
            value: br#"{"pids":{"limit":77}}"#.to_vec(),
        }),
        ..Default::default()
    };
    task.client.call::<()>("Update", &update).unwrap();
    let stats: StatsResponse = task
        .client
        .call("Stats", &StatsRequest { id: bed.id.clone() })
        .unwrap();
    let any = stats.stats.unwrap();
    if any.type_url == service::CGROUPS_V1 {
        let metrics = cgroups_v1::Metrics::decode(any.value.as_slice()).unwrap();
        assert_eq!(metrics.pids.unwrap().limit, 77);
    }
    // Paused and resumed.
    let id = bed.id.clone();
    task.client
        .call::<()>("Pause", &PauseRequest { id: id.clone() })
        .unwrap();
    assert_eq!(task.state("").status, Status::Paused as i32);
    task.client
        .call::<()>("Resume", &ResumeRequest { id: id.clone() })
        .unwrap();
    assert_eq!(task.state("").status, Status::Running as i32);
    let pids: PidsResponse = task.client.call("Pids", &PidsRequest { id }).unwrap();
    assert!(pids.processes.iter().any(|process| process.pid == pid));
    // The end of its input is its end.
    task.close_io("");
    assert_eq!(task.wait(""), 7);
    assert_eq!(
        (bed.logged("stdout").as_str(), bed.logged("stderr").as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(task.delete("").exit_status, 7);
    bed.is_clean();
    // A second life of the same name, ended from outside with all that is in it.
    bed.make_bundle(&["sleep", "1000"], false);
    let mut task = bed.task();
    task.create();
    task.start("");
    let kill = KillRequest {
        id: bed.id.clone(),
        signal: 9,
        all: true,
        ..Default::default()
    };
    task.client.call::<()>("Kill", &kill).unwrap();
    assert_eq!(task.wait(""), 137);
    task.delete("");
    // What it cannot run it says in its own words.
    bed.make_bundle(&["/no/such"], false);
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &bed.create_request());
    let text = match error {
        Err(status) => status.message,
        // Some look for the program at the start.
        Ok(_) => {
            let request = StartRequest {
                id: bed.id.clone(),
                exec_id: String::new(),
            };
            let started = task.client.call::<StartResponse>("Start", &request);
            let text = started.unwrap_err().message;
            task.delete("");
            text
        }
    };
    assert!(
        text.to_lowercase().contains("no such file or directory"),
        "{text}"
    );
    bed.is_clean();
}

#[test]
fn runc_in_the_runtimes_place() {
    walk_through("usr/sbin/runc");
}
