//! `checkpoint`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::criu::{Criu, Feature, Kind, field};
use super::message::Writer;
use super::{CONFIG_ANNOTATION, DESCRIPTORS, EXTERNAL_NAMESPACES, Options, make_directory, mounts};
use crate::error::{Context, Error, Result};
use crate::state::{Home, Record, Status};
use crate::{commands, create};

const LOG: &str = "dump.log";

/// Writes the container's processes to files. Afterwards it is gone, unless it was to be left running.
pub(crate) fn checkpoint(home: &Home, record: &Record, options: &Options) -> Result<()> {
    let status = home.status(record);
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::State(format!(
            "Container cannot be checkpointed in {} state",
            status.name()
        )));
    }
    for (asked, feature, flag) in [
        (options.pre_dump, Feature::MemoryTracking, "--pre-dump"),
        (options.parent.is_some(), Feature::MemoryTracking, "--parent-path"),
        (options.lazy_pages, Feature::LazyPages, "--lazy-pages"),
    ] {
        if asked {
            Criu::start(&options.criu, &[])?.check(feature, flag)?;
        }
    }
    make_directory(&options.images)?;
    let spec = create::load(&record.bundle)?;
    let group = record.group();
    let mut request = Writer::default();
    let _directories = options.common(&mut request, LOG)?;
    request
        .bytes(field::ROOT, record.rootfs.as_os_str().as_encoded_bytes())
        .number(field::PID, i64::from(record.pid))
        .flag(field::LEAVE_RUNNING, options.leave_running);
    if let Some(config) = record.annotations.get(CONFIG_ANNOTATION) {
        request.bytes(field::CONFIG_FILE, config);
    }
    if let Some(parent) = &options.parent {
        request
            .bytes(field::PARENT_IMAGE, parent)
            .flag(field::TRACK_MEMORY, true);
    }
    if let Some((address, port)) = &options.page_server {
        let mut server = Writer::default();
        server.bytes(1, address).number(2, i64::from(*port));
        request.bytes(field::PAGE_SERVER, &server);
    }
    if let Some(freezer) = group.freezer_directory() {
        request.bytes(field::FREEZE_CGROUP, freezer.as_os_str().as_encoded_bytes());
    }
    for (kind, short, name) in EXTERNAL_NAMESPACES {
        if let Some(inode) = joined(record, kind)? {
            request.bytes(field::EXTERNAL, format!("{short}[{inode}]:{name}"));
        }
    }
    let kind = if options.pre_dump {
        Kind::PreDump
    } else {
        Kind::Dump
    };
    if !options.pre_dump {
        mounts::tell(&mut request, &spec, &record.bundle, &record.rootfs, &group, false)?;
        let path = options.images.join(DESCRIPTORS);
        let names = serde_json::to_vec(&stdio(record)).map_err(|source| Error::Parse {
            path: path.clone(),
            field: String::new(),
            source,
        })?;
        fs::write(&path, names).on("write", &path)?;
    }
    let ready = options.status_fd.map(descriptor).transpose()?;
    let criu = Criu::start(&options.criu, &[])?;
    criu.ask(kind, &request, &options.log(LOG), |notice| {
        if let (Some(ready), "status-ready") = (&ready, notice.point) {
            rustix::io::write(ready, &[0]).doing("write to --status-fd")?;
        }
        Ok(())
    })?;
    if options.leave_running || options.pre_dump {
        return Ok(());
    }
    commands::delete(home, true)
}

/// The inode of the namespace of `kind`, when the container was given it.
fn joined(record: &Record, kind: &str) -> Result<Option<u64>> {
    let Some(namespace) = record
        .namespaces
        .iter()
        .find(|one| one.kind == kind && !one.path.as_os_str().is_empty())
    else {
        return Ok(None);
    };
    let stat = rustix::fs::stat(&namespace.path).on("look at namespace", &namespace.path)?;
    Ok(Some(stat.st_ino))
}

/// What the first three descriptors lead to, as the kernel names it (`pipe:[123]`).
fn stdio(record: &Record) -> [PathBuf; 3] {
    [0, 1, 2].map(|fd| fs::read_link(format!("/proc/{}/fd/{fd}", record.pid)).unwrap_or_default())
}

/// A descriptor that the caller left us by number.
fn descriptor(number: i32) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{number}");
    let opened = fs::OpenOptions::new().write(true).open(&path);
    opened.map(Into::into).map_err(|error| {
        Error::Usage(format!(
            "invalid --status-fd argument {number}: {}",
            crate::program::words(error)
        ))
    })
}
