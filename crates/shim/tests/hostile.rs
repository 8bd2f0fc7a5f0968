//! What hangs, is missing or attacks: it blocks only its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lighter_harness::eventually;
use lighter_shim_api::runc_options::Options;
use lighter_shim_api::status::Status;
use lighter_shim_api::task::*;
use lighter_shim_api::{Any, Message, service};
use support::{Bed, Client};

fn options(bed: &Bed, binary: &str) -> Option<Any> {
    let options = Options {
        binary_name: binary.to_owned(),
        root: bed.base.join("runtime").display().to_string(),
        ..Default::default()
    };
    Some(Any {
        type_url: service::RUNC_OPTIONS.into(),
        value: options.encode_to_vec(),
    })
}

/// A whole life of container `b` in the pod, while something else of the pod hangs.
fn a_sibling_lives(bed: &mut Bed) {
    let begun = Instant::now();
    bed.join_pod("b", &["sh", "-c", "echo fine; exit 3"]);
    let out = bed.fifo("b.out");
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: out.clone(),
        ..bed.quiet_request()
    });
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(out).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    task.start("");
    assert_eq!(task.wait(""), 3);
    // The end of its output is seen: nothing that hangs holds it open.
    assert_eq!(reader.join().unwrap(), "fine\n");
    task.delete("");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

/// Sends a request that is not answered.
fn ask(bed: &Bed, method: &str, request: &impl Message) -> Client {
    let mut client = bed.client();
    client.send(method, request);
    client
}

#[test]
fn a_fifo_that_nobody_reads_blocks_only_its_own() {
    let mut bed = Bed::new(&["true"]);
    bed.join_pod("a", &["yes"]);
    let out = bed.fifo("a.out");
    let mut a = bed.task();
    a.create_with(CreateTaskRequest {
        stdout: out.clone(),
        ..bed.quiet_request()
    });
    a.start("");
    a_sibling_lives(&mut bed);
    bed.id = "a".into();
    let mut a = bed.task();
    assert_eq!(a.state("").status, Status::Running as i32);
    a.kill("", 9);
    assert_eq!(a.wait(""), 137);
    a.delete("");
    bed.is_clean();
}

#[test]
fn a_runtime_that_hangs_blocks_only_its_own_and_dies_with_the_shim() {
    let mut bed = Bed::new(&["true"]);
    let runtime = bed.script(
        "hanging-runtime",
        "echo $$ >$(dirname $0)/hanging.pid; exec sleep 1000",
    );
    bed.join_pod("a", &["true"]);
    let request = CreateTaskRequest {
        options: options(&bed, &runtime),
        ..bed.quiet_request()
    };
    let _waiting = ask(&bed, "Create", &request);
    a_sibling_lives(&mut bed);
    let pid = eventually("the runtime was called", || {
        let pid = fs::read_to_string(bed.base.join("hanging.pid")).ok()?;
        Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty())
    });
    let alive = |bed: &Bed| bed.host.sh(&format!("grep -c sleep /proc/{pid}/cmdline || true"));
    assert_eq!(alive(&bed).trim(), "1");
    let shim = bed.shim_pid();
    bed.host.sh(&format!("kill -9 {shim}"));
    eventually("the runtime is gone", || {
        (alive(&bed).trim() != "1").then_some(())
    });
    bed.id = "a".into();
    bed.verb("delete", &[]);
    bed.is_clean();
}

#[test]
fn a_hook_that_sleeps_blocks_only_its_own() {
    let mut bed = Bed::new(&["true"]);
    bed.join_pod("a", &["true"]);
    let sleep = serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "1000"]}]);
    bed.edit_config(|config| config["hooks"] = serde_json::json!({"createRuntime": sleep}));
    let _waiting = ask(&bed, "Create", &bed.quiet_request());
    eventually("the hook runs", || {
        bed.host
            .sh("pidof sleep || true")
            .contains(char::is_numeric)
            .then_some(())
    });
    a_sibling_lives(&mut bed);
    // The shim is killed, and what it left is cleaned up: the half-made container, its runtime, its hook.
    let shim = bed.shim_pid();
    bed.host.sh(&format!("kill -9 {shim}"));
    bed.id = "a".into();
    bed.verb("delete", &[]);
    bed.is_clean();
}

#[test]
fn a_mount_that_hangs_blocks_only_its_own() {
    let mut bed = Bed::new(&["true"]);
    // A file system whose server never says a word.
    let dead = bed.base.join("dead").display().to_string();
    bed.host.sh(&format!(
        "mkdir {dead}; exec 9<>/dev/fuse; mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none {dead}; \
         sleep 1000 >/dev/null 2>&1 &"
    ));
    bed.join_pod("a", &["true"]);
    let mut request = bed.quiet_request();
    request.rootfs[0].r#type = "bind".into();
    request.rootfs[0].source = format!("{dead}/root");
    request.rootfs[0].options = vec!["rbind".into()];
    let _waiting = ask(&bed, "Create", &request);
    eventually("the mount hangs", || {
        bed.host
            .sh("cat /proc/[0-9]*/wchan 2>/dev/null | tr '\\0' '\\n'; true")
            .contains("fuse")
            .then_some(())
    });
    a_sibling_lives(&mut bed);
}

#[test]
fn a_program_for_output_that_is_not_there_is_told() {
    let bed = Bed::new(&["true"]);
    let mut task = bed.task();
    let uri = "binary:///no/such/logger?a=b".to_owned();
    let request = CreateTaskRequest {
        stdout: uri.clone(),
        stderr: uri,
        ..bed.quiet_request()
    };
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &request)
        .unwrap_err();
    assert!(
        error.message.contains("failed to start binary process") && error.message.contains("/no/such/logger"),
        "{}",
        error.message
    );
    bed.is_clean();
    task.create_with(bed.quiet_request());
    task.start("");
    assert_eq!(task.wait(""), 0);
}

#[test]
fn a_log_that_is_no_file_blocks_nothing() {
    let bed = Bed::new(&["true"]);
    let log = bed.fifo("c1-json.log");
    let mut task = bed.task();
    let request = bed.create_request();
    let error = task
        .client
        .call::<CreateTaskResponse>("Create", &request)
        .unwrap_err();
    assert!(error.message.contains(&log), "{}", error.message);
    // For `file://` it is as good as a fifo by its name.
    let uri = format!("file://{log}");
    task.create_with(CreateTaskRequest {
        stdout: uri.clone(),
        stderr: uri,
        ..bed.quiet_request()
    });
    task.start("");
    assert_eq!(task.wait(""), 0);
    task.delete("");
}

/// CVE-2020-15257: a container in the host's network namespace could reach a shim by its abstract socket.
#[test]
fn cve_2020_15257_no_abstract_sockets() {
    let bed = Bed::terminal(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create_with(bed.terminal_request());
    task.start("");
    task.exec("e", &["sleep", "1000"], true);
    task.start("e");
    let sockets = bed.host.sh("cat /proc/net/unix");
    assert!(!sockets.contains(" @"), "{sockets}");
    assert!(
        sockets.contains("c1.attach") || sockets.contains("/proc/self/fd/"),
        "{sockets}"
    );
    // Those with a path are the owner's only.
    for socket in fs::read_dir(bed.base.join("s"))
        .unwrap()
        .map(Result::unwrap)
        .map(|entry| entry.path())
        .chain([bed.attach_path()])
    {
        assert_eq!(
            fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            socket.display()
        );
    }
    assert_eq!(
        fs::metadata(bed.base.join("s")).unwrap().permissions().mode() & 0o066,
        0
    );
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}

#[test]
fn a_polite_request_to_end_is_not_heard() {
    let bed = Bed::new(&["sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.1; done"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    let shim = bed.shim_pid();
    bed.host
        .sh(&format!("kill -TERM {shim}; kill -INT {shim}; kill -HUP {shim}"));
    assert_eq!(task.state("").status, Status::Running as i32);
    // Its children hear them.
    task.exec("e", &["sleep", "1000"], false);
    task.start("e");
    task.kill("e", 15);
    assert_eq!(task.wait("e"), 143);
    task.kill("", 10);
    assert_eq!(task.wait(""), 5);
    task.delete("");
}

#[test]
fn noise_on_the_socket_stops_nothing() {
    use std::io::Write as _;
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    let good = lighter_shim_api::frame::request(
        1,
        service::TASK_V3,
        "State",
        0,
        &StateRequest {
            id: "c1".into(),
            exec_id: String::new(),
        },
    );
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        // The shim may hang up at any byte.
        let _ = bed.client().raw().write_all(&bytes);
    }
    assert_eq!(task.state("").status, Status::Running as i32);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}
