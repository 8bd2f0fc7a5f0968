//! Network namespaces: made by a thread that ends afterwards, pinned by a bind mount.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lighter_sys::netlink::{Family, Socket};
use lighter_sys::{mount, namespace};

use crate::error::{Error, Result};
use crate::link;

const MS_BIND: u64 = 4096;
const MNT_DETACH: i32 = 2;
const UMOUNT_NOFOLLOW: i32 = 8;
const LOOPBACK: u32 = 1;

/// A new network namespace, the calling thread's: its file, and a socket in it.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) namespace: File,
    pub(crate) socket: Socket,
}

/// Makes a namespace, pins it at `path`, brings its loopback up, and runs `wire` in it. Blocks the caller; the work is done by a
/// thread of its own, since a thread that could not return to the host's namespace would poison a pool.
/// A namespace whose `wire` fails is unpinned.
pub(crate) fn make<T: Send>(path: &Path, wire: impl FnOnce(&Inside) -> Result<T> + Send) -> Result<T> {
    let work = || {
        let failed = |step| {
            move |source| Error::Namespace {
                path: path.to_owned(),
                step,
                source,
            }
        };
        namespace::unshare(namespace::NETWORK).map_err(failed("unshare"))?;
        let this = Path::new("/proc/thread-self/ns/net");
        let namespace = File::open(this).map_err(failed("open"))?;
        pin(this, path).map_err(failed("pin"))?;
        let inside = Inside {
            namespace,
            socket: Socket::open(Family::Route).map_err(failed("netlink socket"))?,
        };
        link::set_up(&inside.socket, LOOPBACK).map_err(failed("loopback up"))?;
        wire(&inside)
    };
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work);
        let failed = |source| Error::Namespace {
            path: path.to_owned(),
            step: "thread",
            source,
        };
        thread.map_err(failed)?.join().map_err(|_| Error::Worker)?
    });
    if made.is_err() {
        // The first error is the one to report.
        let _ = unpin(path);
    }
    made
}

fn pin(namespace: &Path, path: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    mount::mount(Some(&c_string(namespace)?), &c_string(path)?, None, MS_BIND, None)
}

/// Unmounts and removes the pin. The kernel takes the namespace down, with its links, in its own time, once no process is
/// in it. What is not there is no error.
pub(crate) fn unpin(path: &Path) -> Result<()> {
    let failed = |step| {
        move |source| Error::Namespace {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let name = c_string(path).map_err(failed("path"))?;
    loop {
        // A path may carry more than one mount, when an engine died between mounting and recording.
        match mount::unmount(&name, MNT_DETACH | UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("unmount")(error)),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove")(error)),
        _ => Ok(()),
    }
}

/// Whether a namespace is pinned here.
pub(crate) fn is_pinned(path: &Path) -> bool {
    const NSFS: i64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == NSFS)
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
