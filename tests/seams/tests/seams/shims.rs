//! Shims across the seam: containerd's own under our layer, with its own runc, and ours under the real containerd.

use lighter_harness::eventually;
use lighter_seams::{Distribution, Peer};

use crate::containerd::import;
use crate::walk;

const SHIM: &str = "containerd-shim-runc-v2";
const IMAGE: &str = "docker.io/library/busybox:latest";
/// Says what it gets, and ends when it is told to.
const WAITS: &str = "sh -c 'trap \"exit 4\" TERM; until [ -e /end ]; do sleep 0.05; done; exit 66'";

/// A root in which nothing is ours but the layer, which is told in its configuration whose shim answers for runc.
fn layer_over_their_shim(distribution: Distribution) -> (Peer, &'static str) {
    let peer = Peer::new(distribution);
    peer.ok("umount /usr/sbin/runc");
    assert!(!peer.ok("runc --version").contains("lighter"));
    let socket = peer.layer_with(&format!(
        "version = 2\n[plugins.\"io.containerd.runtime.v2.task\"]\nrunc_shim = \"{SHIM}\"\n"
    ));
    (peer, socket)
}

/// Nothing runs any more, in no way of ours or theirs.
fn nothing_left(peer: &Peer, ctr: &str) {
    assert_eq!(peer.ok(&format!("{ctr} tasks ls -q; {ctr} containers ls -q")), "");
    eventually("all shims end", || {
        let left = peer.ok(&format!("pidof {SHIM} containerd-shim-lighter-v1 || true"));
        left.is_empty().then_some(())
    });
    peer.is_clean();
}

/// Waits until a task is in a state.
fn becomes(peer: &Peer, ctr: &str, id: &str, state: &str) {
    eventually(&format!("{id} is {state}"), || {
        let list = peer.ok(&format!("{ctr} tasks ls"));
        list.lines()
            .any(|line| line.starts_with(&format!("{id} ")) && line.ends_with(state))
            .then_some(())
    });
}

/// The ends that only a shim's parent sees: its death, and that of the daemon above it.
fn lives_and_deaths(peer: &Peer, ctr: &str) {
    import(peer, &format!("{ctr} image import -"));
    let run =
        |flags: &str, id: &str, rest: &str| format!("{ctr} run {flags} --cgroup $P/{id} {IMAGE} {id} {rest}");
    assert_eq!(peer.ok(&run("--rm", "a", "echo hello")), "hello");
    assert_eq!(peer.sh(&run("--rm", "a", "sh -c 'exit 9'")).code, 9);
    // By the path of the program, too.
    let path = peer.ok(&format!("command -v {SHIM}"));
    let by_path = format!("--rm --runtime {path}");
    assert_eq!(peer.ok(&run(&by_path, "b", "echo by path")), "by path");

    peer.ok(&run("-d", "c", WAITS));
    peer.ok(&run("-d", "d", WAITS));
    peer.ok(&run("-d", "e", WAITS));
    assert_eq!(peer.ok(&format!("pidof {SHIM} | wc -w")), "3");
    assert_eq!(
        peer.ok(&format!("{ctr} tasks exec --exec-id x c echo more")),
        "more"
    );
    assert!(peer.ok(&format!("{ctr} tasks ps c")).lines().count() >= 2);
    assert!(peer.ok(&format!("{ctr} tasks metrics c")).contains("memory"));
    peer.ok(&format!("{ctr} tasks pause c"));
    becomes(peer, ctr, "c", "PAUSED");

    // The layer dies; one ends meanwhile, one is frozen, one knows of nothing.
    peer.layer_dies();
    peer.ok(&format!("touch /proc/$({FIND_D})/root/end"));
    eventually("it ended", || {
        peer.ok(&format!("{FIND_D} || true")).is_empty().then_some(())
    });
    peer.layer_restarts();
    becomes(peer, ctr, "c", "PAUSED");
    becomes(peer, ctr, "d", "STOPPED");
    becomes(peer, ctr, "e", "RUNNING");
    peer.ok(&format!("{ctr} tasks resume c"));
    assert_eq!(
        peer.ok(&format!("{ctr} tasks exec --exec-id y c echo again")),
        "again"
    );
    let deleted = peer.sh(&format!("{ctr} tasks rm d"));
    assert!(deleted.stderr.contains("exit code 66"), "{deleted}");
    peer.ok(&format!("{ctr} tasks kill -s TERM c"));
    becomes(peer, ctr, "c", "STOPPED");
    let deleted = peer.sh(&format!("{ctr} tasks rm c"));
    assert!(deleted.stderr.contains("exit code 4"), "{deleted}");

    // A shim that is killed takes its container with it, and that is noticed: the one of `e` is all that is left.
    peer.ok(&format!("kill -9 $(pidof {SHIM})"));
    becomes(peer, ctr, "e", "STOPPED");
    let deleted = peer.sh(&format!("{ctr} tasks rm e"));
    assert!(deleted.stderr.contains("exit code 137"), "{deleted}");
    peer.ok(&format!("{ctr} containers rm c d e"));
    nothing_left(peer, ctr);
}

/// The init of `d`.
const FIND_D: &str = "for p in $(pidof sh); do grep -q \"$P/d$\" /proc/$p/cgroup && echo $p && break; done";

#[test]
fn a_shim_of_containerd_2_serves_our_layer() {
    let (peer, socket) = layer_over_their_shim(Distribution::Today);
    lives_and_deaths(&peer, &format!("ctr -a {socket}"));
}

#[test]
fn a_shim_of_containerd_1_serves_our_layer() {
    let (peer, socket) = layer_over_their_shim(Distribution::Debian12);
    lives_and_deaths(&peer, &format!("ctr -a {socket}"));
}

/// What `ctr` has no words for: limits changed on the way, terminals resized, output attached to.
#[test]
fn docker_28_runs_containers_of_our_layer_with_the_shim_of_containerd_2() {
    let (peer, socket) = layer_over_their_shim(Distribution::Today);
    peer.daemon(
        &format!(
            "dockerd --containerd {socket} --data-root /var/lib/store/docker --bridge none --iptables=false --cgroup-parent $P"
        ),
        "docker version",
    );
    walk::walk(&peer, "docker", "--network none");
    nothing_left(&peer, &format!("ctr -a {socket} -n moby"));
}

#[test]
fn docker_28_on_its_own_containerd_runs_containers_with_our_shim() {
    let peer = Peer::new(Distribution::Today);
    peer.daemon(
        "env PATH=/opt/lighter:$PATH dockerd --data-root /var/lib/store/docker --bridge none --iptables=false --cgroup-parent $P",
        "docker version",
    );
    walk::walk(
        &peer,
        "docker",
        "--network none --runtime io.containerd.lighter.v1",
    );
    peer.ok("docker run -d --name one --network none --runtime io.containerd.lighter.v1 busybox sleep 1000");
    let shims = || {
        peer.ok(&format!(
            "pidof containerd-shim-lighter-v1 | wc -w; pidof {SHIM} || true"
        ))
    };
    assert_eq!(shims(), "1");
    peer.ok("docker rm -f one");
    nothing_left(&peer, "ctr -a /run/docker/containerd/containerd.sock -n moby");
}

/// A pod's containers share a shim of ours, also under the real containerd; it dies and comes back meanwhile.
fn pod(distribution: Distribution) {
    let peer = Peer::new(distribution);
    let containerd =
        "env PATH=/opt/lighter:$PATH containerd --root /var/lib/store/containerd --state /run/containerd";
    peer.daemon(containerd, "ctr version");
    import(&peer, "ctr image import -");
    let run = |id: &str| {
        let group = "--annotation io.kubernetes.cri.sandbox-id=one";
        peer.ok(&format!(
            "ctr run -d --runtime io.containerd.lighter.v1 {group} --cgroup $P/{id} {IMAGE} {id} {WAITS}"
        ));
    };
    let shims = || peer.ok("pidof containerd-shim-lighter-v1 | wc -w");
    run("one");
    run("two");
    assert_eq!(shims(), "1");
    peer.ok("kill -9 $(pidof containerd)");
    peer.daemon(containerd, "ctr version");
    run("three");
    assert_eq!(shims(), "1");
    for id in ["one", "two", "three"] {
        assert_eq!(peer.ok(&format!("ctr tasks exec --exec-id x {id} echo {id}")), id);
    }
    for (id, left) in [("three", "1"), ("two", "1"), ("one", "0")] {
        peer.ok(&format!("ctr tasks kill -s TERM {id}"));
        becomes(&peer, "ctr", id, "STOPPED");
        let deleted = peer.sh(&format!("ctr tasks rm {id}"));
        assert!(deleted.stderr.contains("exit code 4"), "{deleted}");
        eventually("the shim ends with the last", || (shims() == left).then_some(()));
    }
    peer.ok("ctr containers rm one two three");
    nothing_left(&peer, "ctr");
}

#[test]
fn containerd_2_groups_containers_in_our_shim() {
    pod(Distribution::Today);
}

#[test]
fn containerd_1_groups_containers_in_our_shim() {
    pod(Distribution::Debian12);
}

/// `ctr` writes a container down and brings it back: what it counted goes on from where it was, and the first goes on, too.
#[test]
fn containerd_2_checkpoints_and_restores_containers_of_our_shim() {
    let peer = Peer::new(Distribution::Today);
    peer.ok("ip link set lo up");
    peer.daemon(
        "env PATH=/opt/lighter:$PATH containerd --root /var/lib/store/containerd --state /run/containerd",
        "ctr version",
    );
    import(&peer, "ctr image import -");
    let counts = "sh -c 'n=0; while :; do n=$((n+1)); echo $n >/n.new; mv /n.new /n; sleep 0.05; done'";
    peer.ok(&format!(
        "ctr run -d --null-io --runtime io.containerd.lighter.v1 --cgroup $P/one {IMAGE} one {counts}"
    ));
    let count = |id: &str, exec: &str| -> u32 {
        let text = peer.ok(&format!(
            "ctr tasks exec --exec-id {exec} {id} sh -c 'cat /n || echo 0'"
        ));
        text.trim().parse().unwrap_or(0)
    };
    eventually("it counts", || (count("one", "a") > 3).then_some(()));
    let before = count("one", "a");
    // To a directory, and into an image with what it wrote.
    peer.ok("ctr tasks checkpoint --image-path /tmp/files one && ls /tmp/files/core-1.img");
    let image = "docker.io/library/kept:1";
    peer.ok(&format!(
        "ctr containers checkpoint --task --rw --image one {image}"
    ));
    becomes(&peer, "ctr", "one", "RUNNING");
    peer.ok("ctr tasks kill -s KILL one");
    becomes(&peer, "ctr", "one", "STOPPED");
    peer.sh("ctr tasks rm one");
    peer.ok("ctr containers rm one");
    peer.ok(&format!("ctr containers restore --live --rw two {image}"));
    becomes(&peer, "ctr", "two", "RUNNING");
    let back = count("two", "b");
    assert!(back >= before, "{back} after {before}");
    eventually("it goes on", || (count("two", "b") > back).then_some(()));
    peer.ok("ctr tasks kill -s KILL two");
    becomes(&peer, "ctr", "two", "STOPPED");
    peer.sh("ctr tasks rm two");
    peer.ok("ctr containers rm two");
    nothing_left(&peer, "ctr");
}
