//! Device nodes and the links in `/dev`.

use std::os::fd::AsFd;
use std::path::Path;

use lighter_cgroups::DeviceRule;
use lighter_safe_fs::Root;
use lighter_sys::mount as m;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::config::Device;
use crate::error::{Context, Error, Result};

/// What every container has.
///
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#default-devices
const DEFAULT: [(&str, u32); 6] = [
    ("null", 3),
    ("zero", 5),
    ("full", 7),
    ("random", 8),
    ("urandom", 9),
    ("tty", 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Refuses what cannot be a node.
pub(crate) fn check(devices: &[Device]) -> Result<()> {
    for (at, device) in devices.iter().enumerate() {
        if !["c", "u", "b", "p"].contains(&device.kind.as_str()) {
            return Err(Error::Config(format!(
                "linux.devices[{at}].type: invalid device type {:?} of {}",
                device.kind,
                device.path.display()
            )));
        }
        if [device.uid, device.gid].contains(&Some(u32::MAX)) {
            return Err(Error::Config(format!(
                "linux.devices[{at}]: {} is no owner: the kernel takes it for \"no change\"",
                u32::MAX
            )));
        }
    }
    Ok(())
}

/// Refuses rules that mean no device, or no access: peers do so too, and one that says neither must not allow everything.
pub(crate) fn check_rules(rules: &[DeviceRule]) -> Result<()> {
    for (at, rule) in rules.iter().enumerate() {
        let field = format!("linux.resources.devices[{at}]");
        if !["", "a", "b", "c"].contains(&rule.kind.as_str()) {
            return Err(Error::Config(format!(
                "{field}.type: invalid cgroup device type {:?}",
                rule.kind
            )));
        }
        if rule.access.is_empty() {
            return Err(Error::Config(format!(
                "{field}.access: device access at {at} field cannot be empty"
            )));
        }
    }
    Ok(())
}

/// What every container may use, whatever its own rules say before: making nodes of any kind, the default devices and
/// terminals.
pub(crate) fn default_rules() -> impl Iterator<Item = DeviceRule> {
    let any = [
        ("c", None, None, "m"),
        ("b", None, None, "m"),
        ("c", Some(136), None, ""),
        ("c", Some(5), Some(2), ""),
        // /dev/net/tun: runc and crun let every container use it.
        ("c", Some(10), Some(200), ""),
    ];
    let nodes = DEFAULT.iter().map(|(name, minor)| {
        (
            "c",
            Some(if *name == "tty" { 5 } else { 1 }),
            Some(i64::from(*minor)),
            "",
        )
    });
    any.into_iter()
        .chain(nodes)
        .map(|(kind, major, minor, access)| DeviceRule {
            allow: true,
            kind: kind.into(),
            major,
            minor,
            access: access.into(),
        })
}

/// Fills `dev`, which is `/dev` of `root`: default nodes, those of the configuration, links. `bind`: nodes cannot be made (a user
/// namespace), so the host's are bound instead.
pub(crate) fn fill(root: &Root, dev: &Root, devices: &[Device], bind: bool) -> Result<()> {
    for (name, minor) in DEFAULT {
        let path = Path::new("/dev").join(name);
        if devices.iter().any(|device| device.path == path) {
            continue;
        }
        if bind {
            bind_node(root, &path)?;
            continue;
        }
        let number = rustix::fs::makedev(if name == "tty" { 5 } else { 1 }, minor);
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::mknodat(dev.as_fd(), name, FileType::CharacterDevice, mode, number) {
            Err(Errno::EXIST) => {}
            Err(Errno::PERM) => bind_node(root, &path)?,
            result => result.on("make device node", &path)?,
        }
    }
    for device in devices {
        make(root, device, bind)?;
    }
    for (target, name) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            // An image's own ptmx node would be the host's.
            Err(_) if name == "ptmx" => {
                root.remove_file(Path::new("dev/ptmx"))?;
                root.symlink(target, Path::new("dev/ptmx"))?;
            }
            // An image may have its own idea; so has runc.
            Err(Errno::EXIST) => {}
            result => result.on("link", Path::new("/dev").join(name))?,
        }
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        match rustix::fs::symlinkat("/proc/kcore", dev, "core") {
            Err(Errno::EXIST) => {}
            result => result.on("link", "/dev/core")?,
        }
    }
    Ok(())
}

fn make(root: &Root, device: &Device, bind: bool) -> Result<()> {
    // Engines name devices without a path for their cgroup rules.
    if device.path.as_os_str().is_empty() {
        return Ok(());
    }
    if bind {
        return bind_node(root, &device.path);
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        kind => {
            return Err(Error::Config(format!(
                "invalid device type {kind:?} of {}",
                device.path.display()
            )));
        }
    };
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_| Error::Config(format!("invalid device number of {}", device.path.display())))
    };
    let numbers = if kind == FileType::Fifo {
        0
    } else {
        rustix::fs::makedev(number(device.major)?, number(device.minor)?)
    };
    if let Some(parent) = device.path.parent() {
        root.create_dir_all(parent, 0o755)?;
    }
    let mode = device.file_mode.unwrap_or(0o666) & 0o1777;
    match root.make_node(&device.path, kind, mode, numbers) {
        // The image's own, or one of a mount: as it is.
        Err(error) if error.errno() == Some(Errno::EXIST.raw_os_error()) => return Ok(()),
        Err(error) if error.errno() == Some(Errno::PERM.raw_os_error()) => {
            return bind_node(root, &device.path);
        }
        result => result?,
    }
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if (uid, gid) != (0, 0) {
        // By descriptor, once it is known to be what was made: somebody else may write to the directory.
        let node = root.at(&device.path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat = rustix::fs::fstat(&node).on("stat", &device.path)?;
        if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != numbers {
            return Err(Error::Config(format!(
                "{} is not the device that was made there",
                device.path.display()
            )));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .on("change owner of", &device.path)?;
        // A change of owner takes set-id bits away, not others: the mode holds.
    }
    Ok(())
}

fn bind_node(root: &Root, path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        root.create_dir_all(parent, 0o755)?;
    }
    // A link that the image put there is not followed.
    match root.make_node(path, FileType::RegularFile, 0o666, 0) {
        Err(error) if error.errno() == Some(Errno::EXIST.raw_os_error()) => {}
        result => result?,
    }
    let target = root.at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&target).on("stat", path)?.st_mode) == FileType::Symlink {
        return Err(Error::Config(format!(
            "device {} is a symbolic link in the container's root",
            path.display()
        )));
    }
    let source = crate::program::c_string(path);
    let tree = m::clone_tree(CWD, &source, false).on("open device", path)?;
    m::attach(tree.as_fd(), target.as_fd()).on("bind device", path)
}
