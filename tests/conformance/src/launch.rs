//! A private host in which today's runc and crun run, with our programs in it.

use std::path::Path;
use std::process::{Command, Stdio};

/// The peers' root becomes the host's; what is mounted is gone with its first process. crun refuses a hybrid of cgroup
/// versions, so here is no `unified`.
const SETUP: &str = r#"
peers=$1; shift
mount -t proc proc /proc
mount --bind "$peers" "$peers"
mount -t proc proc "$peers/proc"
mount --rbind /sys "$peers/sys"
mount --rbind /dev "$peers/dev"
mount -t tmpfs -o mode=755 tmpfs "$peers/run"
mount -t tmpfs tmpfs "$peers/tmp"
mkdir -p "$peers/run/lt/bin"
for program in lighter-runc probe inside; do cp "$1" "$peers/run/lt/bin/$program"; shift; done
cd "$peers"
pivot_root . mnt
cd /
umount -l /mnt
# The v1 hierarchies only, on a tmpfs of our own: crun makes directories where it believes `unified` to be.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for path in /run/cgroup/*; do
  name=${path##*/}
  if [ -L "$path" ]; then cp -P "$path" /sys/fs/cgroup/; continue; fi
  [ -f "$path/cgroup.procs" ] && [ "$name" != unified ] || continue
  mkdir "/sys/fs/cgroup/$name"
  mount --bind "$path" "/sys/fs/cgroup/$name"
done
umount -l /run/cgroup
ip link set lo up
"/run/lt/bin/inside" "$@" & wait $!
"#;

/// The programs of a host.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// The root file system with the peers.
    pub peers: &'a Path,
    /// Ours.
    pub runtime: &'a Path,
    /// Looks around in a container.
    pub probe: &'a Path,
    /// Runs on the host, with the words given.
    pub inside: &'a Path,
}

/// The command that makes the host and runs the program in it. The host ends with it, and with this process.
pub fn host(programs: Programs<'_>, words: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "-mnpuif",
            "--propagation",
            "private",
            "--kill-child",
        ])
        .args(["bash", "-euc", SETUP, "host"])
        .args([programs.peers, programs.runtime, programs.probe, programs.inside])
        .args(words)
        .stdin(Stdio::null());
    command
}

/// Removes a cgroup and those in it, in each hierarchy.
pub fn remove_groups(name: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for dir in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        let parent = dir.join(name);
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        let _ = std::fs::remove_dir(parent);
    }
}
