//! A group: the same directory in every hierarchy.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::layout::MOUNTPOINT;
use crate::{Layout, Resources, Version, device, v1, v2};

/// What failed, on which file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A group's directory could not be made.
    #[error("create cgroup {}", path.display())]
    Create {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of a group could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file or directory of a group could not be read.
    #[error("read {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A limit asks for a controller that this machine lacks.
    #[error("no {controller} cgroup controller to set {file}")]
    NoController {
        /// Controller.
        controller: String,
        /// File that was to be written.
        file: String,
    },
    /// The device program of cgroup v2 was refused.
    #[error("control devices of {}", path.display())]
    Devices {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// A group of processes. The value is only names: nothing happens when it is dropped.
#[derive(Debug, Clone)]
pub struct Group {
    version: Version,
    /// Name of the hierarchy (`cpu,cpuacct`; empty for v2) and the directory in it.
    directories: Vec<(String, PathBuf)>,
}

impl Group {
    /// The group that `cgroups_path` names (see the OCI runtime spec's `linux.cgroupsPath`), for the container `id`.
    pub fn new(layout: &Layout, cgroups_path: &str, id: &str) -> io::Result<Self> {
        let paths = layout.directories(cgroups_path, id)?;
        Ok(Self {
            version: layout.version,
            directories: layout.hierarchies.iter().cloned().zip(paths).collect(),
        })
    }

    /// The group that [`Group::paths`] described.
    pub fn from_paths(version: Version, paths: Vec<(String, PathBuf)>) -> Self {
        Self {
            version,
            directories: paths,
        }
    }

    /// The hierarchies' names and the directories in them.
    pub fn paths(&self) -> &[(String, PathBuf)] {
        &self.directories
    }

    /// The interface in use.
    pub fn version(&self) -> Version {
        self.version
    }

    fn directory_of(&self, controller: &str) -> Option<&Path> {
        match self.version {
            Version::V2 => self.directories.first().map(|(_, path)| path.as_path()),
            Version::V1 => self
                .directories
                .iter()
                .find(|(name, _)| name.split(',').any(|part| part == controller))
                .map(|(_, path)| path.as_path()),
        }
    }

    /// Whether the group is there, in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories.iter().any(|(_, path)| path.exists())
    }

    /// Makes the directories, with those above that are missing.
    pub fn create(&self) -> Result<(), Error> {
        for (hierarchy, path) in &self.directories {
            self.create_in(hierarchy, path)?;
        }
        Ok(())
    }

    fn create_in(&self, hierarchy: &str, path: &Path) -> Result<(), Error> {
        let make = |path: &Path| match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        };
        let failed = |path: &Path, error: Errno| Error::Create {
            path: path.to_owned(),
            source: error.into(),
        };
        let needs_filling = self.version == Version::V2 || hierarchy.split(',').any(|part| part == "cpuset");
        if !needs_filling {
            match make(path) {
                Ok(_) => return Ok(()),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(path, error)),
            }
        }
        let root = Path::new(MOUNTPOINT).join(hierarchy);
        let mut here = root.clone();
        for part in path.strip_prefix(&root).unwrap_or(path).components() {
            if self.version == Version::V2 {
                enable_controllers(&here)?;
            }
            let above = here.clone();
            here.push(part);
            let made = make(&here).map_err(|error| failed(&here, error))?;
            if made && self.version == Version::V1 && needs_filling {
                inherit_cpuset(&above, &here)?;
            }
        }
        Ok(())
    }

    /// Puts `resources` in force.
    pub fn apply(&self, resources: &Resources) -> Result<(), Error> {
        self.apply_devices(resources)?;
        self.apply_limits(resources, false)
    }

    /// Changes the limits that are present in `resources`, not the device rules, of a group with processes.
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        let wished = resources
            .memory
            .as_ref()
            .and_then(|memory| memory.limit)
            .unwrap_or(0);
        let old_swap = self
            .directory_of("memory")
            .and_then(|dir| fs::read_to_string(dir.join("memory.memsw.limit_in_bytes")).ok())
            .and_then(|text| text.trim().parse::<i64>().ok());
        let raise = old_swap.is_some_and(|old| wished == -1 || wished > old);
        self.apply_limits(resources, raise)
    }

    fn apply_limits(&self, resources: &Resources, raise: bool) -> Result<(), Error> {
        match self.version {
            Version::V1 => {
                for (controller, file, value) in v1::plan(resources, raise) {
                    let dir = self.directory_of(controller).ok_or_else(|| Error::NoController {
                        controller: controller.to_owned(),
                        file: file.clone(),
                    })?;
                    write_first(dir, &file, &value)?;
                }
            }
            Version::V2 => {
                let dir = self.directory_of("").unwrap_or(Path::new(MOUNTPOINT));
                for (file, value) in v2::plan(resources) {
                    match write_first(dir, &file, &value) {
                        // The file is not there because the controller is not enabled: say that.
                        Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                            // A kernel without swap accounting has no file to say "no swap" to.
                            if file == "memory.swap.max" && matches!(value.as_str(), "0" | "max") {
                                continue;
                            }
                            let controller = file.split('.').next().unwrap_or_default().to_owned();
                            return Err(Error::NoController { controller, file });
                        }
                        result => result?,
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_devices(&self, resources: &Resources) -> Result<(), Error> {
        if resources.devices.is_empty() {
            return Ok(());
        }
        let rules = device::effective(&resources.devices);
        let Some(dir) = self.directory_of("devices") else {
            return Err(Error::NoController {
                controller: "devices".into(),
                file: "devices.allow".into(),
            });
        };
        match self.version {
            Version::V1 => {
                let open = |name: &str| open_file(&dir.join(name));
                let (mut allow, mut deny) = (None, None);
                for rule in &rules {
                    let (slot, name) = if rule.allow {
                        (&mut allow, "devices.allow")
                    } else {
                        (&mut deny, "devices.deny")
                    };
                    for line in rule.lines() {
                        if slot.is_none() {
                            *slot = Some(open(name).map_err(|source| Error::Write {
                                path: dir.join(name),
                                value: line.clone(),
                                source,
                            })?);
                        }
                        if let Some(file) = slot.as_mut() {
                            file.write_all(line.as_bytes()).map_err(|source| Error::Write {
                                path: dir.join(name),
                                value: line,
                                source,
                            })?;
                        }
                    }
                }
                Ok(())
            }
            Version::V2 => {
                let failed = |source| Error::Devices {
                    path: dir.to_owned(),
                    source,
                };
                let group = self.directory()?;
                let program =
                    lighter_sys::bpf::load_device_program(&device::program(&rules)).map_err(failed)?;
                let old = lighter_sys::bpf::device_programs(group.as_fd()).map_err(failed)?;
                lighter_sys::bpf::attach_device_program(group.as_fd(), program.as_fd()).map_err(failed)?;
                for old in old {
                    lighter_sys::bpf::detach_device_program(group.as_fd(), old.as_fd()).map_err(failed)?;
                }
                Ok(())
            }
        }
    }

    /// The directory of the (first) hierarchy, for `CLONE_INTO_CGROUP` on v2.
    pub fn directory(&self) -> Result<OwnedFd, Error> {
        let path = self
            .directories
            .first()
            .map(|(_, path)| path.clone())
            .unwrap_or_default();
        rustix::fs::open(
            &path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| Error::Read {
            path,
            source: error.into(),
        })
    }

    /// The files to which a process with one thread writes `0` to join: one a hierarchy on v1, none on v2.
    pub fn joins(&self) -> Result<Vec<OwnedFd>, Error> {
        if self.version == Version::V2 {
            return Ok(Vec::new());
        }
        self.directories
            .iter()
            .map(|(_, path)| {
                let path = path.join("tasks");
                rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
                    Error::Create {
                        path,
                        source: error.into(),
                    }
                })
            })
            .collect()
    }

    /// Moves a process into the group. Slow on v1, where the kernel waits for every processor: [`Group::joins`] is not.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        for (_, path) in &self.directories {
            write(&path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The directory by which the processes are frozen, when there is one.
    pub fn freezer_directory(&self) -> Option<&Path> {
        self.directory_of("freezer")
    }

    /// The processes in the group and in those below it.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        // Every hierarchy has the same: any that is there will do.
        let dir = ["pids", "devices", "memory", "freezer"]
            .iter()
            .find_map(|c| self.directory_of(c));
        let Some(dir) = dir.or(self.directories.first().map(|(_, path)| path.as_path())) else {
            return Ok(Vec::new());
        };
        let mut pids = Vec::new();
        each_below(dir, &mut |dir| {
            let path = dir.join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(error) if gone(&error) => {}
                // A threaded group: its processes are listed above it.
                Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
                Err(source) => return Err(Error::Read { path, source }),
            }
            Ok(())
        })?;
        Ok(pids)
    }

    /// How many processes the OOM killer took, when the kernel counts.
    pub fn oom_kills(&self) -> Option<u64> {
        let (controller, file) = match self.version {
            Version::V1 => ("memory", "memory.oom_control"),
            Version::V2 => ("", "memory.events"),
        };
        let text = fs::read_to_string(self.directory_of(controller)?.join(file)).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }

    /// Stops or continues all processes of the group, and waits until they are.
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let (file, value) = self.freezer(frozen)?;
        write(&file, value)?;
        for attempt in 0u32..2000 {
            if self.is_frozen()? == frozen {
                return Ok(());
            }
            if self.version == Version::V1 && frozen && attempt % 50 == 49 {
                // A v1 freezer can miss a task that forks meanwhile: thaw for a moment, ask again.
                write(&file, "THAWED")?;
                write(&file, value)?;
            }
            std::thread::sleep(Duration::from_micros(if attempt < 20 { 50 } else { 1000 }));
        }
        Err(Error::Write {
            path: file,
            value: value.to_owned(),
            source: io::ErrorKind::TimedOut.into(),
        })
    }

    fn freezer(&self, frozen: bool) -> Result<(PathBuf, &'static str), Error> {
        let (controller, file, on, off) = match self.version {
            Version::V1 => ("freezer", "freezer.state", "FROZEN", "THAWED"),
            Version::V2 => ("", "cgroup.freeze", "1", "0"),
        };
        let dir = self.directory_of(controller).ok_or_else(|| Error::NoController {
            controller: controller.into(),
            file: file.into(),
        })?;
        Ok((dir.join(file), if frozen { on } else { off }))
    }

    /// Whether all processes are stopped. False also when the group is gone.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let Ok((mut file, _)) = self.freezer(true) else {
            return Ok(false);
        };
        if self.version == Version::V2 {
            file.set_file_name("cgroup.events");
        }
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim() == "FROZEN" || text.lines().any(|line| line == "frozen 1")),
            Err(error) if gone(&error) => Ok(false),
            Err(source) => Err(Error::Read { path: file, source }),
        }
    }

    /// Whether somebody asked for the processes to be stopped: cheaper than [`Group::is_frozen`], true also while they
    /// are being stopped.
    pub fn wants_frozen(&self) -> bool {
        let Ok((file, _)) = self.freezer(true) else {
            return false;
        };
        fs::read_to_string(file).is_ok_and(|text| matches!(text.trim(), "FROZEN" | "FREEZING" | "1"))
    }

    /// Sends `signal` to every process of the group and of those below it. SIGKILL leaves no new child behind and also
    /// reaches frozen processes.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        const SIGKILL: i32 = 9;
        if signal == SIGKILL && self.version == Version::V2 {
            let path = self
                .directory_of("")
                .unwrap_or(Path::new(MOUNTPOINT))
                .join("cgroup.kill");
            match write(&path, "1") {
                // Before Linux 5.14: one by one, below.
                Err(Error::Write { source, .. }) if gone(&source) => {}
                result => return result,
            }
        }
        // Frozen, they cannot fork while we look. No freezer: kill until nobody is left.
        let thaw = signal == SIGKILL && self.freeze(true).is_ok();
        let result = self.processes().map(|pids| {
            for pid in pids {
                // It may be gone already.
                let _ = lighter_sys::process::kill(pid, signal);
            }
        });
        if thaw || (signal == SIGKILL && self.wants_frozen()) {
            // The group may be gone already.
            let _ = self.freeze(false);
        }
        result
    }

    /// Removes the directories, with those below. A group that is not there is fine. Waits a little for processes that
    /// are dying. Goes on after an error and reports the first.
    pub fn remove(&self) -> Result<(), Error> {
        let mut first = None;
        for (_, path) in &self.directories {
            if let Err(error) = remove_tree(path) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn gone(error: &io::Error) -> bool {
    // ENODEV: the directory was removed between open and read.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    let mut wait = Duration::from_micros(200);
    loop {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if wait > Duration::from_millis(500) => {
                return Err(Error::Remove {
                    path: path.to_owned(),
                    source: Errno::BUSY.into(),
                });
            }
            Err(Errno::BUSY) => {
                let children = fs::read_dir(path).map(|entries| {
                    entries
                        .flatten()
                        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                        .collect::<Vec<_>>()
                });
                for child in children.unwrap_or_default() {
                    remove_tree(&child.path())?;
                }
                if rustix::fs::rmdir(path).is_ok() {
                    return Ok(());
                }
                // A killed process leaves its group only when it has been torn down.
                std::thread::sleep(wait);
                wait *= 2;
            }
            Err(error) => {
                return Err(Error::Remove {
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
        }
    }
}

fn each_below(dir: &Path, visit: &mut impl FnMut(&Path) -> Result<(), Error>) -> Result<(), Error> {
    visit(dir)?;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_below(&entry.path(), visit)?;
        }
    }
    Ok(())
}

/// Lets the groups below `dir` have all controllers that `dir` has.
fn enable_controllers(dir: &Path) -> Result<(), Error> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let enabled = read("cgroup.subtree_control");
    let missing: Vec<String> = read("cgroup.controllers")
        .split_whitespace()
        .filter(|name| !enabled.split_whitespace().any(|other| other == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let path = dir.join("cgroup.subtree_control");
    if write(&path, &missing.join(" ")).is_err() {
        // One that cannot be had (a busy cpu controller with real-time tasks) must not cost the others; a limit that
        // needs it says so later.
        for name in &missing {
            let _ = write(&path, name);
        }
    }
    Ok(())
}

/// A new v1 cpuset is empty and takes no process: it starts with what the one above has.
fn inherit_cpuset(above: &Path, here: &Path) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = above.join(name);
        let value = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        write(&here.join(name), value.trim())?;
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    open_file(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| Error::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source,
        })
}

/// Writes to the first of the names (separated by `|`) that is there.
fn write_first(dir: &Path, names: &str, value: &str) -> Result<(), Error> {
    let mut result = Ok(());
    for name in names.split('|') {
        result = write(&dir.join(name), value);
        match &result {
            Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            _ => return result,
        }
    }
    result
}
