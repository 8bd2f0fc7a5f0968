//! From create to delete, as a caller sees it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};

#[test]
fn a_container_goes_through_its_states_and_leaves_nothing() {
    let host = Host::new();
    host.write(&host.config(&["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done"]));
    let text = host.ok(r#"status() { runc state c | grep '"status"'; }
        before=$(cat /proc/self/mountinfo | wc -l)
        runc create --pid-file /run/pid c; status
        [ -d /proc/$(pid) ] && grep PPid /proc/$(pid)/status
        runc start c; status
        runc start c 2>&1
        runc delete c 2>&1
        runc pause c; status; runc resume c; status
        runc kill c TERM; within 'runc state c | grep stopped'; status
        runc kill c KILL 2>&1
        runc exec c true 2>&1
        runc delete c; runc state c 2>&1; runc delete c 2>&1; runc delete --force c; echo force $?
        ls -A /run/lighter-runc; [ $before = $(cat /proc/self/mountinfo | wc -l) ]"#);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "\"status\": \"created\",",
            "PPid:\t1",
            "\"status\": \"running\",",
            "cannot start an already running container",
            "cannot delete container c that is not stopped: running",
            "\"status\": \"paused\",",
            "\"status\": \"running\",",
            "\"status\": \"stopped\",",
            "container not running",
            "exec failed: cannot exec in a stopped container",
            "container does not exist",
            "container does not exist",
            "force 0",
        ]
    );
}

#[test]
fn run_answers_the_exit_code() {
    let host = Host::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$; sleep 9", 137),
    ] {
        host.write(&host.config(&["sh", "-c", script]));
        // A first process is not killed by signals of its own namespace: ask from a child's place.
        if code == 137 {
            host.write(&host.config(&["sh", "-c", "sleep 100"]));
            let output = host.run("runc run --pid-file /run/pid c & within '[ -s /run/pid ]'; within 'runc state c | grep running'; runc kill c KILL; wait $!");
            assert_eq!(output.status.code(), Some(137), "{}", words(&output));
            continue;
        }
        let output = host.run("runc run c");
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
    }
}

/// dockerd turns these words into the exit codes 126 and 127.
#[test]
fn a_program_that_cannot_be_run_is_told_at_create() {
    let host = Host::new();
    for (name, reason) in [
        ("nope", "executable file not found in $PATH"),
        ("/nope", "stat /nope: no such file or directory"),
        ("/etc", "is a directory: permission denied"),
        ("/etc/passwd", "permission denied"),
    ] {
        host.write(&host.config(&[name]));
        let text = host.ok("runc --log /run/log --log-format json create c 2>&1; [ $? = 1 ]; cat /run/log; ls -A /run/lighter-runc");
        let (plain, json) = text.split_once('\n').unwrap();
        let expected = format!(
            "runc create failed: unable to start container process: error during container init: exec: \"{name}\": {reason}"
        );
        assert_eq!(plain, expected);
        let line: Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            (&line["level"], &line["msg"]),
            (&json!("error"), &json!(expected))
        );

        host.write(&host.config(&["sleep", "100"]));
        let text = host.ok(&format!(
            "runc run -d c; runc exec c {name} 2>&1; [ $? != 0 ]; runc delete -f c"
        ));
        assert_eq!(
            text.trim(),
            format!("exec failed: unable to start container process: exec: \"{name}\": {reason}")
        );
    }
}

/// As runc: nobody can tell before the exec, and then only the container's own stderr is left.
#[test]
fn a_wrong_format_is_told_by_the_container() {
    let host = Host::new();
    for (name, content, reason) in [
        ("bad", "garbage", "exec format error"),
        ("script", "#!/nope\n", "no such file or directory"),
    ] {
        let path = host.path("rootfs").join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        host.write(&host.config(&[&format!("/{name}")]));
        let output = host.run("runc run c");
        assert_eq!(output.status.code(), Some(255));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr).trim(),
            format!("exec /{name}: {reason}")
        );
    }
}

#[test]
fn a_failed_create_leaves_nothing_and_says_why() {
    let host = Host::new();
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut config = host.config(&["true"]);
        change(&mut config);
        host.write(&config);
        let text = host.ok(
            "before=$(wc -l < /proc/self/mountinfo); runc create c 2>&1; [ $? = 1 ]; ls -A /run/lighter-runc; \
             [ $before = $(wc -l < /proc/self/mountinfo) ]; ls /proc | grep -c '^[0-9]*$'",
        );
        assert!(text.contains(expected), "{expected:?} in {text}");
    };
    let bind = |source: &str, destination: &str| json!({"destination": destination, "source": source, "type": "bind", "options": ["rbind"]});
    check(
        &|c| c["mounts"][0] = bind("/nope", "/x"),
        "error mounting \"/nope\" to rootfs at \"/x\": open /nope: no such file",
    );
    check(
        &|c| c["mounts"][3]["type"] = json!("nofs"),
        "error mounting \"sysfs\" to rootfs at \"/sys\": mount a file system of the type nofs: no such device",
    );
    check(&|c| c["root"]["path"] = json!("nope"), "nope");
    check(
        &|c| c["process"]["cwd"] = json!("relative"),
        "Cwd must be an absolute path",
    );
    check(&|c| c["process"]["args"] = json!([]), "args must not be empty");
    check(&|c| c["process"]["cwd"] = json!("/etc/passwd"), "chdir to cwd");
    check(
        &|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        "RLIMIT_FOO",
    );
    check(
        &|c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"}),
        "not in a separate kernel namespace",
    );
    check(&|c| c["linux"]["sysctl"] = json!({"net.nope": "1"}), "net/nope");
    check(
        &|c| c["linux"]["namespaces"][1]["path"] = json!("/nope"),
        "open namespace /nope",
    );
    check(
        &|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_WHAT"}),
        "SCMP_ACT_WHAT",
    );
    check(
        &|c| c["linux"]["resources"]["cpu"] = json!({"cpus": "999"}),
        "cpuset.cpus",
    );
    check(
        &|c| c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}),
        "error running createRuntime hook #0: /bin/false: exit status 1",
    );
    check(
        &|c| c["hooks"] = json!({"createContainer": [{"path": "/bin/false"}]}),
        "error running createContainer hook #0: /bin/false",
    );
    check(&|c| c["process"]["terminal"] = json!(true), "cannot allocate tty");
    check(
        &|c| c["linux"]["resources"]["devices"] = json!([{"allow": true, "type": "c"}]),
        "linux.resources.devices[0].access: device access at 0 field cannot be empty",
    );
    check(
        &|c| c["linux"]["resources"]["devices"][0]["type"] = json!("p"),
        "linux.resources.devices[0].type: invalid cgroup device type \"p\"",
    );
    check(
        &|c| c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}),
        "process.capabilities.effective: CAP_KILL is not in permitted: unable to apply caps: can't apply capabilities: operation not permitted",
    );
    check(&|c| c["linux"]["intelRdt"] = json!({}), "intelRdt");
    check(
        &|c| c["process"]["apparmorProfile"] = json!("docker-default"),
        "apparmor",
    );
}

#[test]
fn a_name_is_taken_once_and_must_be_a_name() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "runc create c; runc create c 2>&1; runc create ../c 2>&1; runc create '' 2>&1; runc create . 2>&1; \
         runc state ../../etc 2>&1; runc list -q; runc delete -f c",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "runc create failed: container with given ID already exists",
            "runc create failed: invalid container ID format \"../c\"",
            "runc create failed: invalid container ID format \"\"",
            "runc create failed: invalid container ID format \".\"",
            "invalid container ID format \"../../etc\"",
            "c",
        ]
    );
}

/// Whenever create is killed, `delete --force` finds and removes what there is.
#[test]
fn a_create_that_was_killed_can_be_deleted() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    for delay in (0..20).map(|step| f64::from(step) * 0.0007) {
        host.ok(&format!(
            "$RUNC --root /run/x create c 2>/dev/null & sleep {delay}; kill -9 $!; wait $! 2>/dev/null; runc --root /run/x delete --force c; \
             [ -z \"$(ls -A /run/x 2>/dev/null)\" ]; within '! ls -l /proc/[0-9]*/exe | grep lighter-runc'"
        ));
    }
}

#[test]
fn processes_without_a_namespace_of_their_own_are_killed_too() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
    config["linux"]["namespaces"] = json!([{"type": "mount"}]);
    config["hostname"] = json!("");
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    host.write(&config);
    let text = host.ok(
        "runc run -d --pid-file /run/pid c; within '[ $(runc ps -f json c | tr , \"\\n\" | wc -l) = 3 ]'; \
         runc kill c KILL; within 'runc state c | grep stopped'; runc delete c; ps -e | grep -c sleep || true",
    );
    assert_eq!(text.trim(), "0", "{text}");
}

/// The process that waits for `start` holds nothing of its caller's: who waits for the end of a pipe is not kept. And it
/// ends when it is told to, although it is the first of its PID namespace, which SIGTERM does not end by itself.
#[test]
fn a_created_container_holds_no_descriptors_and_can_be_stopped() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "busybox mkfifo /run/pipe; (cat /run/pipe; echo closed) & waiter=$!; \
         $RUNC create --pid-file /run/pid c 17>/run/pipe 1>/run/out; wait $waiter; runc state c | grep -c 'status.*created'; \
         for fd in /proc/$(pid)/fd/*; do readlink $fd; done | grep -v -e '^socket:' -e '^/dev/null' -e '^/run/out' -e '^pipe:'; \
         runc kill c; within 'runc state c | grep stopped'; runc delete c",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[..2], ["closed", "1"]);
    assert!(lines[2].ends_with("/exec.fifo"), "{text}");
}

/// Who has no PID namespace of his own is not ended by the end of the first process.
#[test]
fn what_outlives_the_first_process_is_killed() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != "pid");
    host.write(&config);
    let text = host.ok(
        "runc run -d --pid-file /run/pid c; runc exec -d --pid-file /run/second c sleep 100; kill -9 $(pid); \
         within 'runc state c | grep stopped'; [ -d /proc/$(cat /run/second) ] && echo lives; \
         runc kill c KILL && within '! grep -q sleep /proc/$(cat /run/second)/comm' && echo dead; runc delete c",
    );
    assert_eq!(text, "lives\ndead\n");
}

/// As runc: a container that is paused before its start says so, can go on, and does not start meanwhile.
#[test]
fn a_created_container_is_paused_and_resumed() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "status() { runc state c | grep -o 'status.*'; }; $RUNC create c >/dev/null; runc pause c; status; $RUNC start c 2>&1 | grep -o 'msg=.*'\n\
         $RUNC pause c 2>&1 | grep -o 'msg=.*'; runc resume c; status; runc start c; status; runc delete -f c",
    );
    let expected = [
        "status\": \"paused\",",
        "msg=\"cannot start a container in the paused state\"",
        "msg=\"container not running\"",
        "status\": \"created\",",
        "status\": \"running\",",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

/// Nothing is forgotten that may still run: not with a broken record, nor with a newer one's.
#[test]
fn a_record_that_cannot_be_read_is_kept() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let text = host.ok(
        "runc run -d --pid-file /run/pid c; f=/run/lighter-runc/c/state.json; cp $f /run/good\n\
         head -c 40 /run/good >$f; $RUNC delete -f c 2>&1 | grep -o 'parse /run/lighter-runc/c/state.json'\n\
         sed 's/\"format\":[0-9]*/\"format\":999/' /run/good >$f; $RUNC delete -f c 2>&1 | grep -o 'state of a newer lighter-runc (format 999'\n\
         kill -0 $(pid) && echo alive; cp /run/good $f; runc delete -f c; kill -0 $(pid) 2>/dev/null || echo gone; ls /run/lighter-runc",
    );
    let expected = [
        "parse /run/lighter-runc/c/state.json",
        "state of a newer lighter-runc (format 999",
        "alive",
        "gone",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}
