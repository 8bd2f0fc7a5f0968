//! Capabilities: which a container gets.

use crate::{Error, Result};

/// All that Linux knows, in the order of their numbers.
pub(crate) const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What Docker gives to a container that asks for nothing.
const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The capabilities after `--cap-add` and `--cap-drop`. `held` are those that this process can give away: what `ALL` and
/// `--privileged` mean.
pub(crate) fn resolve(
    privileged: bool,
    add: &[String],
    drop: &[String],
    held: &[String],
) -> Result<Vec<String>> {
    let add = normalise(add)?;
    let drop = normalise(drop)?;
    if privileged {
        return Ok(held.to_vec());
    }
    let all = |list: &[String]| list.iter().any(|cap| cap == "ALL");
    let mut caps: Vec<String> = match (all(&add), all(&drop)) {
        (true, _) => held.iter().filter(|cap| !drop.contains(cap)).cloned().collect(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT
            .iter()
            .map(|cap| (*cap).to_owned())
            .filter(|cap| !drop.contains(cap))
            .collect(),
    };
    for cap in add.into_iter().filter(|cap| cap != "ALL") {
        if !caps.contains(&cap) {
            caps.push(cap);
        }
    }
    Ok(caps)
}

fn normalise(list: &[String]) -> Result<Vec<String>> {
    list.iter()
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            if upper == "ALL" {
                return Ok(upper);
            }
            let full = if upper.starts_with("CAP_") {
                upper
            } else {
                format!("CAP_{upper}")
            };
            if ALL.contains(&full.as_str()) {
                Ok(full)
            } else {
                Err(Error::invalid(format!("invalid capability: \"{name}\"")))
            }
        })
        .collect()
}

/// The capabilities of this process's bounding set, from `/proc/self/status`.
pub(crate) fn held() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    ALL.iter()
        .enumerate()
        .filter(|(number, _)| mask & (1 << number) != 0)
        .map(|(_, cap)| (*cap).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: impl Fn(&[String]) -> bool) {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let held = strings(&["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        let caps = resolve(false, &strings(add), &strings(drop), &held).unwrap();
        assert!(expected(&caps), "{add:?} {drop:?}: {caps:?}");
    }

    #[test]
    fn adding_and_dropping_follow_docker() {
        check(&[], &[], |caps| caps.len() == 14);
        check(&["net_admin"], &["CAP_MKNOD"], |caps| {
            caps.len() == 14 && caps.contains(&"CAP_NET_ADMIN".to_owned())
        });
        check(&[], &["all"], <[String]>::is_empty);
        check(&["chown"], &["ALL"], |caps| caps == ["CAP_CHOWN"]);
        check(&["ALL"], &["SYS_ADMIN"], |caps| caps == ["CAP_CHOWN"]);
        let error = resolve(false, &["NOPE".to_owned()], &[], &[]).unwrap_err();
        assert_eq!(error.message, "invalid capability: \"NOPE\"");
    }
}
