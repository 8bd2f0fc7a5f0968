//! Mounts: by path with raw flags (`mount(2)`), and by descriptor (`open_tree`, `move_mount`, `mount_setattr`).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::check;

/// Attributes of [`set_attributes`]: the kernel's `MOUNT_ATTR_*`.
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be run.
    pub const NOEXEC: u64 = 0x8;
    /// All bits of the access-time mode: must be cleared when one is set.
    pub const ATIME: u64 = 0x70;
    /// Relative access times (the zero of the field).
    pub const RELATIME: u64 = 0;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Access times at every access.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are mapped through a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear, before setting.
    pub clear: u64,
    /// Propagation (`MS_SHARED`, ...) or 0.
    pub propagation: u64,
    /// User namespace for [`attribute::IDMAP`].
    pub userns_fd: u64,
}

/// `mount(2)`: each of `source`, `kind` and `data` may be absent; `flags` are `MS_*`.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: null or C strings that live across the call. The data of the file systems we mount is text.
    check(libc::c_long::from(unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            pointer(data).cast(),
        )
    }))
    .map(drop)
}

/// `umount2(2)`: `flags` are `MNT_*` and `UMOUNT_NOFOLLOW`.
pub fn unmount(target: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: a C string.
    check(libc::c_long::from(unsafe {
        libc::umount2(target.as_ptr(), flags)
    }))
    .map(drop)
}

/// `pivot_root(2)`.
pub fn pivot_root(new: &CStr, old: &CStr) -> io::Result<()> {
    // SAFETY: two C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

/// A detached copy of the mount at `path` (below `dir`; empty: `dir` itself), with those below it when `recursive`.
/// It is unmounted with its last descriptor unless attached. Close-on-exec. `open_tree(2)`.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | libc::AT_EMPTY_PATH as u32
        | if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    // SAFETY: a descriptor, a C string, an integer.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: new, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches the detached mount `tree` on what `target` names by descriptor. `move_mount(2)`.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const FROM_EMPTY: libc::c_uint = 0x04;
    const TO_EMPTY: libc::c_uint = 0x40;
    // SAFETY: two descriptors and empty C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY | TO_EMPTY,
        )
    })
    .map(drop)
}

/// Changes attributes of the mount that `fd` is on, with those below it when `recursive`. `mount_setattr(2)`, Linux 5.12.
pub fn set_attributes(fd: BorrowedFd<'_>, recursive: bool, attributes: &Attributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: pointer and size of a live struct that the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// A new detached mount of file system `kind` with `options` (`key`, or `key=value`), attributes `attributes`
/// (`MOUNT_ATTR_*`). `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`.
pub fn new_filesystem(
    kind: &CStr,
    source: Option<&CStr>,
    options: &[(&CStr, Option<&CStr>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    const CLOEXEC: libc::c_uint = 1;
    const SET_FLAG: libc::c_uint = 0;
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    // SAFETY: a C string.
    let context = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    // SAFETY: new, ours alone.
    let context = unsafe { OwnedFd::from_raw_fd(context as i32) };
    let configure = |command: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>| {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: null or C strings, as each command wants them.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0,
            )
        })
    };
    if source.is_some() {
        configure(SET_STRING, Some(c"source"), source)?;
    }
    for (key, value) in options {
        configure(
            if value.is_some() { SET_STRING } else { SET_FLAG },
            Some(key),
            *value,
        )?;
    }
    configure(CREATE, None, None)?;
    // SAFETY: a descriptor and integers.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            CLOEXEC,
            attributes as libc::c_uint,
        )
    })?;
    // SAFETY: new, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The path by which `mount(2)` reaches what a descriptor names.
pub fn path_of(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}
