//! The layer under containerd's own client, of 1.6 and of 2.1: containers from a directory, their processes, the daemon's deaths.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

#[macro_use]
mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use lighter_harness::{OutputExt as _, Terminal, eventually};
use support::{Layer, ctr_1};

with_both_clients! {
    the_server_and_its_namespaces_are_shown
    a_container_runs_and_leaves_nothing
    a_task_is_joined_frozen_measured_and_killed
    a_terminal_is_a_terminal
    events_tell_a_life_in_order
    a_killed_daemon_finds_its_tasks_again
    a_stopped_daemon_leaves_tasks_running
    a_container_goes_to_an_image_and_comes_back
}

fn the_server_and_its_namespaces_are_shown(ctr: &Path) {
    let layer = Layer::start(ctr);
    let version = layer.ctr(&["version"]).ok();
    assert!(
        version.contains("Server:") && version.contains("UUID"),
        "{version}"
    );
    let plugins = layer.ctr(&["plugins", "ls"]).ok();
    assert!(plugins.contains("overlayfs"), "{plugins}");
    layer.ctr(&["namespaces", "create", "work", "team=a"]).ok();
    layer.ctr(&["namespaces", "label", "work", "tier=1"]).ok();
    let list = layer.ctr(&["namespaces", "ls"]).ok();
    assert!(
        list.contains("work") && list.contains("team=a") && list.contains("tier=1"),
        "{list}"
    );
    assert_eq!(layer.ctr(&["-n", "work", "containers", "ls", "-q"]).ok(), "");
    layer.ctr(&["namespaces", "rm", "work"]).ok();
    assert!(!layer.ctr(&["namespaces", "ls"]).ok().contains("work"));
    let missing = layer.ctr(&["containers", "info", "no-such"]).fails(1);
    assert!(missing.contains("not found"), "{missing}");
}

fn a_container_runs_and_leaves_nothing(ctr: &Path) {
    let layer = Layer::start(ctr);
    let ran = layer.run(
        &["--rm"],
        "one",
        &["/bin/sh", "-c", "echo out; echo err >&2; exit 5"],
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (5, "out\n"), "{ran}");
    assert_eq!(ran.stderr, "err\n");
    // Everything, and in order, through fifos.
    let text = layer.run(&["--rm"], "two", &["/bin/seq", "1", "20000"]).ok();
    assert_eq!(text.lines().count(), 20_000);
    assert!(text.ends_with("19999\n20000"));
    let error = layer.run(&["--rm"], "three", &["/no/such"]).fails(1);
    let expected = "failed to create shim task: OCI runtime create failed: ";
    assert!(
        error.contains(expected) && error.contains("no such file or directory"),
        "{error}"
    );
    assert_eq!(layer.ctr(&["containers", "ls", "-q"]).ok(), "");
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

/// Its processes with the real CRIU, its files, its image: all in an image, and another container of that.
fn a_container_goes_to_an_image_and_comes_back(ctr: &Path) {
    let layer = Layer::start(ctr);
    let local: &[&str] = if *ctr == ctr_1() { &[] } else { &["--local"] };
    let image = layer.path("image.tar");
    layer
        .ctr(&[&["images", "import"], local, &[&image]].concat())
        .ok();
    let (runtime, cgroup) = (runtime_with_criu(&layer), layer.host.cgroup_parent());
    layer.host.sh("ip link set lo up");
    let script = "trap 'n=$((n+1))' USR2; trap 'echo $n >/tmp/new; mv /tmp/new /n' USR1; n=0; while :; do sleep 0.01; done";
    let flags = [
        "run",
        "-d",
        "--runc-binary",
        &runtime,
        "--cgroup",
        &format!("{cgroup}/one"),
    ];
    let arguments = ["docker.io/test/busybox:latest", "one", "sh", "-c", script];
    layer.ctr(&[&flags[..], &arguments].concat()).ok();
    let count = |id: &str| {
        eventually("the count is told", || {
            layer.ctr(&["tasks", "kill", "-s", "USR1", id]).ok();
            let read = layer.ctr(&["tasks", "exec", "--exec-id", "cat", id, "cat", "/n"]);
            (read.code == 0 && !read.stdout.is_empty()).then_some(read.stdout)
        })
    };
    assert_eq!(count("one").trim(), "0");
    layer.ctr(&["tasks", "kill", "-s", "USR2", "one"]).ok();
    eventually("it has counted", || (count("one").trim() == "1").then_some(()));
    let reference = "docker.io/test/checkpoint:latest";
    let checkpoint = [
        "containers",
        "checkpoint",
        "--image",
        "--rw",
        "--task",
        "one",
        reference,
    ];
    layer.ctr(&checkpoint).ok();
    layer.ctr(&["tasks", "kill", "-s", "KILL", "one"]).ok();
    layer.becomes("one", "STOPPED");
    let gone = layer.ctr(&["tasks", "rm", "one"]);
    assert!(gone.stderr.contains("137"), "{gone}");
    layer.ctr(&["containers", "rm", "one"]).ok();
    // What it had counted and written is there, and it counts on.
    layer
        .ctr(&["containers", "restore", "--rw", "--live", "two", reference])
        .ok();
    layer.becomes("two", "RUNNING");
    assert_eq!(count("two").trim(), "1");
    layer.ctr(&["tasks", "kill", "-s", "USR2", "two"]).ok();
    eventually("it counts on", || (count("two").trim() == "2").then_some(()));
    layer.ctr(&["tasks", "kill", "-s", "KILL", "two"]).ok();
    layer.becomes("two", "STOPPED");
    let gone = layer.ctr(&["tasks", "rm", "two"]);
    assert!(gone.stderr.contains("137"), "{gone}");
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

/// Our runtime with the lab's CRIU, which needs the libraries of its own root.
fn runtime_with_criu(layer: &Layer) -> String {
    let (peers, runtime, criu) = (
        lighter_harness::lab().join("peers"),
        layer.path("with-criu"),
        layer.path("criu"),
    );
    let libraries = format!(
        "{0}/lib64/ld-linux-x86-64.so.2 --library-path {0}/usr/lib/x86_64-linux-gnu",
        peers.display()
    );
    let ours = lighter_harness::dist().join("lighter-runc");
    let write = |path: &str, text: String| {
        std::fs::write(path, format!("#!/bin/sh\nexec {text} \"$@\"\n")).unwrap();
        layer.host.sh(&format!("chmod 755 {path}"));
    };
    write(&criu, format!("{libraries} {}/usr/sbin/criu", peers.display()));
    write(&runtime, format!("{} --criu {criu}", ours.display()));
    runtime
}

fn a_task_is_joined_frozen_measured_and_killed(ctr: &Path) {
    let layer = Layer::start(ctr);
    layer.run(&["-d"], "one", &["/bin/sleep", "1000"]).ok();
    layer.becomes("one", "RUNNING");
    let twice = layer.run(&["-d"], "one", &["/bin/true"]).fails(1);
    assert!(twice.contains("already exists"), "{twice}");
    let exec = |id: &str, script: &str| {
        layer.ctr(&["task", "exec", "--exec-id", id, "one", "/bin/sh", "-c", script])
    };
    assert_eq!(exec("e1", "echo joined").ok(), "joined");
    assert_eq!(exec("e2", "exit 7").code, 7);
    // An exec of a name that was used, after its end.
    assert_eq!(exec("e1", "echo again").ok(), "again");
    let unknown = exec("e3", "/no/such").code;
    assert_eq!(unknown, 127);
    layer.ctr(&["task", "pause", "one"]).ok();
    assert_eq!(layer.status("one").as_deref(), Some("PAUSED"));
    layer.ctr(&["task", "resume", "one"]).ok();
    assert_eq!(layer.status("one").as_deref(), Some("RUNNING"));
    let metrics = layer.ctr(&["task", "metrics", "one"]).ok();
    assert!(metrics.contains("memory"), "{metrics}");
    let processes = layer.ctr(&["task", "ps", "one"]).ok();
    assert!(processes.lines().count() >= 2, "{processes}");
    let running = layer.ctr(&["task", "delete", "one"]).fails(1);
    assert!(
        running.contains("must be stopped") || running.contains("running"),
        "{running}"
    );
    layer.ctr(&["task", "kill", "-s", "SIGKILL", "one"]).ok();
    layer.becomes("one", "STOPPED");
    let deleted = layer.ctr(&["task", "delete", "one"]);
    assert!(deleted.stderr.contains("exit code 137"), "{deleted}");
    layer.ctr(&["containers", "delete", "one"]).ok();
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

fn a_terminal_is_a_terminal(ctr: &Path) {
    let layer = Layer::start(ctr);
    let cgroup = format!("{}/one", layer.host.cgroup_parent());
    let mut words = vec!["run", "--rm", "-t", "--runtime", "io.containerd.lighter.v1"];
    let rootfs = layer.path("rootfs");
    words.extend(["--cgroup", &cgroup, "--rootfs", &rootfs, "one", "/bin/sh"]);
    let mut terminal = Terminal::start(layer.command(&words));
    // The client tells the size when the task has been started: the shell may be there before it.
    terminal
        .send("until [ \"$(/bin/stty size)\" = \"24 80\" ]; do /bin/sleep 0.05; done; /bin/echo $((6*7))\r");
    terminal.expect("42\r");
    // Only once it runs is Ctrl-C a signal: the shell's own line editor reads it as a key.
    terminal.send("/bin/sh -c '/bin/echo ready; exec /bin/sleep 1000'\r");
    terminal.expect("ready\r");
    terminal.send("\x03");
    terminal.send("exit 3\r");
    let (code, rest) = terminal.end();
    assert_eq!(code, 3, "{rest}");
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

fn events_tell_a_life_in_order(ctr: &Path) {
    let layer = Layer::start(ctr);
    let mut listener = layer.command(&["events"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    // The listener says nothing until something happens: so things happen until it hears one.
    let (sender, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut topics = Vec::new();
        for line in &mut lines {
            let line = line.unwrap();
            let topic = line
                .split_whitespace()
                .find(|word| word.starts_with('/'))
                .unwrap_or_default()
                .to_owned();
            if topic == "/namespaces/create" {
                let _ = sender.send(());
            } else if !topic.starts_with("/namespaces") && !topic.starts_with("/snapshot") {
                topics.push(topic.clone());
            }
            if topic == "/containers/delete" {
                return topics;
            }
        }
        topics
    });
    let mut count = 0;
    eventually("the listener listens", || {
        count += 1;
        layer.ctr(&["namespaces", "create", &format!("try{count}")]).ok();
        heard.try_recv().ok()
    });
    layer.run(&["--rm"], "one", &["/bin/true"]).ok();
    let topics = reader.join().unwrap();
    listener.kill().unwrap();
    listener.wait().unwrap();
    assert_eq!(
        topics,
        [
            "/containers/create",
            "/tasks/create",
            "/tasks/start",
            "/tasks/exit",
            "/tasks/delete",
            "/containers/delete"
        ]
    );
}

fn a_killed_daemon_finds_its_tasks_again(ctr: &Path) {
    let mut layer = Layer::start(ctr);
    layer.run(&["-d"], "stays", &["/bin/sleep", "1000"]).ok();
    let waits = "until [ -e /tmp/end ]; do /bin/sleep 0.05; done; exit 66";
    layer.run(&["-d"], "ends", &["/bin/sh", "-c", waits]).ok();
    layer
        .run(&["-d"], "dies", &["/bin/sh", "-c", "exec /bin/sleep 1001"])
        .ok();
    let shims = layer.host.running("containerd-shim-lighter-v1");
    layer.kill();
    // While nobody is there, one ends, and one loses its shim.
    std::fs::write(layer.host.dir().join("rootfs/tmp/end"), "").unwrap();
    let victim = layer
        .host
        .running("containerd-shim-lighter-v1")
        .into_iter()
        .find(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            words.split(|byte| *byte == 0).any(|word| word == b"dies")
        });
    let victim = rustix::process::Pid::from_raw(i32::try_from(victim.unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    layer.restart(&[]);
    layer.becomes("ends", "STOPPED");
    layer.becomes("dies", "STOPPED");
    assert_eq!(layer.status("stays").as_deref(), Some("RUNNING"));
    let deleted = layer.ctr(&["task", "delete", "ends"]);
    assert!(deleted.stderr.contains("exit code 66"), "{deleted}");
    let deleted = layer.ctr(&["task", "delete", "dies"]);
    assert!(deleted.stderr.contains("exit code 137"), "{deleted}");
    let joined = layer.ctr(&["task", "exec", "--exec-id", "e", "stays", "/bin/echo", "joined"]);
    assert_eq!(joined.ok(), "joined");
    assert!(shims.len() >= 3, "{shims:?}");
    layer.ctr(&["task", "kill", "-s", "SIGKILL", "stays"]).ok();
    layer.becomes("stays", "STOPPED");
    layer.ctr(&["task", "delete", "stays"]);
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

fn a_stopped_daemon_leaves_tasks_running(ctr: &Path) {
    let mut layer = Layer::start(ctr);
    layer.run(&["-d"], "one", &["/bin/sleep", "1000"]).ok();
    let mut listener = layer.command(&["events"]).stdout(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(layer.stop(), Some(0), "{}", layer.log());
    assert!(begun.elapsed().as_secs() < 3, "a listener does not hold it up");
    listener.wait().unwrap();
    layer.restart(&[]);
    assert_eq!(layer.status("one").as_deref(), Some("RUNNING"));
    // A second one on the same state is refused, and does no harm.
    let dist = lighter_harness::dist()
        .join("lighter-containerd")
        .display()
        .to_string();
    let root = layer.path("root");
    let second = layer
        .host
        .command(lighter_harness::Machine::Host, &[&dist, "--root", &root])
        .args(["--state", "/run/lighter/containerd"])
        .result()
        .fails(1);
    assert!(second.contains("another lighter-containerd works on"), "{second}");
    assert_eq!(layer.status("one").as_deref(), Some("RUNNING"));
}

/// The layer drives a peer's shim as it drives ours: also across its own death.
#[test]
fn a_shim_of_containerd_1_6_serves_us() {
    let mut layer = Layer::start(&ctr_1());
    let flags = ["--runc-shim", "/usr/bin/containerd-shim-runc-v2"];
    assert_eq!(layer.stop(), Some(0));
    layer.restart(&flags);
    let run = |layer: &Layer, flags: &[&str], id: &str, script: &str| {
        let cgroup = format!("{}/{id}", layer.host.cgroup_parent());
        let rootfs = layer.path("rootfs");
        let mut words = vec!["run", "--cgroup", &cgroup];
        words.extend(flags);
        words.extend(["--rootfs", &rootfs, id, "/bin/sh", "-c", script]);
        layer.ctr(&words)
    };
    let ran = run(&layer, &["--rm"], "one", "/bin/echo out; exit 5");
    assert_eq!((ran.code, ran.stdout.as_str()), (5, "out\n"), "{ran}");
    let waits = "until [ -e /tmp/end ]; do /bin/sleep 0.05; done; exit 66";
    run(&layer, &["-d"], "two", waits).ok();
    let joined = layer.ctr(&["task", "exec", "--exec-id", "e", "two", "/bin/echo", "joined"]);
    assert_eq!(joined.ok(), "joined");
    layer.kill();
    layer.restart(&flags);
    assert_eq!(layer.status("two").as_deref(), Some("RUNNING"));
    std::fs::write(layer.host.dir().join("rootfs/tmp/end"), "").unwrap();
    layer.becomes("two", "STOPPED");
    let deleted = layer.ctr(&["task", "delete", "two"]);
    assert!(deleted.stderr.contains("exit code 66"), "{deleted}");
    assert!(layer.host.running("containerd-shim-runc-v2").is_empty());
}
