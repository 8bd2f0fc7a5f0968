#!/bin/bash
# peers.sh LAB: peers as roots of their own. LAB/peers: those of today (Docker 28.5, containerd 2.1, runc, crun, podman, CRIU, …);
# LAB/peers12: Debian 12's (Docker 20.10, containerd 1.6, podman 4.3, buildah 1.28).
set -euo pipefail
lab=${1:?usage: peers.sh LAB}
# The mirror that this machine's own sources name.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$')

# root NAME LAST SUITE PACKAGES: a root, unless it is there with the file that was added to it last.
root() {
  [ -e "$lab/$1/usr/bin/podman" ] && [ -e "$lab/$1/$2" ] && return
  echo "making the root $1"
  rm -rf --one-file-system "$lab/$1.new"
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$4" \
    "$3" "$lab/$1.new" "deb $mirror $3 main"
  rm -rf --one-file-system "${lab:?}/$1"
  mv "$lab/$1.new" "$lab/$1"
}

root peers usr/sbin/criu sid docker.io,docker-cli,docker-buildx,docker-compose,containerd,runc,crun,podman,buildah,skopeo,umoci,docker-registry,crane,oras,containernetworking-plugins,iptables,nftables,iproute2,procps,ca-certificates,jq,curl,criu &
today=$!
root peers12 usr/bin/buildah bookworm docker.io,containerd,runc,crun,podman,buildah,iptables,nftables,iproute2,procps,ca-certificates
wait "$today"
