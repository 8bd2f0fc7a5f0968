//! Kernel parameters of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `value` to `/proc/sys/net/<name>`, unless it is there already: a read-only `/proc/sys` with the right value is enough.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    if fs::read_to_string(&path).is_ok_and(|found| found.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::Sysctl { path, source })
}

/// As [`set`], but a kernel without this parameter (no IPv6, say) is no error.
pub(crate) fn set_if_known(name: &str, value: &str) -> Result<()> {
    match set(name, value) {
        Err(Error::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The host ports that the kernel gives out, first and last. Docker takes random ports from it too.
pub(crate) fn ephemeral_ports() -> (u16, u16) {
    let parse = |text: String| {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(parse)
        .unwrap_or((49153, 65535))
}
