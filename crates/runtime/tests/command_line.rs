//! The command line as callers of runc know it: usage errors, exit codes, log lines, outputs.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::Value;

/// Arguments, exit code, what stdout begins with, the plain words of the error. All as runc 1.3 has them; its help texts
/// are its own.
const LINES: &[(&str, i32, &str, &str)] = &[
    (
        "",
        0,
        "NAME:\n   lighter-runc - Open Container Initiative runtime\n",
        "",
    ),
    ("--help", 0, "NAME:\n", ""),
    ("help kill", 0, "NAME:\n   lighter-runc kill - ", ""),
    ("run --help", 0, "NAME:\n   lighter-runc run - ", ""),
    ("-v", 0, "lighter-runc version ", ""),
    ("nope", 3, "", "No help topic for 'nope'"),
    ("help nope", 3, "", "No help topic for 'nope'"),
    (
        "--nope",
        1,
        "Incorrect Usage. flag provided but not defined: -nope\n\nNAME:",
        "flag provided but not defined: -nope",
    ),
    (
        "run --nope x",
        1,
        "Incorrect Usage: flag provided but not defined: -nope\n\nNAME:",
        "flag provided but not defined: -nope",
    ),
    (
        "run",
        1,
        "Incorrect Usage.\n\nNAME:",
        "RUNC: \"run\" requires exactly 1 argument(s)",
    ),
    (
        "state a b",
        1,
        "Incorrect Usage.\n\nNAME:",
        "RUNC: \"state\" requires exactly 1 argument(s)",
    ),
    (
        "kill",
        1,
        "Incorrect Usage.\n\nNAME:",
        "RUNC: \"kill\" requires a minimum of 1 argument(s)",
    ),
    (
        "kill a b c",
        1,
        "Incorrect Usage.\n\nNAME:",
        "RUNC: \"kill\" requires a maximum of 2 argument(s)",
    ),
    (
        "spec a",
        1,
        "Incorrect Usage.\n\nNAME:",
        "RUNC: \"spec\" requires exactly 0 argument(s)",
    ),
    ("kill nope", 1, "", "container does not exist"),
    ("update nope", 1, "", "container does not exist"),
    ("pause nope", 1, "", "container does not exist"),
    ("delete nope", 1, "", "container does not exist"),
    ("delete nope --force", 0, "", ""),
    ("exec nope true", 255, "", "exec failed: container does not exist"),
    ("--log-format xml state a", 1, "", "invalid log-format: xml"),
    (
        "--log /nope/x list",
        1,
        "",
        "open /nope/x: no such file or directory",
    ),
    (
        "--root / list",
        1,
        "",
        "Option --root argument should not be set to /",
    ),
    ("list -q", 0, "", ""),
    ("list -f json", 0, "null\n", ""),
];

#[test]
fn usage_errors_and_exit_codes_are_runcs() {
    let host = Host::new();
    for (line, code, out, error) in LINES {
        let output = host.run(&format!("$RUNC {line}"));
        assert_eq!(output.status.code(), Some(*code), "{line}: {}", words(&output));
        assert!(
            String::from_utf8_lossy(&output.stdout).starts_with(out),
            "{line}: {}",
            words(&output)
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if error.is_empty() {
            assert_eq!(said, "", "{line}");
            continue;
        }
        let error = error.replace("RUNC", &common::program().display().to_string());
        let expected = format!("level=error msg={}\n", serde_json::to_string(&error).unwrap());
        assert!(
            said.starts_with("time=\"") && said.ends_with(&expected),
            "{line}: {said}"
        );
    }
}

#[test]
fn the_log_has_the_line_and_stderr_the_words() {
    let host = Host::new();
    let text = host
        .ok("$RUNC --log /run/l --log-format json state c 2>&1; $RUNC --log /run/l state c 2>&1; cat /run/l");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["container does not exist"; 2]);
    let line: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(
        (&line["level"], &line["msg"]),
        (&"error".into(), &"container does not exist".into())
    );
    assert!(
        lines[3].ends_with("level=error msg=\"container does not exist\""),
        "{text}"
    );
}

/// As runc: a caller adds what is missing.
#[test]
fn a_new_specification_has_a_cgroup_namespace_on_v2_only() {
    let host = Host::new();
    let text = host.ok("rm -f config.json; runc spec; cat config.json");
    let spec: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<&str> = spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["type"].as_str().unwrap())
        .collect();
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut expected = vec!["pid", "network", "ipc", "uts", "mount"];
    expected.extend(v2.then_some("cgroup"));
    assert_eq!(kinds, expected);
}

/// By the byte, so that a script that edits it by line finds its lines. Only the version of the spec is ours.
#[test]
fn a_new_specification_is_runcs() {
    let host = Host::new();
    let peer = host.peer("runc");
    let text = host.ok(&format!(
        "for flag in '' --rootless; do rm -f config.json; {} spec $flag; sed '2s/1[.][0-9.]*[0-9]/1.3.0/' config.json >theirs; \
         rm config.json; $RUNC spec $flag; cmp theirs config.json && echo same; done",
        peer.display()
    ));
    assert_eq!(text, "same\nsame\n");
}

/// What a caller asks for with `features` it is to find, and nothing that is refused.
#[test]
fn features_has_the_entries_of_the_specification() {
    let host = Host::new();
    let features: Value = serde_json::from_str(&host.ok("$RUNC features")).unwrap();
    let linux = &features["linux"];
    for (entry, enabled) in [
        ("apparmor", true),
        ("selinux", true),
        ("netDevices", true),
        ("intelRdt", false),
    ] {
        assert_eq!(linux[entry]["enabled"], enabled, "{entry}");
    }
    let policy = &linux["memoryPolicy"];
    assert_eq!(policy["modes"].as_array().unwrap().len(), 7, "{policy}");
    assert_eq!(policy["flags"].as_array().unwrap().len(), 3, "{policy}");
}

/// As runc: the owner is who owns the directory, and nobody's list is `null`.
#[test]
fn a_list_names_owners_and_an_empty_container_has_no_processes() {
    let host = Host::new();
    host.write(&host.config(&["true"]));
    let text = host.ok(
        "runc run -d c; within 'runc state c | grep stopped'; runc ps -f json c\n\
         for user in 0 54321; do chown $user /run/lighter-runc/c; runc list | tail -1 | grep -o '[^ ]*$'; runc list -f json | grep -o 'owner.*'; done\n\
         runc state c | grep owner; runc delete c",
    );
    let expected = [
        "null",
        "root",
        "owner\":\"root\"}]",
        "#54321",
        "owner\":\"#54321\"}]",
        "  \"owner\": \"\"",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

/// By runc's words: scripts and its own test suite look for them.
#[test]
fn the_debug_log_tells_the_steps_inside() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let process = serde_json::json!({"args": ["/bin/true"], "cwd": "/", "execCPUAffinity": {"initial": "0"}});
    std::fs::write(host.path("process.json"), process.to_string()).unwrap();
    let text = host.ok(
        "$RUNC --debug --log /run/run run -d c; $RUNC --debug --log /run/exec exec -p process.json c; \
         $RUNC --log /run/quiet exec -p process.json c; runc delete -f c; cat /run/run; echo; cat /run/exec; echo; cat /run/quiet",
    );
    let mut logs = text.split("\n\n");
    for words in [
        &[
            "nsexec container setup",
            "child process in init()",
            "init: closing the pipe to signal completion",
        ][..],
        &[
            "nsexec: affinity: 0x1",
            "nsexec container setup",
            "child process in init()",
            "setns_init: about to exec",
        ],
    ] {
        let log = logs.next().unwrap();
        let at: Vec<Option<usize>> = words
            .iter()
            .map(|words| log.find(&format!("level=debug msg=\"{words}\"")))
            .collect();
        assert!(
            at.iter().all(Option::is_some) && at.is_sorted(),
            "{words:?} in {log}"
        );
    }
    assert_eq!(logs.next(), Some(""), "{text}");
}
