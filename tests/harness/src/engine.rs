//! An engine in a host: ours, or the real Docker of the lab.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::host::{Host, Machine};
use crate::registry::Registry;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `lighterd` and what it starts.
    Lighter,
    /// `lighterd` over the real containerd 2.1 from the lab's peers; our shim and runtime below that.
    OverContainerd,
    /// `dockerd` 28.5 from the lab's peers.
    Docker,
}

/// How an engine is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further words on the daemon's command line.
    pub flags: Vec<String>,
    /// The directory of our programs, when they are not those of [`crate::dist`].
    pub programs: Option<std::path::PathBuf>,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    daemon: Child,
    pid: u32,
}

impl Engine {
    /// The API socket, as the host names it.
    pub const SOCKET: &str = "/run/docker.sock";

    /// Starts an engine and waits until it answers.
    pub fn start(host: &Host, kind: Kind, options: &Options) -> Engine {
        let log = host.dir().join("engine.log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("opening the engine's log");
        let mut command = match kind {
            Kind::Lighter => lighter(host, options),
            Kind::OverContainerd => over_containerd(host, options),
            Kind::Docker => docker(host, options),
        };
        let errors = log.try_clone().expect("duplicating the log");
        let daemon = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("starting the engine");
        let mut engine = Engine { kind, daemon, pid: 0 };
        engine.wait_until_ready(host);
        engine.pid = engine.find_pid(host);
        engine
    }

    fn wait_until_ready(&mut self, host: &Host) {
        crate::wait::within(Duration::from_secs(60), "the engine answers", || {
            if let Ok(Some(status)) = self.daemon.try_wait() {
                let log = std::fs::read_to_string(host.dir().join("engine.log")).unwrap_or_default();
                panic!("the engine ended at its start: {status}\n{log}");
            }
            crate::session::ping(&host.path(Self::SOCKET)).then_some(())
        });
    }

    /// The daemon's process, as this process numbers it. (`nsenter` is its parent.)
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn find_pid(&self, host: &Host) -> u32 {
        let inside =
            std::fs::read_to_string(host.path("/run/engine.pid")).expect("the engine wrote its pid file");
        let inside: u32 = inside.trim().parse().expect("a pid file holds a number");
        host.outer_pid(inside).expect("the engine runs")
    }

    /// Kills the daemon (nothing else) as `kill -9` does.
    pub fn kill(mut self) {
        crate::session::kill_outer(self.pid, rustix::process::Signal::KILL);
        self.daemon.wait().expect("waiting for the engine");
    }

    /// Ends the daemon by SIGTERM and waits.
    pub fn stop(mut self) {
        crate::session::kill_outer(self.pid, rustix::process::Signal::TERM);
        self.daemon.wait().expect("waiting for the engine");
    }

    /// When the daemon's program was executed, by the clock of the machine.
    pub fn started(&self, host: &Host) -> SystemTime {
        let text = std::fs::read_to_string(host.path("/run/engine.started")).expect("the start was noted");
        let seconds: f64 = text.trim().parse().expect("seconds and microseconds");
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    /// Which engine this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

fn flags(host: &Host) -> Vec<String> {
    let mirror = format!("--registry-mirror=http://{}", Registry::ADDRESS);
    let socket = format!("--host=unix://{}", Engine::SOCKET);
    vec![
        socket,
        "--pidfile=/run/engine.pid".into(),
        format!("--cgroup-parent={}", host.cgroup_parent()),
        mirror,
        "--insecure-registry=127.0.0.1:5001".into(),
    ]
}

fn lighter(host: &Host, options: &Options) -> Command {
    let dist = options.programs.clone().unwrap_or_else(crate::dist);
    let program = dist
        .join("lighterd")
        .to_str()
        .expect("the path is UTF-8")
        .to_owned();
    let data = format!("--data-root={}", host.dir().join("lighter").display());
    let mut argv = vec![
        program,
        data,
        "--exec-root=/run/lighter".into(),
        "--config-file=/run/daemon.json".into(),
    ];
    argv.extend(flags(host));
    argv.extend(options.flags.iter().cloned());
    // The default configuration file need not exist; a named one must, as with dockerd.
    let script = "[ -e /run/daemon.json ] || echo '{}' >/run/daemon.json
        echo $EPOCHREALTIME >/run/engine.started; exec \"$@\"";
    let mut words = vec!["bash", "-c", script, "lighterd"];
    words.extend(argv.iter().map(String::as_str));
    host.command(Machine::Host, &words)
}

/// The layer is somebody else's: started here, and gone with the host.
fn over_containerd(host: &Host, options: &Options) -> Command {
    const SOCKET: &str = "/run/containerd/containerd.sock";
    let (dist, dir) = (options.programs.clone().unwrap_or_else(crate::dist), host.dir());
    let script = format!(
        "mkdir -p /run/containerd
        printf 'version = 3\\ndisabled_plugins = [\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\"]\\n' \
            >/run/containerd/config.toml
        PATH={dist}:$PATH setsid {containerd} -c /run/containerd/config.toml --root {dir}/containerd --state /run/containerd \
            --address {SOCKET} </dev/null >{dir}/containerd.log 2>&1 &
        for i in $(seq 1000); do [ -S {SOCKET} ] && exit 0; sleep 0.02; done; cat {dir}/containerd.log >&2; exit 1",
        dist = dist.display(),
        containerd = crate::lab().join("peers/usr/bin/containerd").display(),
        dir = dir.display(),
    );
    host.sh(&script);
    let mut options = options.clone();
    options
        .flags
        .extend([format!("--containerd={SOCKET}"), "--debug".to_owned()]);
    lighter(host, &options)
}

/// The peers' root under an overlay, so that the lab stays as it is; data on the real file system, for overlays of its own.
fn docker(host: &Host, options: &Options) -> Command {
    let (lab, dir) = (crate::lab().join("peers"), host.dir().join("docker"));
    let script = format!(
        "set -e
        mkdir -p {dir}/upper {dir}/work {dir}/root {dir}/data
        mount -t overlay overlay -o lowerdir={lab},upperdir={dir}/upper,workdir={dir}/work {dir}/root
        cd {dir}/root
        mkdir -p data old .{host}
        mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
        mount --bind /run run; mount -t tmpfs tmpfs tmp
        mount --bind {dir}/data data; mount --bind {host} .{host}
        pivot_root . old
        # crun and podman refuse the hybrid mode; runc does not care.
        umount -l /old; umount /sys/fs/cgroup/unified 2>/dev/null || true
        cd /; echo $EPOCHREALTIME >/run/engine.started; exec dockerd --data-root=/data --exec-root=/run/docker \"$@\"",
        dir = dir.display(),
        lab = lab.display(),
        host = host.dir().display(),
    );
    let mut argv = flags(host);
    argv.extend(options.flags.iter().cloned());
    let mut words = vec![
        "unshare",
        "-m",
        "--propagation",
        "private",
        "bash",
        "-c",
        &script,
        "dockerd",
    ];
    words.extend(argv.iter().map(String::as_str));
    host.command(Machine::Host, &words)
}
