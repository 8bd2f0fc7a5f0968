//! The process that becomes the container's first: from the fork to the exec. One thread, a copy of the runtime's
//! memory, no way back.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lighter_cgroups::{Group, Version};
use lighter_seccomp::Filter;
use lighter_sys::{exec::Strings, namespace as ns, process as p};

use crate::attributes::Attributes;
use crate::config::{Linux, Process, Spec};
use crate::error::{Context, Error, Result};
use crate::mounts::Runtime;
use crate::namespaces::Namespaces;
use crate::netdev::{self, Moving};
use crate::passed::Passed;
use crate::rootfs::Rootfs;
use crate::sync::Channel;
use crate::{hooks, identity, labels, log, program};

/// Exit code of a process that failed where nobody listens any more, as runc's.
const LOST: i32 = 255;

/// What the runtime prepared for it.
pub(crate) struct Birth<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) linux: &'a Linux,
    pub(crate) process: &'a Process,
    pub(crate) attributes: &'a Attributes,
    pub(crate) rootfs: &'a Path,
    /// Relative sources of mounts are below it.
    pub(crate) bundle: &'a Path,
    pub(crate) id: &'a str,
    pub(crate) namespaces: &'a Namespaces,
    /// Whether those that are joined are so already.
    pub(crate) joined: bool,
    /// Network devices that come from the host.
    pub(crate) devices: &'a [Moving],
    /// The interface of cgroups that the machine has.
    pub(crate) cgroups: Version,
    /// Whether the runtime switches on the loopback: until the process is ready nobody here needs it.
    pub(crate) helped: bool,
    /// Whether the runtime sends a filter after the word to go on.
    pub(crate) filtered: bool,
    /// What `start` writes to; none when the runtime's last word is the start.
    pub(crate) fifo: Option<&'a File>,
    pub(crate) console: Option<&'a OwnedFd>,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) passed: Passed,
    /// The OCI state for hooks inside, with a place for the pid.
    pub(crate) state: &'a dyn Fn(&'static str, i32) -> Vec<u8>,
}

/// Goes all the way. Returns the error only to be told.
pub(crate) fn run(birth: &Birth<'_>, channel: Channel) -> ! {
    match prepare(birth, &channel) {
        Ok(ready) => {
            // Not closed: a listener may not even allow that. The exec does it.
            if let Some(error) = go(birth, &channel, ready) {
                let text = lighter_stdx::error::chain(&error) + "\n";
                // The runtime has left: what remains is the container's own stderr.
                let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            }
        }
        Err(error) => channel.say_failed(&lighter_stdx::error::chain(&error)),
    }
    p::exit_now(LOST)
}

/// A process that waits for `start`.
struct Ready {
    /// For hooks that have no environment of their own.
    variables: Vec<String>,
    filter: Option<Filter>,
    path: std::path::PathBuf,
    arguments: Strings,
    environment: Strings,
}

/// The runtime, while mounts are made.
struct Link<'a> {
    channel: &'a Channel,
    cgroup_namespace: bool,
    /// Since it is joined.
    group: Option<Group>,
    /// Whether a filter is still to come. It comes before any other answer.
    owed: bool,
    filter: Option<Filter>,
}

impl Link<'_> {
    /// Receives the filter, unless that is done.
    fn settle(&mut self) -> Result<()> {
        if std::mem::take(&mut self.owed) {
            self.filter = Some(self.channel.await_filter()?);
        }
        Ok(())
    }
}

impl Runtime for Link<'_> {
    fn join_cgroup(&mut self) -> Result<()> {
        if self.group.is_none() {
            let place = self.channel.await_place()?;
            for tasks in &place.joins {
                rustix::io::write(tasks, b"0").doing("join cgroup")?;
            }
            lighter_sys::descriptors::close_all(place.joins);
            self.group = Some(place.group);
            if self.cgroup_namespace {
                ns::unshare(ns::CGROUP).doing("unshare cgroup namespace")?;
            }
        }
        Ok(())
    }

    fn source(&mut self, index: usize) -> Result<OwnedFd> {
        self.settle()?;
        self.channel.ask_source(index)
    }

    fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }
}

fn prepare(birth: &Birth<'_>, channel: &Channel) -> Result<Ready> {
    let (spec, linux, process) = (birth.spec, birth.linux, birth.process);
    let new_user = birth.namespaces.new & ns::USER != 0;
    if !new_user {
        // Nobody of the container looks into this memory or behind /proc/PID/{exe,fd,cwd} of ours (CVE-2016-9962). In a
        // user namespace of our own nobody else is yet, and an ordinary user must be able to write our maps.
        p::set_dumpable(false).doing("set dumpable")?;
    }
    // The steps are named as runc's debug log names them, for those who look for its words.
    log::debug(format_args!("nsexec container setup"));
    rustix::process::setsid().doing("start a session")?;
    identity::reset_signals();
    // Of a PID namespace's first process signals without a handler are kept away: a container that is not started yet could
    // not be stopped by `kill`.
    p::end_on_sigterm().doing("handle SIGTERM")?;
    // Modes of nodes and mount points are meant as they are written.
    rustix::process::umask(rustix::fs::Mode::empty());
    if let Some(score) = process.oom_score_adj
        && !birth.namespaces.has(ns::USER)
    {
        identity::oom_score("self", score)?;
    }
    if !birth.no_new_keyring {
        // Kernels without keyrings, or filters around us, refuse: runc goes on too.
        let _ = p::new_session_keyring(&program::c_string(format!("_ses.{}", birth.id)), true);
    }
    let mut runtime = Link {
        channel,
        cgroup_namespace: birth.namespaces.new & ns::CGROUP != 0,
        group: None,
        owed: birth.filtered,
        filter: None,
    };
    if new_user {
        // The runtime maps ids before it says anything.
        runtime.join_cgroup()?;
    }
    if birth.namespaces.has(ns::USER) {
        identity::become_root(process)?;
    }
    birth.namespaces.make_here()?;
    if !birth.joined {
        birth.namespaces.join_here()?;
    }

    log::debug(format_args!("child process in init()"));
    if birth.namespaces.new & ns::NETWORK != 0 {
        if birth.helped {
            channel.say_network(netdev::here()?.as_fd())?;
        } else {
            netdev::loopback()?;
        }
    }
    // A mount namespace that is joined is given the root as a new one is, as runc does: whoever is in it sees that.
    let in_userns = birth.namespaces.has(ns::USER);
    let shared_view = !birth.namespaces.has(ns::MOUNT);
    {
        // Its descriptors go before all are closed.
        let mut root = Rootfs::prepare(spec, linux, birth.rootfs, in_userns, shared_view)?;
        root.mount_all(birth.cgroups, birth.bundle, &mut runtime)?;
        root.devices()?;
        runtime.join_cgroup()?;
        netdev::receive(birth.devices)?;
        run_hooks(birth, &mut runtime, &root)?;
        labels::apply(process)?;
        root.pivot(birth.no_pivot)?;
        if let Some(socket) = birth.console {
            crate::console::set_up(socket.as_fd(), process.console_size, process.user.uid, true)?;
        }
        make_cwd(&process.cwd)?;
        names(birth)?;
        crate::sysctl::set(&linux.sysctl)?;
        root.finish()?;
    }
    identity::own_stdio(process.user.uid, true);
    // Before the filter and the change of user, which may forbid either. Closed and not only marked: whoever waits for the
    // end of a pipe that our caller left open does not wait for `start`.
    let kept: Vec<_> = [
        birth.fifo.map(AsFd::as_fd),
        Some(channel.as_fd()),
        log::descriptor(),
    ]
    .into_iter()
    .flatten()
    .collect();
    lighter_sys::descriptors::close_all_but(3 + birth.passed.all, &kept).doing("close descriptors")?;
    let mut environment = program::environment(&process.env, process.user.uid)?;
    environment.extend(birth.passed.variables());
    runtime.settle()?;
    let filter = runtime.filter.take();
    identity::assume(
        process,
        birth.attributes,
        filter.as_ref(),
        birth.namespaces.has(ns::USER),
        channel,
    )?;
    let name = process
        .args
        .first()
        .ok_or_else(|| Error::Config("args must not be empty".into()))?;
    let path = program::find(name, &environment)?;
    let strings = |list: &[String]| Strings::new(list.iter().map(program::c_string).collect());
    let ready = Ready {
        path,
        arguments: strings(&process.args),
        environment: strings(&environment),
        variables: environment,
        filter,
    };
    identity::filter_with_listener(process, ready.filter.as_ref(), channel)?;
    log::debug(format_args!("init: closing the pipe to signal completion"));
    channel.say_ready()?;
    Ok(ready)
}

/// Waits for `start`, then becomes the user's program. `None`: the runtime gave up, and says itself why.
fn go(birth: &Birth<'_>, channel: &Channel, ready: Ready) -> Option<Error> {
    match channel.await_last_go() {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => return Some(error),
    }
    let result = (|| {
        while let Some(fifo) = birth.fifo {
            match rustix::io::read(fifo, &mut [0]) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    result.doing("wait for start")?;
                    break;
                }
            }
        }
        // Also for the hooks, as runc has it.
        identity::filter_late(birth.process, ready.filter.as_ref())?;
        if let Some(list) = birth
            .spec
            .hooks
            .as_ref()
            .map(|hooks| &hooks.start_container)
            .filter(|list| !list.is_empty())
        {
            let around = hooks::Surroundings {
                environment: &ready.variables,
                ..hooks::Surroundings::default()
            };
            hooks::run(
                "startContainer",
                list,
                &(birth.state)("created", own_pid()),
                around,
            )?;
        }
        Ok(())
    })();
    if let Err(error) = result {
        return Some(error);
    }
    let path = program::c_string(&ready.path);
    let error = lighter_sys::exec::exec(&path, &ready.arguments, &ready.environment);
    Some(Error::Config(format!(
        "exec {}: {}",
        ready.path.display(),
        program::words(error)
    )))
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn run_hooks(birth: &Birth<'_>, runtime: &mut Link<'_>, root: &Rootfs<'_>) -> Result<()> {
    let Some(list) = &birth.spec.hooks else {
        return Ok(());
    };
    if !list.prestart.is_empty() || !list.create_runtime.is_empty() {
        runtime.channel.say_hooks()?;
        runtime.settle()?;
        runtime.channel.await_go()?;
    }
    if !list.create_container.is_empty() {
        root.enter()?;
        hooks::run(
            "createContainer",
            &list.create_container,
            &(birth.state)("creating", own_pid()),
            hooks::Surroundings::default(),
        )?;
    }
    Ok(())
}

fn make_cwd(cwd: &Path) -> Result<()> {
    if cwd == Path::new("/") || cwd.as_os_str().is_empty() {
        return Ok(());
    }
    let root = lighter_safe_fs::Root::open(Path::new("/"))?;
    match root.create_dir_all(cwd, 0o755) {
        // A read-only or foreign file system: entering it says what is wrong.
        Err(_) => Ok(()),
        Ok(_) => Ok(()),
    }
}

fn names(birth: &Birth<'_>) -> Result<()> {
    if !birth.spec.hostname.is_empty() {
        rustix::system::sethostname(birth.spec.hostname.as_bytes()).doing("set hostname")?;
    }
    if !birth.spec.domainname.is_empty() {
        rustix::system::setdomainname(birth.spec.domainname.as_bytes()).doing("set domainname")?;
    }
    Ok(())
}
