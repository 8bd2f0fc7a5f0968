//! Our layer, shim and runtime under Docker: `dockerd --containerd` at our socket.

use lighter_harness::Registry;
use lighter_seams::{Distribution, Peer};

use crate::walk;

/// Starts the engine over our layer. `configuration`: its daemon.json.
fn docker(distribution: Distribution, configuration: &str) -> Peer {
    let peer = Peer::new(distribution);
    let socket = peer.layer();
    peer.ok(&format!(
        "mkdir -p /etc/docker; echo '{configuration}' >/etc/docker/daemon.json"
    ));
    peer.daemon(
        &format!(
            "dockerd --containerd {socket} --data-root /var/lib/store/docker --bridge none --iptables=false --cgroup-parent $P"
        ),
        "docker version",
    );
    peer
}

/// What a registry gives is pulled and runs; an image of ours is pushed and comes back.
fn pull_and_push(peer: &Peer) {
    let _registry = Registry::start(peer.host());
    let image = |name: &str| format!("{}/library/{name}", Registry::ADDRESS);
    peer.ok(&format!("docker pull {}", image("busybox")));
    let run = |name: &str, words: &str| format!("docker run --rm --network none {} {words}", image(name));
    assert_eq!(peer.ok(&run("busybox", "echo pulled")), "pulled");
    let missing = peer.sh(&format!("docker pull {}", image("no-such")));
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("not found"), "{missing}");
    peer.ok(&format!(
        "docker tag busybox {0} && docker push {0} && docker rmi {0}",
        image("pushed")
    ));
    peer.ok(&format!("docker pull {}", image("pushed")));
    assert_eq!(peer.ok(&run("pushed", "echo back")), "back");
}

/// Nothing of the engine's is left in the layer once its containers are gone, and no program of a peer's ran.
fn ends_clean(peer: &Peer, socket: &str) {
    let ctr = format!("ctr -a {socket} -n moby");
    assert_eq!(peer.ok(&format!("{ctr} containers ls -q; {ctr} tasks ls -q")), "");
    assert_eq!(peer.ok("pidof containerd containerd-shim-runc-v2 || true"), "");
    assert_eq!(peer.ok("pidof containerd-shim-lighter-v1 || true"), "");
    peer.is_clean();
}

const SOCKET: &str = "/run/lighter/containerd.sock";

#[test]
fn docker_28_works_on_our_layer() {
    let peer = docker(Distribution::Today, "{}");
    walk::walk(&peer, "docker", "--network none");
    pull_and_push(&peer);
    ends_clean(&peer, SOCKET);
}

#[test]
fn docker_20_works_on_our_layer() {
    let peer = docker(Distribution::Debian12, "{}");
    walk::walk(&peer, "docker", "--network none");
    pull_and_push(&peer);
    ends_clean(&peer, SOCKET);
}

/// The images too are ours: Docker's containerd image store.
#[test]
fn docker_28_keeps_its_images_in_our_layer() {
    let features = r#"{"features":{"containerd-snapshotter":true}}"#;
    let peer = docker(Distribution::Today, features);
    assert_eq!(peer.ok("docker info -f '{{.Driver}}'"), "overlayfs");
    walk::walk(&peer, "docker", "--network none");
    pull_and_push(&peer);
    let images = format!("ctr -a {SOCKET} -n moby images ls -q");
    assert!(peer.ok(&images).contains("docker.io/library/busybox:latest"));
    assert!(peer.ok("docker history busybox").contains("Imported"));
    peer.ok("docker image prune -af");
    assert_eq!(peer.ok(&images), "");
    ends_clean(&peer, SOCKET);
}
