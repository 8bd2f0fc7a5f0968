//! Containers to files and back, with the real CRIU of the lab.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

/// Pipes for stdio (`$in`, `$out` are ours), `runc` with the lab's CRIU. CRIU looks at the network: it must be up.
fn prologue(host: &Host) -> String {
    format!(
        "ip link set lo up; RUNC=\"$RUNC --criu {}\"; mkdir -p images work\n\
         pipe() {{ exec {{p}}<> <(:); eval \"exec {{$1}}</proc/self/fd/$p {{$2}}>/proc/self/fd/$p {{p}}>&-\"; }}\n\
         pipe in_r in; pipe out out_w; say() {{ echo \"$@\" >&$in; timeout 10 head -1 <&$out; }}\n\
         checkpoint() {{ runc checkpoint --image-path images --work-path work \"$@\"; }}\n\
         restore() {{ runc restore -d --image-path images --work-path work \"$@\" <&$in_r >&$out_w 2>&$out_w; }}\n\
         start() {{ runc run -d --pid-file /run/pid c <&$in_r >&$out_w 2>&$out_w; }}\n",
        host.criu().display()
    )
}

fn counter(host: &Host) -> Value {
    host.config(&["sh", "-c", "n=0; while read x; do n=$((n+1)); echo $n $x; done"])
}

fn lines(host: &Host, script: &str) -> Vec<String> {
    let text = host.ok(&(prologue(host) + script));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_restored_process_goes_on_where_it_was() {
    let host = Host::new();
    host.write(&counter(&host));
    let found = lines(
        &host,
        "start; say a; checkpoint c; runc state c 2>&1; ls /run/lighter-runc; restore --pid-file /run/pid c; say b; \
         runc state c | grep -c running; runc exec c sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo exec'; grep -c c$ /proc/$(pid)/cgroup; \
         checkpoint c; restore c; say c; runc kill c KILL; within 'runc state c | grep stopped'; runc delete c; \
         grep criu-root /proc/self/mountinfo; true",
    );
    let groups = found.get(5).map_or(0, |text| text.parse().unwrap_or(0));
    assert!(groups > 0, "not in its cgroup: {found:?}");
    assert_eq!(
        [&found[..5], &found[6..]].concat(),
        ["1 a", "container does not exist", "2 b", "1", "exec", "3 c"]
    );
}

#[test]
fn a_container_may_be_left_running() {
    let host = Host::new();
    host.write(&counter(&host));
    let found = lines(
        &host,
        "start; say a; checkpoint --leave-running c; say b; runc kill c KILL; within 'runc state c | grep stopped'; \
         runc delete c; restore c; say c; runc delete -f c",
    );
    // What happened after the checkpoint did not, for who comes back.
    assert_eq!(found, ["1 a", "2 b", "2 c"]);
}

/// Needs a kernel that tells which pages were written since; without, it is said before anything is done.
#[test]
fn memory_can_be_saved_ahead() {
    let host = Host::new();
    host.write(&counter(&host));
    let found = lines(
        &host,
        "mkdir before; start; say a; if runc checkpoint --pre-dump --image-path before c 2>&1; then say b; \
         checkpoint --parent-path ../before c; ls -d images/parent; restore c; else say b; checkpoint --parent-path ../before c 2>&1; fi; \
         say c; runc delete -f c",
    );
    let without = |flag: &str| {
        format!("{flag} cannot be used: CRIU or this kernel has no memory tracking (CONFIG_MEM_SOFT_DIRTY)")
    };
    if found.len() == 4 {
        assert_eq!(found, ["1 a", "2 b", "images/parent", "3 c"]);
    } else {
        let (ahead, later) = (without("--pre-dump"), without("--parent-path"));
        assert_eq!(found, ["1 a", &ahead, "2 b", &later, "3 c"]);
    }
}

/// Sources outside are found again, also when links led to where they are mounted and what they lie in is new.
#[test]
fn binds_come_back() {
    let host = Host::new();
    let root = host.path("rootfs");
    for dir in ["one", "two"] {
        fs::create_dir(host.path(dir)).unwrap();
    }
    fs::write(host.path("two/file"), "kept").unwrap();
    fs::create_dir_all(root.join("real/conf")).unwrap();
    symlink("/real/conf", root.join("conf")).unwrap();
    let mut config = host.config(&["sh", "-c", "while read x; do eval \"$x\"; done"]);
    let mounts = config["mounts"].as_array_mut().unwrap();
    for (source, destination) in [
        ("one", "/outer"),
        ("two", "/outer/for/inner"),
        ("two", "/conf"),
        ("two/file", "/etc/one-file"),
    ] {
        mounts.push(
            json!({"destination": destination, "type": "bind", "options": ["rbind"],
            "source": host.path(source)}),
        );
    }
    config["process"]["args"] = json!(["sh", "-c", "while read x; do eval \"$x\"; done"]);
    host.write(&config);
    let found = lines(
        &host,
        "start; checkpoint c; rm -rf one/*; restore c; say 'echo $(cat /outer/for/inner/file /conf/file /etc/one-file)'; \
         runc delete -f c",
    );
    assert_eq!(found, ["keptkeptkept"]);
}

#[test]
fn a_joined_network_is_joined_again() {
    let host = Host::new();
    let mut config = counter(&host);
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!("/run/net");
        }
    }
    host.write(&config);
    let found = lines(
        &host,
        "touch /run/net; unshare --net=/run/net true; start; say a; checkpoint c; restore --pid-file /run/pid c; say b; \
         [ $(stat -Lc %i /proc/$(pid)/ns/net) = $(stat -c %i /run/net) ] && echo same; runc delete -f c",
    );
    assert_eq!(found, ["1 a", "2 b", "same"]);
}

/// In the foreground `restore` waits, answers the exit code and removes what it brought back.
#[test]
fn restore_stays_until_the_end() {
    let host = Host::new();
    host.write(&host.config(&["sh", "-c", "read x; exit $x"]));
    let found = lines(
        &host,
        "start; checkpoint c; echo 7 >&$in; runc restore --image-path images c <&$in_r >&$out_w 2>&$out_w; echo $?; runc list -q",
    );
    assert_eq!(found, ["7"]);
}

#[test]
fn the_hooks_of_a_creation_run_again() {
    let host = Host::new();
    let mut config = counter(&host);
    config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >> /run/hook"]}]});
    host.write(&config);
    let found = lines(
        &host,
        "start; checkpoint c; restore c; say b; grep -o '\"status\":\"creating\"' /run/hook | wc -l; runc delete -f c",
    );
    assert_eq!(found, ["1 b", "2"]);
}

#[test]
fn what_cannot_be_is_said_and_leaves_nothing() {
    let host = Host::new();
    host.write(&counter(&host));
    for (script, expected) in [
        (
            "runc create c <&$in_r >&$out_w 2>&$out_w; checkpoint c",
            "Container cannot be checkpointed in created state",
        ),
        ("checkpoint none", "container does not exist"),
        (
            "start; checkpoint --parent-path /x c",
            "--parent-path must be relative",
        ),
        (
            "start; checkpoint --manage-cgroups-mode x c",
            "invalid manage-cgroups-mode",
        ),
        ("start; $RUNC --criu /nope checkpoint c", "no /nope found"),
        (
            "runc restore --image-path /nowhere c",
            "no checkpoint in /nowhere",
        ),
        (
            "start; checkpoint c; mv images/inventory.img images/x; runc restore -d --image-path images c <&$in_r >&$out_w",
            "criu restore failed",
        ),
    ] {
        let script = format!(
            "{}{script}; code=$?; runc delete -f c; exit $code",
            prologue(&host)
        );
        let output = host.run(&script);
        let text = words(&output);
        assert!(!output.status.success(), "{script}: {text}");
        assert!(text.contains(expected), "{script}: {text}");
    }
    // The last one's pieces, made whole, are as good as before.
    let found = lines(
        &host,
        "mv images/x images/inventory.img; ls /run; restore c; say a; runc delete -f c",
    );
    assert_eq!(found.last().map(String::as_str), Some("1 a"), "{found:?}");
}
