//! From create to shutdown, through the real program and a real runtime.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use lighter_harness::eventually;
use lighter_shim_api::Message;
use lighter_shim_api::frame::code;
use lighter_shim_api::status::Status;
use lighter_shim_api::task::*;
use support::Bed;

#[test]
fn a_container_lives_its_life() {
    let bed = Bed::new(&["sh", "-c", "echo out; echo err >&2; sleep 0.2; exit 7"]);
    assert!(
        bed.printed.starts_with("{\"version\":3,\"address\":\"unix:///"),
        "{}",
        bed.printed
    );
    let mut task = bed.task();
    let pid = task.create();
    assert!(pid > 0);
    assert_eq!(task.state("").status, Status::Created as i32);
    assert_eq!(task.start(""), pid);
    // The first process is a child of the shim, the shim of the host's first; the runtime is gone.
    let shim = bed.shim_pid();
    let parent = |pid: u32| {
        bed.host
            .sh(&format!("awk '/^PPid/{{print $2}}' /proc/{pid}/status"))
            .trim()
            .to_owned()
    };
    assert_eq!(parent(pid), shim.to_string());
    assert_eq!(parent(shim), "1");
    assert_eq!(task.wait(""), 7);
    assert_eq!(
        (bed.logged("stdout").as_str(), bed.logged("stderr").as_str()),
        ("out\n", "err\n")
    );
    let state = task.state("");
    assert_eq!(
        (state.status, state.exit_status, state.pid),
        (Status::Stopped as i32, 7, pid)
    );
    assert!(state.exited_at.unwrap().seconds > 1_700_000_000);
    // Kept until deleted, also for a caller who comes later.
    assert_eq!(bed.task().wait(""), 7);
    let deleted = task.delete("");
    assert_eq!(
        (deleted.pid, deleted.exit_status, deleted.exited_at),
        (pid, 7, state.exited_at)
    );
    let mounts = bed.host.sh(&format!("cat /proc/{shim}/mountinfo"));
    assert!(!mounts.contains("/rootfs "), "the root is unmounted: {mounts}");
    let gone = task.client.call::<StateResponse>(
        "State",
        &StateRequest {
            id: bed.id.clone(),
            ..Default::default()
        },
    );
    assert_eq!(gone.unwrap_err().code, code::NOT_FOUND);
    task.shutdown();
    eventually("the shim ends", || {
        bed.host
            .sh(&format!("test -d /proc/{shim} || echo gone"))
            .contains("gone")
            .then_some(())
    });
    assert_eq!(
        fs::read_dir(bed.base.join("s")).unwrap().count(),
        0,
        "its socket is gone"
    );
}

#[test]
fn version_2_and_an_address_line_for_older_callers() {
    let bed = Bed::with(&["true"], false, &[]);
    assert!(bed.printed.starts_with("unix:///"), "{}", bed.printed);
    assert_eq!(
        fs::read_to_string(bed.bundle().join("address")).unwrap(),
        bed.printed
    );
    let mut task = bed.task();
    task.client.service = "containerd.task.v2.Task";
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 0);
    // A second start finds the living shim.
    assert_eq!(bed.start(&[]), bed.printed);
    task.delete("");
    // The last client of an empty shim leaves: it ends by itself.
    drop(task);
    eventually("the shim ends", || {
        (fs::read_dir(bed.base.join("s")).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn exit_codes_and_signals_are_told() {
    let bed = Bed::new(&["sh", "-c", "exit 255"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 255);
    task.delete("");
    bed.make_bundle(&["sleep", "1000"], false);
    task.create();
    task.start("");
    for (name, script, expected) in [("zero", "exit 0", 0), ("segv", "kill -SEGV $$", 139)] {
        task.exec(name, &["sh", "-c", script], false);
        task.start(name);
        assert_eq!(task.wait(name), expected, "{script}");
    }
}

#[test]
fn kill_ends_it_and_a_dead_one_is_not_found() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    let pid = task.create();
    task.start("");
    // Nobody may delete what runs.
    let delete = DeleteRequest {
        id: bed.id.clone(),
        ..Default::default()
    };
    assert_eq!(
        task.client
            .call::<DeleteResponse>("Delete", &delete)
            .unwrap_err()
            .code,
        code::FAILED_PRECONDITION
    );
    let pids: PidsResponse = task
        .client
        .call("Pids", &PidsRequest { id: bed.id.clone() })
        .unwrap();
    assert_eq!(
        pids.processes
            .iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>(),
        [pid]
    );
    let stats: StatsResponse = task
        .client
        .call("Stats", &StatsRequest { id: bed.id.clone() })
        .unwrap();
    assert!(stats.stats.unwrap().value.len() > 50);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    let kill = KillRequest {
        id: bed.id.clone(),
        signal: 9,
        ..Default::default()
    };
    assert_eq!(
        task.client.call::<()>("Kill", &kill).unwrap_err().code,
        code::NOT_FOUND
    );
    assert_eq!(task.delete("").exit_status, 137);
}

#[test]
fn what_the_runtime_says_is_passed_on_and_nothing_is_left() {
    let bed = Bed::new(&["/no/such/program"]);
    let mut task = bed.task();
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &bed.create_request())
        .unwrap_err();
    assert!(
        error.message.starts_with("OCI runtime create failed: "),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("no such file or directory"),
        "{}",
        error.message
    );
    let mounts = bed.host.sh("cat /proc/self/mountinfo");
    assert!(!mounts.contains("/rootfs "), "{mounts}");
    // The same id can be created anew.
    bed.make_bundle(&["true"], false);
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 0);
    task.delete("");
}

#[test]
fn a_missing_runtime_and_a_bad_mount_are_told() {
    let bed = Bed::new(&["true"]);
    let mut task = bed.task();
    let mut request = bed.create_request();
    let options = lighter_shim_api::runc_options::Options {
        binary_name: "no-such-runtime".into(),
        ..Default::default()
    };
    request.options.as_mut().unwrap().value = options.encode_to_vec();
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &request)
        .unwrap_err();
    assert!(
        error
            .message
            .contains("\"no-such-runtime\": executable file not found in $PATH"),
        "{}",
        error.message
    );
    let mut request = bed.create_request();
    request.rootfs[0].options[0] = "lowerdir=/no/such/layer".into();
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &request)
        .unwrap_err();
    assert!(
        error
            .message
            .starts_with("failed to mount rootfs component overlay"),
        "{}",
        error.message
    );
    let unknown = task
        .client
        .call::<()>("Fly", &StateRequest::default())
        .unwrap_err();
    assert_eq!(unknown.code, code::UNIMPLEMENTED);
}

#[test]
fn pause_resume_and_update() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    task.client
        .call::<()>("Pause", &PauseRequest { id: bed.id.clone() })
        .unwrap();
    assert_eq!(task.state("").status, Status::Paused as i32);
    task.client
        .call::<()>("Resume", &ResumeRequest { id: bed.id.clone() })
        .unwrap();
    assert_eq!(task.state("").status, Status::Running as i32);
    let update = UpdateTaskRequest {
        id: bed.id.clone(),
        resources: Some(lighter_shim_api::Any {
            type_url: lighter_shim_api::service::OCI_RESOURCES.into(),
            value: br#"{"pids":{"limit":77}}"#.to_vec(),
        }),
        ..Default::default()
    };
    task.client.call::<()>("Update", &update).unwrap();
    assert!(
        bed.host
            .sh(&format!(
                "cat /sys/fs/cgroup/pids{}/c1/pids.max || cat /sys/fs/cgroup{}/c1/pids.max",
                bed.host.cgroup_parent(),
                bed.host.cgroup_parent()
            ))
            .contains("77")
    );
    task.client
        .call::<()>("Pause", &PauseRequest { id: bed.id.clone() })
        .unwrap();
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}

#[test]
fn delete_cleans_up_after_a_killed_shim() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    let pid = task.create();
    task.start("");
    let shim = bed.shim_pid();
    bed.host.sh(&format!("kill -9 {shim}"));
    let response = DeleteResponse::decode(bed.verb("delete", &[]).as_slice()).unwrap();
    assert_eq!((response.exit_status, response.pid), (137, pid));
    assert!(response.exited_at.is_some());
    let left = bed.host.sh(&format!(
        "test -d /proc/{pid} && grep State /proc/{pid}/status || echo gone"
    ));
    assert!(left.contains("gone") || left.contains('Z'), "{left}");
    assert!(!bed.host.sh("cat /proc/self/mountinfo").contains("/rootfs "));
    // Another start replaces the dead socket.
    bed.start(&[("MAX_SHIM_VERSION", "3")]);
    let mut task = bed.task();
    task.create();
    task.start("");
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
}

#[test]
fn the_program_is_under_a_megabyte() {
    // As it is shipped: without what would read debug information for a stack trace, and without C's printing of numbers.
    let size = fs::metadata(support::program()).unwrap().len();
    assert!(size < 900_000, "{size} bytes");
}

#[test]
fn a_shim_is_small_beside_others() {
    // Several, so that what they share is counted once.
    let beds: Vec<Bed> = (0..8).map(|_| Bed::new(&["sleep", "1000"])).collect();
    for bed in &beds {
        let mut task = bed.task();
        task.create();
        task.start("");
    }
    let field = |bed: &Bed, name: &str| -> u32 {
        let shim = bed.shim_pid();
        bed.host
            .sh(&format!("awk '/^{name}:/{{print $2}}' /proc/{shim}/smaps_rollup"))
            .trim()
            .parse()
            .unwrap()
    };
    let (pss, own) = (field(&beds[0], "Pss"), field(&beds[0], "Private_Dirty"));
    assert!(pss < 512 && own < 160, "PSS {pss} KiB, private {own} KiB");
    // Nothing is open that nobody needs: null three times, epoll, signals twice, listener, log, two pipes, attach,
    // and the connections of this test.
    let shim = beds[0].shim_pid();
    let open: u32 = beds[0]
        .host
        .sh(&format!("ls /proc/{shim}/fd | wc -l"))
        .trim()
        .parse()
        .unwrap();
    assert!(
        open <= 16,
        "{}",
        beds[0].host.sh(&format!("ls -l /proc/{shim}/fd"))
    );
}

#[test]
fn a_shim_that_waits_is_small_alone() {
    let bed = Bed::new(&["sh", "-c", "echo one; cat; echo two"]);
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdin: lighter_shim_api::log_uri::STDIN.into(),
        ..bed.create_request()
    });
    task.start("");
    let shim = bed.shim_pid();
    eventually("its memory is given back", || {
        let pss = bed
            .host
            .sh(&format!("awk '/^Pss:/{{print $2}}' /proc/{shim}/smaps_rollup"));
        (pss.trim().parse::<u32>().unwrap() < 768).then_some(())
    });
    // And it does everything as before.
    task.close_io("");
    assert_eq!(task.wait(""), 0);
    assert_eq!(bed.logged("stdout"), "one\ntwo\n");
}

#[test]
fn containers_of_a_group_share_a_shim() {
    let mut bed = Bed::new(&["sleep", "1000"]);
    let alone = bed.printed.clone();
    let group = |bed: &Bed| {
        let path = bed.bundle().join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        let end = config.rfind('}').unwrap();
        let annotated = format!(
            "{},\"annotations\":{{\"io.kubernetes.cri.sandbox-id\":\"pod\"}}}}",
            &config[..end]
        );
        fs::write(path, annotated).unwrap();
    };
    for id in ["a", "b"] {
        bed.id = id.into();
        bed.make_bundle(&["sleep", "1000"], false);
        group(&bed);
        let printed = bed.start(&[("MAX_SHIM_VERSION", "3")]);
        assert_ne!(printed, alone);
        if id == "b" {
            assert_eq!(
                printed, bed.printed,
                "the second container goes to the shim of the first"
            );
        }
        bed.printed = printed;
        let mut task = bed.task();
        let mut request = bed.create_request();
        // One overlay's directories serve one container.
        request.rootfs[0].options = vec![format!("lowerdir={0}/image:{0}/upper", bed.base.display())];
        task.create_with(CreateTaskRequest {
            stdout: String::new(),
            stderr: String::new(),
            ..request
        });
        task.start("");
    }
    let mut task = bed.task();
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
    // The other one is still served.
    bed.id = "a".into();
    let mut task = bed.task();
    task.shutdown();
    assert_eq!(task.state("").status, Status::Running as i32);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}
