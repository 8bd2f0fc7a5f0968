//! Layers that are made: applied to the one tree they give the other. Needs root, and file systems with attributes.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use common::{options, picture, run};
use lighter_archive::{
    DiffOptions, Diffed, Error, Kind, Options, Reader, Time, Tree, Whiteouts, apply, diff,
};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// A change to a tree. One that cannot be made is passed by.
#[derive(Debug, Clone)]
enum Change {
    Write(PathBuf, u8, usize),
    Sparse(PathBuf, u64),
    Directory(PathBuf),
    Symlink(PathBuf, String),
    Link(PathBuf, PathBuf),
    Node(PathBuf, u8),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Owner(PathBuf, u32),
    Attribute(PathBuf, u8),
    Acl(PathBuf, bool),
    Time(PathBuf, i64, i64),
}

fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        8 => "[abc]".prop_map(|name| name),
        1 => Just("n".repeat(120)),
        1 => Just("\u{e9}\n".to_owned()),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.iter().collect())
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (path(), any::<u8>(), 0..3000_usize).prop_map(|(path, byte, size)| Change::Write(path, byte, size)),
        1 => (path(), 0..3_u64).prop_map(|(path, at)| Change::Sparse(path, at)),
        6 => path().prop_map(Change::Directory),
        2 => (path(), prop_oneof![Just("a".to_owned()), Just("/absent/target".to_owned()), Just("t".repeat(150))])
            .prop_map(|(path, target)| Change::Symlink(path, target)),
        4 => (path(), path()).prop_map(|(from, to)| Change::Link(from, to)),
        1 => (path(), 0..3_u8).prop_map(|(path, kind)| Change::Node(path, kind)),
        4 => path().prop_map(Change::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Change::Rename(from, to)),
        2 => (path(), 0..0o10000_u32).prop_map(|(path, mode)| Change::Mode(path, mode)),
        2 => (path(), prop_oneof![Just(7_u32), Just(3_000_000)]).prop_map(|(path, id)| Change::Owner(path, id)),
        1 => (path(), any::<u8>()).prop_map(|(path, value)| Change::Attribute(path, value)),
        1 => (path(), any::<bool>()).prop_map(|(path, default)| Change::Acl(path, default)),
        2 => (path(), -3..3_i64, prop_oneof![Just(0_i64), Just(123_456_789)])
            .prop_map(|(path, seconds, nanoseconds)| Change::Time(path, seconds, nanoseconds)),
    ]
}

fn change_tree(root: &Path, changes: &[Change]) {
    for change in changes {
        // What cannot be done here changes nothing.
        let _ = make(root, change);
    }
}

/// user::rwx, user:7:r--, group::r-x, mask::r-x, other::---, as the kernel keeps it.
fn acl() -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1, 7, u32::MAX),
        (2, 4, 7),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        value.extend_from_slice(&u16::to_le_bytes(tag));
        value.extend_from_slice(&u16::to_le_bytes(permissions));
        value.extend_from_slice(&u32::to_le_bytes(id));
    }
    value
}

fn make(root: &Path, change: &Change) -> std::io::Result<()> {
    let new = |path: &Path| {
        let path = root.join(path);
        let _ = fs::create_dir_all(path.parent().unwrap());
        path
    };
    let there = |path: &Path| {
        let path = root.join(path);
        path.symlink_metadata()
            .map(|metadata| (path, metadata.file_type()))
    };
    // Never opens a pipe or a device.
    let file = |path: &Path| {
        let path = new(path);
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_file() => Err(std::io::ErrorKind::AlreadyExists.into()),
            _ => File::create(path),
        }
    };
    match change {
        Change::Write(path, byte, size) => file(path)?.write_all_at(&vec![*byte; *size], 0),
        Change::Sparse(path, at) => {
            let file = file(path)?;
            file.set_len(3 << 20)?;
            file.write_all_at(b"data", at << 20)
        }
        Change::Directory(path) => fs::create_dir_all(new(path)),
        Change::Symlink(path, target) => symlink(target, new(path)),
        Change::Link(from, to) => fs::hard_link(root.join(from), new(to)),
        Change::Node(path, kind) => {
            let kind = [FileType::Fifo, FileType::CharacterDevice, FileType::BlockDevice][usize::from(*kind)];
            let device = rustix::fs::makedev(259, 300);
            Ok(rustix::fs::mknodat(
                CWD,
                new(path),
                kind,
                Mode::from_raw_mode(0o640),
                device,
            )?)
        }
        Change::Remove(path) => {
            let (path, kind) = there(path)?;
            if kind.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Change::Rename(from, to) => fs::rename(root.join(from), new(to)),
        Change::Mode(path, mode) => {
            let (path, kind) = there(path)?;
            if kind.is_symlink() {
                return Ok(());
            }
            fs::set_permissions(path, PermissionsExt::from_mode(*mode))
        }
        Change::Owner(path, id) => lchown(there(path)?.0, Some(*id), Some(id + 1)),
        Change::Attribute(path, value) => {
            let (path, kind) = there(path)?;
            let value = [*value, 0, b'='];
            rustix::fs::lsetxattr(&path, "trusted.word", &value, XattrFlags::empty())?;
            if kind.is_file() {
                rustix::fs::lsetxattr(&path, "user.word", &value, XattrFlags::empty())?;
                let capability = [1_u8, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                rustix::fs::lsetxattr(&path, "security.capability", &capability, XattrFlags::empty())?;
            }
            Ok(())
        }
        Change::Acl(path, default) => {
            let (path, _) = there(path)?;
            let name = if *default {
                "system.posix_acl_default"
            } else {
                "system.posix_acl_access"
            };
            Ok(rustix::fs::lsetxattr(&path, name, &acl(), XattrFlags::empty())?)
        }
        Change::Time(path, seconds, nanoseconds) => {
            let time = rustix::fs::Timespec {
                tv_sec: *seconds,
                tv_nsec: *nanoseconds,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::utimensat(CWD, there(path)?.0, &times, flags)?)
        }
    }
}

fn made(lower: &Tree<'_>, upper: &Tree<'_>) -> Vec<u8> {
    let mut layer = Vec::new();
    diff(lower, upper, &DiffOptions::default(), &mut layer).unwrap();
    layer
}

fn copy(from: &Path, to: &Path) {
    run("cp", &[OsStr::new("-aT"), from.as_os_str(), to.as_os_str()]);
}

fn removing() -> Options {
    Options {
        whiteouts: Whiteouts::Remove,
        ..options()
    }
}

fn assert_same(found: &Path, expected: &Path, why: &str) {
    let (found, expected) = (picture(found), picture(expected));
    for (path, line) in &expected {
        assert_eq!(found.get(path), Some(line), "{why}: {}", path.display());
    }
    let more: Vec<_> = found
        .keys()
        .filter(|path| !expected.contains_key(*path))
        .collect();
    assert!(more.is_empty(), "{why}: {more:?}");
}

/// Runs `test` where mounts are nobody else's.
fn with_mounts(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            use rustix::mount::{MountPropagationFlags, mount_change};
            // The thread ends with the test, and its mounts with it.
            lighter_sys::namespace::unshare(lighter_sys::namespace::MOUNT).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn overlay(lower: &str, upper: Option<(&Path, &Path)>, at: &Path) {
    let mut data = format!("index=off,metacopy=off,redirect_dir=off,lowerdir={lower}");
    if let Some((upper, work)) = upper {
        data += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    let data = std::ffi::CString::new(data).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", at, "overlay", flags, data.as_c_str()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, max_shrink_time: 3000, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_made_of_two_trees_makes_one_of_the_other(
        before in prop::collection::vec(change(), 0..30),
        after in prop::collection::vec(change(), 0..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("a")).unwrap();
        change_tree(&at("a"), &before);
        copy(&at("a"), &at("b"));
        change_tree(&at("b"), &after);
        let (a, b) = (at("a"), at("b"));
        let layer = made(&Tree::Plain(&a), &Tree::Plain(&b));
        prop_assert_eq!(&layer, &made(&Tree::Plain(&a), &Tree::Plain(&b)), "the same trees give the same bytes");
        copy(&a, &at("c"));
        apply(layer.as_slice(), &at("c"), &removing()).unwrap();
        if layer.len() > 1024 {
            assert_same(&at("c"), &b, "changes");
        }
        let whole = made(&Tree::Nothing, &Tree::Plain(&b));
        fs::create_dir(at("d")).unwrap();
        apply(whole.as_slice(), &at("d"), &options()).unwrap();
        assert_same(&at("d"), &b, "the whole");
        let nothing = made(&Tree::Plain(&b), &Tree::Plain(&at("d")));
        prop_assert_eq!(nothing.len(), 1024, "what was unpacked is no change");
    }

    #[test]
    fn an_overlay_is_read_without_a_mount(
        base in prop::collection::vec(change(), 0..30),
        middle in prop::collection::vec(change(), 0..20),
        top in prop::collection::vec(change(), 0..20),
    ) {
        with_mounts(|| {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            for name in ["a", "b", "c", "work", "work2", "work3", "lower", "upper", "applied", "new"] {
                fs::create_dir(at(name)).unwrap();
            }
            let text = |name: &str| at(name).to_str().unwrap().to_owned();
            change_tree(&at("a"), &base);
            overlay(&text("a"), Some((&at("b"), &at("work"))), &at("lower"));
            change_tree(&at("lower"), &middle);
            overlay(&format!("{}:{}", text("b"), text("a")), Some((&at("c"), &at("work2"))), &at("upper"));
            change_tree(&at("upper"), &top);
            let (below, all) = ([at("b"), at("a")], [at("c"), at("b"), at("a")]);
            let tree = |layers| Tree::Overlay { layers, user: false };
            let layer = made(&tree(&below), &tree(&all));
            // The whole of it, and what an overlay over the same layers shows when the layer is unpacked.
            let whole = made(&Tree::Nothing, &tree(&all));
            assert_eq!(whole, made(&Tree::Nothing, &Tree::Plain(&at("upper"))), "the same tree, mounted");
            let squashed = made(&tree(&[at("a")]), &tree(&all));
            for (lower, layer) in [(below.to_vec(), &layer), (vec![at("a")], &squashed)] {
                fs::remove_dir_all(at("new")).unwrap();
                fs::create_dir(at("new")).unwrap();
                let options = Options { lower: lower.clone(), ..options() };
                apply(layer.as_slice(), &at("new"), &options).unwrap();
                let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
                overlay(&lower.join(":"), Some((&at("new"), &at("work3"))), &at("applied"));
                if layer.len() > 1024 {
                    assert_same(&at("applied"), &at("upper"), "unpacked above");
                }
                rustix::mount::unmount(at("applied"), rustix::mount::UnmountFlags::DETACH).unwrap();
            }
        });
    }
}

#[test]
fn a_mounted_overlay_gives_the_same_layer_as_its_directories() {
    with_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b", "work", "upper"] {
            fs::create_dir(at(name)).unwrap();
        }
        for path in ["kept/deep", "gone/deep", "new/deep", "opaque/old"] {
            fs::create_dir_all(at("a").join(path)).unwrap();
            fs::write(at("a").join(path).join("file"), path).unwrap();
        }
        overlay(
            at("a").to_str().unwrap(),
            Some((&at("b"), &at("work"))),
            &at("upper"),
        );
        let upper = at("upper");
        fs::remove_dir_all(upper.join("gone")).unwrap();
        fs::remove_dir_all(upper.join("opaque")).unwrap();
        fs::create_dir_all(upper.join("opaque/new")).unwrap();
        fs::write(upper.join("new/deep/more"), "more").unwrap();
        fs::hard_link(upper.join("new/deep/more"), upper.join("new/again")).unwrap();
        // Copied up, but no change.
        fs::set_permissions(upper.join("kept/deep/file"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::set_permissions(upper.join("kept/deep/file"), PermissionsExt::from_mode(0o644)).unwrap();
        assert!(at("b/kept/deep/file").exists());
        let layers = [at("b"), at("a")];
        let tree = |layers| Tree::Overlay { layers, user: false };
        let fast = made(&tree(&layers[1..]), &tree(&layers));
        assert_eq!(fast, made(&Tree::Plain(&at("a")), &Tree::Plain(&upper)));
        let names = entries(&fast);
        let expected = [
            "./",
            ".wh.gone",
            "new/",
            "new/again",
            "new/deep/",
            "new/deep/more",
            "opaque/",
            "opaque/new/",
            "opaque/.wh.old",
        ];
        assert_eq!(names, expected);
    });
}

fn entries(layer: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(layer);
    std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| entry.path.into_string().unwrap())
        .collect()
}

#[test]
fn a_new_name_of_an_old_file_leaves_the_times_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("a/old")).unwrap();
    fs::write(at("a/old/file"), "file").unwrap();
    copy(&at("a"), &at("b"));
    copy(&at("a"), &at("c"));
    fs::hard_link(at("b/old/file"), at("b/second")).unwrap();
    let layer = made(&Tree::Plain(&at("a")), &Tree::Plain(&at("b")));
    assert_eq!(entries(&layer), ["./", "second", "old/", "old/file"]);
    apply(layer.as_slice(), &at("c"), &removing()).unwrap();
    assert_same(&at("c"), &at("b"), "linked");
}

#[test]
fn other_tools_read_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    let changes = [
        Change::Write("a/b".into(), 1, 100_000),
        Change::Sparse("sparse".into(), 1),
        Change::Sparse("end".into(), 2),
        Change::Link("a/b".into(), "z".into()),
        Change::Write("n".repeat(200).into(), 1, 1),
        Change::Symlink("l".into(), "t".repeat(300)),
        Change::Owner("a/b".into(), 3_000_000),
        Change::Time("a/b".into(), -3, 123_456_789),
        Change::Node("c".into(), 1),
        Change::Attribute("end".into(), 1),
        Change::Acl("a".into(), true),
    ];
    for change in &changes {
        make(&at("tree"), change).unwrap();
    }
    let layer = made(&Tree::Nothing, &Tree::Plain(&at("tree")));
    assert!(layer.len() < 200_000, "the holes are not written");
    fs::write(at("layer.tar"), &layer).unwrap();
    fs::create_dir(at("gnu")).unwrap();
    let arguments = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"].map(OsStr::new);
    let (layer, out) = (at("layer.tar"), at("gnu"));
    run(
        "tar",
        &[
            &arguments[..],
            &[layer.as_os_str(), OsStr::new("-C"), out.as_os_str()],
        ]
        .concat(),
    );
    assert_same(&at("gnu"), &at("tree"), "GNU tar");
    let python = "import sys, tarfile\nwith tarfile.open(sys.argv[1]) as t:\n  for m in t: print(m.name, m.size, m.mtime)";
    let listed = run(
        "python3",
        &[OsStr::new("-c"), OsStr::new(python), layer.as_os_str()],
    );
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("sparse 3145728 "), "{listed}");
    assert!(listed.contains("a/b 100000 -2.87654"), "{listed}");
}

#[test]
fn what_no_layer_holds_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("a")).unwrap();
    fs::create_dir_all(at("b")).unwrap();
    fs::write(at("a/replaced"), "").unwrap();
    fs::write(at("b/.wh.odd"), "").unwrap();
    let _sockets =
        ["b/socket", "b/replaced"].map(|name| std::os::unix::net::UnixListener::bind(at(name)).unwrap());
    let mut layer = Vec::new();
    let latest = Time {
        seconds: 1_000_000_000,
        nanoseconds: 0,
    };
    let options = DiffOptions { latest: Some(latest) };
    let diffed = diff(
        &Tree::Plain(&at("a")),
        &Tree::Plain(&at("b")),
        &options,
        &mut layer,
    )
    .unwrap();
    let left_out = [".wh.odd", "replaced", "socket"].map(PathBuf::from).to_vec();
    assert_eq!(diffed, Diffed { entries: 2, left_out });
    assert_eq!(entries(&layer), ["./", ".wh.replaced"]);
    let mut reader = Reader::new(layer.as_slice());
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!(entry.metadata.modified, latest);
        assert!(matches!(entry.kind, Kind::Directory | Kind::File { .. }));
    }
}

#[test]
fn layers_that_point_into_each_other_are_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("x/moved")).unwrap();
    fs::create_dir_all(at("a/from")).unwrap();
    rustix::fs::lsetxattr(
        at("x/moved"),
        "trusted.overlay.redirect",
        b"from",
        XattrFlags::empty(),
    )
    .unwrap();
    let layers = [at("x"), at("a")];
    let tree = |layers| Tree::Overlay { layers, user: false };
    let refused = diff(
        &tree(&layers[1..]),
        &tree(&layers),
        &DiffOptions::default(),
        Vec::new(),
    );
    assert!(matches!(refused, Err(Error::Indirect(path)) if path == Path::new("moved")));
}
