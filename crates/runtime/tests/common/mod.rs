//! A private host for each test: namespaces of its own, a cgroup parent of its own, a bundle with busybox.
//!
//! Needs root, `unshare` of util-linux and `/bin/busybox` (package busybox-static); without them the tests fail and say so.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a part of each test program"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

pub struct Host {
    dir: tempfile::TempDir,
    cgroup: String,
}

/// What Docker gives by default.
pub const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The program under test: the example of this package, which cargo builds with the tests.
pub fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples/lighter-runc");
    assert!(
        path.exists(),
        "{} is missing: `cargo test` builds it, with `--test` run `cargo build --examples` first",
        path.display()
    );
    path
}

impl Host {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let cgroup = format!(
            "/lt-rt-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
            cgroup,
        };
        let root = host.path("rootfs");
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "usr/local/bin"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let busybox = Path::new("/bin/busybox");
        fs::copy(busybox, root.join("bin/busybox")).expect("/bin/busybox of the package busybox-static");
        for name in [
            "sh", "cat", "id", "ls", "sleep", "true", "false", "mount", "grep", "echo", "stat", "touch",
            "kill", "hostname", "readlink", "stty", "tty", "head", "test", "pwd", "env", "rm", "mkdir", "dd",
            "ip", "chmod", "umask",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A configuration like Docker's for a default container, with `args`.
    pub fn config(&self, args: &[&str]) -> Value {
        let mount = |destination: &str, kind: &str, source: &str, options: &str| {
            json!({"destination": destination, "type": kind, "source": source,
                "options": options.split(',').collect::<Vec<_>>()})
        };
        let namespaces =
            ["mount", "network", "uts", "pid", "ipc", "cgroup"].map(|kind| json!({"type": kind}));
        json!({
            "ociVersion": "1.2.1",
            "hostname": "inside",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
                "oomScoreAdj": 0,
            },
            "mounts": [
                mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
                mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
                mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
                mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
                mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
                mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
                mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            ],
            "linux": {
                "cgroupsPath": format!("{}/c", self.cgroup),
                "resources": {
                    "devices": [{"allow": false, "access": "rwm"}],
                    "memory": {"limit": 64 << 20},
                    "pids": {"limit": 64},
                },
                "namespaces": namespaces,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/nothing", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/nothing"],
            },
        })
    }

    pub fn write(&self, config: &Value) {
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    /// Runs a shell script on the host, in the bundle's directory, with `runc` as a command. When it ends everything on
    /// the host dies.
    pub fn command(&self, script: &str) -> Command {
        let prologue = format!(
            "mount -t proc proc /proc; mount -t tmpfs tmpfs /run; cd '{}'; RUNC='{}'; runc() {{ $RUNC --log /run/log.of.runc \"$@\"; }}; \
             pid() {{ cat /run/pid; }}; within() {{ n=0; until eval \"$@\" >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 500 ] || \
             {{ echo \"timed out: $*\"; return 1; }}; sleep 0.01; done; }}\n",
            self.dir.path().display(),
            program().display(),
        );
        let mut command = Command::new("unshare");
        command.args([
            "-mnpuif",
            "--propagation",
            "private",
            "--kill-child",
            "bash",
            "-c",
        ]);
        command.arg(prologue + script).stdin(Stdio::null());
        command
    }

    pub fn run(&self, script: &str) -> Output {
        let output = self.command(script).output().expect("unshare");
        assert_eq!(
            self.left_overs(),
            Vec::<PathBuf>::new(),
            "cgroups left by: {script}\n{}",
            words(&output)
        );
        output
    }

    /// Runs a script that must succeed, and answers its stdout.
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}\n{}", words(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A `criu` to name with `--criu`.
    pub fn criu(&self) -> PathBuf {
        self.peer("criu")
    }

    /// A program of the lab, which needs the libraries of its own root.
    pub fn peer(&self, name: &str) -> PathBuf {
        let var = |name| std::env::var_os(name).map(PathBuf::from);
        let cache =
            || var("XDG_CACHE_HOME").unwrap_or_else(|| var("HOME").expect("HOME is set").join(".cache"));
        let peers = var("LIGHTER_LAB")
            .unwrap_or_else(|| cache().join("lighter/lab"))
            .join("peers");
        let program = peers.join("usr/sbin").join(name);
        assert!(program.exists(), "no {name} in the lab: run `cargo xtask lab`");
        let root = peers.display();
        let script = format!(
            "#!/bin/sh\nexec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/usr/lib/x86_64-linux-gnu {root}/usr/sbin/{name} \"$@\"\n"
        );
        let path = self.path(&format!("peer-{name}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// Runs a configuration with `runc run`, and answers stdout.
    pub fn ok_config(&self, config: &Value) -> String {
        self.write(config);
        self.ok("runc run c")
    }

    /// Cgroups below our parent.
    pub fn left_overs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for parent in self.parents() {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    fn parents(&self) -> Vec<PathBuf> {
        let name = self.cgroup.trim_start_matches('/');
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        hierarchies
            .chain([PathBuf::from("/sys/fs/cgroup")])
            .map(|dir| dir.join(name))
            .filter(|dir| dir.is_dir())
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for left in self.left_overs().into_iter().chain(self.parents()) {
            // A test that failed may leave what cannot be removed yet.
            let _ = fs::remove_dir(left);
        }
    }
}

pub fn words(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
