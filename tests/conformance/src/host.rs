//! Inside the private host that [`crate::launch`] made: one configuration through one runtime, and what came of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::{Value, json};

use crate::generate::Case;
use crate::probe::{self, View};

/// Where everything of this suite is, on the host.
pub const BASE: &str = "/run/lt";
/// Files that configurations bind.
pub const SHARED: &str = "/run/lt/shared";
/// Namespaces that configurations join, by kind.
pub const NAMESPACES: &str = "/run/lt/ns";
/// First id of the user namespaces.
pub const SUBORDINATE: u32 = 100_000;

const BUNDLE: &str = "/run/lt/b";
const ROOTFS: &str = "/run/lt/b/rootfs";
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime {
    /// Its name in reports.
    pub name: &'static str,
    /// Its program.
    pub program: &'static str,
}

/// Ours first, then the one we follow.
pub const RUNTIMES: [Runtime; 3] = [
    Runtime {
        name: "ours",
        program: "/run/lt/bin/lighter-runc",
    },
    Runtime {
        name: "runc",
        program: "/usr/sbin/runc",
    },
    Runtime {
        name: "crun",
        program: "/usr/bin/crun",
    },
];

/// What came of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What the process saw, its cgroup said, the root file system kept.
    pub view: View,
    /// The command that refused and its words.
    pub refused: Option<(&'static str, String)>,
    /// What was left when the container was deleted.
    pub left: Vec<String>,
}

/// The host, made once.
#[derive(Debug)]
pub struct Host {
    cgroup: String,
    names: View,
}

impl Host {
    /// Fills [`BASE`]. `cgroup` is a cgroup that nobody else uses, below the root of each hierarchy.
    ///
    /// # Errors
    /// When a step fails: then there is nothing to test.
    pub fn new(cgroup: &str) -> io::Result<Self> {
        lighter_sys::process::set_subreaper()?;
        // A script's background job ignores some, and runc resets them only now and then.
        lighter_sys::process::reset_signals();
        template(Path::new("/run/lt/template"), 0)?;
        template(Path::new("/run/lt/template-user"), SUBORDINATE)?;
        shared()?;
        fs::create_dir_all(ROOTFS)?;
        fs::create_dir_all(NAMESPACES)?;
        let mut names = View::new();
        for (kind, flag, file) in [
            ("network", "--net", "net"),
            ("uts", "--uts", "uts"),
            ("ipc", "--ipc", "ipc"),
        ] {
            let path = format!("{NAMESPACES}/{kind}");
            File::create(&path)?;
            let made = Command::new("unshare")
                .arg(format!("{flag}={path}"))
                .arg("true")
                .status()?;
            if !made.success() {
                return Err(io::Error::other(format!("unshare {flag}: {made}")));
            }
            let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path)?);
            names.insert(format!("{file}:[{inode}]"), "joined".into());
        }
        for entry in fs::read_dir("/proc/self/ns")? {
            let target = fs::read_link(entry?.path())?;
            names.insert(target.display().to_string(), "the host's".into());
        }
        Ok(Self {
            cgroup: cgroup.to_owned(),
            names,
        })
    }

    /// Runs the case.
    ///
    /// # Errors
    /// When the bundle cannot be made or taken away.
    pub fn run(&self, case: &Case, runtime: Runtime) -> io::Result<Seen> {
        let template = if case.in_user_namespace() {
            "template-user"
        } else {
            "template"
        };
        let (upper, work) = (format!("{BASE}/over/upper"), format!("{BASE}/over/work"));
        remove(Path::new(&format!("{BASE}/over")))?;
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        if case.in_user_namespace() {
            lchown(&upper, Some(SUBORDINATE), Some(SUBORDINATE))?;
        }
        let before = mounts();
        let data = format!("lowerdir={BASE}/{template},upperdir={upper},workdir={work}");
        let data = std::ffi::CString::new(data)?;
        rustix::mount::mount(
            "overlay",
            ROOTFS,
            "overlay",
            MountFlags::empty(),
            Some(data.as_c_str()),
        )?;
        let mut config = case.config();
        if config["linux"].is_object() {
            config["linux"]["cgroupsPath"] = json!(format!("/{}/c", self.cgroup));
        }
        fs::write(format!("{BUNDLE}/config.json"), config.to_string())?;
        if let Some(process) = case.process() {
            fs::write(format!("{BASE}/process.json"), process.to_string())?;
        }
        let mut seen = Seen::default();
        let root = format!("{BASE}/state-{}", runtime.name);
        let life = Life {
            host: self,
            runtime,
            root: &root,
        };
        life.live(case, &mut seen);
        life.bury(&mut seen);
        rustix::mount::unmount(ROOTFS, UnmountFlags::DETACH)?;
        let after = mounts();
        seen.left.extend(
            after
                .iter()
                .filter(|mount| !before.contains(mount))
                .map(|mount| format!("mount {mount}")),
        );
        kept(Path::new(&upper), Path::new(&upper), &mut seen.view);
        clean(Path::new(SHARED))?;
        Ok(seen)
    }

    /// The group's directory in each hierarchy that has it.
    fn groups(&self, below: &str) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path().join(&self.cgroup).join(below);
                if path.is_dir() {
                    found.push((entry.file_name().to_string_lossy().into_owned(), path));
                }
            }
        }
        found.sort();
        found
    }
}

struct Life<'a> {
    host: &'a Host,
    runtime: Runtime,
    root: &'a str,
}

impl Life<'_> {
    fn live(&self, case: &Case, seen: &mut Seen) {
        let pid_file = format!("{BASE}/pid");
        let _ = fs::remove_file(&pid_file);
        let created = self.command(&["create", "--bundle", BUNDLE, "--pid-file", &pid_file, "c"]);
        if created.code != Some(0) {
            seen.refused = Some(("create", created.words));
            return;
        }
        let pid = fs::read_to_string(&pid_file)
            .ok()
            .and_then(|text| text.trim().parse::<i32>().ok())
            .unwrap_or(0);
        let pidfd = lighter_sys::pidfd::open(pid);
        self.cgroup_files(&mut seen.view);
        let started = self.command(&["start", "c"]);
        if started.code != Some(0) {
            seen.refused = Some(("start", started.words));
            return;
        }
        let output = if case.exec.is_some() {
            let done = self.command(&["exec", "--process", "/run/lt/process.json", "c"]);
            seen.view.insert("exit".into(), format!("{:?}", done.code));
            let output = fs::read_to_string(format!("{BASE}/out")).unwrap_or_default();
            if output.is_empty() {
                seen.refused = Some(("exec", done.words));
                return;
            }
            output
        } else {
            let ended = pidfd.and_then(|pidfd| lighter_sys::pidfd::wait_exit(pidfd.as_fd(), Some(PATIENCE)));
            let code = if ended.unwrap_or(false) {
                let status = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG).ok().flatten();
                status.map(|(_, status)| {
                    format!("{:?} {:?}", status.exit_status(), status.terminating_signal())
                })
            } else {
                Some("still running".into())
            };
            seen.view
                .insert("exit".into(), code.unwrap_or("not our child".into()));
            fs::read_to_string(format!("{BASE}/out")).unwrap_or_default()
        };
        match serde_json::from_str::<View>(&output) {
            Ok(view) => seen.view.extend(view),
            Err(_) => {
                seen.view.insert("output".into(), output);
                let error = fs::read_to_string(format!("{BASE}/err")).unwrap_or_default();
                seen.refused = (case.exec.is_none() && !error.is_empty()).then_some(("exec", error));
            }
        }
        for (name, value) in &mut seen.view {
            if name.starts_with("namespace ") {
                *value = self.host.names.get(value).cloned().unwrap_or("its own".into());
            }
        }
    }

    fn bury(&self, seen: &mut Seen) {
        self.command(&["delete", "--force", "c"]);
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        if Path::new(self.root).join("c").exists() {
            seen.left.push("state directory".into());
            let _ = remove(&Path::new(self.root).join("c"));
        }
        for (hierarchy, path) in self.host.groups("c") {
            seen.left.push(format!("cgroup of {hierarchy}"));
            let _ = fs::write(path.join("cgroup.kill"), "1");
            for pid in fs::read_to_string(path.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                let _ = lighter_sys::process::kill(pid.parse().unwrap_or(0), 9);
                let _ = waitpid(Pid::from_raw(pid.parse().unwrap_or(1)), WaitOptions::empty());
            }
            let _ = fs::remove_dir(path);
        }
    }

    fn command(&self, words: &[&str]) -> Done {
        let (out, err) = (format!("{BASE}/out"), format!("{BASE}/err"));
        let run = || -> io::Result<Option<i32>> {
            let mut command = Command::new(self.runtime.program);
            command.args(["--root", self.root]).args(words);
            command
                .stdin(Stdio::null())
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            // The container keeps writing to the files of `create`.
            if matches!(words.first(), Some(&"create" | &"exec")) {
                command.stdout(File::create(&out)?).stderr(File::create(&err)?);
            } else {
                command
                    .stdout(Stdio::null())
                    .stderr(File::create(format!("{err}-2"))?);
            }
            let mut child = command.spawn()?;
            let pidfd = lighter_sys::pidfd::open(i32::try_from(child.id()).unwrap_or(0))?;
            if !lighter_sys::pidfd::wait_exit(pidfd.as_fd(), Some(PATIENCE))? {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("timed out"));
            }
            Ok(child.wait()?.code())
        };
        let (code, told) = match run() {
            Ok(code) => (code, String::new()),
            Err(error) => (None, error.to_string()),
        };
        let file = if matches!(words.first(), Some(&"create" | &"exec")) {
            err
        } else {
            format!("{err}-2")
        };
        let words = told + fs::read_to_string(file).unwrap_or_default().trim();
        Done { code, words }
    }

    fn cgroup_files(&self, view: &mut View) {
        let mut hierarchies = Vec::new();
        for (hierarchy, path) in self.host.groups("c") {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if CGROUP_FILES.contains(&name.as_str()) || name.ends_with("limit_in_bytes") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_else(|error| error.to_string());
                    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
                    if name == "devices.list" {
                        lines.sort_unstable();
                    }
                    view.insert(format!("cgroup {name}"), lines.join("\n"));
                }
            }
            hierarchies.push(hierarchy);
        }
        view.insert("cgroup hierarchies".into(), hierarchies.join(" "));
    }
}

const CGROUP_FILES: [&str; 26] = [
    "memory.swappiness",
    "memory.oom_control",
    "memory.use_hierarchy",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.cfs_burst_us",
    "cpu.idle",
    "cpu.rt_runtime_us",
    "cpu.rt_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "devices.list",
    "blkio.weight",
    "blkio.bfq.weight",
    "blkio.leaf_weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
    "net_cls.classid",
    "net_prio.ifpriomap",
    "freezer.state",
    "notify_on_release",
    "cgroup.clone_children",
];

struct Done {
    code: Option<i32>,
    words: String,
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .map(|line| {
            let (entry, point) = probe::mount(line);
            format!("{point} {entry}")
        })
        .collect()
}

/// What the runtime and the process wrote into the root file system.
fn kept(dir: &Path, root: &Path, view: &mut View) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let mode = std::os::unix::fs::MetadataExt::mode(&meta);
        let (uid, gid) = (
            std::os::unix::fs::MetadataExt::uid(&meta),
            std::os::unix::fs::MetadataExt::gid(&meta),
        );
        view.insert(format!("kept {name}"), format!("{mode:o} {uid}:{gid}"));
        if meta.is_dir() {
            kept(&path, root, view);
        }
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A small root file system owned by `owner`.
fn template(root: &Path, owner: u32) -> io::Result<()> {
    for dir in [
        "bin", "data/sub", "dev", "etc", "mnt", "proc", "secret", "sys", "tmp",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy("/run/lt/bin/probe", root.join("bin/probe"))?;
    symlink("probe", root.join("bin/probe-link"))?;
    symlink("/data", root.join("link"))?;
    symlink("../../../../run/lt", root.join("out"))?;
    fs::write(root.join("bin/script"), "#!/bin/probe 4\n")?;
    fs::write(root.join("data/file"), "file\n")?;
    fs::write(root.join("data/sub/file"), "file\n")?;
    fs::write(root.join("etc/hosts"), "hosts\n")?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
    for (path, mode) in [
        ("bin/probe", 0o755),
        ("bin/script", 0o755),
        ("tmp", 0o1777),
        ("secret", 0o700),
        ("data/file", 0o640),
    ] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode))?;
    }
    own(root, owner)
}

fn own(path: &Path, owner: u32) -> io::Result<()> {
    lchown(path, Some(owner), Some(owner))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Removes what a process inside wrote into the shared files.
fn clean(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let known = ["data", "sub", "file", "null", "tree", "below"]
            .iter()
            .any(|name| entry.file_name() == *name);
        match (known, entry.file_type()?.is_dir()) {
            (true, true) => clean(&entry.path())?,
            (true, false) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn shared() -> io::Result<()> {
    let shared = Path::new(SHARED);
    fs::create_dir_all(shared.join("data/sub"))?;
    fs::write(shared.join("data/file"), "shared\n")?;
    fs::write(shared.join("file"), "shared\n")?;
    symlink("/dev/null", shared.join("null"))?;
    for dir in ["tree", "tree/below"] {
        let dir = shared.join(dir);
        fs::create_dir_all(&dir)?;
        rustix::mount::mount("tree", &dir, "tmpfs", MountFlags::NODEV, None)?;
    }
    Ok(())
}

/// A case as documents, for reports.
pub fn documents(case: &Case) -> Value {
    json!({"config": case.config(), "process": case.process()})
}
