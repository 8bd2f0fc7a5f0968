//! What `ctr` says about the same commands, word for word the same with our layer as with the real containerd 2.1; and the events of it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]
#![allow(unused_macros, reason = "each suite uses a part of the support")]

#[macro_use]
mod support;

use std::path::Path;

use lighter_harness::{Machine, OutputExt as _};
use support::{Layer, ctr_2};

with_both_clients! {
    records_and_their_events_are_told_in_the_same_words
    containers_and_their_events_are_told_in_the_same_words
}

const THEIRS: &str = "/run/containerd/containerd.sock";
const OURS: &str = "/run/lighter/containerd/containerd.sock";

/// A host with our layer and the real containerd side by side.
struct Both {
    layer: Layer,
}

impl Both {
    fn start(ctr: &Path) -> Both {
        let layer = Layer::start(ctr);
        let lab = lighter_harness::lab();
        let peers = lab.join("peers/usr");
        layer.host.sh(&format!(
            r#"mkdir -p /run/containerd /run/programs; cd /run/containerd
            printf 'version = 3\ndisabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n' >c.toml
            ln -s {runc} /run/programs/runc; PATH=/run/programs:{peers}/bin:$PATH setsid containerd -c c.toml --root {dir}/theirs --state /run/containerd \
                --address {THEIRS} </dev/null >{dir}/theirs.log 2>&1 &
            for i in $(seq 1000); do [ -S {THEIRS} ] && exit 0; sleep 0.02; done; cat {dir}/theirs.log; exit 1"#,
            peers = peers.display(),
            // The runtime's words are another suite's matter.
            runc = lighter_harness::dist().join("lighter-runc").display(),
            dir = layer.host.dir().display(),
        ));
        Both { layer }
    }

    /// Runs the same script with each, and compares all that it said and every event of it. In it `t WORDS` is `ctr WORDS`, shown with
    /// its output and code, `q WORDS` the same without the output, `$P` a cgroup parent, `$D` the host's directory.
    fn same(&self, ctr: &Path, script: &str) {
        let said = |socket: &str, root: &str, state: &str| {
            let script = format!(
                r#"export CONTAINERD_ADDRESS={socket} P={cgroup} D={dir} C={ctr}
                t() {{ echo "++ ctr $*"; "$C" "$@" </dev/null 2>&1; echo "code $?"; }}
                q() {{ echo "++ ctr $*"; "$C" "$@" </dev/null >/dev/null 2>&1; echo "code $?"; }}
                # The listener says nothing until something happens: so things happen until it hears one.
                "$C" events >$D/heard 2>/dev/null & listener=$!
                n=0; until grep -q probe $D/heard; do
                    n=$((n+1)); [ $n = 200 ] && exit 1
                    "$C" namespaces create probe >/dev/null; "$C" namespaces rm probe >/dev/null
                done
                {script}
                "$C" namespaces create last; for i in $(seq 200); do grep -q '"last"' $D/heard && break; sleep 0.02; done
                "$C" namespaces rm last >/dev/null; kill $listener; echo "events"; sed -E 's/^[0-9-]+ [0-9:.]+ \+0000 UTC //' $D/heard | grep -v -e probe -e '"last"' -e /content/delete -e /tasks/delete"#,
                cgroup = self.layer.host.cgroup_parent(),
                dir = self.layer.host.dir().display(),
                ctr = ctr.display(),
            );
            // When a collector runs is its own affair: so much for /content/delete; of /tasks/delete the peer's shim often says nothing, as it
            // ends first. What differs by its nature: times, process numbers, places, names made up by the client.
            let normal = format!(
                r#"sed -E -e 's#{root}/snapshots#ROOT#g' -e 's#{state}#STATE#g' \
                -e 's/[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ][0-9:.]+(Z| \+0000 UTC)/TIME/g' -e 's/"pid":[0-9]+/"pid":N/g' \
                -e 's/"seconds":[0-9]+/"seconds":N/; s/,"nanos":[0-9]+//' -e 's/extract-[0-9]+-[A-Za-z0-9_-]+/EXTRACT/g' \
                -e 's#/fifo/[0-9]+#/fifo/N#g' -e 's/"index=off",//; s/,"index=off"//; s/index=off,//; s/,index=off//' \
                -e 's/(RUNNING|STOPPED|PAUSED|CREATED)/ \1/; s/^(one|two) +[0-9]+ +/\1 N /' -e 's/^[0-9]+ +-$/N -/' -e 's/ +$//'"#
            );
            let all = format!("({script}) | {normal}");
            self.layer
                .host
                .command(Machine::Host, &["bash", "-c", &all])
                .result()
                .ok()
        };
        let dir = self.layer.host.dir().display().to_string();
        let theirs = said(
            THEIRS,
            &format!("{dir}/theirs/io.containerd.snapshotter.v1.overlayfs"),
            "/run/containerd/io.containerd.runtime.v2.task",
        );
        let ours = said(
            OURS,
            &format!("{dir}/root"),
            "/run/lighter/containerd/io.containerd.runtime.v2.task",
        );
        assert!(
            theirs.contains("events\n") && theirs.lines().count() > 20,
            "{theirs}"
        );
        let pairs = ours.lines().zip(theirs.lines());
        let other: Vec<_> = pairs.filter(|(ours, theirs)| ours != theirs).collect();
        assert!(other.is_empty(), "ours, theirs: {other:#?}\n{theirs}");
        let counts = (ours.lines().count(), theirs.lines().count());
        assert_eq!(counts.0, counts.1, "{ours}\n---- theirs\n{theirs}");
    }
}

fn records_and_their_events_are_told_in_the_same_words(ctr: &Path) {
    let both = Both::start(ctr);
    // containerd 2.1 tells of namespaces in the namespace itself.
    let script = r#"
        t namespaces ls; t namespaces create a x=y; t namespaces create a; t namespaces label a x=z; t namespaces ls
        t -n a containers ls; t namespaces rm a; t namespaces rm a
        t containers create --rootfs $D/rootfs one sh; t containers create --rootfs $D/rootfs one sh
        t containers ls; t containers ls -q; t containers ls 'id==two'; q containers label one x=y; t containers ls -q 'labels."x"==y'
        q containers info one; t containers info two; t containers rm two; t -n b containers ls -q; t -n b containers info one
        t tasks ls; t tasks ps one; t tasks kill one; t tasks metrics one; t tasks pause one; t tasks resume one; t tasks rm two
        t snapshots ls; t snapshots prepare s1; t snapshots prepare s1; q snapshots label s1 a=b; t snapshots mounts /mnt s1; t snapshots ls
        t snapshots tree; t snapshots commit c1 s1; t snapshots prepare s2 c1; t snapshots mounts /mnt s2; t snapshots tree; t snapshots ls
        t snapshots rm s2; t snapshots rm c1
        t leases ls; t leases create --id l1 a=b; t leases create --id l1; t leases ls -q; t leases delete l1; t leases delete l1
        t containers rm one; t containers rm one
    "#;
    both.same(ctr, script);
}

fn containers_and_their_events_are_told_in_the_same_words(ctr: &Path) {
    let both = Both::start(ctr);
    let local = if ctr == ctr_2() { "--local" } else { "" };
    let script = r#"
        I=docker.io/test/busybox:latest
        wait_for() { for i in $(seq 200); do "$C" tasks ls | grep -q "^$1 .*$2" && return; sleep 0.02; done; echo "$1 is not $2"; "$C" tasks ls; }
        t images import LOCAL $D/image.tar
        t run -d --cgroup $P/one $I one sleep 1000; wait_for one RUNNING
        t containers ls; t tasks ls; t tasks ls -q; t tasks ps one; q tasks metrics one; t run -d --cgroup $P/one $I one true
        t tasks exec --exec-id e one echo joined; t tasks exec --exec-id f one sh -c 'exit 3'; t tasks exec --exec-id g one /no/such
        t tasks rm one; t containers rm one
        t tasks pause one; t tasks ls; t tasks exec --exec-id h two true; t tasks resume one
        t snapshots ls; t snapshots mounts /mnt one
        t tasks kill -s KILL one; wait_for one STOPPED; t tasks ls
        q tasks rm one; t tasks rm one; t tasks ls; t containers rm one; t containers ls
        t run --rm --cgroup $P/two --env A=b --cwd /tmp --read-only --memory-limit 67108864 --label l=1 \
            --mount type=bind,src=$D,dst=/etc,options=rbind:ro $I two sh -c 'echo $A; pwd; echo x 2>/dev/null >/x; exit 5'
        t run --rm --cgroup $P/two --null-io $I two true
        t run --rm --cgroup $P/two --rootfs $D/rootfs two echo from a directory
        t run --rm --cgroup $P/two --log-uri file://$D/log $I two echo logged; cat $D/log; rm $D/log
        t run -d --cgroup $P/two --pid-file $D/pid $I two sleep 1000; test -s $D/pid && echo written
        t tasks kill -s KILL two; wait_for two STOPPED; t tasks rm -f two; t containers rm two; t snapshots ls
    "#;
    both.same(ctr, &script.replace("LOCAL", local));
}
