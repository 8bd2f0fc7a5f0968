//! `create`: from a bundle to a process that waits for `start`.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lighter_cgroups::{Group, Resources, Version};
use lighter_stdx::atomic::Prepared;
use lighter_sys::descriptors::close_later;
use lighter_sys::{namespace as ns, process as p};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::attributes::{Attributes, Inherited};
use crate::config::{Hooks, Linux, Process, Spec};
use crate::error::{Context, Error, Result};
use crate::host_view::Before;
use crate::ids::{self, Maps};
use crate::init::{self, Birth};
use crate::namespaces::{self, Namespaces};
use crate::netdev;
use crate::notify::{Agent, Listened};
use crate::passed::Passed;
use crate::sources::Sources;
use crate::stage::Stage;
use crate::state::{FIFO, FILTER, Home, RECORD, Record, Status, process_times};
use crate::sync::{Channel, Said};
use crate::{attributes, caps, console, devices, group, hooks, identity, json, labels, log};

/// What `create` and `run` are asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) root: PathBuf,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) passed: Passed,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    /// The time now, RFC 3339.
    pub(crate) now: String,
    /// `PATH`, for the helpers of ordinary users.
    pub(crate) path: Option<String>,
    /// How its cgroup is made.
    pub(crate) driver: group::Driver,
    /// Whether `run` holds the terminal itself.
    pub(crate) foreground: bool,
    /// Whether it runs as soon as it is made (`run`): no `start` is waited for.
    pub(crate) at_once: bool,
}

/// Reads `config.json` of a bundle.
pub(crate) fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match json::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Config(format!(
                "JSON specification file {} not found",
                path.display()
            )));
        }
        result => result.on("read", &path)?,
    };
    json::parse(&path, &text)
}

pub(crate) fn validate(spec: &Spec, options: &Options) -> Result<()> {
    let refuse = |text: &str| Err(Error::Config(text.to_owned()));
    let Some(process) = &spec.process else {
        return refuse("process property must not be empty");
    };
    if process.args.is_empty() {
        return refuse("args must not be empty");
    }
    if !process.cwd.is_absolute() {
        return refuse("Cwd must be an absolute path");
    }
    if spec.root.is_none() {
        return refuse("root must be specified");
    }
    identity::check_user(&process.user)?;
    caps::check(process.capabilities.as_ref())?;
    labels::check(process)?;
    if let Some(hooks) = &spec.hooks {
        hooks::check(hooks)?;
    }
    if let Some(linux) = &spec.linux {
        labels::check_mounts(linux)?;
        devices::check(&linux.devices)?;
        if let Some(resources) = &linux.resources {
            devices::check_rules(&resources.devices)?;
        }
        if linux.intel_rdt.is_some() {
            return refuse(
                "linux.intelRdt: intelRdt is specified in config, but Intel RDT is not supported or enabled",
            );
        }
    }
    let has_socket = options.console_socket.is_some();
    if process.terminal && !has_socket && !options.foreground {
        return refuse("cannot allocate tty if runc will detach without setting console socket");
    }
    if !process.terminal && has_socket {
        return refuse("cannot use console socket if runc will not detach or allocate tty");
    }
    Ok(())
}

/// A created container, as `run` needs it.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) home: Home,
    pub(crate) record: Record,
    pub(crate) pidfd: Rc<OwnedFd>,
    /// Whether it waits for `start`.
    pub(crate) waits: bool,
}

/// Creates the container. On failure nothing of it is left: no process, cgroup, mount or directory.
pub(crate) fn create(options: &Options, spec: &Spec) -> Result<Created> {
    validate(spec, options)?;
    let home = Home::new(&options.root, &options.id)?;
    home.create()?;
    let mut made = Made::new(&home);
    let (record, pidfd) = made.whole(|made| made.build(options, spec))?;
    Ok(Created {
        home,
        record,
        pidfd,
        waits: !options.at_once,
    })
}

/// What must be undone when a later step fails.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    home: &'a Home,
    pub(crate) group: Option<Group>,
    pub(crate) child: Option<(i32, Rc<OwnedFd>)>,
    pid_file: Option<PathBuf>,
    /// What to bring back where the root was mounted.
    host_view: Option<(Before, PathBuf)>,
}

impl<'a> Made<'a> {
    /// Nothing yet but the container's directory.
    pub(crate) fn new(home: &'a Home) -> Self {
        Self {
            home,
            group: None,
            child: None,
            pid_file: None,
            host_view: None,
        }
    }

    /// Builds with the container's lock held; takes everything back when that fails.
    pub(crate) fn whole<T>(&mut self, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let lock = match self.home.lock() {
            Ok(lock) => lock,
            Err(error) => {
                self.undo();
                return Err(error);
            }
        };
        let built = build(self).and_then(|built| {
            lighter_sys::flock::release(&lock).on("unlock", &self.home.dir)?;
            close_later(lock.into());
            lighter_sys::descriptors::close_pending();
            Ok(built)
        });
        if built.is_err() {
            self.undo();
        }
        built
    }

    /// Takes everything back. Errors here are of no use to the caller, who wants to know why we gave up.
    fn undo(&mut self) {
        if let Some((pid, pidfd)) = self.child.take() {
            let _ = lighter_sys::pidfd::send_signal(pidfd.as_fd(), 9);
            let _ = rustix::process::waitpid(
                rustix::process::Pid::from_raw(pid),
                rustix::process::WaitOptions::empty(),
            );
        }
        if let Some((before, rootfs)) = &self.host_view {
            let _ = before.restore(rootfs);
        }
        if let Some(group) = &self.group {
            let _ = group.remove();
        }
        if let Some(path) = &self.pid_file {
            let _ = fs::remove_file(path);
        }
        let _ = self.home.remove();
    }

    fn build(&mut self, options: &Options, spec: &Spec) -> Result<(Record, Rc<OwnedFd>)> {
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let process = spec
            .process
            .as_ref()
            .ok_or(Error::Config("process property must not be empty".into()))?;
        identity::check_limits(&process.rlimits)?;
        caps::warn_of_unknown(process.capabilities.as_ref());
        attributes::warn_of_flags(linux);
        let inherited = Inherited::new(process, linux);
        let attributes = Attributes::new(process, &inherited, false)?;
        let mut namespaces = Namespaces::open(&linux.namespaces)?;
        check_namespaces(spec, linux, &namespaces)?;
        let net_devices = netdev::find(&linux.net_devices, &namespaces)?;
        if !net_devices.is_empty() {
            namespaces.early |= ns::NETWORK;
        }
        let user = namespaces.joined(ns::USER).map(|joined| &joined.file);
        let maps = Maps::of(linux, namespaces.new & ns::USER != 0, user)?;
        if ids::ordinary() && !namespaces.has(ns::USER) {
            return Err(Error::Config(
                "rootless container requires user namespaces".into(),
            ));
        }
        if let Some(maps) = &maps {
            maps.check_process(process)?;
        }
        let rootfs = rootfs_of(&options.bundle, spec)?;

        let version = group::version()?;
        let host_view = if namespaces.has(ns::MOUNT) {
            None
        } else {
            Some(Before::look(&rootfs)?)
        };
        self.host_view = host_view.map(|before| (before, rootfs.clone()));
        let mut record = self.record(options, spec, linux, &rootfs);
        record.inherited = inherited;
        record.no_new_keyring = options.no_new_keyring;
        record.host_view = host_view;
        let (mut compiled, mut agent) = (None, None);
        if let Some(profile) = &linux.seccomp
            && !profile.listener_path.is_empty()
        {
            // To know whether it has to do with an agent, who must be there before anything is made.
            let filter = lighter_seccomp::compile(profile).map_err(Error::Seccomp)?;
            agent = self.agent(options, profile, &filter, &mut record)?;
            compiled = Some(filter);
        }
        // What can be done beside the child, that makes namespaces meanwhile, is done after the fork: on v1 the group and all that
        // comes before it. On v2 the child is born into its group, and what it does to the mounts of others must be known before.
        let ahead = version == Version::V2 || host_view.is_some();
        let mut group = None;
        if ahead {
            group = Some(self.name(version, options, linux, &mut record)?);
        }

        let fifo = if options.at_once { None } else { Some(self.fifo()?) };
        let console = options
            .console_socket
            .as_deref()
            .map(console::connect)
            .transpose()?;
        let pidfd_socket = options
            .pidfd_socket
            .as_deref()
            .map(console::connect)
            .transpose()?;
        // A unit of systemd begins with a process.
        let early = group.as_ref().is_some_and(Group::takes_births);
        if let Some(group) = group.as_mut().filter(|_| early) {
            self.make_group(options, spec, linux, group, 0)?;
        }
        let inside = match &group {
            Some(group) if group.takes_births() => Some(group.directory()?),
            _ => None,
        };
        let (ours, theirs) = Channel::pair()?;
        let state = |status: &'static str, pid: i32| oci_state(&record, status, pid);
        let cgroup = inside.as_ref().map(AsFd::as_fd);
        let staged = Stage::is_needed(&namespaces, linux);
        let forked = if staged {
            Stage {
                namespaces: &namespaces,
                linux,
                process,
                cgroup,
            }
            .fork()?
        } else {
            let away = namespaces.join_for_children()?;
            if away {
                // The child is seen by who is there from its first moment (CVE-2016-9962).
                p::set_dumpable(false).doing("set dumpable")?;
            }
            let forked = p::fork(namespaces.at_birth(), cgroup).doing("clone")?;
            if away && matches!(forked, p::Fork::Parent { .. }) {
                namespaces::leave_for_children()?;
            }
            forked
        };
        let (pid, pidfd) = match forked {
            p::Fork::Child => {
                drop(ours);
                let birth = Birth {
                    spec,
                    linux,
                    process,
                    attributes: &attributes,
                    rootfs: &rootfs,
                    bundle: &options.bundle,
                    id: &options.id,
                    namespaces: &namespaces,
                    joined: staged,
                    devices: &net_devices,
                    cgroups: version,
                    helped: !staged
                        && !namespaces.has(ns::USER)
                        && net_devices.is_empty()
                        && linux.sysctl.is_empty()
                        && spec
                            .hooks
                            .as_ref()
                            .is_none_or(|hooks| hooks.create_container.is_empty()),
                    filtered: linux.seccomp.is_some(),
                    fifo: fifo.as_ref(),
                    console: console.as_ref(),
                    no_pivot: options.no_pivot,
                    no_new_keyring: options.no_new_keyring,
                    passed: options.passed,
                    state: &state,
                };
                init::run(&birth, theirs)
            }
            p::Fork::Parent { pid, pidfd } => (pid, Rc::new(pidfd)),
        };
        drop(theirs);
        log::debug(format_args!("process {pid} was made"));
        self.child = Some((pid, Rc::clone(&pidfd)));
        let mut group = match group {
            Some(group) => group,
            None => self.name(version, options, linux, &mut record)?,
        };
        // An ordinary user's may come to nothing, and is shown as it was meant.
        let shown = group.clone();
        if !early {
            self.make_group(options, spec, linux, &mut group, pid)?;
        }
        record.cgroup = group.paths().to_vec();
        if namespaces.new & ns::USER != 0 {
            if let Some(score) = process.oom_score_adj {
                identity::oom_score(pid, score)?;
            }
            if let Some(maps) = &maps {
                maps.write(pid, options.path.as_deref())?;
            }
        }
        log::debug(format_args!("cgroup {:?} was made", group.paths()));
        netdev::push(&net_devices, &namespaces, pid)?;
        let joins = group.joins()?;
        let borrowed: Vec<_> = joins.iter().map(AsFd::as_fd).collect();
        ours.go_into(&shown, &borrowed)?;
        lighter_sys::descriptors::close_all(joins);
        if let Some(profile) = &linux.seccomp {
            let filter = match compiled {
                Some(filter) => filter,
                None => lighter_seccomp::compile(profile).map_err(Error::Seccomp)?,
            };
            if agent.is_none() {
                agent = self.agent(options, profile, &filter, &mut record)?;
            }
            record.seccomp_flags = Some(filter.flags);
            ours.give_filter(&filter)?;
            self.save_filter(&filter)?;
        }
        record.pid = pid;
        record.started = process_times(pid).doing("read the process's start time")?.1;
        // Its place is empty until the child is ready: a container of which nobody knows whether it will be.
        let written = self.home.prepare(&record)?;
        let pid_file = match &options.pid_file {
            Some(path) => Some(Prepared::new(path, pid.to_string().as_bytes(), 0o644).on("write", path)?),
            None => None,
        };
        let state = |status: &'static str, pid: i32| oci_state(&record, status, pid);
        let listened = agent.as_ref().map(|(agent, socket)| Listened {
            socket,
            agent,
            record: &record,
            status: Status::Creating,
            pid,
            pidfd: pidfd.as_fd(),
        });
        loop {
            let said = ours.hear()?;
            let said = match &listened {
                Some(listened) => listened.hand_over(said)?,
                None => Some(said),
            };
            let Some(said) = said else { continue };
            match said {
                Said::Hooks => {
                    log::debug(format_args!("hooks are run"));
                    if let Some(hooks) = &spec.hooks {
                        run_hooks(hooks, &state("creating", pid), &options.bundle)?;
                    }
                    ours.go(&[])?;
                }
                Said::Source(index) => Sources {
                    mounts: &spec.mounts,
                    bundle: &options.bundle,
                    pid,
                    pidfd: &pidfd,
                    user: namespaces.has(ns::USER),
                }
                .serve(&ours, index)?,
                Said::Warning(text) => log::warn(format_args!("{text}")),
                Said::Ready => break,
                Said::Failed(text) => return Err(Error::Inside { init: true, text }),
                Said::Network(socket) => netdev::switch_on(&socket.into())?,
                Said::Gone | Said::Listener(_) | Said::ListenerAt(_) => {
                    return Err(Error::Inside {
                        init: true,
                        text: gone(&group),
                    });
                }
            }
        }
        if namespaces.has(ns::USER) {
            identity::limits(pid, &process.rlimits).map_err(|error| Error::Inside {
                init: true,
                text: lighter_stdx::error::chain(&error),
            })?;
        }
        log::debug(format_args!("process {pid} waits for start"));
        written.place().on("write", self.home.file(RECORD))?;
        if let Some(socket) = pidfd_socket {
            lighter_sys::fdpass::send(&socket, b"pidfd", &[pidfd.as_fd()]).doing("send the pidfd")?;
        }
        if let Some(file) = pid_file {
            let path = file.path().to_owned();
            file.place().on("write", &path)?;
            self.pid_file = Some(path);
        }
        ours.go(&[])?;
        ours.end();
        Ok((record, pidfd))
    }

    /// Names the group. From here on a runtime that is killed leaves a trace by which `delete` finds it.
    fn name(&self, version: Version, options: &Options, linux: &Linux, record: &mut Record) -> Result<Group> {
        let group = group::name(version, &options.driver, linux, &options.id)?;
        record.with_group(&group);
        self.home.save(record)?;
        Ok(group)
    }

    /// Connects to who is to be asked about calls, when the filter asks.
    fn agent(
        &self,
        options: &Options,
        profile: &lighter_seccomp::Profile,
        filter: &lighter_seccomp::Filter,
        record: &mut Record,
    ) -> Result<Option<(Agent, OwnedFd)>> {
        if !filter.has_listener() {
            return Ok(None);
        }
        let agent = Agent::new(profile, &options.bundle);
        let socket = agent.connect()?;
        record.seccomp_agent = Some(agent.clone());
        Ok(Some((agent, socket)))
    }

    /// Makes what `start` opens and the process waits at.
    fn fifo(&self) -> Result<fs::File> {
        let path = self.home.file(FIFO);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).on("make", &path)?;
        let fifo = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        fifo.map(fs::File::from).on("open", &path)
    }

    /// Makes the cgroup; `group` is then what there is. A group of others is not ours to remove when something fails.
    pub(crate) fn make_group(
        &mut self,
        options: &Options,
        spec: &Spec,
        linux: &Linux,
        group: &mut Group,
        pid: i32,
    ) -> Result<()> {
        match group::make(&options.driver, group, spec, linux, pid) {
            Ok(made) => *group = made,
            Err(error) => {
                let others = matches!(
                    error,
                    Error::Cgroup(lighter_cgroups::Error::NotEmpty(_) | lighter_cgroups::Error::Frozen)
                );
                self.group = Some(group.clone()).filter(|_| !others);
                return Err(error);
            }
        }
        self.group = Some(group.clone());
        Ok(())
    }

    pub(crate) fn record(&self, options: &Options, spec: &Spec, linux: &Linux, rootfs: &Path) -> Record {
        let hooks = spec.hooks.clone().unwrap_or_default();
        Record {
            oci_version: spec.oci_version.clone(),
            id: options.id.clone(),
            bundle: options.bundle.clone(),
            rootfs: rootfs.to_owned(),
            created: options.now.clone(),
            annotations: spec.annotations.clone(),
            resources: linux.resources.clone().map(|resources| Resources {
                devices: Vec::new(),
                ..resources
            }),
            namespaces: linux.namespaces.clone(),
            poststart: hooks.poststart,
            poststop: hooks.poststop,
            ..Record::default()
        }
    }

    /// Writes the pid file that was asked for.
    pub(crate) fn tell_pid(&mut self, options: &Options, pid: i32) -> Result<()> {
        if let Some(path) = &options.pid_file {
            write_pid_file(path, pid)?;
            self.pid_file = Some(path.clone());
        }
        Ok(())
    }

    pub(crate) fn save_filter(&self, filter: &lighter_seccomp::Filter) -> Result<()> {
        let path = self.home.file(FILTER);
        let write = || {
            let mut file = fs::File::create(&path)?;
            let written = file.write_all(&filter.to_bytes());
            close_later(file.into());
            written
        };
        write().on("write", &path)
    }
}

/// A child that died without a word: most often the memory limit is too low for even that.
fn gone(group: &Group) -> String {
    let killed = group.oom_kills().is_some_and(|kills| kills > 0);
    if killed {
        "container init was OOM-killed (memory limit too low?)".into()
    } else {
        "container init died before it was ready".into()
    }
}

pub(crate) fn oci_state(record: &Record, status: &'static str, pid: i32) -> Vec<u8> {
    let mut state = record.oci_state(crate::state::Status::Creating);
    (state.status, state.pid) = (status, pid);
    // Plain data: cannot fail.
    serde_json::to_vec(&state).unwrap_or_default()
}

pub(crate) fn run_hooks(list: &Hooks, state: &[u8], bundle: &Path) -> Result<()> {
    let around = hooks::Surroundings {
        directory: Some(bundle),
        ..hooks::Surroundings::default()
    };
    hooks::run("prestart", &list.prestart, state, around)?;
    hooks::run("createRuntime", &list.create_runtime, state, around)
}

/// Absolute, and there.
pub(crate) fn rootfs_of(bundle: &Path, spec: &Spec) -> Result<PathBuf> {
    let path = spec
        .root
        .as_ref()
        .map(|root| root.path.clone())
        .unwrap_or_default();
    let path = bundle.join(path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOTDIR) => {
            return Err(Error::Config(format!(
                "rootfs {} is not a directory",
                path.display()
            )));
        }
        result => result.on("look at rootfs", &path)?,
    };
    // The kernel knows the way without links: one call, whatever the depth.
    let real = rustix::fs::readlink(lighter_sys::mount::path_of(dir.as_fd()).as_c_str(), Vec::new());
    close_later(dir);
    match real {
        Ok(real) if real.as_bytes().starts_with(b"/") => {
            Ok(PathBuf::from(OsString::from_vec(real.into_bytes())))
        }
        _ => fs::canonicalize(&path).on("resolve rootfs", path),
    }
}

fn check_namespaces(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let refuse = |text: String| Err(Error::Config(text));
    if !linux.time_offsets.is_empty() {
        if !namespaces.has(ns::TIME) {
            return refuse(
                "time namespace offsets specified, but time namespace isn't enabled in the config".into(),
            );
        }
        if namespaces.joined(ns::TIME).is_some() {
            return refuse(
                "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one".into(),
            );
        }
    }
    for (name, what) in [(&spec.hostname, "hostname"), (&spec.domainname, "domainname")] {
        if !name.is_empty() && !namespaces.has(ns::UTS) {
            return refuse(format!("unable to set {what} without a private UTS namespace"));
        }
    }
    if !namespaces.has(ns::MOUNT) && (!linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty()) {
        return refuse("unable to restrict sys entries without a private MNT namespace".into());
    }
    namespaces.check_sysctls(linux.sysctl.keys())?;
    Ok(())
}

/// Whole or not there: the caller reads it when we are done, and it may be watched.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    lighter_stdx::atomic::write(
        path,
        pid.to_string().as_bytes(),
        0o644,
        lighter_stdx::atomic::Keep::Kill,
    )
    .on("write", path)
}

/// The process of `exec`, when the configuration's is wanted as a base.
pub(crate) fn process_of(bundle: &Path) -> Result<Process> {
    load(bundle)?
        .process
        .ok_or(Error::Config("process property must not be empty".into()))
}
