#!/bin/bash
# guest.sh LAB: what a User-mode Linux guest is made of, in LAB/guest. No KVM, no daemon; a guest is one process tree of the host.
#   LAB/guest/uml/     linux.uml and the C library it wants: a root of its own, the guest's process is chrooted there
#   LAB/guest/root/    the guest's root: Debian 13 with systemd and the kernel's modules; never written, each guest has an overlay on it
set -euo pipefail
lab=${1:?usage: guest.sh LAB}
[ -e "$lab/guest/.complete-1" ] && exit 0
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
echo "making the guest's root"
new=$lab/guest.new
rm -rf --one-file-system "$new"
mkdir -p "$new"
mmdebstrap --quiet --variant=minbase \
  --include=systemd-sysv,dbus,dbus-user-session,udev,libpam-systemd,iproute2,procps,uidmap,util-linux,busybox-static,strace,kmod,iptables,nftables \
  trixie "$new/root" "deb $mirror trixie main"
# Extracted, not installed: the kernel, its modules and libc6.
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include=user-mode-linux \
  sid "$new/uml" "deb $mirror sid main"
for dir in bin lib lib64; do ln -sfn "usr/$dir" "$new/uml/$dir"; done
mkdir -p "$new/uml/proc" "$new/uml/guest" "$new/root/usr/lib/modules"
mv "$new"/uml/usr/lib/uml/modules/* "$new/root/usr/lib/modules/"
# What a guest starts without: half of systemd's start is these.
for unit in systemd-udev-trigger.service systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
  systemd-hwdb-update.service systemd-journal-flush.service systemd-journal-catalog-update.service systemd-update-utmp.service \
  systemd-random-seed.service systemd-remount-fs.service systemd-network-generator.service systemd-machine-id-commit.service \
  systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-firstboot.service systemd-sysusers.service ldconfig.service \
  getty.target console-getty.service getty-static.service serial-getty@.service getty@.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer \
  e2scrub_reap.service nftables.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  modprobe@.service proc-sys-fs-binfmt_misc.automount; do
  ln -sfn /dev/null "$new/root/etc/systemd/system/$unit"
done
echo 0123456789abcdef0123456789abcdef >"$new/root/etc/machine-id"
echo guest >"$new/root/etc/hostname"
chroot "$new/root" useradd -m -u 1000 -s /bin/bash user 2>/dev/null || true
grep -q ^user: "$new/root/etc/subuid" || echo user:100000:65536 | tee "$new/root/etc/subuid" >"$new/root/etc/subgid"
touch "$new/.complete-1"
rm -rf --one-file-system "$lab/guest"
mv "$new" "$lab/guest"
