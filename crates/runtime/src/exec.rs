//! `exec`: one more process in a container that runs.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lighter_cgroups::{Group, Version};
use lighter_seccomp::Filter;
use lighter_sys::{exec::Strings, namespace as ns, process as p};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::config::Process;
use crate::create::{process_of, write_pid_file};
use crate::error::{Context, Error, Result};
use crate::notify::Listened;
use crate::passed::Passed;
use crate::state::{FILTER, Home, Record, Status};
use crate::sync::{Channel, Said};
use crate::{caps, console, identity, ids, json, labels, log, namespaces, program, stage};

/// What `exec` is asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) root: PathBuf,
    pub(crate) id: String,
    /// A process document; else the configuration's process with what follows.
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
    /// `uid[:gid]`.
    pub(crate) user: Option<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) caps: Vec<String>,
    pub(crate) no_new_privs: bool,
    pub(crate) tty: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) passed: Passed,
    pub(crate) apparmor: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) ignore_paused: bool,
    /// Groups below the container's to be in: `PATH` or `CONTROLLER,...:PATH`.
    pub(crate) cgroups: Vec<String>,
}

/// A process that was started, and is our child.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// The process document that the options mean.
pub(crate) fn process(options: &Options, record: &Record) -> Result<Process> {
    if let Some(path) = &options.process {
        let text = fs::read(path).on("read", path)?;
        let mut process = json::parse(path, &text)?;
        record.inherited.complete(&mut process);
        return Ok(process);
    }
    if options.args.is_empty() {
        return Err(Error::Usage("exec args cannot be empty".into()));
    }
    let mut process = process_of(&record.bundle)?;
    process.args.clone_from(&options.args);
    process.terminal = options.tty;
    process.env.extend(options.env.iter().cloned());
    process.no_new_privileges |= options.no_new_privs;
    if let Some(profile) = options.apparmor.as_ref().filter(|profile| !profile.is_empty()) {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = options.label.as_ref().filter(|label| !label.is_empty()) {
        process.selinux_label.clone_from(label);
    }
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = options.user.as_ref().filter(|user| !user.is_empty()) {
        let number = |what: &str, text: &str| {
            text.parse()
                .map_err(|error| Error::Usage(format!("bad {what}: {text:?}: {error}")))
        };
        let uid = match user.split_once(':') {
            Some((uid, gid)) => {
                process.user.gid = number("gid", gid)?;
                uid
            }
            None => user.as_str(),
        };
        process.user.uid = number("uid", uid)?;
    }
    process.user.additional_gids.extend(&options.additional_gids);
    if !options.caps.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(options.caps.iter().cloned());
        }
        // Ambient capabilities must be inheritable, which those of the command line are not made (CVE-2022-29162).
        if !sets.inheritable.is_empty() {
            sets.ambient.extend(options.caps.iter().cloned());
        }
    }
    Ok(process)
}

/// Refuses a document that no process can be made of.
pub(crate) fn validate(process: &Process) -> Result<()> {
    if process.args.is_empty() {
        return Err(Error::Config("process args cannot be empty".into()));
    }
    if !process.cwd.is_absolute() {
        return Err(Error::Config("Cwd must be an absolute path".into()));
    }
    labels::check(process)?;
    identity::check_user(&process.user)?;
    identity::check_limits(&process.rlimits)?;
    caps::check(process.capabilities.as_ref())
}

/// Starts the process. On failure nothing of it is left.
///
/// `ready` is called when the process has everything, its terminal sent too, and before it begins.
pub(crate) fn exec(
    options: &Options,
    home: &Home,
    record: &Record,
    process: &Process,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Started> {
    let status = home.status(record);
    match status {
        Status::Stopped => return Err(Error::State("cannot exec in a stopped container".into())),
        Status::Creating => {
            return Err(Error::State(
                "cannot exec in a container that is being created".into(),
            ));
        }
        Status::Paused if !options.ignore_paused => {
            return Err(Error::State(
                "cannot exec in a paused container (use --ignore-paused to override)".into(),
            ));
        }
        _ => {}
    }
    validate(process)?;
    caps::warn_of_unknown(process.capabilities.as_ref());
    let attributes = Attributes::new(process, &record.inherited, true)?;
    let init = lighter_sys::pidfd::open(record.pid).doing("open the container's process")?;
    if !record.is_alive() {
        return Err(Error::State("cannot exec in a stopped container".into()));
    }
    let mut kinds = 0;
    for namespace in &record.namespaces {
        kinds |= namespaces::kind(&namespace.kind)?;
    }
    let filter = match record.seccomp_flags {
        Some(flags) => {
            let path = home.file(FILTER);
            Some(Filter::from_bytes(&fs::read(&path).on("read", &path)?, flags))
        }
        None => None,
    };
    let agent = match (&record.seccomp_agent, &filter) {
        (Some(agent), Some(filter)) if filter.has_listener() => Some((agent, agent.connect()?)),
        _ => None,
    };
    let console = options
        .console_socket
        .as_deref()
        .map(console::connect)
        .transpose()?;
    if process.terminal && console.is_none() {
        return Err(Error::Config(
            "cannot allocate tty if runc will detach without setting console socket".into(),
        ));
    }
    let pidfd_socket = options
        .pidfd_socket
        .as_deref()
        .map(console::connect)
        .transpose()?;
    // Its root is its own while the mount namespace is the host's.
    let root = match record.host_view {
        None => None,
        Some(_) => {
            let path = format!("/proc/{}/root", record.pid);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some(rustix::fs::open(&path, flags, Mode::empty()).on("open", path)?)
        }
    };
    let group = record.group().below(&options.cgroups)?;
    let joins = group.joins()?;
    let birth = Birth {
        process,
        attributes: &attributes,
        init: init.as_fd(),
        kinds,
        joins: &joins,
        root: root.as_ref(),
        ordinary: ids::ordinary() && kinds & ns::USER != 0,
        status,
        filter: filter.as_ref(),
        console: console.as_ref(),
        passed: options.passed,
        keyring: (!record.no_new_keyring).then_some(&record.id),
    };

    let (ours, theirs) = Channel::pair()?;
    attributes.apply_initial()?;
    let exactly = !options.cgroups.is_empty();
    let directory = if group.version() == Version::V1 || group.paths().is_empty() {
        None
    } else {
        Some(group.directory()?)
    };
    let outside = Cell::new(false);
    // For a moment there are two, and the group may have place for none: moved there from outside it takes one all the same.
    let full = Cell::new(false);
    let fork = || {
        stage::twice(
            false,
            || {
                if full.get() {
                    return p::fork(0, None).doing("clone");
                }
                let (fork, inside) = fork_into(&group, directory.as_ref(), record, exactly)?;
                outside.set(!inside);
                Ok(fork)
            },
            |telling| birth.enter(telling, &theirs, full.get()),
        )
    };
    let forked = match fork() {
        Err(error) if is_full(&error) => {
            full.set(true);
            fork()?
        }
        result => result?,
    };
    let (pid, pidfd) = match forked {
        p::Fork::Child => {
            // Closed already.
            std::mem::forget(ours);
            birth.run(theirs)
        }
        p::Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(theirs);
    let started = Started { pid, pidfd };
    let listened = agent.as_ref().map(|(agent, socket)| Listened {
        socket,
        agent,
        record,
        status: Status::Running,
        pid,
        pidfd: started.pidfd.as_fd(),
    });
    let mut pid_file = None;
    let result = (|| {
        if full.get() {
            group.add(pid)?;
        } else if outside.get() {
            group.attach(pid)?;
        }
        loop {
            let said = ours.hear()?;
            let said = match &listened {
                Some(listened) => listened.hand_over(said)?,
                None => Some(said),
            };
            match said {
                None => {}
                Some(Said::Warning(text)) => log::warn(format_args!("{text}")),
                Some(Said::Ready) => break,
                Some(Said::Failed(text)) => return Err(Error::Inside { init: false, text }),
                Some(_) => {
                    return Err(Error::Inside {
                        init: false,
                        text: "process died before it was ready".into(),
                    });
                }
            }
        }
        ready()?;
        log::debug(format_args!("setns_init: about to exec"));
        if let Some(socket) = &pidfd_socket {
            lighter_sys::fdpass::send(socket, b"pidfd", &[started.pidfd.as_fd()]).doing("send the pidfd")?;
        }
        if let Some(path) = &options.pid_file {
            write_pid_file(path, pid)?;
            pid_file = Some(path);
        }
        ours.go(&[])
    })();
    if let Err(error) = result {
        let _ = lighter_sys::pidfd::send_signal(started.pidfd.as_fd(), 9);
        let _ = rustix::process::waitpid(
            rustix::process::Pid::from_raw(pid),
            rustix::process::WaitOptions::empty(),
        );
        if let Some(path) = pid_file {
            let _ = fs::remove_file(path);
        }
        return Err(error);
    }
    Ok(started)
}

/// Forks, into the group on v2. Whether it is inside: else it is to be attached. `exactly`: the user named the group.
fn fork_into(
    group: &Group,
    directory: Option<&OwnedFd>,
    record: &Record,
    exactly: bool,
) -> Result<(p::Fork, bool)> {
    let fork = |directory: Option<&OwnedFd>| p::fork(0, directory.map(AsFd::as_fd));
    let Some(directory) = directory else {
        return Ok((fork(None).doing("clone")?, true));
    };
    match fork(Some(directory)).map_err(|error| (Errno::from_io_error(&error), error)) {
        // The container has groups of its own below, so this one takes no process: where its first process is.
        Err((Some(Errno::BUSY), _)) if !exactly => {
            let path = PathBuf::from(format!("/proc/{}/cgroup", record.pid));
            let text = fs::read_to_string(&path).on("read", &path)?;
            let own = text
                .lines()
                .find_map(|line| line.strip_prefix("0::"))
                .unwrap_or("/");
            let path = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(&path, flags, Mode::empty()).on("open", &path)?;
            Ok((fork(Some(&directory)).doing("clone")?, true))
        }
        // An ordinary user may not move a process out of a group that is not his: systemd moves it.
        Err((Some(Errno::ACCESS | Errno::PERM), _)) if group.scope().is_some() && !exactly => {
            Ok((fork(None).doing("clone")?, false))
        }
        result => Ok((result.map_err(|(_, error)| error).doing("clone")?, true)),
    }
}

/// Whether a fork failed for the limit of processes.
fn is_full(error: &Error) -> bool {
    let source = match error {
        Error::Call { operation, source } if *operation == "clone" => source,
        // That of the process in between.
        Error::Fork { source, .. } => source,
        _ => return false,
    };
    source.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
}

/// Joins namespaces of a first process that may have been told to begin a moment ago.
///
/// Until it has executed its program it is not dumpable, and an ordinary user has no access to it (ptrace(2), "Ptrace
/// access mode checking"). `start` does not wait for that; this does, for two seconds at most.
fn join_begun(init: BorrowedFd<'_>, kinds: u32, status: Status) -> std::io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let begun = Instant::now();
    loop {
        match ns::join(init, kinds) {
            Err(error)
                if error.kind() == std::io::ErrorKind::PermissionDenied
                    && status == Status::Running
                    && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            joined => return joined,
        }
    }
}

/// What the processes between the runtime and the container need.
///
/// There are two. The first joins everything and closes what is not the container's; the second, its fork, is what the
/// container's processes can see from its first moment on: whoever of them may trace others, and has no user namespace, sees
/// its root, its working directory and its descriptors (CVE-2016-9962).
struct Birth<'a> {
    process: &'a Process,
    attributes: &'a Attributes,
    init: BorrowedFd<'a>,
    kinds: u32,
    joins: &'a [OwnedFd],
    /// To change to, where the mount namespace does not bring it.
    root: Option<&'a OwnedFd>,
    /// An ordinary user has power over the namespaces only in the user namespace, and joins all at once.
    ordinary: bool,
    /// The container's.
    status: Status,
    filter: Option<&'a Filter>,
    console: Option<&'a OwnedFd>,
    passed: Passed,
    /// Whose session keyring it joins.
    keyring: Option<&'a String>,
}

impl Birth<'_> {
    fn run(&self, channel: Channel) -> ! {
        match self.prepare(&channel) {
            Ok((path, arguments, environment)) => {
                // The runtime has left, or does so now: what remains is the process's own stderr.
                let text = match self.begin(&channel) {
                    Err(error) => lighter_stdx::error::chain(&error) + "\n",
                    // The runtime gave up, and says itself why.
                    Ok(false) => String::new(),
                    Ok(true) => {
                        let name = program::c_string(&path);
                        let error = lighter_sys::exec::exec(&name, &arguments, &environment);
                        format!("exec {}: {}\n", path.display(), program::words(error))
                    }
                };
                let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            }
            Err(error) => channel.say_failed(&lighter_stdx::error::chain(&error)),
        }
        p::exit_now(255)
    }

    /// In the first process, while `/proc` is the host's. `telling`, like `channel`, stays open. `outside`: the runtime moves
    /// the second into the cgroup.
    fn enter(&self, telling: BorrowedFd<'_>, channel: &Channel, outside: bool) -> Result<p::Fork> {
        let process = self.process;
        // In runc's words, as in `init`.
        log::debug(format_args!("nsexec container setup"));
        identity::reset_signals();
        if let Some(score) = process.oom_score_adj {
            identity::oom_score("self", score)?;
        }
        labels::apply(process)?;
        p::set_dumpable(false).doing("set dumpable")?;
        if !self.ordinary {
            self.join_keyring();
        }
        // Before the cgroup namespace, from inside of which the way into the cgroup is not to be seen.
        for tasks in self.joins.iter().filter(|_| !outside) {
            rustix::io::write(tasks, b"0").doing("join cgroup")?;
        }
        if self.ordinary {
            join_begun(self.init, self.kinds, self.status).doing("join namespaces")?;
            self.join_keyring();
        } else if self.kinds & !ns::USER != 0 {
            ns::join(self.init, self.kinds & !ns::USER).doing("join namespaces")?;
        }
        if let Some(root) = self.root {
            rustix::process::fchdir(root).doing("enter the container's root")?;
            rustix::process::chroot(".").doing("change to the container's root")?;
        }
        if self.kinds & ns::USER != 0 {
            identity::limits(0, &process.rlimits)?;
            if !self.ordinary {
                ns::join(self.init, ns::USER).doing("join the user namespace")?;
            }
        }
        log::debug(format_args!("child process in init()"));
        let mut kept = vec![telling, channel.as_fd()];
        kept.extend(self.console.map(AsFd::as_fd));
        lighter_sys::descriptors::close_all_but(3 + self.passed.all, &kept)
            .doing("close what is not the container's")?;
        p::fork_sibling(0, None).doing("clone")
    }

    fn join_keyring(&self) {
        if let Some(id) = self.keyring {
            // As in `init`; made readable for this by the first process.
            let _ = p::new_session_keyring(&program::c_string(format!("_ses.{id}")), false);
        }
    }

    /// In the second process. Nothing is logged from here on: the log is closed.
    fn prepare(&self, channel: &Channel) -> Result<(PathBuf, Strings, Strings)> {
        let process = self.process;
        let in_userns = self.kinds & ns::USER != 0;
        rustix::process::setsid().doing("start a session")?;
        if let (Some(socket), true) = (self.console, process.terminal) {
            console::set_up(socket.as_fd(), process.console_size, process.user.uid, false)?;
        }
        identity::own_stdio(process.user.uid, false);
        lighter_sys::descriptors::close_on_exec_from(3 + self.passed.all)
            .doing("mark descriptors close-on-exec")?;
        let environment = program::environment(&process.env, process.user.uid)?;
        identity::assume(process, self.attributes, self.filter, in_userns, channel)?;
        let path = program::find(&process.args[0], &environment)?;
        let strings = |list: &[String]| Strings::new(list.iter().map(program::c_string).collect());
        let ready = (path, strings(&process.args), strings(&environment));
        identity::filter_with_listener(process, self.filter, channel)?;
        channel.say_ready()?;
        Ok(ready)
    }

    /// Between the runtime's last word and the exec. False when that word does not come.
    fn begin(&self, channel: &Channel) -> Result<bool> {
        let wanted = channel.await_last_go()?;
        if wanted {
            identity::filter_late(self.process, self.filter)?;
        }
        Ok(wanted)
    }
}
