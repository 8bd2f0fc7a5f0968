//! Which namespaces to make and which to join.

use std::fs::File;
use std::os::fd::AsFd;

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

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Kinds to make.
    pub(crate) new: u32,
    /// Kinds to join, opened.
    pub(crate) joined: Vec<(u32, File)>,
}

impl Namespaces {
    pub(crate) fn open(list: &[Namespace]) -> Result<Self> {
        let mut result = Self::default();
        let mut seen = 0;
        for namespace in list {
            let flag = kind(&namespace.kind)?;
            if seen & flag != 0 {
                return Err(Error::Config(format!(
                    "duplicated namespace {:?}",
                    namespace.kind
                )));
            }
            seen |= flag;
            if namespace.path.as_os_str().is_empty() {
                result.new |= flag;
            } else {
                let file = File::open(&namespace.path).on("open namespace", &namespace.path)?;
                result.joined.push((flag, file));
            }
        }
        Ok(result)
    }

    /// Whether the container has its own namespace of `kind`, made or joined.
    pub(crate) fn has(&self, kind: u32) -> bool {
        self.new & kind != 0 || self.joined.iter().any(|(flag, _)| *flag == kind)
    }

    /// Those to make with the process itself. Without a user namespace that must own them, only what concerns children: the rest is
    /// the process's own work, done while the runtime makes the cgroup (a network namespace alone takes half a millisecond).
    pub(crate) fn at_birth(&self) -> u32 {
        // The cgroup namespace begins when the cgroup is joined.
        let made = self.new & !ns::CGROUP;
        if self.has(ns::USER) {
            made
        } else {
            made & (ns::PID | ns::TIME)
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

    /// Joins those that concern children: the caller forks afterwards.
    pub(crate) fn join_for_children(&self) -> Result<()> {
        self.join(|kind| kind == ns::PID || kind == ns::TIME)
    }

    /// Joins the others. The user namespace last: its owner may have no power over the rest.
    pub(crate) fn join_here(&self) -> Result<()> {
        self.join(|kind| kind != ns::PID && kind != ns::TIME && kind != ns::USER)?;
        self.join(|kind| kind == ns::USER)
    }

    fn join(&self, which: impl Fn(u32) -> bool) -> Result<()> {
        for (kind, file) in self.joined.iter().filter(|(kind, _)| which(*kind)) {
            ns::join(file.as_fd(), *kind).doing("join namespace")?;
        }
        Ok(())
    }
}
