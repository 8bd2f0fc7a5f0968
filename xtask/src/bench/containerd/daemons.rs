//! The two daemons and the registry, in the private host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// The registry's address in the host.
pub const REGISTRY: &str = "127.0.0.1:5000";

/// A daemon under measure.
pub struct Daemon {
    pub name: &'static str,
    pub socket: PathBuf,
    /// What containers name.
    pub runtime: &'static str,
    /// The name of its shims' program.
    pub shim: &'static str,
    child: Child,
}

impl Daemon {
    /// `lighter-containerd`.
    pub fn ours(share: &Path) -> Result<Daemon> {
        let socket = PathBuf::from("/run/lighter/containerd.sock");
        let mut command = Command::new(share.join("lighter-containerd"));
        command
            .arg("--root")
            .arg(share.join("data/lighter"))
            .args(["--state", "/run/lighter", "--address"])
            .arg(&socket);
        Daemon::start(
            share,
            "lighter",
            "io.containerd.lighter.v1",
            "containerd-shim-lighter-v1",
            socket,
            command,
        )
    }

    /// The peer.
    pub fn peer(share: &Path) -> Result<Daemon> {
        let socket = PathBuf::from("/run/containerd/containerd.sock");
        let config = share.join("containerd.toml");
        // Neither Kubernetes' plug-in nor snapshotters that nobody uses here: what is not asked for should cost nothing, to either.
        fs::write(
            &config,
            "version = 3\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\"]\n",
        )?;
        let mut command = Command::new("/usr/bin/containerd");
        command
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(share.join("data/containerd"))
            .args(["--state", "/run/containerd", "--log-level", "error", "--address"])
            .arg(&socket);
        Daemon::start(
            share,
            "containerd",
            "io.containerd.runc.v2",
            "containerd-shim-runc-v2",
            socket,
            command,
        )
    }

    fn start(
        share: &Path,
        name: &'static str,
        runtime: &'static str,
        shim: &'static str,
        socket: PathBuf,
        mut command: Command,
    ) -> Result<Daemon> {
        let log = File::create(share.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let daemon = Daemon {
            name,
            socket,
            runtime,
            shim,
            child,
        };
        until(&format!("{name} answers"), || {
            daemon
                .ctr(&["version"])
                .output()
                .is_ok_and(|done| done.status.success())
        })?;
        Ok(daemon)
    }

    /// The peers' client, for this daemon.
    pub fn ctr(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/ctr");
        command
            .arg("-a")
            .arg(&self.socket)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// MiB that the daemon holds.
    pub fn rss(&self) -> Result<f64> {
        smaps(self.child.id(), "Rss:")
    }

    /// KiB that each shim holds, a page that n processes map counted as 1/n.
    pub fn shims(&self) -> Result<Vec<f64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            if exe.file_name().is_some_and(|name| name == self.shim) {
                found.push(smaps(pid, "Pss:")? * 1024.0);
            }
        }
        ensure!(!found.is_empty(), "no {} runs", self.shim);
        Ok(found)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The distribution server over the lab's images.
pub struct Registry(Child);

impl Registry {
    pub fn start(share: &Path) -> Result<Registry> {
        let config = share.join("registry.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: /run/registry}}}}\nhttp: {{addr: \"{REGISTRY}\"}}\n"
            ),
        )?;
        let mut command = Command::new("/usr/bin/docker-registry");
        command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let registry = Registry(command.spawn().context("starting the registry")?);
        until("the registry answers", || {
            std::net::TcpStream::connect(REGISTRY).is_ok()
        })?;
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until it is so.
fn until(what: &str, mut question: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !question() {
        if begin.elapsed() > Duration::from_secs(20) {
            bail!("not within 20 s: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A field of `/proc/PID/smaps_rollup`, in MiB.
fn smaps(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no {name}"))? / 1024.0)
}
