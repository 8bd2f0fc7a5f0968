//! That whatever a file system can hold is the same in a snapshot of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::World;
use crate::Labels;
use crate::overlayfs::in_user_namespace;

const HOLE: u64 = 1 << 20;

pub(super) async fn every_kind_of_file_is_kept(world: &World) {
    let mut made = BTreeMap::new();
    world
        .layer("base", "", |at| {
            make(at);
            made = picture(at);
        })
        .await;
    let mut shown = BTreeMap::new();
    world.layer("top", "base", |at| shown = picture(at)).await;
    assert_eq!(shown, made);
    let mounts = world
        .one
        .prepare("active", "top", Labels::new())
        .await
        .expect("prepared");
    world.mounted(&mounts, |at| {
        assert_eq!(picture(at), made);
        let sparse = at.join("sparse").metadata().expect("there");
        assert!(sparse.blocks() * 512 < HOLE, "a hole stays one");
        // What is changed here is not changed below.
        fs::write(at.join("dir/first"), "changed").expect("written");
    });
    let mounts = world
        .one
        .view("view", "base", Labels::new())
        .await
        .expect("viewed");
    world.mounted(&mounts, |at| assert_eq!(picture(at), made));
}

fn make(at: &Path) {
    let path = |name: &str| at.join(name);
    fs::create_dir_all(path("dir/sub")).expect("made");
    fs::write(path("dir/first"), "linked").expect("written");
    fs::hard_link(path("dir/first"), path("dir/sub/second")).expect("linked");
    fs::hard_link(path("dir/first"), path("third")).expect("linked");
    fs::write(path("empty"), "").expect("written");
    let sparse = fs::File::create(path("sparse")).expect("made");
    sparse.write_all_at(b"first", 0).expect("written");
    sparse.write_all_at(b"last", 2 * HOLE).expect("written");
    sparse.set_len(3 * HOLE).expect("lengthened");
    fs::write(path("program"), "#!").expect("written");
    chown(path("program"), Some(12), Some(34)).expect("owned");
    mode(&path("program"), 0o6755);
    fs::write(path("secret"), "").expect("written");
    mode(&path("secret"), 0);
    mode(&path("dir"), 0o3711);
    let attribute = rustix::fs::setxattr(path("program"), "user.of", b"a value", XattrFlags::empty());
    attribute.expect("an attribute is set");
    let attribute = rustix::fs::setxattr(path("dir"), "user.of", &[7; 1000], XattrFlags::empty());
    attribute.expect("a longer attribute is set");
    symlink("/no/where", path("link")).expect("linked");
    std::os::unix::fs::lchown(path("link"), Some(56), Some(78)).expect("owned");
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)
        .expect("a fifo is made");
    let null = rustix::fs::makedev(1, 3);
    let device = rustix::fs::mknodat(
        CWD,
        path("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        null,
    );
    // The kernel lets nobody make devices in a user namespace.
    assert_eq!(device.is_err(), in_user_namespace(), "{device:?}");
    // Times last, the directories' after what is in them.
    for (number, name) in ["third", "sparse", "program", "link", "fifo", "dir/sub", "dir"]
        .into_iter()
        .enumerate()
    {
        let time = Timespec {
            tv_sec: 1_000_000_000 + i64::try_from(number).unwrap_or(0),
            tv_nsec: 123_456_789,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path(name), &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time is set");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode is set");
}

/// A line for each path below `root`: all that is kept of it.
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first = HashMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().expect("there");
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&full)
                .expect("read")
                .map(|entry| path.join(entry.expect("read").file_name()))
                .collect();
            names.sort();
            left.extend(names);
        }
        // The root is another one in each layer of an overlay.
        if path.as_os_str().is_empty() {
            continue;
        }
        let line = match kind {
            kind if kind.is_dir() => String::new(),
            kind if kind.is_symlink() => format!("-> {:?}", fs::read_link(&full).expect("read")),
            kind if kind.is_file() => {
                let name = first.entry(metadata.ino()).or_insert_with(|| path.clone());
                let text = fs::read(&full).expect("read");
                let sum = lighter_oci::Digest::sha256(&text);
                format!("{} {} {name:?} {sum}", metadata.len(), metadata.nlink())
            }
            _ => format!("device {:x}", metadata.rdev()),
        };
        let line = format!(
            "{:o} {}:{} {}.{:09} {line} {:?}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            attributes(&full)
        );
        found.insert(path, line);
    }
    found
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).expect("listed");
    let names = names[..length].split(|byte| *byte == 0);
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).expect("read");
        value.truncate(length);
        value
    };
    names
        .filter(|name| name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        .map(|name| (String::from_utf8_lossy(name).into_owned(), value(name)))
        .collect()
}
