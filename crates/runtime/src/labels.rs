//! AppArmor profiles and SELinux labels: what the process's next exec takes on.
//!
//! They are written to the host's own procfs, before the process can see anything of the container's: nothing that an image
//! or a mount puts in the way of `/proc` is ever written to (CVE-2019-16884, CVE-2025-52881).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::config::{Linux, Process};
use crate::error::{Context, Error, Result};

const PROC_MAGIC: i64 = 0x9fa0;

/// Refuses what this kernel does not have.
pub(crate) fn check(process: &Process) -> Result<()> {
    if !wanted_profile(process).is_empty() && !has_apparmor() {
        return Err(Error::Config(format!(
            "process.apparmorProfile: {:?}: apparmor is not enabled on the system",
            process.apparmor_profile
        )));
    }
    if !process.selinux_label.is_empty() && !has_selinux() {
        return Err(Error::Config(
            "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"
                .into(),
        ));
    }
    Ok(())
}

/// Refuses a label for mounts where nothing would be labelled.
pub(crate) fn check_mounts(linux: &Linux) -> Result<()> {
    if linux.mount_label.is_empty() || has_selinux() {
        return Ok(());
    }
    Err(Error::Config(
        "linux.mountLabel: selinux label is specified in config, but selinux is disabled or not supported"
            .into(),
    ))
}

/// In the process, while `/proc` is the host's.
pub(crate) fn apply(process: &Process) -> Result<()> {
    let profile = wanted_profile(process);
    if !profile.is_empty() {
        write(
            &["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"],
            &format!("exec {profile}"),
        )?;
    }
    if !process.selinux_label.is_empty() {
        write(&["/proc/self/attr/exec"], &process.selinux_label)?;
    }
    Ok(())
}

/// None at all is what a kernel without AppArmor has.
fn wanted_profile(process: &Process) -> &str {
    match process.apparmor_profile.as_str() {
        "unconfined" if !has_apparmor() => "",
        profile => profile,
    }
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    const MAGIC: i64 = 0xf97c_ff8c;
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|stat| stat.f_type == MAGIC)
}

/// Writes to the first of the files that is there.
fn write(paths: &[&str], value: &str) -> Result<()> {
    let mut last = (Path::new("/proc"), io::Error::from(io::ErrorKind::NotFound));
    for path in paths.iter().map(Path::new) {
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => return put(file, path, value),
            Err(error) => last = (path, error),
        }
    }
    Err(last.1).on("open", last.0)
}

fn put(mut file: File, path: &Path, value: &str) -> Result<()> {
    let kind = rustix::fs::fstatfs(&file).on("look at", path)?.f_type;
    if kind != PROC_MAGIC {
        return Err(Error::Config(format!("{} is not on a procfs", path.display())));
    }
    file.write_all(value.as_bytes()).on("write the label to", path)
}
