//! containerd, by its own client.

use lighter_seams::{Distribution, Peer};

/// Gives a containerd the image `docker.io/library/busybox:latest`; `command` reads an archive.
pub(crate) fn import(peer: &Peer, command: &str) {
    // An image from nothing but a root file system: what `docker save` would have written.
    peer.ok(&format!(
        "set -e; mkdir /tmp/i; cd /tmp/i; tar -C /mnt/busybox -cf layer.tar .
        diff=$(sha256sum layer.tar | cut -d' ' -f1)
        echo '{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{\"Env\":[\"PATH=/bin\"],\"Cmd\":[\"sh\"]}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:'$diff'\"]}}}}' >config.json
        echo '[{{\"Config\":\"config.json\",\"RepoTags\":[\"docker.io/library/busybox:latest\"],\"Layers\":[\"layer.tar\"]}}]' >manifest.json
        tar -c manifest.json config.json layer.tar | {command}"
    ));
}

fn walk(distribution: Distribution, import_command: &str) {
    let peer = Peer::new(distribution);
    peer.daemon(
        "containerd --root /var/lib/store/containerd --state /run/containerd",
        "ctr version",
    );
    import(&peer, import_command);
    let image = "docker.io/library/busybox:latest";
    let run =
        |flags: &str, id: &str, rest: &str| format!("ctr run --cgroup $P/{id} {flags} {image} {id} {rest}");
    assert_eq!(peer.ok(&run("--rm", "a", "echo hello")), "hello");
    assert_eq!(peer.sh(&run("--rm", "b", "sh -c 'exit 9'")).code, 9);
    peer.ok(&run(
        "-d --memory-limit 67108864",
        "c",
        "sh -c 'trap \"exit 4\" TERM; while :; do sleep 0.1; done'",
    ));
    assert_eq!(
        peer.ok("cat /sys/fs/cgroup/memory$P/c/memory.limit_in_bytes"),
        "67108864"
    );
    assert_eq!(peer.ok("ctr task exec --exec-id e c echo more"), "more");
    assert_eq!(peer.sh("ctr task exec --exec-id f c sh -c 'exit 6'").code, 6);
    // A head, the shell and its child.
    assert_eq!(peer.ok("ctr task ps c").lines().count(), 3);
    assert!(peer.ok("ctr task metrics c").contains("memory"));
    peer.ok("ctr task pause c");
    assert_eq!(peer.ok("ctr task ls | grep -o PAUSED"), "PAUSED");
    peer.ok("ctr task resume c");
    peer.ok("ctr task kill -s TERM c; until ctr task ls | grep -q STOPPED; do sleep 0.05; done");
    peer.ok("ctr task rm c && ctr c rm c");
    let missing = peer.sh(&run("--rm", "d", "nope"));
    assert!(
        missing.stderr.contains("executable file not found in $PATH"),
        "{missing}"
    );
    assert_eq!(peer.ok("ctr c ls -q"), "");
    peer.is_clean();
}

#[test]
fn containerd_2_runs_containers_with_our_runtime() {
    walk(Distribution::Today, "ctr image import -");
}

#[test]
fn containerd_1_runs_containers_with_our_runtime() {
    walk(Distribution::Debian12, "ctr image import -");
}
