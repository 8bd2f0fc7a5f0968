//! Our pieces in the place of a peer's: see `tests/`.
//!
//! A [`Peer`] is the root of a distribution, its engines in it, with our runtime mounted over every runtime it has.

use std::process::{Child, Command, Stdio};

use lighter_harness::{Host, Machine, Output, OutputExt as _, eventually};

/// Whose engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Docker 28.5, containerd 2.1, podman 5.8, buildah 1.43.
    Today,
    /// Debian 12: Docker 20.10, containerd 1.6, podman 4.3, buildah 1.28.
    Debian12,
}

/// A running root. Dropping it ends all of its processes.
#[derive(Debug)]
pub struct Peer {
    host: Host,
    first: Child,
    pid: u32,
}

/// Where our layer listens, in the root.
const LAYER: &str = "/run/lighter/containerd.sock";

/// What a peer runs instead of its own runtimes.
const RUNTIMES: &str = "usr/sbin/runc usr/bin/crun";

impl Peer {
    /// Makes the root, over the lab's, which stays as it is.
    ///
    /// # Panics
    /// When the lab was not set up, or a step fails.
    pub fn new(distribution: Distribution) -> Peer {
        let host = Host::new();
        let lab = lighter_harness::lab();
        let lower = lab.join(match distribution {
            Distribution::Today => "peers",
            Distribution::Debian12 => "peers12",
        });
        assert!(
            lower.join("usr/bin/podman").exists(),
            "{} is not set up: run `cargo xtask lab`",
            lower.display()
        );
        let script = format!(
            "set -e
            cd {dir}; mkdir upper work root store
            mount -t overlay overlay -o lowerdir={lower},upperdir=upper,workdir=work root
            cd root; mkdir -p .old var/lib/store mnt/busybox opt/lighter
            mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
            mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp
            # Docker, containerd and podman keep what they have on a real file system: overlays of their own lie on it.
            mount --bind {dir}/store var/lib/store; mount --bind {busybox} mnt/busybox
            mount --bind {dist} opt/lighter
            for runtime in {RUNTIMES}; do mount --bind {dist}/lighter-runc $runtime; done
            pivot_root . .old; cd /; umount -l /.old; umount /sys/fs/cgroup/unified 2>/dev/null || true
            mkdir -p /etc/containers
            printf '[storage]\\ndriver=\"overlay\"\\nrunroot=\"/run/storage\"\\ngraphroot=\"/var/lib/store/containers\"\\n' \
                >/etc/containers/storage.conf
            # What this kind of machine gives; podman and buildah ask for a million of each.
            printf '[containers]\\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1000:1000\"]\\n' >/etc/containers/containers.conf
            echo '{{\"default\":[{{\"type\":\"insecureAcceptAnything\"}}]}}' >/etc/containers/policy.json
            echo $$; exec sleep infinity",
            dir = host.dir().display(),
            lower = lower.display(),
            busybox = lab.join("rootfs/busybox").display(),
            dist = lighter_harness::dist().display(),
        );
        let words = ["unshare", "-m", "--propagation", "private", "bash", "-c", &script];
        let mut first = host
            .command(Machine::Host, &words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the peer's root");
        let mut line = String::new();
        let stdout = first.stdout.take().expect("stdout is a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
            .expect("reading the root's first line");
        let inside = line.trim().parse().expect("the root came up and said its pid");
        let pid = host.outer_pid(inside).expect("the root's process runs");
        let peer = Peer { host, first, pid };
        let version = peer.ok("runc --version; crun --version");
        assert_eq!(version.matches("lighter-runc").count(), 2, "{version}");
        peer
    }

    /// The host that the root is on: it has the same network and the same processes.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts our layer, of which every program below is ours too, and gives its socket.
    pub fn layer(&self) -> &'static str {
        self.layer_with("")
    }

    /// Starts our layer with this configuration, and gives its socket.
    pub fn layer_with(&self, configuration: &str) -> &'static str {
        self.ok(&format!(
            "mkdir -p /run/lighter; cat >/run/layer.toml <<'END'\n{configuration}\nEND"
        ));
        self.layer_restarts();
        LAYER
    }

    /// Kills the layer as a crash would.
    pub fn layer_dies(&self) {
        self.ok("kill -9 $(pidof lighter-containerd); while pidof lighter-containerd; do sleep 0.01; done >/dev/null");
    }

    /// Starts the layer again, as it was.
    pub fn layer_restarts(&self) {
        self.ok(&format!(
            "setsid /opt/lighter/lighter-containerd --config /run/layer.toml --root /var/lib/store/lighter \
             --state /run/lighter --address {LAYER} </dev/null >>/run/layer.log 2>&1 &"
        ));
        eventually("the layer answers", || {
            (self.sh(&format!("ctr -a {LAYER} version")).code == 0).then_some(())
        });
    }

    /// A shell script in the root; `$P` is the cgroup parent that it is to use.
    pub fn command(&self, script: &str) -> Command {
        let pid = self.pid.to_string();
        let mut command = Command::new("nsenter");
        command.args([
            "-t", &pid, "-m", "-n", "-p", "-u", "-i", "-r", "-w", "--", "bash", "-c", script,
        ]);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("P", self.host.cgroup_parent())
            // Podman of today says on each call that it would rather have v2.
            .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
        command
    }

    /// Runs a script.
    pub fn sh(&self, script: &str) -> Output {
        self.command(script).result()
    }

    /// Standard output of a script that must succeed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        self.sh(script).ok()
    }

    /// Starts a daemon, and waits until `ready` succeeds.
    pub fn daemon(&self, daemon: &str, ready: &str) {
        self.ok(&format!("setsid {daemon} </dev/null >/run/daemon.log 2>&1 &"));
        eventually(&format!("{ready} succeeds"), || {
            (self.sh(ready).code == 0).then_some(())
        });
    }

    /// Fails when a process, a runtime's state or a cgroup of a container is left.
    #[track_caller]
    pub fn is_clean(&self) {
        let left = || {
            self.ok(
                "find /run/runc /run/crun /run/docker/runtime-runc /run/containerd/runc -mindepth 1 -name state.json 2>/dev/null; \
                 find /sys/fs/cgroup/*$P -mindepth 1 -type d 2>/dev/null | grep -v -e '/libpod-conmon' -e '/conmon$'; true",
            )
        };
        // A daemon may still be at it.
        let mut last = String::new();
        for _ in 0..200 {
            last = left();
            if last.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("left behind: {last}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It dies with the host.
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}
