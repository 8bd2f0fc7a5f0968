//! Our own program, out of the container's reach (CVE-2019-5736).
//!
//! A process in a container can make us run `/proc/self/exe`, or open what `/proc/PID/exe` of a joining process leads
//! to, and later write to that file: the runtime of the host. So `create`, `run` and `exec` run from a read-only mount of
//! our file that is in nobody's mount namespace: it cannot be remounted, and nothing can be opened for writing through
//! it. That takes one exec (0.3 ms) and no copy; an ordinary user who owns the program, and cannot mount, runs a sealed copy in
//! memory. A caller that starts us through such a mount, or from a read-only file
//! system, saves it.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use lighter_sys::exec::Strings;
use lighter_sys::mount::{self as m, Attributes, attribute};
use rustix::fs::{Access, Mode, OFlags, SealFlags, StatVfsMountFlags};

/// Says that the exec was done, should the file system hide that it is read-only.
const MARK: &str = "_LIGHTER_RUNC_SEALED=1";

/// Makes sure that we run from where nobody can write to us. Returns when that is so, or cannot be had.
pub fn ensure(arguments: &[OsString], environment: &[(OsString, OsString)]) {
    if environment.iter().any(|(name, _)| name == "_LIGHTER_RUNC_SEALED") {
        return;
    }
    // Errors lead on, unsealed: without /proc or the mount interface there is nothing else to do.
    let Ok(own) = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return;
    };
    let readonly =
        rustix::fs::fstatvfs(&own).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    if readonly {
        return;
    }
    let Ok(sealed) = mount(&own).or_else(|error| if ours(&own) { copy() } else { Err(error) }) else {
        return;
    };
    let c_string = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let arguments = Strings::new(
        arguments
            .iter()
            .map(|argument| c_string(argument.as_bytes()))
            .collect(),
    );
    let mark = [c_string(MARK.as_bytes())];
    let environment = environment.iter().map(|(name, value)| {
        let mut pair = name.as_bytes().to_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        c_string(&pair)
    });
    // Returns only when it failed.
    let _ = lighter_sys::exec::exec_fd(
        sealed.as_fd(),
        &arguments,
        &Strings::new(environment.chain(mark).collect()),
    );
}

/// The file on a read-only mount of its own.
fn mount(own: &OwnedFd) -> io::Result<OwnedFd> {
    let tree = m::clone_tree(own.as_fd(), c"", false)?;
    let attributes = Attributes {
        set: attribute::RDONLY,
        ..Attributes::default()
    };
    m::set_attributes(tree.as_fd(), false, &attributes)?;
    Ok(tree)
}

/// Whether we, and so the container's root when we are an ordinary user, have any power over the file.
fn ours(own: &OwnedFd) -> bool {
    let owner = rustix::fs::fstat(own).map(|stat| stat.st_uid).ok();
    owner == Some(rustix::process::geteuid().as_raw())
        || rustix::fs::access("/proc/self/exe", Access::WRITE_OK).is_ok()
}

/// A copy in memory that can never be written to: for an ordinary user, who cannot mount and runs a program of their own.
fn copy() -> io::Result<OwnedFd> {
    let mut from = std::fs::File::open("/proc/self/exe")?;
    let mut to = std::fs::File::from(lighter_sys::descriptors::memory_file(c"lighter-runc")?);
    io::copy(&mut from, &mut to)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&to, all)?;
    Ok(to.into())
}
