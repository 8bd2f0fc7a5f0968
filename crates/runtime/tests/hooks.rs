//! Hooks: when, where and with what they run, and what their failure undoes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};
use std::fs;

fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// All kinds, each two in order; the directory and the namespaces they run in.
#[test]
fn each_kind_runs_where_the_spec_says() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    for kind in KINDS {
        // startContainer is inside, where only the root of the container is.
        let log = if kind == "startContainer" {
            "/log".into()
        } else {
            host.path("log").display().to_string()
        };
        let line = |number: u32| {
            shell(&format!(
                "echo {kind} {number} $(pwd) $(readlink /proc/self/ns/net) >> {log}"
            ))
        };
        config["hooks"][kind] = json!([line(1), line(2)]);
    }
    config["process"]["cwd"] = json!("/tmp");
    host.write(&config);
    let outer = host.ok("readlink /proc/self/ns/net; cd /; B=$OLDPWD; $RUNC create -b $B --pid-file /run/pid c; readlink /proc/$(pid)/ns/net; runc start c; \
                         within 'runc state c | grep stopped' > /dev/null; runc delete c");
    let nets: Vec<&str> = outer.lines().collect();
    let bundle = host.path("").display().to_string();
    let bundle = bundle.trim_end_matches('/');
    let line =
        |kind: &str, number: u32, directory: &str, net: &str| format!("{kind} {number} {directory} {net}");
    let mut expected = Vec::new();
    for (kind, directory, net) in [
        ("prestart", bundle.to_owned(), nets[0]),
        ("createRuntime", bundle.to_owned(), nets[0]),
        ("createContainer", format!("{bundle}/rootfs"), nets[1]),
        ("poststart", bundle.to_owned(), nets[0]),
        ("poststop", bundle.to_owned(), nets[0]),
    ] {
        expected.extend([line(kind, 1, &directory, net), line(kind, 2, &directory, net)]);
    }
    let outside = fs::read_to_string(host.path("log")).unwrap();
    assert_eq!(outside.lines().collect::<Vec<_>>(), expected);
    let inside = fs::read_to_string(host.path("rootfs/log")).unwrap();
    assert_eq!(
        inside.lines().collect::<Vec<_>>(),
        [
            line("startContainer", 1, "/tmp", nets[1]),
            line("startContainer", 2, "/tmp", nets[1])
        ]
    );
}

/// The second of two fails: the words name it, and nothing is left.
#[test]
fn a_failure_is_told_and_undoes_everything() {
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
    ] {
        let host = Host::new();
        let mut config = host.config(&["sleep", "100"]);
        config["hooks"][kind] = json!([shell("true"), shell("echo said; echo failed >&2; exit 3")]);
        host.write(&config);
        let output = host
            .run("runc run c > /run/out 2>&1; code=$?; cat /run/out; ls -A /run/lighter-runc; exit $code");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.trim_end().ends_with(&format!(
                "error running {kind} hook #1: /bin/sh: exit status 3, stdout: said, stderr: failed"
            )),
            "{text}"
        );
        assert!(!output.status.success(), "{}", words(&output));
    }
}

/// A failure after the end changes nothing: the container is gone, and the others of its kind run.
#[test]
fn poststop_hooks_all_run() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    let log = host.path("log").display().to_string();
    config["hooks"]["poststop"] =
        json!([shell("exit 1"), {"path": "/nowhere"}, shell(&format!("cat > {log}"))]);
    host.write(&config);
    assert_eq!(
        host.ok("runc run c; echo $?; ls -A /run/lighter-runc").trim(),
        "0"
    );
    let state: Value = serde_json::from_str(&fs::read_to_string(host.path("log")).unwrap()).unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
}

#[test]
fn hooks_that_cannot_run_are_refused_by_their_field() {
    for kind in KINDS {
        for (hook, expected) in [
            (json!({"path": "sh"}), "[1].path: \"sh\" is not an absolute path"),
            (json!({"path": ""}), "[1].path: \"\" is not an absolute path"),
            (
                json!({"path": "/bin/sh", "timeout": 0}),
                "[1].timeout: must be greater than zero",
            ),
        ] {
            let host = Host::new();
            let mut config = host.config(&["true"]);
            config["hooks"][kind] = json!([shell("true"), hook]);
            host.write(&config);
            let text = host.ok("runc create c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc 2>/dev/null; true");
            assert_eq!(text, format!("runc create failed: hooks.{kind}{expected}\n"));
        }
    }
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["hooks"]["prestart"] = json!([{"path": "/nowhere/x"}]);
    host.write(&config);
    assert_eq!(
        host.ok("runc create c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc"),
        "runc create failed: error running prestart hook #0: /nowhere/x: no such file or directory\n"
    );
}

/// A time limit holds whatever the hook does with its pipes, and what is left in the background is not waited for.
#[test]
fn nothing_is_waited_for_but_the_hook() {
    let host = Host::new();
    let mut config = host.config(&["echo", "ran"]);
    // More than a pipe holds.
    config["annotations"] = json!({"large": "x".repeat(1 << 20)});
    let log = host.path("log").display().to_string();
    config["hooks"] = json!({
        "createRuntime": [
            shell("exec 0<&-; sleep 0.1"),
            shell("true"),
            shell("sleep 300 & echo background"),
            shell(&format!("cat | wc -c > {log}")),
            shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"),
        ],
    });
    host.write(&config);
    // Nor does a hook that does not want its state end the process that runs it.
    config["hooks"]["createContainer"] = json!([shell("exec 0<&-; sleep 0.1")]);
    config["hooks"]["startContainer"] = json!([shell("exec 0<&-; sleep 0.1")]);
    host.write(&config);
    assert_eq!(host.ok("runc run c"), "ran\n");
    let length: usize = fs::read_to_string(&log).unwrap().trim().parse().unwrap();
    assert!(length > 1 << 20, "{length}");

    config["hooks"] = json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 300"], "timeout": 1, "env": ["PATH=/bin"]}]});
    host.write(&config);
    assert_eq!(
        host.ok("runc create c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc"),
        "runc create failed: error running prestart hook #0: /bin/sh: hook ran past specified timeout of 1.0s\n"
    );
}

/// Only their own environment; those of startContainer that name none have the process's, as with runc.
#[test]
fn the_environment_is_their_own() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
    let log = host.path("log").display().to_string();
    let show = |log: &str| format!("/bin/busybox tr '\\0' '\\n' < /proc/$$/environ >> {log}; true");
    config["hooks"] = json!({
        "createRuntime": [{"path": "/bin/busybox", "args": ["sh", "-c", show(&log)], "env": ["A=b"]}, {"path": "/bin/busybox", "args": ["sh", "-c", show(&log)]}],
        "startContainer": [{"path": "/bin/busybox", "args": ["sh", "-c", show("/log")]}, {"path": "/bin/busybox", "args": ["sh", "-c", show("/log")], "env": ["C=d"]}],
    });
    host.write(&config);
    host.ok("SECRET=1 runc run c");
    assert_eq!(fs::read_to_string(&log).unwrap(), "A=b\n");
    assert_eq!(
        fs::read_to_string(host.path("rootfs/log")).unwrap(),
        "HOME=/root\nONE=two\nPATH=/bin\nC=d\n"
    );
}

#[test]
fn a_hook_that_a_signal_ends_names_it() {
    let host = Host::new();
    let mut config = host.config(&["true"]);
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -SYS $$"]}]});
    host.write(&config);
    let text = host.ok("ulimit -c 0; runc create c 2>&1; [ $? = 1 ]");
    assert_eq!(
        text,
        "runc create failed: error running createRuntime hook #0: /bin/sh: signal: bad system call, stdout: , stderr: \n"
    );
}
