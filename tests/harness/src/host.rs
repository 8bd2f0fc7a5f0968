//! A host of one's own: mount, network, pid, uts and ipc namespaces, a cgroup parent, a directory on disk.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::output::OutputExt as _;

/// The host's address on the wire between it and the [`Host::world`].
pub const HOST_ADDRESS: &str = "192.0.2.1";
/// The other machine's address.
pub const WORLD_ADDRESS: &str = "192.0.2.2";

/// Where hosts keep their directories: a real file system, for overlays.
const BASE: &str = "/var/tmp/lighter-test";

/// A private host. Dropping it ends all of its processes and removes its directory and cgroups.
#[derive(Debug)]
pub struct Host {
    init: Child,
    world: u32,
    dir: PathBuf,
    name: String,
    _lock: File,
}

/// One of the two machines of a [`Host`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// The host itself.
    Host,
    /// Another machine on its wire: only a network namespace.
    World,
}

impl Host {
    /// Makes a host, and sweeps what hosts that died left behind.
    ///
    /// # Panics
    /// When this process may not (root is needed), or a step fails.
    pub fn new() -> Host {
        sweep();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(BASE).join(&name);
        fs::create_dir_all(&dir).expect("creating the host's directory (are you root?)");
        // Locked before it has its name: another process's sweep must not find a host that looks dead.
        let unnamed = dir.join("lock.new");
        let lock = File::create(&unnamed).expect("creating the lock");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .expect("locking the host");
        fs::rename(&unnamed, dir.join("lock")).expect("naming the lock");
        let setup = format!(
            "set -e
            mount -t proc proc /proc
            mount -t tmpfs -o mode=755 tmpfs /run
            mkdir -p /run/lock /run/host
            hostname lighter-host
            ip link set lo up
            unshare -n sleep infinity & world=$!
            until [ \"$(readlink /proc/$world/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do :; done
            ip link add wire0 type veth peer name wire0 netns $world
            ip addr add {HOST_ADDRESS}/24 dev wire0; ip link set wire0 up
            nsenter -t $world -n ip link set lo up
            nsenter -t $world -n ip addr add {WORLD_ADDRESS}/24 dev wire0
            nsenter -t $world -n ip link set wire0 up
            echo $world; exec </dev/null
            # bash reaps the orphans of the host while it waits.
            while :; do wait -n || :; sleep infinity & wait $!; done"
        );
        // The private propagation keeps every mount inside. The host ends with this process, however that ends: `setpriv` has
        // `unshare` killed, which has its child killed.
        let mut init = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "-mnpuif",
                "--propagation",
                "private",
                "--kill-child",
                "bash",
                "-c",
                &setup,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It complains when its child is killed, which is how every host ends.
            .stderr(Stdio::null())
            .spawn()
            .expect("starting setpriv and unshare");
        let mut line = String::new();
        let stdout = init.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("reading the host's first line");
        assert!(!line.trim().is_empty(), "the host did not come up");
        let mut host = Host {
            init,
            world: 0,
            dir,
            name,
            _lock: lock,
        };
        let world = line
            .trim()
            .parse()
            .expect("the host says the other machine's pid");
        host.world = host.outer_pid(world).expect("the other machine runs");
        host
    }

    /// The host's first process, as this process numbers it.
    pub fn pid(&self) -> u32 {
        child_of(self.init.id())
    }

    /// A directory on a real file system that goes with the host. The same path inside and outside.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A cgroup parent that nobody else uses, to be given to engines.
    pub fn cgroup_parent(&self) -> String {
        format!("/lighter-test-{}", self.name)
    }

    /// `path` of the host as this process can open it (sockets under its /run).
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid()))
    }

    /// A command on the host or on the other machine.
    pub fn command(&self, machine: Machine, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        match machine {
            Machine::Host => command.args(["-t", &self.pid().to_string(), "-m", "-n", "-p", "-u", "-i"]),
            Machine::World => command.args(["-t", &self.world.to_string(), "-n"]),
        };
        command.arg("--").args(argv);
        command
            .env_remove("DOCKER_HOST")
            .env("HOME", &self.dir)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a shell script on the host and gives its standard output; panics when it fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.command(Machine::Host, &["bash", "-euo", "pipefail", "-c", script])
            .result()
            .ok()
    }

    /// The processes of the host whose program file is called `name`, as this process numbers them. Threads and other hosts do
    /// not count.
    pub fn running(&self, name: &str) -> Vec<u32> {
        let own = fs::read_link(format!("/proc/{}/ns/pid", self.pid())).ok();
        let is = |pid: &u32| {
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let exe = exe.to_string_lossy();
            exe.trim_end_matches(" (deleted)").rsplit('/').next() == Some(name)
                && own.is_some()
                && fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == own
        };
        processes().into_iter().filter(is).collect()
    }

    /// The process with number `inside` in the host, as this process numbers it; also one in a pid namespace below.
    pub fn outer_pid(&self, inside: u32) -> Option<u32> {
        let is = |pid: &u32| field(*pid, "NSpid:").split_whitespace().nth(1) == Some(&inside.to_string());
        processes().into_iter().filter(is).find(|pid| self.has(*pid))
    }

    /// Whether `pid` is in the host's pid namespace (a process of ours that entered it has a parent outside), or comes from
    /// its first process.
    fn has(&self, mut pid: u32) -> bool {
        let (init, namespace) = (self.pid(), |pid: u32| {
            fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
        });
        if namespace(pid).is_some() && namespace(pid) == namespace(init) {
            return true;
        }
        while pid > 1 && pid != init {
            pid = field(pid, "PPid:").parse().unwrap_or(0);
        }
        pid == init
    }
}

/// A field of `/proc/PID/status`; empty when the process is gone.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_default().trim().to_owned()
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show("engine.log");
            self.show("containerd.log");
        }
        // Its first process takes the whole pid namespace with it; `unshare` then ends.
        kill(self.pid());
        let _ = self.init.wait();
        remove(&self.name);
    }
}

impl Host {
    /// The end of a log, for who reads why a test failed.
    #[expect(clippy::print_stderr, reason = "that is where a test's words are looked for")]
    fn show(&self, log: &str) {
        let text = std::fs::read_to_string(self.dir.join(log)).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(40).collect();
        for line in lines.iter().rev() {
            eprintln!("{log}: {line}");
        }
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have gone by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn child_of(pid: u32) -> u32 {
    children(pid).first().copied().unwrap_or(pid)
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Removes what hosts left whose process died without dropping them.
fn sweep() {
    for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join("lock")) else {
            continue;
        };
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&entry.file_name().to_string_lossy());
        }
    }
}

/// Removes a dead host's cgroups, in every hierarchy, and its directory.
fn remove(name: &str) {
    assert!(
        !name.is_empty() && !name.contains('/'),
        "a host's name is one word"
    );
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove_cgroup(&hierarchy.path().join(format!("lighter-test-{name}")));
    }
    remove_cgroup(&Path::new("/sys/fs/cgroup").join(format!("lighter-test-{name}")));
    // Mounts below it ended with the namespace. The lock goes last: it says that there is something to sweep.
    let dir = Path::new(BASE).join(name);
    crate::wait::within(
        std::time::Duration::from_secs(10),
        "the host's directory is removed",
        || {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_name() != "lock" {
                    let _ = if entry.path().is_dir() {
                        fs::remove_dir_all(entry.path())
                    } else {
                        fs::remove_file(entry.path())
                    };
                }
            }
            fs::remove_file(dir.join("lock")).ok();
            (fs::remove_dir_all(&dir).is_ok() || !dir.exists()).then_some(())
        },
    );
}

fn remove_cgroup(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&entry.path());
    }
    // Its last process may be on its way out.
    for _ in 0..200 {
        if fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
