//! `start`: one server for a container or a group, and its address for the caller.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use lighter_shim_api::bootstrap::Bootstrap;
use lighter_shim_api::{Any, Message};
use lighter_sys::process::Fork;
use rustix::fs::{FlockOperation, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::arguments::Arguments;
use crate::server::Server;
use crate::{Config, Error, json, options, socket};

/// Annotations that put containers under one shim, in order of precedence.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// Where containerd's shims have their sockets.
const SOCKETS: &str = "/run/containerd/s";
/// The newest version of the task service that is spoken here.
const VERSION: u32 = 3;

/// The most that is read of the caller's options, in bytes.
const INPUT_MAX: u64 = 1 << 20;

/// What `start` leaves its caller to do.
#[derive(Debug)]
pub(crate) enum Started {
    /// Print this: a server runs.
    Print(String),
    /// Nothing: this was the server, and it has ended.
    Served,
}

pub(crate) fn start(config: Config, arguments: &Arguments, input: &mut impl Read) -> Result<Started, Error> {
    let variable = |name: &str| {
        config
            .environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let bundle = if arguments.bundle.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &arguments.bundle
    };
    let path = address(
        arguments,
        &group(bundle).unwrap_or_else(|| arguments.id.clone()),
        variable("LIGHTER_SHIM_SOCKET_DIR"),
    )?;
    let text = format!("unix://{}", path.display());
    let print = bootstrap(&text, variable("MAX_SHIM_VERSION"));
    // Two that start for one group must not take a socket that is not listened on yet for a dead one's.
    let lock = lock(&path).map_err(|source| Error::Bind {
        path: path.clone(),
        source,
    })?;
    let Some(listener) = bind(&path).map_err(|source| Error::Bind {
        path: path.clone(),
        source,
    })?
    else {
        write_address(bundle, &text)?;
        return Ok(Started::Print(print));
    };
    drop(lock);
    write_address(bundle, &text)?;
    let unlink = |error| {
        let _ = rustix::fs::unlink(&path);
        error
    };
    enter_cgroup(&shim_cgroup(input)).map_err(unlink)?;
    adjust_oom_score();
    match lighter_sys::process::fork(0, None).map_err(Error::Fork)? {
        Fork::Parent { .. } => Ok(Started::Print(print)),
        Fork::Child => {
            detach().map_err(Error::Detach)?;
            let mut server = Server::new(config, listener, path).map_err(Error::Serve)?;
            server.run().map_err(Error::Serve)?;
            Ok(Started::Served)
        }
    }
}

/// The group that the specification puts the container into.
fn group(bundle: &Path) -> Option<String> {
    let text = std::fs::read_to_string(bundle.join("config.json")).ok()?;
    let annotations = json::member(&text, "annotations")?;
    GROUPS
        .iter()
        .find_map(|name| json::member(annotations, name).and_then(json::string))
        .filter(|id| !id.is_empty())
}

/// Where to listen: in our caller's directory by namespace and id; for other callers as containerd's shims do, by the
/// caller's address too.
fn address(arguments: &Arguments, group: &str, ours: Option<OsString>) -> Result<PathBuf, Error> {
    let (dir, name) = match ours {
        Some(dir) => (PathBuf::from(dir), format!("{}/{group}", arguments.namespace)),
        None => {
            let name = Path::new(&arguments.address)
                .join(&arguments.namespace)
                .join(group);
            (PathBuf::from(SOCKETS), name.to_string_lossy().into_owned())
        }
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&dir);
    made.map_err(|source| Error::SocketDir {
        path: dir.clone(),
        source,
    })?;
    let hex: String = Sha256::digest(name.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(dir.join(hex))
}

/// A listener, or `None` when a living server has the address. A dead one's socket is replaced.
fn bind(path: &Path) -> io::Result<Option<OwnedFd>> {
    match socket::listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        result => return result.map(Some),
    }
    if socket::connect(path).is_ok() {
        return Ok(None);
    }
    rustix::fs::unlink(path)?;
    socket::listen(path).map(Some)
}

/// Held while sockets in the directory of `path` are made and replaced.
fn lock(path: &Path) -> io::Result<OwnedFd> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::LockExclusive)?;
    Ok(fd)
}

/// The cgroup that the caller wants the shim in, from the options on its standard input; empty: where it is.
fn shim_cgroup(input: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // Callers that say nothing give an empty file.
    let _ = input.take(INPUT_MAX).read_to_end(&mut bytes);
    let any = Any::decode(bytes.as_slice()).unwrap_or_default();
    options::read(Some(&any))
        .map(|options| options.shim_cgroup)
        .unwrap_or_default()
}

/// Enters `path` in every hierarchy that has it. None is an error.
fn enter_cgroup(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let failed = |source| Error::Cgroup {
        path: path.to_owned(),
        source,
    };
    let below = path.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    let mut found = false;
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    let dirs = std::iter::once(root.join(below)).chain(hierarchies.map(|entry| entry.path().join(below)));
    for procs in dirs
        .map(|dir| dir.join("cgroup.procs"))
        .filter(|procs| procs.exists())
    {
        std::fs::write(procs, "0").map_err(failed)?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(failed(io::ErrorKind::NotFound.into()))
    }
}

fn bootstrap(address: &str, max: Option<OsString>) -> String {
    let max = max.and_then(|max| max.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    if max < 2 {
        return address.to_owned();
    }
    Bootstrap {
        version: max.min(VERSION),
        address: address.to_owned(),
        protocol: "ttrpc".to_owned(),
    }
    .to_json()
}

/// containerd 1.x finds the shim again by this file.
fn write_address(bundle: &Path, address: &str) -> Result<(), Error> {
    let path = bundle.join("address");
    let written =
        lighter_stdx::atomic::write(&path, address.as_bytes(), 0o644, lighter_stdx::atomic::Keep::Kill);
    written.map_err(|source| Error::WriteAddress { path, source })
}

/// The kernel shall kill what runs before its keeper, and its keeper before the daemon. Not allowed is not needed.
fn adjust_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(score) = score.filter(|score| *score < 0) {
        let _ = std::fs::write(path, (score + 1).to_string());
    }
}

/// A session of its own, and nothing of the caller's open.
fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..3 {
        lighter_sys::descriptors::duplicate_to(null.as_fd(), number)?;
    }
    Ok(())
}
