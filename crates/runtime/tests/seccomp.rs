//! System call filters as a process meets them, and the agent that is asked about calls.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use lighter_sys::seccomp;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

/// Listens for descriptors; of the calls that wait there `refused` fail with ENOMEDIUM, all others happen. Answers the
/// states that come with the descriptors.
fn agent(host: &Host, refused: &'static [i64]) -> Receiver<Value> {
    let listener = UnixListener::bind(host.path("agent")).unwrap();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            let mut text = Vec::new();
            let mut found = Vec::new();
            loop {
                let mut buffer = [0; 4096];
                let (length, fds) = lighter_sys::fdpass::receive(socket.as_fd(), &mut buffer).unwrap();
                found.extend(fds);
                if length == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..length]);
            }
            // Somebody may connect and fail before there is anything to say.
            let Some(notifier) = found.pop() else { continue };
            let _ = send.send(serde_json::from_slice(&text).unwrap());
            std::thread::spawn(move || {
                // A caller that died meanwhile is none.
                while let Ok(call) = seccomp::listen(notifier.as_fd()) {
                    let error = refused.contains(&i64::from(call.number)).then_some(123);
                    let _ = seccomp::answer(notifier.as_fd(), call.id, error);
                }
            });
        }
    });
    receive
}

/// Numbers of `mkdir` and `mkdirat`.
#[cfg(target_arch = "x86_64")]
const MKDIR: &[i64] = &[83, 258];
#[cfg(target_arch = "aarch64")]
const MKDIR: &[i64] = &[34];

fn profile(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "listenerPath": "agent",
        "listenerMetadata": "meta",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

/// The agent hears of the first process and of later ones, with the state and the pids that the runtime sees; and its
/// answers are what the calls answer. The filter is installed early or late depending on no-new-privileges.
#[test]
fn the_agent_is_asked() {
    for no_new_privileges in [false, true] {
        let host = Host::new();
        let states = agent(&host, MKDIR);
        let mut config = host.config(&["sh", "-c", "mkdir /tmp/d 2>&1; sleep 100"]);
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["annotations"] = json!({"a": "b"});
        config["linux"]["seccomp"] = profile(&["mkdir", "mkdirat"]);
        host.write(&config);
        let text = host.ok(
            "runc run -d --pid-file /run/pid c > /run/out 2>&1; within 'grep mkdir /run/out'; cat /run/out; \
             runc exec --pid-file /run/later c sh -c 'mkdir /tmp/d 2>&1; exit 3'; echo $? $(pid) $(cat /run/later); runc delete -f c",
        );
        let lines: Vec<&str> = text.lines().collect();
        let refused = "mkdir: can't create directory '/tmp/d': No medium found";
        assert_eq!(lines[..2], [refused, refused]);
        let numbers: Vec<i64> = lines[2].split(' ').map(|word| word.parse().unwrap()).collect();
        let (first, later) = (numbers[1], numbers[2]);
        assert_eq!(numbers[0], 3);
        let state = |pid: i64, status: &str| {
            json!({
                "ociVersion": "1.2.1", "fds": ["seccompFd"], "pid": pid, "metadata": "meta",
                "state": {"ociVersion": "1.2.1", "id": "c", "status": status, "pid": first,
                    "bundle": host.path("").to_str().unwrap().trim_end_matches('/'), "annotations": {"a": "b"}},
            })
        };
        assert_eq!(states.recv().unwrap(), state(first, "creating"));
        assert_eq!(states.recv().unwrap(), state(later, "running"));
    }
}

/// What we call ourselves on the way may be asked about too, as long as it is not `write`.
#[test]
fn calls_of_our_own_may_be_asked_about() {
    let own = [
        "execve",
        "openat",
        "open",
        "read",
        "close",
        "fcntl",
        "sendmsg",
        "recvmsg",
        "setresuid",
        "setgroups",
        "prctl",
        "capset",
        "chdir",
        "getcwd",
        "faccessat2",
        "mkdir",
    ];
    for no_new_privileges in [false, true] {
        let host = Host::new();
        let _states = agent(&host, &[]);
        let mut config = host.config(&["sh", "-c", "mkdir /tmp/d && echo made"]);
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["linux"]["seccomp"] = profile(&own);
        // A hook sees the same descriptors as without a listener.
        config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd > /fds"], "env": ["PATH=/bin"]}]});
        host.write(&config);
        assert_eq!(host.ok("runc run c"), "made\n");
        assert_eq!(
            fs::read_to_string(host.path("rootfs/fds")).unwrap(),
            "0\n1\n2\n3\n"
        );
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let refused = |change: &dyn Fn(&mut Value), expected: &str| {
        let host = Host::new();
        let mut config = host.config(&["true"]);
        config["linux"]["seccomp"] = profile(&["mkdir"]);
        change(&mut config["linux"]["seccomp"]);
        host.write(&config);
        let output = host.run("runc run c 2>&1; code=$?; ls -A /run/lighter-runc; exit $code");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && text.contains(expected) && text.lines().count() == 1,
            "{expected}: {}",
            words(&output)
        );
    };
    refused(
        &|_| {},
        "failed to connect with seccomp agent specified in the seccomp profile: connect to ",
    );
    refused(
        &|s| s["listenerPath"] = json!("@lighter-nobody-listens-here"),
        "failed to connect with seccomp agent specified in the seccomp profile: connect to @lighter-nobody-listens-here: connection refused",
    );
    refused(&|s| s["listenerPath"] = json!(""), "listenerPath is not set");
    refused(
        &|s| s["defaultAction"] = json!("SCMP_ACT_NOTIFY"),
        "SCMP_ACT_NOTIFY cannot be used as default action",
    );
    refused(
        &|s| s["syscalls"][0]["names"] = json!(["read", "write"]),
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    );
    refused(
        &|s| s["flags"] = json!(["SECCOMP_FILTER_FLAG_NEW"]),
        "unknown seccomp flag \"SECCOMP_FILTER_FLAG_NEW\"",
    );
    refused(
        &|s| s["architectures"] = json!(["SCMP_ARCH_Z80"]),
        "unknown seccomp architecture \"SCMP_ARCH_Z80\"",
    );
    refused(
        &|s| s["syscalls"][0]["action"] = json!("SCMP_ACT_MAYBE"),
        "linux.seccomp.syscalls[0].action: unknown variant `SCMP_ACT_MAYBE`",
    );
    refused(
        &|s| *s = json!({}),
        "linux.seccomp: missing field `defaultAction`",
    );
    refused(
        &|s| s["syscalls"][0] = json!({"names": ["read"]}),
        "linux.seccomp.syscalls[0]: missing field `action`",
    );
}

/// Without a rule that asks, nobody needs to listen.
#[test]
fn a_listener_that_is_not_needed_is_not_connected() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "mkdir /tmp/d && echo made"]);
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere", "flags": [
        "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]});
    assert_eq!(host.ok_config(&config), "made\n");
}

/// An agent that goes away leaves its calls unimplemented.
#[test]
fn calls_of_a_dead_agent_fail() {
    let host = Host::new();
    let listener = UnixListener::bind(host.path("agent")).unwrap();
    std::thread::spawn(move || drop(listener.accept()));
    let mut config = host.config(&["sh", "-c", "mkdir /tmp/d 2>&1"]);
    config["linux"]["seccomp"] = profile(&["mkdir", "mkdirat"]);
    config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    host.write(&config);
    let output = host.run("runc run c");
    let text = words(&output);
    assert!(
        text.contains("Function not implemented") || text.contains("broken pipe"),
        "{text}"
    );
}

/// Every action, as the process sees it.
#[test]
fn actions_do_what_they_say() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", None, "code 159"),
        ("SCMP_ACT_KILL_THREAD", None, "code 159"),
        ("SCMP_ACT_KILL_PROCESS", None, "code 159"),
        ("SCMP_ACT_TRAP", None, "code 159"),
        ("SCMP_ACT_ERRNO", None, "Operation not permitted\ncode 1"),
        ("SCMP_ACT_ERRNO", Some(95), "Operation not supported\ncode 1"),
        // No tracer is there.
        ("SCMP_ACT_TRACE", None, "Function not implemented\ncode 1"),
        ("SCMP_ACT_LOG", None, "code 0"),
        ("SCMP_ACT_ALLOW", None, "code 0"),
    ] {
        let host = Host::new();
        let mut config = host.config(&["sh", "-c", "chmod 755 /tmp 2>&1; echo code $?"]);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        let mut rule = json!({"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": action});
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        config["linux"]["seccomp"] = json!({"defaultAction": if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" }, "syscalls": [rule]});
        let text = host.ok_config(&config);
        let text = text.replace("chmod: /tmp: ", "").replace("Bad system call\n", "");
        assert_eq!(
            text.trim().trim_start_matches("Bad system call (core dumped)\n"),
            expected,
            "{action}"
        );
    }
}

/// A profile that lets the container's programs do little does not get in the runtime's own way.
#[test]
fn a_strict_profile_lets_the_process_start() {
    let names = [
        "execve",
        "read",
        "write",
        "close",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "arch_prctl",
        "exit_group",
        "exit",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "futex",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "prctl",
        "uname",
        "newfstatat",
        "fstat",
        "writev",
        "rt_sigaction",
        "rt_sigprocmask",
        // What must still be called with the early filter.
        "setresuid",
        "setresgid",
        "setgroups",
        "capget",
        "capset",
        "chdir",
        "getcwd",
        "umask",
        "stat",
        "access",
        "faccessat",
        "faccessat2",
        "statx",
        "getpid",
        "gettid",
    ];
    for (no_new_privileges, user) in [(false, 0), (true, 1000)] {
        let host = Host::new();
        let mut config = host.config(&["echo", "alive"]);
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["process"]["user"] = json!({"uid": user, "gid": 0});
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "syscalls": [{"names": names.as_slice(), "action": "SCMP_ACT_ALLOW"}]});
        assert_eq!(host.ok_config(&config), "alive\n");
    }
}
