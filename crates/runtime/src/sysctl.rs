//! Kernel parameters of the container's namespaces.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Result;
use crate::procfs::Procfs;

/// Sets kernel parameters, with the container's root in place.
pub(crate) fn set(values: &BTreeMap<String, String>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let procfs = Procfs::open()?;
    for (key, value) in values {
        procfs.write(&path(key), value.as_bytes())?;
    }
    Ok(())
}

/// Where a parameter is, below `/proc`. `net.ipv4.conf.eth0/1.x`: the first separator separates, the other one stands for
/// itself in names.
///
//= https://man7.org/linux/man-pages/man8/sysctl.8.html
fn path(key: &str) -> PathBuf {
    let dots = key
        .find(['.', '/'])
        .is_some_and(|at| key.as_bytes().get(at) == Some(&b'.'));
    let path: String = key
        .chars()
        .map(|letter| match letter {
            '.' if dots => '/',
            '/' if dots => '.',
            other => other,
        })
        .collect();
    PathBuf::from("sys").join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_separates() {
        for (key, expected) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/x", "sys/net/ipv4/conf/eth0.1/x"),
            ("net.ipv4.conf.eth0/1.x", "sys/net/ipv4/conf/eth0.1/x"),
            ("/net/x", "sys/net/x"),
        ] {
            assert_eq!(path(key), PathBuf::from(expected));
        }
    }
}
