//! A container's processes to files and back, with the real CRIU of the lab.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use lighter_shim_api::runc_options::{CheckpointOptions, Options};
use lighter_shim_api::status::Status;
use lighter_shim_api::task::*;
use lighter_shim_api::{Any, Message, service};
use support::Bed;

fn runc(options: &Options) -> Any {
    Any {
        type_url: service::RUNC_OPTIONS.into(),
        value: options.encode_to_vec(),
    }
}

#[test]
fn a_container_goes_to_files_and_comes_back() {
    let bed = Bed::new(&["sh", "-c", "n=0; while read x; do n=$((n+1)); echo $n $x; done"]);
    let peers = lighter_harness::lab().join("peers");
    assert!(
        peers.join("usr/sbin/criu").exists(),
        "no criu in the lab: run `cargo xtask lab`"
    );
    // The lab's needs the libraries of its own root.
    let criu = bed.script(
        "criu",
        &format!(
            "exec {0}/lib64/ld-linux-x86-64.so.2 --library-path {0}/usr/lib/x86_64-linux-gnu {0}/usr/sbin/criu \"$@\"",
            peers.display()
        ),
    );
    let runtime = bed.script(
        "with-criu",
        &format!(
            "exec {}/lighter-runc --criu {criu} \"$@\"",
            lighter_harness::dist().display()
        ),
    );
    bed.host.sh("ip link set lo up");
    let options = Options {
        binary_name: runtime,
        root: bed.base.join("runtime").display().to_string(),
        ..Default::default()
    };
    let (input, output) = (bed.fifo("in"), bed.fifo("out"));
    let request = CreateTaskRequest {
        options: Some(runc(&options)),
        stdin: input.clone(),
        stdout: output.clone(),
        // The host's null device would be no part of the container, and CRIU would say so.
        stderr: output.clone(),
        ..bed.quiet_request()
    };
    let open = |path: &str| fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut say, hear) = (open(&input), open(&output));
    let mut hear = std::io::BufReader::new(hear);
    let mut answer = |word: &str| {
        use std::io::{BufRead as _, Write as _};
        writeln!(say, "{word}").unwrap();
        let mut line = String::new();
        hear.read_line(&mut line).unwrap();
        line
    };
    let mut task = bed.task();
    let pid = task.create_with(request.clone());
    task.start("");
    assert_eq!(answer("a"), "1 a\n");
    let images = bed.base.join("images").display().to_string();
    let checkpoint = |exit| CheckpointTaskRequest {
        id: "c1".into(),
        path: images.clone(),
        options: Some(Any {
            type_url: "containerd.runc.v1.CheckpointOptions".into(),
            value: CheckpointOptions {
                exit,
                ..Default::default()
            }
            .encode_to_vec(),
        }),
    };
    // Left running at first.
    task.client.call::<()>("Checkpoint", &checkpoint(false)).unwrap();
    assert_eq!(answer("b"), "2 b\n");
    fs::remove_dir_all(&images).unwrap();
    task.client.call::<()>("Checkpoint", &checkpoint(true)).unwrap();
    task.wait("");
    assert!(
        !bed.bundle().join("criu-work").exists(),
        "its own working directory goes"
    );
    task.delete("");
    // Back, as another task of the same name: created without a process, which is there at the start.
    let back = CreateTaskRequest {
        checkpoint: images.clone(),
        ..request
    };
    assert_eq!(task.create_with(back.clone()), 0);
    assert_eq!(task.state("").status, Status::Created as i32);
    let new = task.start("");
    assert!(new > 0 && new != pid);
    assert_eq!(answer("c"), "3 c\n");
    assert_eq!(task.state("").pid, new);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
    bed.is_clean();
    // What cannot come back says so, and leaves nothing.
    fs::remove_dir_all(&images).unwrap();
    task.create_with(back);
    let request = StartRequest {
        id: "c1".into(),
        exec_id: String::new(),
    };
    let error = task.client.call::<StartResponse>("Start", &request).unwrap_err();
    assert!(
        error.message.starts_with("OCI runtime restore failed: "),
        "{}",
        error.message
    );
    task.delete("");
    bed.is_clean();
}
