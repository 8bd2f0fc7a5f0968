//! The layer on a host of its own, and a real `ctr` for it.

#![allow(dead_code, unused_macros, reason = "each suite uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lighter_harness::{Host, Machine, Output, OutputExt as _, eventually};

/// Each test with both clients.
macro_rules! with_both_clients {
    ($($name:ident)*) => {
        mod ctr_1_6 { $(#[test] fn $name() { super::$name(&super::support::ctr_1()); })* }
        mod ctr_2_1 { $(#[test] fn $name() { super::$name(&super::support::ctr_2()); })* }
    };
}

/// Debian's containerd 1.6.
pub(crate) fn ctr_1() -> PathBuf {
    PathBuf::from("/usr/bin/ctr")
}

/// The lab's containerd 2.1.
pub(crate) fn ctr_2() -> PathBuf {
    lighter_harness::lab().join("peers/usr/bin/ctr")
}

/// Where the API is served, in the host.
const SOCKET: &str = "/run/lighter/containerd/containerd.sock";

/// A lighter-containerd that runs.
pub(crate) struct Layer {
    pub(crate) host: Host,
    daemon: Child,
    ctr: PathBuf,
}

impl Layer {
    pub(crate) fn start(ctr: &Path) -> Layer {
        let host = Host::new();
        let dir = host.dir().display().to_string();
        // A root of busybox, and the same as an image in Docker's archive format.
        host.sh(&format!(
            r#"cd {dir}; mkdir -p rootfs/{{bin,proc,dev,sys,etc,run,tmp}} archive
            cp /bin/busybox rootfs/bin/
            for name in sh cat echo sleep true seq kill touch ls stty; do ln -s busybox rootfs/bin/$name; done
            tar -C rootfs -cf archive/layer.tar .
            cd archive
            digest=$(sha256sum layer.tar | cut -d' ' -f1)
            echo '{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:'$digest'"]}}}}' >config.json
            echo '[{{"Config":"config.json","RepoTags":["docker.io/test/busybox:latest"],"Layers":["layer.tar"]}}]' >manifest.json
            tar -cf ../image.tar manifest.json config.json layer.tar"#
        ));
        let daemon = spawn(&host, &[]);
        let layer = Layer {
            host,
            daemon,
            ctr: ctr.to_owned(),
        };
        layer.answers();
        layer
    }

    /// `ctr WORDS`.
    pub(crate) fn ctr(&self, words: &[&str]) -> Output {
        self.command(words).result()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let ctr = self.ctr.display().to_string();
        let mut command = self.host.command(Machine::Host, &[&ctr, "-a", SOCKET]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// `ctr run FLAGS ID ARGUMENTS` of the root of busybox.
    pub(crate) fn run(&self, flags: &[&str], id: &str, arguments: &[&str]) -> Output {
        let rootfs = self.path("rootfs");
        let flags = [flags, &["--rootfs"]].concat();
        self.run_from(&flags, &rootfs, id, arguments)
    }

    /// The same of an image.
    pub(crate) fn run_from(&self, flags: &[&str], image: &str, id: &str, arguments: &[&str]) -> Output {
        let mut words = vec!["run", "--runtime", "io.containerd.lighter.v1"];
        // Containers of this host must be nobody else's business.
        let cgroup = format!("{}/{id}", self.host.cgroup_parent());
        words.extend(["--cgroup", &cgroup]);
        words.extend(flags);
        words.extend([image, id]);
        words.extend(arguments);
        self.ctr(&words)
    }

    /// A file in the host's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.host.dir().join(name).display().to_string()
    }

    /// Kills the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        for pid in self.host.running("lighter-containerd") {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
        }
        let _ = self.daemon.wait().unwrap();
    }

    /// Waits for its own end.
    pub(crate) fn ends(&mut self) {
        eventually("the daemon ends", || self.daemon.try_wait().unwrap());
    }

    /// Starts it again.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.daemon = spawn(&self.host, flags);
        self.answers();
    }

    /// Tells it to end; gives its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.host.sh("kill $(pidof lighter-containerd)");
        self.daemon.wait().unwrap().code()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.host.dir().join("layer.log")).unwrap()
    }

    /// The status that `ctr` shows for a task.
    pub(crate) fn status(&self, id: &str) -> Option<String> {
        let list = self.ctr(&["task", "ls"]).ok();
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(id))?;
        line.split_whitespace().nth(2).map(str::to_owned)
    }

    #[track_caller]
    pub(crate) fn becomes(&self, id: &str, status: &str) {
        eventually(&format!("{id} becomes {status}"), || {
            (self.status(id).as_deref() == Some(status)).then_some(())
        });
    }

    /// What there is of tasks, shims and mounts.
    pub(crate) fn leftovers(&self) -> String {
        self.host.sh(
            "ls /run/lighter/containerd/s; ls -A /run/lighter/containerd/io.containerd.runtime.v2.task/* || true
            grep runtime.v2.task /proc/mounts || true; pidof containerd-shim-lighter-v1 || true",
        )
    }

    fn answers(&self) {
        eventually("the layer answers", || {
            (self.ctr(&["version"]).code == 0).then_some(())
        });
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            for line in lines.iter().rev() {
                eprintln!("layer: {line}");
            }
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn spawn(host: &Host, flags: &[&str]) -> Child {
    let program = lighter_harness::dist().join("lighter-containerd");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(host.dir().join("layer.log"));
    host.command(Machine::Host, &[&program.display().to_string()])
        .arg("--root")
        .arg(host.dir().join("root"))
        .args([
            "--state",
            "/run/lighter/containerd",
            "--address",
            SOCKET,
            "--log-level",
            "debug",
        ])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}
