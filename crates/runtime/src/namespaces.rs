//! Which namespaces to make and which to join.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use lighter_sys::namespace as ns;

use crate::config::Namespace;
use crate::error::{Context, Error, Result};

/// Kinds of namespaces by the spec's name.
const KINDS: [(&str, u32); 8] = [
    ("user", ns::USER),
    ("pid", ns::PID),
    ("network", ns::NETWORK),
    ("ipc", ns::IPC),
    ("uts", ns::UTS),
    ("mount", ns::MOUNT),
    ("cgroup", ns::CGROUP),
    ("time", ns::TIME),
];

/// The names, for `features`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

pub(crate) fn kind(name: &str) -> Result<u32> {
    KINDS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, flag)| *flag)
        .ok_or_else(|| Error::Config(format!("invalid namespace type {name:?}")))
}

/// A namespace that is there already.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: u32,
    pub(crate) file: File,
    path: PathBuf,
}

impl Joined {
    /// Whether it is the one that we are in; `file`: its name below `/proc/self/ns`.
    pub(crate) fn is_ours(&self, file: &str) -> bool {
        let ours = rustix::fs::stat(format!("/proc/self/ns/{file}"));
        match (ours, rustix::fs::fstat(&self.file)) {
            (Ok(ours), Ok(other)) => (ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino),
            // To be safe.
            _ => true,
        }
    }

    pub(crate) fn join(&self) -> Result<()> {
        ns::join(self.file.as_fd(), self.kind).on("join namespace", &self.path)
    }
}

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Kinds to make.
    pub(crate) new: u32,
    /// Of these, what the runtime works on from the first moment.
    pub(crate) early: u32,
    /// Kinds to join, opened.
    pub(crate) joined: Vec<Joined>,
}

impl Namespaces {
    pub(crate) fn open(list: &[Namespace]) -> Result<Self> {
        let mut result = Self::default();
        let mut seen = 0;
        for namespace in list {
            let flag = kind(&namespace.kind)?;
            if seen & flag != 0 {
                return Err(Error::Config(format!(
                    "malformed spec file: duplicated ns {:?}",
                    namespace.kind
                )));
            }
            seen |= flag;
            if namespace.path.as_os_str().is_empty() {
                result.new |= flag;
            } else {
                let joined = open(flag, namespace)?;
                // To pivot there would take the caller's own root away.
                if flag != ns::MOUNT || !joined.is_ours("mnt") {
                    result.joined.push(joined);
                }
            }
        }
        Ok(result)
    }

    /// Whether the container has its own namespace of `kind`, made or joined.
    pub(crate) fn has(&self, kind: u32) -> bool {
        self.new & kind != 0 || self.joined(kind).is_some()
    }

    /// Those to make with the process itself. Without a user namespace that must own them, only what concerns children: the rest is
    /// the process's own work, done while the runtime makes the cgroup (a network namespace alone takes half a millisecond).
    pub(crate) fn at_birth(&self) -> u32 {
        // The cgroup namespace begins when the cgroup is joined.
        let made = self.new & !ns::CGROUP;
        if self.has(ns::USER) {
            made
        } else {
            made & (ns::PID | ns::TIME | self.early)
        }
    }

    /// Makes those that [`Namespaces::at_birth`] left out.
    pub(crate) fn make_here(&self) -> Result<()> {
        let left = self.new & !ns::CGROUP & !self.at_birth();
        if left == 0 {
            return Ok(());
        }
        ns::unshare(left).doing("unshare namespaces")
    }

    /// The namespace of `kind` that is joined.
    pub(crate) fn joined(&self, kind: u32) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.kind == kind)
    }

    /// Refuses kernel parameters of the host: the words are runc's.
    pub(crate) fn check_sysctls<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Result<()> {
        for given in keys {
            let key = dotted(given);
            let reason = if key.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&key.as_str()) {
                if self.has(ns::IPC) {
                    continue;
                }
                "is not allowed in the hosts ipc namespace"
            } else if key.starts_with("net.") {
                let own = self.new & ns::NETWORK != 0;
                if own
                    || self
                        .joined(ns::NETWORK)
                        .is_some_and(|joined| !joined.is_ours("net"))
                {
                    continue;
                }
                "not allowed in host network namespace"
            } else if key == "kernel.domainname" && self.has(ns::UTS) {
                continue;
            } else if key == "kernel.hostname" && self.has(ns::UTS) {
                r#"is not allowed as it conflicts with the OCI "hostname" field"#
            } else if key.starts_with("user.") && self.has(ns::USER) {
                // Limits on what a user namespace may make, which each has its own of. runc refuses them.
                continue;
            } else {
                "is not in a separate kernel namespace"
            };
            return Err(Error::Config(format!("sysctl {key:?} {reason}")));
        }
        Ok(())
    }

    /// Joins the PID namespace, which concerns children: the caller forks afterwards. True when there is one.
    pub(crate) fn join_for_children(&self) -> Result<bool> {
        self.joined(ns::PID)
            .map_or(Ok(false), |joined| joined.join().map(|()| true))
    }

    /// Joins the others. The mount namespace last, as it takes the paths of the host away.
    pub(crate) fn join_here(&self) -> Result<()> {
        let late = ns::PID | ns::MOUNT;
        for joined in self.joined.iter().filter(|joined| joined.kind & late == 0) {
            joined.join()?;
        }
        self.joined(ns::MOUNT).map_or(Ok(()), Joined::join)
    }
}

/// What an IPC namespace has its own of, besides `fs.mqueue`.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The form with dots between the parts: `net/ipv4/conf/eth0.1/x` is `net.ipv4.conf.eth0/1.x`.
fn dotted(key: &str) -> String {
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
    if !slashes {
        return key.to_owned();
    }
    key.chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Later children of ours are born into our own PID namespace again.
pub(crate) fn leave_for_children() -> Result<()> {
    let own = "/proc/self/ns/pid";
    let file = File::open(own).on("open namespace", own)?;
    ns::join(file.as_fd(), ns::PID).on("join namespace", own)
}

fn open(flag: u32, namespace: &Namespace) -> Result<Joined> {
    let path = &namespace.path;
    if !path.is_absolute() {
        return Err(Error::Config(format!(
            "namespace path {} is not an absolute path",
            path.display()
        )));
    }
    let file = File::open(path).on("open namespace", path)?;
    let found = ns::kind_of(file.as_fd());
    if found != Some(flag) {
        let known = KINDS.iter().find(|(_, kind)| found == Some(*kind));
        return Err(Error::Config(format!(
            "namespace path {} is {}, not a namespace of type {:?}",
            path.display(),
            known.map_or("no namespace".to_owned(), |(name, _)| format!(
                "a namespace of type {name:?}"
            )),
            namespace.kind
        )));
    }
    Ok(Joined {
        kind: flag,
        file,
        path: path.clone(),
    })
}
