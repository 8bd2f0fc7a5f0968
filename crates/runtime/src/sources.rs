//! Sources of mounts that the container's own process cannot open, or not map: done by a helper that has the runtime's
//! power and the container's mounts. Only containers that need one have it.

use std::fs;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter_sys::mount::{self as m, Attributes, attribute};
use lighter_sys::{namespace as ns, process as p};
use rustix::fs::CWD;

use crate::config::{IdMapping, Mount};
use crate::error::{Context, Error, Result};
use crate::options::Options;
use crate::program::c_string;
use crate::sync::Channel;

/// The container whose mounts are being made.
pub(crate) struct Sources<'a> {
    pub(crate) mounts: &'a [Mount],
    pub(crate) bundle: &'a Path,
    /// Its first process, as we see it.
    pub(crate) pid: i32,
    pub(crate) pidfd: &'a OwnedFd,
    /// Whether it has a user namespace of its own.
    pub(crate) user: bool,
}

impl Sources<'_> {
    /// Answers the process's request for the source of mount `index` over `channel`.
    pub(crate) fn serve(&self, channel: &Channel, index: usize) -> Result<()> {
        let answer: Result<_> = (|| {
            let mount = self
                .mounts
                .get(index)
                .ok_or_else(|| Error::Config("no such mount".into()))?;
            let options = Options::parse(&mount.options);
            Ok((mount, self.mapping(mount, &options)?, options))
        })();
        let (mount, mapping, options) = match answer {
            Ok(answer) => answer,
            Err(error) => return channel.refuse(&lighter_stdx::error::chain(&error)),
        };
        match p::fork(0, None).doing("start the helper that opens sources")? {
            p::Fork::Child => {
                let opened = self.open(mount, &options, mapping.as_ref());
                let told = match opened {
                    Ok(tree) => channel.go(&[tree.as_fd()]),
                    Err(error) => channel.refuse(&lighter_stdx::error::chain(&error)),
                };
                p::exit_now(i32::from(told.is_err()))
            }
            p::Fork::Parent { pid, .. } => reap(pid),
        }
    }

    fn open(&self, mount: &Mount, options: &Options, mapping: Option<&File>) -> Result<OwnedFd> {
        p::set_dumpable(false).doing("set dumpable")?;
        // The source may be inside a mount that the container has made before.
        ns::join(self.pidfd.as_fd(), ns::MOUNT).doing("join the container's mount namespace")?;
        let source = self.bundle.join(&mount.source);
        let tree = m::clone_tree(CWD, &c_string(&source), options.recursive).on("open", &source)?;
        if let Some(mapping) = mapping {
            use std::os::fd::AsRawFd;
            let attributes = Attributes {
                set: attribute::IDMAP,
                userns_fd: u64::try_from(mapping.as_raw_fd()).unwrap_or_default(),
                ..Attributes::default()
            };
            let recursive = options.idmap == Some(true);
            m::set_attributes(tree.as_fd(), recursive, &attributes)
                .map_err(|error| refused(error, &source, recursive))?;
        }
        Ok(tree)
    }

    /// The user namespace through which the mount is mapped, when it is.
    fn mapping(&self, mount: &Mount, options: &Options) -> Result<Option<File>> {
        let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
        match (uids.is_empty(), gids.is_empty()) {
            (true, true) if options.idmap.is_none() => Ok(None),
            (true, true) if self.user => {
                let path = format!("/proc/{}/ns/user", self.pid);
                File::open(&path)
                    .on("open the container's user namespace", path)
                    .map(Some)
            }
            (false, false) => new_mapping(uids, gids).map(Some),
            _ => Err(Error::Config(
                "id-mapped mounts must have both uid and gid mappings specified".into(),
            )),
        }
    }
}

/// A user namespace with these mappings that nobody is in.
fn new_mapping(uids: &[IdMapping], gids: &[IdMapping]) -> Result<File> {
    let (ours, theirs) = Channel::pair()?;
    let pid = match p::fork(ns::USER, None).doing("make a user namespace for an id-mapped mount")? {
        p::Fork::Child => {
            drop(ours);
            // Lives until the other end is closed.
            let _ = theirs.await_go();
            p::exit_now(0)
        }
        p::Fork::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let result = (|| {
        for (name, mappings) in [("uid_map", uids), ("gid_map", gids)] {
            let text: String = mappings
                .iter()
                .map(|range| format!("{} {} {}\n", range.container_id, range.host_id, range.size))
                .collect();
            let path = PathBuf::from(format!("/proc/{pid}/{name}"));
            fs::write(&path, text).on("write the mapping of an id-mapped mount to", path)?;
        }
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path).on("open", path)
    })();
    drop(ours);
    reap(pid)?;
    result
}

fn reap(pid: i32) -> Result<()> {
    loop {
        match rustix::process::waitpid(
            rustix::process::Pid::from_raw(pid),
            rustix::process::WaitOptions::empty(),
        ) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(drop).doing("wait for the helper"),
        }
    }
}

fn refused(error: std::io::Error, source: &Path, recursive: bool) -> Error {
    let what = if recursive {
        "the file systems in it, each of which must be able to"
    } else {
        "its file system"
    };
    let kind = crate::mount_table::filesystem_of(source).unwrap_or_else(|| "unknown".to_owned());
    match error.raw_os_error() {
        Some(number) if number == rustix::io::Errno::INVAL.raw_os_error() => Error::Config(format!(
            "cannot id-map {} ({kind}): {}: the kernel cannot do it with {what}, or it is mapped already",
            source.display(),
            crate::program::words(error),
        )),
        Some(number) if number == rustix::io::Errno::PERM.raw_os_error() => Error::Config(format!(
            "cannot id-map {} ({kind}): {}: id-mapped mounts are not supported for rootless containers",
            source.display(),
            crate::program::words(error),
        )),
        _ => Error::Path {
            operation: "id-map",
            path: source.to_owned(),
            source: error,
        },
    }
}
