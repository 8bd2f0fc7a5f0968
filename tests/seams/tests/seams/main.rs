//! Our runtime in the place of runc and crun, our layer in the place of containerd, and our shim in the place of its own, under the engines
//! that people have.

#![allow(clippy::unwrap_used, reason = "tests")]

mod buildah;
mod containerd;
mod layer;
mod shims;
mod walk;

use lighter_seams::{Distribution, Peer};

fn docker(distribution: Distribution) {
    let peer = Peer::new(distribution);
    peer.daemon(
        "dockerd --data-root /var/lib/store/docker --bridge none --iptables=false --cgroup-parent $P",
        "docker version",
    );
    walk::walk(&peer, "docker", "");
    peer.is_clean();
}

fn podman(distribution: Distribution, runtime: &str) {
    let peer = Peer::new(distribution);
    let podman = format!("podman --cgroup-manager cgroupfs --runtime {runtime}");
    walk::walk(&peer, &podman, "--cgroup-parent $P --network none");
    peer.is_clean();
}

#[test]
fn docker_28_runs_containers_with_our_runtime() {
    docker(Distribution::Today);
}

#[test]
fn docker_20_runs_containers_with_our_runtime() {
    docker(Distribution::Debian12);
}

#[test]
fn podman_5_drives_our_runtime_as_crun() {
    podman(Distribution::Today, "/usr/bin/crun");
}

#[test]
fn podman_5_drives_our_runtime_as_runc() {
    podman(Distribution::Today, "/usr/sbin/runc");
}

#[test]
fn podman_4_drives_our_runtime_as_crun() {
    podman(Distribution::Debian12, "/usr/bin/crun");
}
