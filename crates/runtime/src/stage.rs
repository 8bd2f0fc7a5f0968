//! Namespaces that a single fork cannot give. A user namespace that is joined must be joined before those that it shall
//! own are made; clocks can be set off only before the first process has them; and a PID namespace concerns children. So
//! a process in between takes these steps, and its own fork is the container's first process: a sibling of it, so that the
//! runtime is its parent.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use lighter_sys::{fdpass, namespace as ns, process as p};
use rustix::io::Errno;

use crate::config::{Linux, Process};
use crate::error::{Context, Error, Result};
use crate::identity;
use crate::namespaces::{Joined, Namespaces};

const OFFSETS: &str = "/proc/self/timens_offsets";

/// What the process in between does.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) linux: &'a Linux,
    pub(crate) process: &'a Process,
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

impl Stage<'_> {
    /// Whether the namespaces need one.
    pub(crate) fn is_needed(namespaces: &Namespaces, linux: &Linux) -> bool {
        namespaces.joined(ns::USER).is_some()
            || (namespaces.new & ns::USER != 0 && !namespaces.joined.is_empty())
            || (namespaces.new & ns::TIME != 0 && !linux.time_offsets.is_empty())
    }

    /// Forks twice. In the child all namespaces are joined and made; the caller's own are as they were.
    pub(crate) fn fork(&self) -> Result<p::Fork> {
        twice(true, || p::fork(0, None).doing("clone"), |_| self.enter())
    }

    fn enter(&self) -> Result<p::Fork> {
        let joined = &self.namespaces.joined;
        let user = self.namespaces.joined(ns::USER);
        let mut kinds = self.namespaces.at_birth();
        let set_off = kinds & ns::TIME != 0 && !self.linux.time_offsets.is_empty();
        // While it is ours to open: with the rights of who opens it, it is also written.
        let offsets = match set_off {
            true => Some(OpenOptions::new().write(true).open(OFFSETS).on("open", OFFSETS)?),
            false => None,
        };
        if user.is_some() {
            if let Some(score) = self.process.oom_score_adj {
                identity::oom_score("self", score)?;
            }
            // Who is in that namespace already must not look into us (CVE-2016-9962).
            p::set_dumpable(false).doing("set dumpable")?;
        }
        // The others first, with the power that we have on the host: the user namespace need not own them. What only its
        // owner may join is joined after it.
        let mut refused: Vec<&Joined> = Vec::new();
        let order = |mount: bool| {
            joined
                .iter()
                .filter(move |joined| joined.kind != ns::USER && (joined.kind == ns::MOUNT) == mount)
        };
        for other in order(false).chain(order(true)) {
            match other.join() {
                Err(Error::Path { source, .. })
                    if user.is_some() && source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
                {
                    refused.push(other);
                }
                result => result?,
            }
        }
        if let Some(user) = user {
            user.join()?;
        } else if set_off && kinds & ns::USER != 0 {
            // It is to own the clocks.
            ns::unshare(ns::USER).doing("unshare user namespace")?;
            kinds &= !ns::USER;
        }
        for other in refused {
            other.join()?;
        }
        if let Some(mut file) = offsets {
            ns::unshare(ns::TIME).doing("unshare time namespace")?;
            kinds &= !ns::TIME;
            for (clock, offset) in &self.linux.time_offsets {
                let line = format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
                file.write_all(line.as_bytes()).map_err(|source| {
                    Error::Config(format!(
                        "linux.timeOffsets.{clock}: {} seconds: {}",
                        offset.secs,
                        crate::program::words(source)
                    ))
                })?;
            }
        }
        p::fork_sibling(kinds, self.cgroup).doing("clone")
    }
}

/// Runs `enter` in a process in between, which `first` forks; it answers with a fork of a sibling, which is then our child.
/// `enter` gets the descriptor over which that fork is told. `init`: whether it is a container's first process.
pub(crate) fn twice(
    init: bool,
    first: impl FnOnce() -> Result<p::Fork>,
    enter: impl FnOnce(BorrowedFd<'_>) -> Result<p::Fork>,
) -> Result<p::Fork> {
    let (ours, theirs) = fdpass::seqpacket_pair().doing("make a socket pair")?;
    let between = match first()? {
        p::Fork::Child => {
            drop(ours);
            let told = match enter(theirs.as_fd()) {
                Ok(p::Fork::Child) => return Ok(p::Fork::Child),
                Ok(p::Fork::Parent { pid, pidfd }) => {
                    fdpass::send(&theirs, &pid.to_ne_bytes(), &[pidfd.as_fd()])
                }
                Err(error) => {
                    let number = match &error {
                        Error::Call { operation, source } if *operation == "clone" => source.raw_os_error(),
                        _ => None,
                    };
                    let mut message = number.unwrap_or(0).to_ne_bytes().to_vec();
                    message.extend(lighter_stdx::error::chain(&error).bytes());
                    fdpass::send(&theirs, &message, &[])
                }
            };
            p::exit_now(i32::from(told.is_err()))
        }
        p::Fork::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let mut buffer = [0; 8192];
    let heard = fdpass::receive(&ours, &mut buffer);
    rustix::process::waitpid(
        rustix::process::Pid::from_raw(between),
        rustix::process::WaitOptions::empty(),
    )
    .doing("wait for the process that makes namespaces")?;
    let (length, mut fds) = heard.doing("listen to the process that makes namespaces")?;
    // A number comes first: with a descriptor the process's, else that of the error which kept it from being made.
    match (buffer[..length].split_first_chunk(), fds.pop()) {
        (Some((pid, _)), Some(pidfd)) => Ok(p::Fork::Parent {
            pid: i32::from_ne_bytes(*pid),
            pidfd,
        }),
        (Some((number, words)), None) => Err(match i32::from_ne_bytes(*number) {
            0 => Error::Inside {
                init,
                text: String::from_utf8_lossy(words).into_owned(),
            },
            number => Error::Fork {
                init,
                source: std::io::Error::from_raw_os_error(number),
            },
        }),
        (None, _) => Err(Error::Inside {
            init,
            text: "the process that makes namespaces died".into(),
        }),
    }
}
