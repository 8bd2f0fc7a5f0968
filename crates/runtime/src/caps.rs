//! Names of capabilities.

use crate::config::Capabilities;
use crate::error::{Context, Error, Result};
use crate::log;
use lighter_sys::caps;
use serde::{Deserialize, Serialize};

/// In the order of the kernel's numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All names, with their prefix.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

fn number(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
}

/// Says which names are ignored: a newer engine may know more than we do. In runc's words.
pub(crate) fn warn_of_unknown(from: Option<&Capabilities>) {
    let Some(from) = from else { return };
    let mut unknown: Vec<&str> = [
        &from.bounding,
        &from.effective,
        &from.inheritable,
        &from.permitted,
        &from.ambient,
    ]
    .into_iter()
    .flatten()
    .filter(|name| number(name).is_none())
    .map(String::as_str)
    .collect();
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        log::warn(format_args!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        ));
    }
}

/// Refuses what the kernel would: nothing can be in force that is not permitted. In runc's words.
//= https://man7.org/linux/man-pages/man2/capset.2.html
//# Adds any capability to the effective set that is not in the permitted set: EPERM.
pub(crate) fn check(from: Option<&Capabilities>) -> Result<()> {
    let sets = Sets::new(from);
    match sets.effective & !sets.permitted {
        0 => Ok(()),
        more => {
            let name = names().nth(more.trailing_zeros() as usize).unwrap_or_default();
            Err(Error::Config(format!(
                "process.capabilities.effective: {name} is not in permitted: unable to apply caps: can't apply \
                 capabilities: operation not permitted"
            )))
        }
    }
}

fn mask(names: &[String]) -> u64 {
    names
        .iter()
        .filter_map(|name| number(name))
        .fold(0, |mask, number| mask | 1 << number)
}

/// The five sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sets {
    bounding: u64,
    effective: u64,
    inheritable: u64,
    permitted: u64,
    ambient: u64,
}

impl Sets {
    pub(crate) fn new(from: Option<&Capabilities>) -> Self {
        let Some(from) = from else { return Self::default() };
        Self {
            bounding: mask(&from.bounding),
            effective: mask(&from.effective),
            inheritable: mask(&from.inheritable),
            permitted: mask(&from.permitted),
            ambient: mask(&from.ambient),
        }
    }

    /// The names again.
    pub(crate) fn names(self) -> Capabilities {
        let list = |mask: u64| {
            names()
                .enumerate()
                .filter_map(|(number, name)| (mask & (1 << number) != 0).then_some(name))
                .collect()
        };
        Capabilities {
            bounding: list(self.bounding),
            effective: list(self.effective),
            inheritable: list(self.inheritable),
            permitted: list(self.permitted),
            ambient: list(self.ambient),
        }
    }

    /// First half, while we are still privileged: the bounding set.
    pub(crate) fn limit(&self) -> Result<()> {
        for number in 0..64 {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            match caps::drop_bounding(number) {
                // The kernel's last capability was the one before.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => break,
                result => result.doing("drop bounding capabilities")?,
            }
        }
        Ok(())
    }

    /// Second half, after the change of user: the rest. What we lack ourselves cannot be given and is left out. Answers
    /// what a user should know of it.
    pub(crate) fn take(&self) -> Result<Vec<String>> {
        let have = caps::get().doing("read capabilities")?.permitted;
        let sets = caps::Sets {
            effective: self.effective & self.permitted & have,
            permitted: self.permitted & have,
            inheritable: self.inheritable & have,
        };
        caps::set(sets).doing("unable to apply caps: can't apply capabilities")?;
        // The kernel took what is not inheritable out of the ambient set by itself.
        //= https://man7.org/linux/man-pages/man7/capabilities.7.html
        //# The ambient capability set obeys the invariant that no capability can ever be ambient if it is not both permitted
        //# and inheritable.
        if sets.inheritable != 0 {
            // Not there before Linux 4.3.
            let _ = caps::clear_ambient();
        }
        let mut warnings = Vec::new();
        // What is not permitted and inheritable cannot be ambient: the process runs without, as runc has it.
        for (number, name) in (0..)
            .zip(NAMES)
            .filter(|(number, _)| self.ambient & (1 << number) != 0)
        {
            if let Err(error) = caps::raise_ambient(number) {
                let reason = crate::program::words(error);
                warnings.push(format!("can't raise ambient capability CAP_{name}: {reason}"));
            }
        }
        Ok(warnings)
    }
}
