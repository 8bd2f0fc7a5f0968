//! The shim under real containerds: the machine's own (1.x) and, where the lab has one, today's (2.x).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use lighter_harness::{Host, Machine, OutputExt as _, eventually};

/// A containerd on a host, and `ctr` for it.
struct Containerd {
    host: Host,
    /// Directory of the programs `containerd` and `ctr`.
    programs: PathBuf,
    daemon: Child,
}

impl Containerd {
    fn start(programs: &Path) -> Self {
        let host = Host::new();
        let dir = host.dir().display().to_string();
        host.sh(&format!(
            r#"mkdir -p {dir}/image/bin {dir}/image/proc {dir}/image/dev {dir}/image/sys {dir}/image/etc {dir}/image/run {dir}/archive
            cp /bin/busybox {dir}/image/bin/
            for name in sh cat echo sleep true seq kill; do ln -s busybox {dir}/image/bin/$name; done
            cd {dir}/archive
            tar -C ../image -cf layer.tar .
            digest=$(sha256sum layer.tar | cut -d' ' -f1)
            echo '{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:'$digest'"]}}}}' >config.json
            echo '[{{"Config":"config.json","RepoTags":["docker.io/test/busybox:latest"],"Layers":["layer.tar"]}}]' >manifest.json
            tar -cf ../image.tar manifest.json config.json layer.tar
            cat >{dir}/config.toml <<'END'
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
END"#
        ));
        let daemon = spawn(&host, programs);
        let this = Self {
            host,
            programs: programs.to_owned(),
            daemon,
        };
        this.answers();
        this.ctr(&["image", "import", &format!("{dir}/image.tar")])
            .result()
            .ok();
        this
    }

    /// Kills the daemon and starts it again.
    fn crash(&mut self) {
        self.host.sh("kill -9 $(pidof containerd) || true");
        let _ = self.daemon.wait();
        self.daemon = spawn(&self.host, &self.programs);
        self.answers();
    }

    fn answers(&self) {
        eventually("containerd answers", || {
            self.ctr(&["version"])
                .output()
                .unwrap()
                .status
                .success()
                .then_some(())
        });
    }

    fn ctr(&self, words: &[&str]) -> std::process::Command {
        let mut command = self
            .host
            .command(Machine::Host, &[&format!("{}/ctr", self.programs.display())]);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, flags: &[&str], id: &str, arguments: &[&str]) -> std::process::Command {
        let mut words = vec!["run", "--runtime", "io.containerd.lighter.v1"];
        // Debian's ctr knows no cgroup parent; containers of this host must be nobody else's business.
        let cgroup = format!("{}/{id}", self.host.cgroup_parent());
        words.extend(["--cgroup", &cgroup]);
        words.extend(flags);
        words.extend(["docker.io/test/busybox:latest", id]);
        words.extend(arguments);
        self.ctr(&words)
    }
}

fn spawn(host: &Host, programs: &Path) -> Child {
    let dir = host.dir().display().to_string();
    let dist = lighter_harness::dist();
    let path = format!(
        "PATH={}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
        dist.display(),
        programs.display()
    );
    host.command(
        Machine::Host,
        &["env", &path, &format!("{}/containerd", programs.display())],
    )
    .args([
        "--config",
        &format!("{dir}/config.toml"),
        "--root",
        &format!("{dir}/root"),
        "--state",
        "/run/containerd",
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(std::fs::File::create(host.dir().join("containerd.log")).unwrap())
    .spawn()
    .unwrap()
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn walk_through(programs: &Path) {
    let mut containerd = Containerd::start(programs);
    let output = containerd
        .run(&["--rm"], "one", &["sh", "-c", "echo out; echo err >&2; exit 5"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n", "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(5));
    // Everything, and in order, through fifos.
    let text = containerd
        .run(&["--rm"], "two", &["seq", "1", "20000"])
        .result()
        .ok();
    assert_eq!(text.lines().count(), 20_000);
    assert!(text.ends_with("19999\n20000"));
    // In the background: exec, kill, a daemon that is killed and comes back.
    containerd.run(&["-d"], "three", &["sleep", "1000"]).result().ok();
    let text = containerd
        .ctr(&["task", "exec", "--exec-id", "e1", "three", "echo", "joined"])
        .result()
        .ok();
    assert_eq!(text, "joined");
    let tasks = containerd.ctr(&["task", "ls"]).result().ok();
    assert!(tasks.contains("three") && tasks.contains("RUNNING"), "{tasks}");
    containerd.ctr(&["task", "pause", "three"]).result().ok();
    assert!(containerd.ctr(&["task", "ls"]).result().ok().contains("PAUSED"));
    containerd.ctr(&["task", "resume", "three"]).result().ok();
    assert!(
        containerd
            .ctr(&["task", "metrics", "three"])
            .result()
            .ok()
            .contains("memory")
    );
    assert!(
        containerd
            .ctr(&["task", "ps", "three"])
            .result()
            .ok()
            .lines()
            .count()
            >= 2
    );
    containerd
        .ctr(&["task", "kill", "-s", "SIGKILL", "three"])
        .result()
        .ok();
    eventually("the exit is known", || {
        containerd
            .ctr(&["task", "ls"])
            .result()
            .ok()
            .contains("STOPPED")
            .then_some(())
    });
    let deleted = containerd.ctr(&["task", "delete", "three"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&deleted.stderr).contains("exit code 137"),
        "{deleted:?}"
    );
    containerd.ctr(&["container", "delete", "three"]).result().ok();
    let left = containerd
        .host
        .sh("ls /run/containerd/s; ls /run/containerd/io.containerd.runtime.v2.task/default || true");
    assert_eq!(left, "", "nothing is left");
    // The daemon dies; one container runs on, another ends meanwhile.
    containerd.run(&["-d"], "five", &["sleep", "1000"]).result().ok();
    containerd
        .run(
            &["-d"],
            "six",
            &[
                "sh",
                "-c",
                "until [ -e /proc/1/root/end ]; do sleep 0.1; done; exit 66",
            ],
        )
        .result()
        .ok();
    containerd.host.sh("kill -9 $(pidof containerd)");
    let end = "for pid in $(pidof sh); do grep -q until /proc/$pid/cmdline && touch /proc/$pid/root/end && echo told; done; true";
    eventually("the container is told to end", || {
        containerd.host.sh(end).contains("told").then_some(())
    });
    containerd.crash();
    eventually("the exit is known", || {
        let tasks = containerd.ctr(&["task", "ls"]).result().ok();
        (tasks.contains("RUNNING") && tasks.contains("STOPPED")).then_some(())
    });
    let deleted = containerd.ctr(&["task", "delete", "six"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&deleted.stderr).contains("exit code 66"),
        "{deleted:?}"
    );
    containerd
        .ctr(&["task", "kill", "-s", "SIGKILL", "five"])
        .result()
        .ok();
    eventually("the exit is known", || {
        containerd
            .ctr(&["task", "ls"])
            .result()
            .ok()
            .contains("STOPPED")
            .then_some(())
    });
    let error = containerd.run(&["--rm"], "four", &["/no/such"]).result().fails(1);
    assert!(error.contains("no such file or directory"), "{error}");
}

#[test]
fn containerd_1_runs_containers_through_it() {
    walk_through(Path::new("/usr/bin"));
}

#[test]
fn containerd_2_runs_containers_through_it() {
    walk_through(&lighter_harness::lab().join("peers/usr/bin"));
}
