//! A group: the same directory in every hierarchy.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::files::Files;
use crate::layout::MOUNTPOINT;
use crate::systemd::{Bus, Scope};
use crate::{Error, Layout, Resources, Version};

/// A group of processes. The value is only names: nothing happens when it is dropped.
#[derive(Debug, Clone)]
pub struct Group {
    version: Version,
    /// Name of the hierarchy (`cpu,cpuacct`; empty for v2) and the directory in it. Empty: no group at all.
    directories: Vec<(String, PathBuf)>,
    /// The unit that it belongs to, with the systemd driver.
    pub(crate) scope: Option<Scope>,
    /// Whether who asks may be refused device control.
    pub(crate) rootless: bool,
}

impl Group {
    /// The group that `cgroups_path` names (see the OCI runtime spec's `linux.cgroupsPath`), for the container `id`.
    pub fn new(layout: &Layout, cgroups_path: &str, id: &str) -> Result<Self, Error> {
        let paths = layout.directories(cgroups_path, id).map_err(Error::Look)?;
        let paths = layout.hierarchies.iter().cloned().zip(paths).collect();
        Ok(Self::from_paths(layout.version, paths, None))
    }

    /// The group of the systemd unit that `cgroups_path` (`slice:prefix:name`) names. It is there after
    /// [`Group::start`].
    pub fn of_unit(layout: &Layout, cgroups_path: &str, id: &str, bus: Bus) -> Result<Self, Error> {
        let user = matches!(bus, Bus::User(_));
        let failed = |source| Error::Systemd {
            operation: "name",
            unit: id.to_owned(),
            source,
        };
        if user && layout.version == Version::V1 {
            return Err(Error::Driver(crate::systemd::Error::Rootless));
        }
        let scope = Scope::new(cgroups_path, id, bus).map_err(Error::Driver)?;
        let path = scope.path().map_err(failed)?;
        let directory = |name: &String| (name.clone(), Path::new(MOUNTPOINT).join(name).join(&path));
        let paths = layout.hierarchies.iter().map(directory).collect();
        Ok(Self::from_paths(layout.version, paths, Some(scope)))
    }

    /// The group that [`Group::paths`] and [`Group::scope`] described.
    pub fn from_paths(version: Version, paths: Vec<(String, PathBuf)>, scope: Option<Scope>) -> Self {
        Self {
            version,
            directories: paths,
            scope,
            rootless: false,
        }
    }

    /// No group: for an ordinary user who has none. Processes stay where they are, limits are refused.
    #[must_use]
    pub fn without_directories(&self) -> Self {
        Self::from_paths(self.version, Vec::new(), None)
    }

    /// The same, made for somebody who may not control devices: that is no failure then.
    #[must_use]
    pub fn rootless(self, rootless: bool) -> Self {
        Self { rootless, ..self }
    }

    /// The group `path` below this one; with `CONTROLLER,...:PATH` only for those hierarchies, the others stay.
    pub fn below(&self, paths: &[String]) -> Result<Self, Error> {
        let mut below = self.clone();
        for path in paths {
            let (controllers, sub) = match path.split_once(':') {
                Some((controllers, sub)) => (Some(controllers), sub),
                None => (None, path.as_str()),
            };
            let leaves = Path::new(sub)
                .components()
                .any(|part| !matches!(part, Component::Normal(_) | Component::RootDir));
            if leaves {
                return Err(Error::SubGroup(format!(
                    "bad sub cgroup path: {sub} leads out of the container's cgroup"
                )));
            }
            let sub = sub.trim_start_matches('/');
            let Some(controllers) = controllers else {
                below.directories.iter_mut().for_each(|(_, path)| path.push(sub));
                continue;
            };
            for controller in controllers.split(',') {
                let known = below.directories.iter_mut().find(|(name, _)| {
                    self.version == Version::V1 && name.split(',').any(|part| part == controller)
                });
                let (_, path) = known.ok_or_else(|| {
                    Error::SubGroup(format!("unknown controller {controller} in SubCgroupPaths"))
                })?;
                path.push(sub);
            }
        }
        Ok(below)
    }

    /// The hierarchies' names and the directories in them.
    pub fn paths(&self) -> &[(String, PathBuf)] {
        &self.directories
    }

    /// The systemd unit that it belongs to.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// The interface in use.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a process can be born inside, before anything else is known of it.
    pub fn takes_births(&self) -> bool {
        self.version == Version::V2 && self.scope.is_none() && !self.directories.is_empty()
    }

    pub(crate) fn directory_of(&self, controller: &str) -> Option<&Path> {
        match self.version {
            Version::V2 => self.directories.first().map(|(_, path)| path.as_path()),
            Version::V1 => self
                .directories
                .iter()
                .find(|(name, _)| name.split(',').any(|part| part == controller))
                .map(|(_, path)| path.as_path()),
        }
    }

    pub(crate) fn systemd(&self, operation: &'static str, source: crate::systemd::Error) -> Error {
        Error::Systemd {
            operation,
            unit: self
                .scope
                .as_ref()
                .map(|scope| scope.unit().to_owned())
                .unwrap_or_default(),
            source,
        }
    }

    /// Whether the group is there, in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories.iter().any(|(_, path)| path.exists())
    }

    /// Has systemd start the unit with the process `pid` in it, and waits until it has. Nothing without a unit.
    pub fn start(
        &self,
        pid: i32,
        resources: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        match &self.scope {
            Some(scope) => scope
                .start(pid, self.version, resources, annotations)
                .map_err(|source| self.systemd("start", source)),
            None => Ok(()),
        }
    }

    /// Makes the directories, with those above that are missing. One that is there must be empty of processes and not
    /// frozen (that of a unit is the unit's). When it fails, what it made is gone again.
    pub fn create(&self) -> Result<(), Error> {
        let mut made = Vec::new();
        let result = self.create_all(&mut made);
        if result.is_err() {
            for path in made.iter().rev() {
                // The error above is the one to tell.
                let _ = rustix::fs::rmdir(path);
            }
        }
        result
    }

    fn create_all(&self, made: &mut Vec<PathBuf>) -> Result<(), Error> {
        let mut was_there = false;
        let mut files = Files::default();
        for (hierarchy, path) in &self.directories {
            self.create_in(hierarchy, path, made, &mut files)?;
            was_there |= made.last() != Some(path);
        }
        if was_there && self.scope.is_none() {
            let count = self.processes()?.len();
            if count != 0 {
                return Err(Error::NotEmpty(count));
            }
            if self.wants_frozen() {
                return Err(Error::Frozen);
            }
        }
        Ok(())
    }

    fn create_in(
        &self,
        hierarchy: &str,
        path: &Path,
        made: &mut Vec<PathBuf>,
        files: &mut Files,
    ) -> Result<(), Error> {
        // Whether it is new.
        let mut make = |path: &Path| match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(path.to_owned());
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        };
        let failed = |path: &Path, error: Errno| Error::Create {
            path: path.to_owned(),
            source: error.into(),
        };
        let cpuset = self.version == Version::V1 && hierarchy.split(',').any(|part| part == "cpuset");
        if self.version == Version::V1 {
            match make(path) {
                Ok(new) if cpuset => return fill_cpuset(path, new, files).map(drop),
                Ok(_) => return Ok(()),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(path, error)),
            }
        }
        let root = Path::new(MOUNTPOINT).join(hierarchy);
        let mut here = root.clone();
        for part in path.strip_prefix(&root).unwrap_or(path).components() {
            if self.version == Version::V2 {
                enable_controllers(&here);
            }
            here.push(part);
            match make(&here) {
                // An ordinary user may enter what he may not read: the last one decides.
                Ok(_) => {}
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if here != path && here.is_dir() => {}
                Err(error) => return Err(failed(&here, error)),
            }
        }
        if cpuset {
            fill_cpuset(path, false, files)?;
        }
        Ok(())
    }

    /// Gives the directory, and the files in it by which a group is used, to `uid`: the container's own root may then
    /// make groups below, and move its processes. v2 only, where the kernel holds that for safe.
    ///
    //= https://docs.kernel.org/admin-guide/cgroup-v2.html#model-of-delegation
    pub fn give_to(&self, uid: u32) -> Result<(), Error> {
        let Some(dir) = self.directory_of("").filter(|_| self.version == Version::V2) else {
            return Ok(());
        };
        let names = fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        for name in std::iter::once("").chain(names.lines()) {
            let path = if name.is_empty() {
                dir.to_owned()
            } else {
                dir.join(name)
            };
            match std::os::unix::fs::chown(&path, Some(uid), None) {
                // Each kernel has some of them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|source| Error::Owner { path, source })?,
            }
        }
        Ok(())
    }

    /// Has systemd move the process into the unit, for a user who may not do it himself.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        match &self.scope {
            Some(scope) => scope
                .attach(pid)
                .map_err(|source| self.systemd("attach to", source)),
            None => Ok(()),
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
        if let Some(scope) = &self.scope
            && let Err(source) = scope.stop()
        {
            first = Some(self.systemd("stop", source));
        }
        for (_, path) in &self.directories {
            if let Err(error) = remove_tree(path) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }
}

pub(crate) fn gone(error: &io::Error) -> bool {
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

/// Lets the groups below `dir` have all controllers that `dir` has, as far as that can be had: a limit that needs one
/// says later that it is missing.
fn enable_controllers(dir: &Path) {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let enabled = read("cgroup.subtree_control");
    let missing: Vec<String> = read("cgroup.controllers")
        .split_whitespace()
        .filter(|name| !enabled.split_whitespace().any(|other| other == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return;
    }
    let path = dir.join("cgroup.subtree_control");
    if write(&path, &missing.join(" ")).is_err() {
        // One that cannot be had (a busy cpu controller with real-time tasks) must not cost the others.
        for name in &missing {
            let _ = write(&path, name);
        }
    }
}

/// A new v1 cpuset is empty and takes no process: it starts with what the one above has, which may be as new.
/// `new`: it was made a moment ago, there is nothing in it to read.
fn fill_cpuset(dir: &Path, new: bool, files: &mut Files) -> Result<[String; 2], Error> {
    let mut values = ["cpuset.cpus", "cpuset.mems"].map(|name| (name, String::new()));
    if !new {
        for (name, value) in &mut values {
            *value = files.read(&dir.join(name))?;
        }
    }
    if values.iter().any(|(_, value)| value.is_empty())
        && let Some(above) = dir.parent().filter(|above| above.starts_with(MOUNTPOINT))
    {
        let above = fill_cpuset(above, false, files)?;
        for ((name, value), above) in values.iter_mut().zip(above) {
            if value.is_empty() {
                files.write(&dir.join(name), &above)?;
                *value = above;
            }
        }
    }
    Ok(values.map(|(_, value)| value))
}

pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    open_file(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| Error::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source,
        })
}

/// The number that a file holds; `max` is the largest.
pub(crate) fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}
