#!/bin/bash
# peers.sh LAB: the peers of today (Docker 28.5, containerd 2.1, runc, crun, podman, …) as a root of their own in LAB/peers.
set -euo pipefail
lab=${1:?usage: peers.sh LAB}
[ -e "$lab/peers/usr/bin/docker" ] && [ -e "$lab/peers/usr/sbin/criu" ] && exit 0
# The mirror that this machine's own sources name.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
echo "making the peers' root"
rm -rf --one-file-system "$lab/peers.new"
mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=docker.io,docker-cli,docker-buildx,docker-compose,containerd,runc,crun,podman,buildah,skopeo,umoci,docker-registry,crane,oras,containernetworking-plugins,iptables,nftables,iproute2,procps,ca-certificates,jq,curl,criu \
  sid "$lab/peers.new" "deb $mirror sid main"
rm -rf --one-file-system "$lab/peers"
mv "$lab/peers.new" "$lab/peers"
