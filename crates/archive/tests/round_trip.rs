//! A tree, packed by GNU tar in each of its formats, comes out as it went in. Needs root (devices, owners), and GNU tar.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use common::{options, picture, run};
use lighter_archive::{Compression, apply};
use lighter_oci::Digest;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// A tree with one of everything that a layer may hold.
fn make_tree(root: &Path, rich: bool) {
    let write = |path: &str, data: &[u8], mode: u32, owner: u32| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, data).unwrap();
        chown(&path, Some(owner), Some(owner + 1)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    write("bin/plain", b"hello", 0o644, 0);
    write("bin/empty", b"", 0o600, 7);
    write("bin/setuid", b"su", 0o4755, 0);
    write("bin/setgid", b"sg", 0o2711, 12);
    write("bin/unreadable", b"0", 0o000, 12);
    write("big", &vec![b'x'; 3_000_001], 0o640, 1000);
    write("bin/odd name\n\u{e9}\u{1f600}", b"odd", 0o644, 1);
    fs::hard_link(root.join("bin/plain"), root.join("zlink")).unwrap();
    symlink("../etc/absent", root.join("bin/dangling")).unwrap();
    symlink("/etc", root.join("absolute")).unwrap();
    symlink("../../../../../..", root.join("up")).unwrap();
    lchown(root.join("up"), Some(5), Some(6)).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    fs::create_dir(root.join("locked")).unwrap();
    write("locked/inside", b"i", 0o644, 0);
    fs::set_permissions(root.join("locked"), PermissionsExt::from_mode(0o500)).unwrap();
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o660), device).unwrap();
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node("block", FileType::BlockDevice, rustix::fs::makedev(259, 300));
    if rich {
        let deep = format!("{}/{}/{}", "d".repeat(120), "e".repeat(200), "f".repeat(255));
        write(&deep, b"deep", 0o644, 3_000_000);
        symlink("t".repeat(300), root.join("long-link")).unwrap();
        fs::hard_link(root.join(&deep), root.join("short-name-of-deep")).unwrap();
    }
    set_whole_times(root);
    if rich {
        let big = root.join("big");
        rustix::fs::utimensat(CWD, &big, &times(-5), rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// Whole seconds, which all formats keep.
fn set_whole_times(root: &Path) {
    for path in picture(root).into_keys().rev() {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, root.join(path), &times(1_600_000_000), flags).unwrap();
    }
}

fn times(seconds: i64) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn check(format: &[&str], tree: &Path, compression: Compression) {
    let packed = {
        let mut arguments: Vec<&OsStr> = format.iter().map(OsStr::new).collect();
        arguments.extend(["--sort=name", "-cf", "-", "-C"].map(OsStr::new));
        arguments.extend([tree.as_os_str(), OsStr::new(".")]);
        run("tar", &arguments)
    };
    let target = tempfile::tempdir().unwrap();
    let applied = apply(packed.as_slice(), target.path(), &options()).unwrap();
    let (found, expected) = (picture(target.path()), picture(tree));
    for (path, line) in &expected {
        assert_eq!(found.get(path), Some(line), "{format:?}: {}", path.display());
    }
    assert_eq!(found.len(), expected.len());
    let mut plain = Vec::new();
    let (told, mut decoded) = lighter_archive::decode(packed.as_slice()).unwrap();
    decoded.read_to_end(&mut plain).unwrap();
    assert_eq!(applied.diff_id, Digest::sha256(&plain));
    assert_eq!(
        (applied.size, applied.compression, told),
        (plain.len() as u64, compression, compression)
    );
}

#[test]
fn every_format_of_gnu_tar_is_unpacked() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    check(&["--format=gnu"], tree.path(), Compression::None);
    check(&["--format=pax"], tree.path(), Compression::None);
    check(&["--format=gnu", "--gzip"], tree.path(), Compression::Gzip);
    check(&["--format=pax", "--zstd"], tree.path(), Compression::Zstd);
    let simple = tempfile::tempdir().unwrap();
    make_tree(simple.path(), false);
    check(&["--format=ustar"], simple.path(), Compression::None);
}

#[test]
fn nanoseconds_and_attributes_are_kept() {
    let tree = tempfile::tempdir().unwrap();
    let path = tree.path().join("file");
    fs::write(&path, "x").unwrap();
    fs::create_dir(tree.path().join("dir")).unwrap();
    for path in [&path, &tree.path().join("dir")] {
        for (name, value) in [("user.word", &b"v\0\n="[..]), ("trusted.word", b"t")] {
            rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
        }
    }
    // cap_net_raw+ep: revision 2, the effective bit, permitted 1 << 13.
    let capability = [1_u8, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::lsetxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
    check(
        &["--format=pax", "--xattrs", "--xattrs-include=*"],
        tree.path(),
        Compression::None,
    );
}

#[test]
fn sparse_files_come_out_whole_and_sparse() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let tree = tempfile::tempdir().unwrap();
    let make = |name: &str, size: u64, pieces: &[u64]| {
        let file = fs::File::create(tree.path().join(name)).unwrap();
        file.set_len(size).unwrap();
        for offset in pieces {
            file.write_all_at(&[b'd'; 5000], *offset).unwrap();
        }
    };
    make("hole", 10 << 20, &[]);
    make("start", 10 << 20, &[0]);
    make("end", (10 << 20) + 5000, &[10 << 20]);
    let many: Vec<u64> = (0..60).map(|piece| piece << 16).collect();
    make("many", 10 << 20, &many);
    set_whole_times(tree.path());
    for format in [
        "--format=gnu",
        "--sparse-version=0.0",
        "--sparse-version=0.1",
        "--sparse-version=1.0",
    ] {
        let format: &[&str] = if format == "--format=gnu" {
            &[format, "--sparse"]
        } else {
            &["--format=pax", "--sparse", format]
        };
        check(format, tree.path(), Compression::None);
        let packed = run(
            "tar",
            &[
                &format.iter().map(OsStr::new).collect::<Vec<_>>()[..],
                &["-cf", "-", "-C"].map(OsStr::new),
                &[tree.path().as_os_str(), OsStr::new(".")],
            ]
            .concat(),
        );
        assert!(packed.len() < 2 << 20, "tar did not see the holes");
        let target = tempfile::tempdir().unwrap();
        apply(packed.as_slice(), target.path(), &options()).unwrap();
        for name in ["hole", "start", "end", "many"] {
            let blocks = fs::metadata(target.path().join(name)).unwrap().blocks();
            assert!(blocks < 2048, "{format:?}: {name} takes {blocks} blocks");
        }
    }
}
