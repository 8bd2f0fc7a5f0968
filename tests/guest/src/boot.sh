#!/bin/bash
# boot.sh LAB plain|systemd RESULTS MEM [DIR…]: one User-mode Linux guest, from start to power off.
#   RESULTS/script   run in the guest by bash as root; its output goes to RESULTS/output, its status to RESULTS/status
#   DIR              directories of this machine that the guest sees, read-only, under the same path
# Run it as the first process of namespaces of its own (`unshare -mpif --propagation private --kill-child`): the mounts, the
# guest's memory and all its processes go with it. Standard output is the guest's console.
set -euo pipefail
lab=$1 kind=$2 results=$3 mem=$4; shift 4
uml=$lab/guest/uml guest=$lab/guest/uml/guest
# The first process of a pid namespace is not ended by a signal that it has no handler for.
trap 'exit 143' TERM INT

# All that the guest writes outside RESULTS is memory of its own.
mount -t tmpfs tmpfs "$uml/tmp"
mkdir "$uml/tmp/upper" "$uml/tmp/work"
mount -t overlay overlay -o "lowerdir=$lab/guest/root,upperdir=$uml/tmp/upper,workdir=$uml/tmp/work" "$guest"
mkdir -p "$guest/results"
mount --bind "$results" "$guest/results"
for dir; do
  mkdir -p "$guest$dir"
  mount --bind "$dir" "$guest$dir"
  mount -o remount,bind,ro "$guest$dir"
done

cat >"$guest/run-script" <<'GUEST'
#!/bin/bash
modprobe -a overlay veth bridge loop 2>/dev/null
cd /root
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bash /results/script </dev/null >/results/output 2>&1
echo $? >/results/status.new
sync
mv /results/status.new /results/status
sync
GUEST
case $kind in
plain)
  cat >"$guest/sbin/guest-init" <<'GUEST'
#!/bin/busybox sh
# The least that a test needs: no service, no udev.
cd /
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
b=/bin/busybox
$b mount -t proc -o nosuid,nodev,noexec proc /proc
$b mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
$b mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 /sys/fs/cgroup
$b mkdir -p /dev/pts /dev/shm /dev/mqueue
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t mqueue mqueue /dev/mqueue
for dir in /dev/shm /tmp /run /var/tmp; do $b mount -t tmpfs -o mode=1777 tmpfs $dir; done
$b ln -sf /proc/self/fd /dev/fd
$b ip link set lo up
$b hostname guest
# As systemd leaves it: the controllers are there for the groups below.
for c in $($b cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
# Orphans are reaped by a shell that waits.
/run-script &
wait $!
$b poweroff -f
GUEST
  init=/sbin/guest-init ;;
systemd)
  cat >"$guest/etc/systemd/system/guest.service" <<'GUEST'
[Unit]
After=dbus.service systemd-logind.service
[Service]
Type=oneshot
ExecStart=/run-script
ExecStopPost=/bin/busybox poweroff -f
StandardError=journal+console
GUEST
  mkdir -p "$guest/etc/systemd/system/multi-user.target.wants"
  ln -sfn /etc/systemd/system/guest.service "$guest/etc/systemd/system/multi-user.target.wants/guest.service"
  init=/sbin/init ;;
*) echo "no such kind of guest: $kind" >&2; exit 64 ;;
esac
chmod 755 "$guest/run-script" "$guest/sbin/guest-init" 2>/dev/null || true

mount -t proc proc "$uml/proc"
exec env -i HOME=/tmp TMPDIR=/tmp PATH="$PATH" chroot "$uml" /usr/bin/linux.uml seccomp=on "mem=$mem" panic=-1 \
  rootfstype=hostfs rootflags=/guest rw con=null con0=null,fd:1 quiet systemd.show_status=error "init=$init" </dev/null
