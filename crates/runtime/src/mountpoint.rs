//! Where a mount goes: its place in the root by descriptor, and whether something may be mounted there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use lighter_safe_fs::Root;
use rustix::fs::{FileType, OFlags};

use crate::error::{Context, Error, Result};
use crate::procfs;

/// What may be mounted below `/proc`: what lxcfs emulates, and two that tools look at.
const BELOW_PROC: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// What is to be mounted, as far as the place is concerned.
pub(crate) enum What<'a> {
    /// A new procfs or sysfs.
    Kernel(&'a str),
    /// Any other new file system.
    Filesystem,
    /// What is behind this descriptor.
    Bind(&'a OwnedFd),
}

/// Opens the place for `what` at `destination` below `root`, whose own path is `rootfs`, and makes it when it is not
/// there: a file for a file, a directory else. Also whether no symbolic link was on the way.
pub(crate) fn open(
    root: &Root,
    rootfs: &Path,
    destination: &Path,
    what: &What<'_>,
) -> Result<(OwnedFd, bool)> {
    let path = lexical(rootfs, destination);
    permit(&path, what)?;
    let file = match what {
        What::Bind(source) => {
            let mode = rustix::fs::fstat(source).doing("stat the source")?.st_mode;
            FileType::from_raw_mode(mode) != FileType::Directory
        }
        _ => false,
    };
    // With no symbolic link on the way the place is where its name says, and was judged.
    if let Some(found) = root.create_plain(&path, file.then_some(0o644)) {
        if matches!(what, What::Kernel(_)) {
            ordinary(&found, what)?;
        }
        return Ok((found, true));
    }
    if let What::Kernel(_) = what {
        // Behind a link of the image's it would fool every later check (CVE-2019-19921).
        match root.at(&path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => ordinary(&found, what)?,
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = if file {
        root.create_file(&path, 0o644)?
    } else {
        root.create_dir_all(&path, 0o755)?
    };
    let real = rustix::fs::readlink(format!("/proc/self/fd/{}", found.as_raw_fd()), Vec::new())
        .doing("find where the destination leads to")?;
    let real = Path::new(std::ffi::OsStr::from_bytes(real.as_bytes()));
    let Ok(below) = real.strip_prefix(rootfs) else {
        return Err(Error::Config(format!(
            "mountpoint {:?} is outside of rootfs {:?}",
            real.display().to_string(),
            rootfs.display().to_string()
        )));
    };
    permit(below, what)?;
    Ok((found, false))
}

fn ordinary(found: &OwnedFd, what: &What<'_>) -> Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(found).doing("stat")?.st_mode);
    if kind == FileType::Directory {
        return Ok(());
    }
    let name = match what {
        What::Kernel(name) => name,
        _ => "",
    };
    Err(Error::Config(format!(
        "filesystem {name:?} must be mounted on ordinary directory"
    )))
}

/// `destination` relative to the root, without `.` and `..`. A path that begins with the root's own is taken as below it.
pub(crate) fn lexical(rootfs: &Path, destination: &Path) -> PathBuf {
    let below = match destination.strip_prefix(rootfs) {
        Ok(below) if rootfs != Path::new("/") => below,
        _ => destination,
    };
    let mut path = PathBuf::new();
    for part in below.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path
}

/// Only a procfs goes on `/proc`, and nearly nothing below it (CVE-2019-16884): labels, sysctls and masks depend on what
/// is there.
fn permit(path: &Path, what: &What<'_>) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(Error::Config("mountpoint is on the top of rootfs".into()));
    }
    let Ok(below) = path.strip_prefix("proc") else {
        return Ok(());
    };
    if below.as_os_str().is_empty() {
        let procfs = match what {
            What::Kernel(kind) => *kind == "proc",
            What::Bind(source) => procfs::is_procfs(source.as_fd())?,
            What::Filesystem => false,
        };
        if procfs {
            return Ok(());
        }
        return Err(Error::Config(
            "\"/proc\" cannot be mounted because it is not of type proc".into(),
        ));
    }
    if BELOW_PROC.iter().any(|allowed| below == Path::new(allowed)) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "\"/{}\" cannot be mounted because it is inside /proc",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_below_the_root() {
        for (destination, expected) in [
            ("/a/./b", "a/b"),
            ("a/../../b", "b"),
            ("/r/oot/a", "a"),
            ("/r/oot", ""),
            ("/r/ootx", "r/ootx"),
        ] {
            assert_eq!(
                lexical(Path::new("/r/oot"), Path::new(destination)),
                PathBuf::from(expected),
                "{destination}"
            );
        }
        assert_eq!(lexical(Path::new("/"), Path::new("/a")), PathBuf::from("a"));
    }

    #[test]
    fn only_some_places_in_proc() {
        let allowed = |path: &str, what: &What<'_>| permit(Path::new(path), what).is_ok();
        assert!(allowed("proc", &What::Kernel("proc")));
        assert!(!allowed("proc", &What::Kernel("sysfs")));
        assert!(!allowed("proc", &What::Filesystem));
        assert!(!allowed("proc/sys", &What::Filesystem));
        assert!(!allowed("proc/self", &What::Kernel("proc")));
        assert!(allowed("proc/meminfo", &What::Filesystem));
        assert!(allowed("process", &What::Filesystem));
        assert!(!allowed("", &What::Filesystem));
    }
}
