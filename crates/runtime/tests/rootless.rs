//! Containers of an ordinary user, who has no power over the host.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Host, words};
use serde_json::{Value, json};

type Change = dyn Fn(&mut Value);

/// Runs a script as user and group 1000 in the bundle, whose files are theirs. `prepare`: as root, before.
fn as_user(host: &Host, prepare: &str, script: &str) -> std::process::Output {
    std::fs::write(host.path("user.sh"), script).unwrap();
    host.run(&format!(
        "mkdir -m 755 /run/lt; mount -t tmpfs -o mode=755 tmpfs /run/lt; cp $RUNC /run/lt/runc; chmod 755 /run/lt/runc\n\
         mkdir -p -m 700 /run/user/1000; chown 1000:1000 /run/user/1000; chmod 755 .; chown -R 1000:1000 .\n\
         {prepare}\n\
         export XDG_RUNTIME_DIR=/run/user/1000 HOME=/ USER=user; \
         setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'runc() {{ /run/lt/runc \"$@\"; }}; . ./user.sh'; code=$?\n\
         exit $code"
    ))
}

fn ok(host: &Host, prepare: &str, script: &str) -> String {
    let output = as_user(host, prepare, script);
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Gives the user a cgroup in every hierarchy, and takes it away in the end.
fn delegate(host: &Host) -> String {
    let name = host.cgroup();
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // A process is moved only within what is the user's own: so he starts inside.
        return format!(
            "top=/sys/fs/cgroup; mkdir -p $top{name}/own; for c in $(cat $top/cgroup.controllers); do echo +$c > $top/cgroup.subtree_control; done; \
             chown -R 1000:1000 $top{name}; echo 0 > $top{name}/own/cgroup.procs\n\
             trap 'echo 0 > $top/cgroup.procs; rmdir $top{name}/own $top{name}' EXIT\n"
        );
    }
    format!(
        "each() {{ for h in /sys/fs/cgroup/*/; do h=${{h%/}}; [ -L $h ] || [ ${{h##*/}} = unified ] || \"$@\"; done; }}\n\
         give() {{ mkdir $h{name}; if [ -e $h/cpuset.cpus ]; then cat $h/cpuset.cpus > $h{name}/cpuset.cpus; cat $h/cpuset.mems > $h{name}/cpuset.mems; fi; chown -R 1000:1000 $h{name}; }}\n\
         take() {{ rmdir $h{name}; }}; each give; trap 'each take' EXIT\n"
    )
}

/// What `spec --rootless` makes, for user 1000, with the program `args`.
fn config(args: &[&str]) -> Value {
    let host = Host::new();
    let text = ok(
        &host,
        "",
        "rm -f config.json; runc spec --rootless && cat config.json",
    );
    let mut config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        config["linux"]["uidMappings"],
        json!([{"containerID": 0, "hostID": 1000, "size": 1}])
    );
    assert!(config["linux"]["resources"].is_null());
    config["process"]["args"] = json!(args);
    config["process"]["terminal"] = json!(false);
    config["root"]["readonly"] = json!(false);
    config
}

#[test]
fn a_container_with_a_delegated_cgroup_goes_through_all_commands() {
    let host = Host::new();
    let mut config = config(&["sleep", "60"]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    config["linux"]["resources"] = json!({"pids": {"limit": 20}});
    config["process"]["oomScoreAdj"] = json!(100);
    host.write(&config);
    let text = ok(
        &host,
        &delegate(&host),
        "set -e; runc run -d c </dev/null >/dev/null 2>&1; stat -c '%a %u' /run/user/1000/lighter-runc\n\
         runc exec c sh -c 'id -u; cat /proc/self/oom_score_adj; touch /new; kill -0 1 && echo seen'; stat -c '%u %g' rootfs/new\n\
         runc exec c cat /proc/self/uid_map | tr -s ' '\n\
         runc ps -f json c | tr -dc '0-9\\n' | grep -c .; runc pause c; runc state c | grep -o paused; runc resume c\n\
         runc kill c KILL; n=0; until runc state c | grep -q stopped; do n=$((n+1)); [ $n -lt 500 ]; done; runc delete c; runc list -q",
    );
    assert_eq!(text, "1700 1000\n0\n100\nseen\n1000 1000\n 0 1000 1\n1\npaused\n");
}

#[test]
fn devices_are_the_hosts_and_groups_stay_denied() {
    let host = Host::new();
    let mut config = config(&[
        "sh",
        "-c",
        "echo x > /dev/null; head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/full; cat /proc/self/setgroups; hostname",
    ]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    std::os::unix::fs::symlink("busybox", host.path("rootfs/bin/wc")).unwrap();
    host.write(&config);
    assert_eq!(ok(&host, &delegate(&host), "runc run c"), "2\n1:7\ndeny\nrunc\n");
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_clearly() {
    let host = Host::new();
    let good = config(&["true"]);
    let cases: [(&Change, &str); 3] = [
        (
            &|c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|namespace| namespace["type"] != "user");
                c["linux"]["uidMappings"] = json!([]);
                c["linux"]["gidMappings"] = json!([]);
            },
            "rootless container requires user namespaces",
        ),
        (
            &|c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 100}]),
            "newuidmap is not in PATH",
        ),
        (
            &|c| c["process"]["user"]["uid"] = json!(5),
            "cannot setuid to unmapped uid 5 in user namespace",
        ),
    ];
    for (change, expected) in cases {
        let mut config = good.clone();
        config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
        change(&mut config);
        host.write(&config);
        let output = as_user(&host, &delegate(&host), "PATH=/nothing; runc run c; echo code $?");
        let text = words(&output);
        assert!(text.contains(expected) && text.contains("code 1"), "{text}");
    }
}

/// Several ranges by the helpers of the package uidmap: here stand-ins with the power to write any map, as the set-user-id
/// programs have, since this machine need not have the package. They are called as the kernel's callers call them.
#[test]
fn more_ids_are_mapped_by_the_helpers_in_path() {
    let host = Host::new();
    let mut config = config(&[
        "sh",
        "-c",
        "tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map; id -u",
    ]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 10}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 200_000, "size": 10}]);
    config["process"]["user"] = json!({"uid": 7, "gid": 7});
    host.write(&config);
    let helpers = "for n in uid gid; do\n\
         printf '#!/bin/sh\\necho \"%s $*\" > /run/lt/ask.new; mv /run/lt/ask.new /run/lt/ask; read answer < /run/lt/answer\\n' $n > /run/lt/new${n}map; chmod 755 /run/lt/new${n}map; done\n\
         mkfifo -m 666 /run/lt/answer; chmod 777 /run/lt\n\
         ( for i in 1 2; do n=0; until [ -e /run/lt/ask ]; do n=$((n+1)); [ $n -lt 500 ] || exit; sleep 0.01; done; set -- $(cat /run/lt/ask); rm /run/lt/ask\n\
         /bin/echo \"$3 $4 $5\n$6 $7 $8\" > /proc/$2/${1}_map; echo > /run/lt/answer; done ) &\n";
    let text = ok(
        &host,
        &(delegate(&host) + helpers),
        "PATH=/run/lt:$PATH runc run c",
    );
    assert_eq!(text, " 0 1000 1\n 1 100000 10\n 0 1000 1\n 1 200000 10\n7\n");
}

/// A user's own program is within reach of the container's root, who is that user.
#[test]
fn cve_2019_5736_a_users_own_program_runs_from_a_sealed_copy() {
    let host = Host::new();
    let mut config = config(&["sleep", "60"]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    config["process"]["args"] = json!(["/bin/sh", "-c", "until [ -e /go ]; do :; done"]);
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/$PPID/exe"], "env": []}, {"path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/$PPID/exe > /run/user/1000/exe"], "env": ["PATH=/bin:/usr/bin"]}]});
    host.write(&config);
    let text = ok(
        &host,
        &(delegate(&host) + "chown 1000 /run/lt/runc\n"),
        "set -e; runc run -d c </dev/null >/dev/null 2>&1; cat /run/user/1000/exe; touch rootfs/go; runc delete -f c",
    );
    assert!(text.starts_with("/memfd:lighter-runc"), "{text}");
}

#[test]
fn without_a_cgroup_of_their_own_a_user_has_containers_without_limits() {
    let host = Host::new();
    let mut config = config(&["sh", "-c", "id -u; touch /new"]);
    host.write(&config);
    assert_eq!(ok(&host, "", "runc run c; stat -c %u rootfs/new"), "0\n1000\n");
    config["process"]["args"] = json!(["sleep", "60"]);
    host.write(&config);
    let text = ok(
        &host,
        "",
        "set -e; runc run -d c </dev/null >/dev/null 2>&1; runc exec c id -u\n\
         runc ps c 2>&1 | grep -o 'unable to get all container pids'; runc kill c KILL\n\
         n=0; until runc state c | grep -q stopped; do n=$((n+1)); [ $n -lt 500 ]; done; runc delete c; runc list -q",
    );
    assert_eq!(text, "0\nunable to get all container pids\n");
    config["linux"]["resources"] = json!({"pids": {"limit": 20}});
    host.write(&config);
    let output = as_user(&host, "", "runc run c");
    let text = words(&output);
    assert!(
        !output.status.success() && text.contains("rootless needs no limits + no cgrouppath"),
        "{text}"
    );
}

/// Where neither a group nor a cgroup namespace is the container's, it sees its caller's group, as with runc, and cannot
/// change it (CVE-2023-25809). On v2 there is nothing.
#[test]
fn cve_2023_25809_without_a_cgroup_namespace_the_callers_group_is_read_only() {
    let host = Host::new();
    let script = "cd /sys/fs/cgroup; if [ -e memory ]; then cat memory/memory.limit_in_bytes | grep -c .; else echo 1; fi; \
                  for d in . *; do mkdir $d/x 2>/dev/null && echo made $d; done; for f in */cgroup.procs; do [ -e $f ] && echo 1 2>/dev/null > $f && echo wrote $f; done; true";
    let mut config = config(&["sh", "-c", script]);
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let options = json!(["nosuid", "noexec", "nodev", "relatime"]);
    for options in [options.clone(), json!(["nosuid", "nodev", "strictatime"])] {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}));
        host.write(&config);
        let text = ok(&host, "", "runc run c 2>&1");
        assert_eq!(
            text.lines().filter(|line| *line != "made .").collect::<Vec<_>>(),
            ["1"],
            "{text}"
        );
    }
}

#[test]
fn a_terminal_is_relayed_from_below_the_users_own_directory() {
    let host = Host::new();
    let mut config = config(&["sh", "-c", "tty; stat -c '%a %u' /dev/console"]);
    config["process"]["terminal"] = json!(true);
    host.write(&config);
    // `script` of util-linux gives the caller a terminal.
    let text = ok(
        &host,
        "",
        "script -qec '/run/lt/runc run c' /run/user/1000/typescript </dev/null",
    );
    assert!(text.contains("/dev/pts/0"), "{text}");
}

/// A group of v2 that was divided takes no process itself: a later one goes where the first is. On v1 there is no such rule.
#[test]
fn a_later_process_of_a_divided_group_is_where_the_first_is() {
    let host = Host::new();
    let mut config = config(&["sleep", "60"]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", host.cgroup()));
    config["linux"]["resources"] = json!({"pids": {"limit": 20}});
    host.write(&config);
    let text = ok(
        &host,
        &delegate(&host),
        &format!(
            "runc run -d --pid-file /run/user/1000/pid c </dev/null >/dev/null 2>&1; g=/sys/fs/cgroup{}/c\n\
             if [ -d $g ]; then mkdir $g/below; cat /run/user/1000/pid >$g/below/cgroup.procs; echo +pids >$g/cgroup.subtree_control; fi\n\
             n() {{ sed 's/.*lt-rt[^/]*//' /proc/$1/cgroup; }}; n $(cat /run/user/1000/pid)\n\
             runc exec -d --pid-file /run/user/1000/later c sleep 50; n $(cat /run/user/1000/later); runc delete -f c",
            host.cgroup()
        ),
    );
    let lines: Vec<&str> = text.lines().collect();
    assert!(!lines.is_empty(), "{text}");
    let (first, later) = lines.split_at(lines.len() / 2);
    assert_eq!(first, later, "{text}");
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert!(!v2 || first == ["/c/below"], "{text}");
}
