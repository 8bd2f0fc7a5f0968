//! A container that an older version made is operated by today's: its state is the first that was ever written
//! (`upgrade/format-1.json`, of commit 9c3027c, with places for what differs from host to host), its process a live one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::Host;

#[test]
fn a_container_of_the_first_version_is_operated() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "1000"]));
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let group = |hierarchy: &str| format!("/sys/fs/cgroup/{hierarchy}{}/c", host.cgroup());
    let groups = if v2 {
        vec![(String::new(), group("").replace("//", "/"))]
    } else {
        ["freezer", "pids"]
            .map(|name| (name.to_owned(), group(name)))
            .to_vec()
    };
    let list: Vec<String> = groups
        .iter()
        .map(|(name, path)| format!("[\"{name}\",\"{path}\"]"))
        .collect();
    let state = include_str!("upgrade/format-1.json")
        .replace("BUNDLE", &host.path("").display().to_string())
        .replace("V2", &v2.to_string())
        .replace("GROUPS", &list.join(","));
    fs::write(host.path("state.json"), state).unwrap();
    let paths: Vec<&str> = groups.iter().map(|(_, path)| path.as_str()).collect();
    let text = host.ok(&format!(
        "make() {{ sleep 1000 & pid=$!; for g in {}; do mkdir -p $g; echo $pid >$g/cgroup.procs; done; mkdir -p /run/lighter-runc/c\n\
         set -- $(cat /proc/$pid/stat); sed \"s/PID/$pid/; s/STARTED/${{22}}/\" state.json >/run/lighter-runc/c/state.json; }}\n\
         status() {{ runc state c | grep -o 'status.*[a-z]'; }}\n\
         make; status; runc state c | grep -o 'a.b.*'; runc list -q; [ $(runc ps -f json c) = [$pid] ] && echo its process\n\
         runc exec c /bin/echo joined; runc pause c; status; runc resume c; runc kill c KILL; wait $pid 2>/dev/null; status; runc delete c\n\
         ls /run/poststop; rm /run/poststop; make; runc delete c 2>/dev/null || echo kept; runc delete -f c; ls /run/poststop /run/lighter-runc",
        paths.join(" "),
    ));
    let expected = [
        "status\": \"running",
        "a.b\": \"c\"",
        "c",
        "its process",
        "joined",
        "status\": \"paused",
        "status\": \"stopped",
        "/run/poststop",
        "kept",
        "/run/poststop",
        "",
        "/run/lighter-runc:",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
}
