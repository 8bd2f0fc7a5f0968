#!/bin/bash
# Installs from Debian what the tests use and the machine lacks. Does nothing, quickly, when all is there.
set -euo pipefail
wanted=(mmdebstrap busybox-static docker-registry skopeo strace nftables iproute2 iptables e2fsprogs qemu-utils unzip
  util-linux curl containerd runc crun gcc python3-pip)
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
# The stock client may be there without being a package.
command -v docker >/dev/null || missing+=(docker.io)
command -v cargo-nextest >/dev/null || cargo install --quiet --locked cargo-nextest
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# No service of a package may start: the tests start what they need, in hosts of their own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.lighter
had_policy=0; [ -e /usr/sbin/policy-rc.d ] && had_policy=1
[ $had_policy -eq 1 ] || install -m 755 /usr/sbin/policy-rc.d.lighter /usr/sbin/policy-rc.d
trap '[ $had_policy -eq 1 ] || rm -f /usr/sbin/policy-rc.d; rm -f /usr/sbin/policy-rc.d.lighter' EXIT
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
