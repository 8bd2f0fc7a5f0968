//! `--user`: from names to numbers, by the container's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lighter_containerd_api::containerd::types::Mount;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::types::User;
use crate::{Error, Result};

/// Numbers that a user or a group may have. Source: Docker's own bounds.
const IDS: std::ops::RangeInclusive<i64> = 0..=0x7fff_ffff;

/// Neither file is ever longer in earnest, in bytes.
const LONGEST: u64 = 4 << 20;

/// More groups than a process can be in are not collected. Source: the kernel's NGROUPS_MAX.
const MOST_GROUPS: usize = 65_536;

/// Where a container's files can be read.
#[derive(Debug)]
pub(crate) enum Rootfs<'a> {
    /// Not mounted yet: what its snapshot will be mounted from.
    Mounts(&'a [Mount]),
    /// The root directory of a process that runs in it.
    Process(u32),
}

/// Resolves `user[:group]`, either a name or a number, and adds `groups` (`--group-add`).
pub(crate) fn resolve(user: &str, groups: &[String], rootfs: &Rootfs<'_>) -> Result<User> {
    let passwd = rootfs.read("etc/passwd");
    let group = rootfs.read("etc/group");
    lookup(
        user,
        groups,
        passwd.as_deref().unwrap_or(""),
        group.as_deref().unwrap_or(""),
    )
}

fn lookup(user: &str, extra: &[String], passwd: &str, group: &str) -> Result<User> {
    let (name, group_name) = user
        .split_once(':')
        .map_or((user, None), |(name, group)| (name, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name)?;
    // A name wins over a number, as a user may well be called 1000.
    let entries = || {
        passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .filter(|entry| entry.len() >= 4)
    };
    let entry = entries()
        .find(|entry| entry[0] == name)
        .or_else(|| entries().find(|entry| number.is_some_and(|number| entry[2].parse() == Ok(number))));
    let mut found = match (&entry, number) {
        (Some(entry), _) => User {
            uid: entry_number(entry, 2)?,
            gid: entry_number(entry, 3)?,
            additional_gids: Vec::new(),
        },
        (None, Some(uid)) => User {
            uid: in_range(uid)?,
            gid: 0,
            additional_gids: Vec::new(),
        },
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    match group_name {
        Some(wanted) if !wanted.is_empty() => found.gid = group_number(wanted, group)?,
        _ => {
            if let Some(entry) = &entry {
                found.additional_gids = memberships(entry[0], group);
            }
        }
    }
    // A process is in its primary group whatever it does with `setgid`: else it could shed a group that it is denied by.
    // Source: CVE-2022-36109.
    found.additional_gids.insert(0, found.gid);
    for wanted in extra {
        let gid = group_number(wanted, group)?;
        if !found.additional_gids.contains(&gid) {
            found.additional_gids.push(gid);
        }
    }
    Ok(found)
}

fn group_number(wanted: &str, group: &str) -> Result<u32> {
    let number = number(wanted)?;
    match (group_entries(group).find(|entry| entry[0] == wanted), number) {
        (Some(entry), _) => entry_number(&entry, 2),
        (None, Some(gid)) => in_range(gid),
        (None, None) => Err(Error::invalid(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))),
    }
}

/// The number that `word` is, if it is one. One that no user can have is refused, and never looked up as a name: an image may well have
/// a user of such a name who is root (CVE-2026-46680).
fn number(word: &str) -> Result<Option<i64>> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = word.parse().unwrap_or(i64::MAX);
    in_range(id)?;
    Ok(Some(id))
}

/// A number of a file's entry. What is none, or none that anybody can have, is refused: it must not become root's (CVE-2024-40635).
fn entry_number(entry: &[&str], field: usize) -> Result<u32> {
    let id = entry.get(field).and_then(|text| text.parse().ok());
    in_range(id.unwrap_or(-1))
}

fn in_range(id: i64) -> Result<u32> {
    let found = u32::try_from(id).ok().filter(|_| IDS.contains(&id));
    found.ok_or_else(|| Error::invalid("uids and gids must be in range 0-2147483647"))
}

/// Whether there is something at `path` (from the root, without a slash before it) that is no directory.
pub(crate) fn is_file(rootfs: &Rootfs<'_>, path: &str) -> bool {
    let Rootfs::Mounts([mount]) = rootfs else {
        return false;
    };
    let layers = match mount.r#type.as_str() {
        "overlay" => layers(mount),
        _ => vec![mount.source.as_str()],
    };
    for layer in layers {
        let Ok(root) = open_dir(Path::new(layer)) else {
            return false;
        };
        if let Ok(found) = open_in_with(root.as_fd(), Path::new(path), OFlags::PATH) {
            let kind = rustix::fs::fstat(&found).map(|stat| FileType::from_raw_mode(stat.st_mode));
            // A device may be a whiteout.
            return kind.is_ok_and(|kind| !matches!(kind, FileType::Directory | FileType::CharacterDevice));
        }
        if hides_lower(root.as_fd(), Path::new(path).parent().unwrap_or(Path::new(""))) {
            return false;
        }
    }
    false
}

/// The groups that list `user` as a member.
fn memberships(user: &str, group: &str) -> Vec<u32> {
    group_entries(group)
        .filter(|entry| {
            entry
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member == user))
        })
        .filter_map(|entry| entry_number(&entry, 2).ok())
        .take(MOST_GROUPS)
        .collect()
}

fn group_entries(group: &str) -> impl Iterator<Item = Vec<&str>> {
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|entry| entry.len() >= 3)
}

impl Rootfs<'_> {
    /// The text of a file; absent when it is not there or cannot be read: then only numbers serve.
    fn read(&self, path: &str) -> Option<String> {
        match self {
            Self::Process(pid) => {
                let root = open_dir(Path::new(&format!("/proc/{pid}/root"))).ok()?;
                open_in(root.as_fd(), path).and_then(text).ok()
            }
            Self::Mounts(mounts) => match mounts {
                [mount] if mount.r#type == "overlay" => read_in_layers(&layers(mount), path),
                [mount] => {
                    let root = open_dir(Path::new(&mount.source)).ok()?;
                    open_in(root.as_fd(), path).and_then(text).ok()
                }
                _ => None,
            },
        }
    }
}

/// The directories of an overlay mount, the topmost first.
fn layers(mount: &Mount) -> Vec<&str> {
    let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
    let lower = option("lowerdir=")
        .into_iter()
        .flat_map(|dirs| dirs.split(':'))
        .filter(|dir| !dir.is_empty());
    option("upperdir=").into_iter().chain(lower).collect()
}

/// Looks the file up as overlayfs would, without mounting anything. A symbolic link may lead into another layer, so it is
/// followed only where that cannot be: within its own layer.
fn read_in_layers(layers: &[&str], path: &str) -> Option<String> {
    let parent = Path::new(path).parent().unwrap_or(Path::new(""));
    for layer in layers {
        let root = open_dir(Path::new(layer)).ok()?;
        match open_in(root.as_fd(), path) {
            Ok(file) => {
                let whiteout = rustix::fs::fstat(&file)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
                return if whiteout { None } else { text(file).ok() };
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)
                if hides_lower(root.as_fd(), parent) =>
            {
                return None;
            }
            Err(_) => {}
        }
    }
    None
}

/// Whether a directory of this layer is opaque, or was replaced by a whiteout.
fn hides_lower(root: BorrowedFd<'_>, path: &Path) -> bool {
    let Ok(dir) = open_in_with(root, path, OFlags::PATH) else {
        return false;
    };
    let kind = rustix::fs::fstat(&dir).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::Directory) {
        return true;
    }
    let mut value = [0_u8; 1];
    let proc_path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| rustix::fs::getxattr(&proc_path, *name, &mut value) == Ok(1) && value == *b"y")
}

fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens for reading below `root`, never out of it; not blocking, as a fifo may lie there.
fn open_in(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    match open_in_with(root, Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
        // A whiteout cannot be opened for reading.
        Err(rustix::io::Errno::NXIO | rustix::io::Errno::NODEV) => {
            open_in_with(root, Path::new(path), OFlags::PATH)
        }
        other => other,
    }
}

fn open_in_with(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut flags = flags | OFlags::CLOEXEC;
    // Refused by `openat2` beside `O_PATH`.
    if !flags.contains(OFlags::PATH) {
        flags |= OFlags::NOCTTY;
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn text(file: OwnedFd) -> rustix::io::Result<String> {
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::INVAL);
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|error: io::Error| {
        rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/:/bin/false\n1000:x:7:8::/:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root\naudio:x:29:web,root\nstaff:x:50:\n";

    fn check(user: &str, extra: &[&str], expected: (u32, u32, &[u32])) {
        let extra: Vec<String> = extra.iter().map(|text| (*text).to_owned()).collect();
        let found = lookup(user, &extra, PASSWD, GROUP).unwrap();
        assert_eq!(
            (found.uid, found.gid, found.additional_gids.as_slice()),
            expected,
            "{user}"
        );
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        check("", &[], (0, 0, &[0, 10, 29]));
        check("web", &[], (33, 44, &[44, 29]));
        check("33", &[], (33, 44, &[44, 29]));
        check("1000", &[], (7, 8, &[8]));
        check("2000", &["staff", "5"], (2000, 0, &[0, 50, 5]));
        check("web:staff", &[], (33, 50, &[50]));
        check("web:99", &["wheel"], (33, 99, &[99, 10]));
    }

    #[test]
    fn unknown_names_are_refused() {
        let message = |user: &str| lookup(user, &[], PASSWD, GROUP).unwrap_err().message;
        assert_eq!(
            message("nobody"),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(
            message("web:nogroup"),
            "unable to find group nogroup: no matching entries in group file"
        );
        for user in ["77777777777", "-1", "0:77777777777"] {
            assert_eq!(
                message(user),
                "uids and gids must be in range 0-2147483647",
                "{user}"
            );
        }
    }

    /// A user or group of the image's whose number overflows was root (CVE-2024-40635), also when the number is a name (CVE-2026-46680).
    #[test]
    fn cve_2024_40635_cve_2026_46680_a_number_too_large_is_never_root() {
        let passwd = "99999999999999999999:x:0:0::/:\n4294967296:x:0:0::/:\nbig:x:4294967296:0::/:\nminus:x:-1:0::/:\n\
                      group:x:1:4294967295::/:\nnone:x::0::/:\n";
        let group = "99999999999999999999:x:0:\nbig:x:4294967296:web\n";
        for user in [
            "99999999999999999999",
            "4294967296",
            "4294967295",
            "2147483648",
            "-4294967296",
            "big",
            "minus",
            "group",
            "none",
            "1:99999999999999999999",
            "1:4294967296",
            "1:big",
        ] {
            let refused = lookup(user, &[], passwd, group).map_err(|error| error.message);
            let expected = Err("uids and gids must be in range 0-2147483647".to_owned());
            assert_eq!(refused.map(|user| user.uid), expected, "{user}");
        }
    }

    /// An image's endless group file took all memory.
    #[test]
    fn cve_2026_47262_an_endless_group_file_is_read_to_a_bound() {
        let dir = std::env::temp_dir().join(format!("engine-groups-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        // Sparse: a terabyte without an end of line.
        let file = File::create(dir.join("etc/group")).unwrap();
        file.set_len(1 << 40).unwrap();
        std::fs::write(dir.join("etc/passwd"), "web:x:33:44::/:\n").unwrap();
        let mount = Mount {
            r#type: "bind".to_owned(),
            source: dir.to_string_lossy().into_owned(),
            ..Mount::default()
        };
        let found = resolve("web", &[], &Rootfs::Mounts(&[mount])).unwrap();
        assert_eq!((found.uid, found.additional_gids), (33, vec![44]));
        // And a short one with more groups than anybody can be in.
        let many: String = (0..200_000).map(|id| format!("g:x:{id}:web\n")).collect();
        let found = lookup("web", &[], "web:x:33:44::/:\n", &many).unwrap();
        assert_eq!(found.additional_gids.len(), MOST_GROUPS + 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// The groups that the image gives a user are the process's, and so is its primary group.
    #[test]
    fn cve_2023_25173_supplementary_groups_are_those_of_the_image() {
        check("web", &[], (33, 44, &[44, 29]));
        // A group that was named takes the place of all that.
        check("web:staff", &[], (33, 50, &[50]));
        check("0:0", &[], (0, 0, &[0]));
    }

    #[test]
    fn an_upper_layer_hides_a_lower_one() {
        let dir = std::env::temp_dir().join(format!("engine-user-{}", std::process::id()));
        for layer in ["upper", "lower"] {
            std::fs::create_dir_all(dir.join(layer).join("etc")).unwrap();
        }
        std::fs::write(dir.join("lower/etc/passwd"), "old").unwrap();
        let (upper, lower) = (dir.join("upper"), dir.join("lower"));
        let read = || read_in_layers(&[upper.to_str().unwrap(), lower.to_str().unwrap()], "etc/passwd");
        assert_eq!(read().as_deref(), Some("old"));
        std::fs::write(upper.join("etc/passwd"), "new").unwrap();
        assert_eq!(read().as_deref(), Some("new"));
        let mount = Mount {
            r#type: "overlay".to_owned(),
            options: vec![
                format!("upperdir={}", upper.display()),
                format!("lowerdir={}", lower.display()),
            ],
            ..Mount::default()
        };
        let mounts = [mount];
        let file = |path: &str| is_file(&Rootfs::Mounts(&mounts), path);
        assert!(file("etc/passwd") && !file("etc") && !file("nosuch/dir") && !file(""));
        std::fs::remove_dir_all(upper.join("etc")).unwrap();
        std::fs::write(upper.join("etc"), "no directory any more").unwrap();
        assert_eq!(read(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
