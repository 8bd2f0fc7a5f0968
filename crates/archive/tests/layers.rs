//! Layers as layers: whiteouts, replacement, implied directories; and layers that mean harm.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{Tar, options, picture, sign, xattrs};
use lighter_archive::{Error, Options, Whiteouts, apply};
use proptest::prelude::*;

fn unpack(tar: Tar, target: &Path) -> Result<(), Error> {
    apply(tar.end().as_slice(), target, &options()).map(drop)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    xattrs(path)
        .get("trusted.overlay.opaque")
        .is_some_and(|value| value == b"y")
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let tar = Tar::default()
        .file("a/.wh.gone", b"")
        .file("new/.wh..wh..opq", b"")
        .file("new/file", b"f")
        .file(".wh..wh.plnk", b"")
        // Told before and after what replaces it: both times lower layers are hidden, and what this layer has stays.
        .file(".wh.before", b"")
        .dir("before/")
        .file("before/x", b"x")
        .dir("after/")
        .file("after/x", b"x")
        .file(".wh.after", b"")
        .file(".wh.file", b"")
        .file("file", b"mine")
        .file("other", b"mine")
        .file(".wh.other", b"");
    unpack(tar, dir.path()).unwrap();
    assert!(is_whiteout(&at("a/gone")));
    assert!(is_opaque(&at("new")) && at("new/file").is_file());
    assert!(is_opaque(&at("before")) && at("before/x").is_file());
    assert!(is_opaque(&at("after")) && at("after/x").is_file());
    assert!(!is_opaque(&at("a")));
    assert_eq!(fs::read(at("file")).unwrap(), b"mine");
    assert_eq!(fs::read(at("other")).unwrap(), b"mine");
    assert_eq!(
        picture(dir.path())
            .keys()
            .filter(|path| path.to_string_lossy().contains(".wh."))
            .count(),
        0
    );
}

#[test]
fn whiteouts_of_a_lowest_layer_say_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .file(".wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .file("d/x", b"x")
        .end();
    apply(
        tar.as_slice(),
        dir.path(),
        &Options {
            whiteouts: Whiteouts::Drop,
            ..options()
        },
    )
    .unwrap();
    assert!(!dir.path().join("gone").exists() && !is_opaque(&dir.path().join("d")));
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let tar = Tar::default()
        .file("a", b"old")
        .file("a", b"new")
        .dir("d")
        .file("d/x/y/z", b"deep")
        .file("d", b"file now")
        .file("f", b"file")
        .dir("f")
        .file("f/inside", b"i")
        .symlink("l", "f")
        .file("l", b"no link")
        .dir("keep")
        .file("keep/x", b"x")
        .dir("keep")
        .symlink("s", "keep")
        .dir("s")
        .file("s/new", b"n")
        .file("self", b"s")
        .hardlink("self", "self");
    unpack(tar, dir.path()).unwrap();
    assert_eq!(fs::read(at("a")).unwrap(), b"new");
    assert_eq!(fs::read(at("d")).unwrap(), b"file now");
    assert!(at("f/inside").is_file() && at("keep/x").is_file() && at("self").is_file());
    assert_eq!(fs::read(at("l")).unwrap(), b"no link");
    assert!(at("s").is_dir() && !at("keep/new").exists());
}

#[test]
fn an_implied_directory_is_like_the_one_below() {
    let (lower, higher, dir) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    for path in ["a/b/c", "e"] {
        fs::create_dir_all(lower.path().join(path)).unwrap();
    }
    for path in ["a", "a/b", "e"] {
        fs::set_permissions(lower.path().join(path), PermissionsExt::from_mode(0o2750)).unwrap();
        std::os::unix::fs::chown(lower.path().join(path), Some(33), Some(34)).unwrap();
    }
    fs::write(higher.path().join("e"), "a file hides it").unwrap();
    let tar = Tar::default()
        .file("a/b/f", b"f")
        .file("e/f", b"f")
        .file("n/f", b"f")
        .end();
    let lower = vec![higher.path().to_owned(), lower.path().to_owned()];
    apply(tar.as_slice(), dir.path(), &Options { lower, ..options() }).unwrap();
    let look = |path: &str| {
        let meta = fs::metadata(dir.path().join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(look("a"), (0o2750, 33, 34));
    assert_eq!(look("a/b"), (0o2750, 33, 34));
    assert_eq!(look("e"), (0o755, 0, 0));
    assert_eq!(look("n"), (0o755, 0, 0));
}

/// A target inside a directory whose other contents must never change.
struct Trap {
    dir: tempfile::TempDir,
}

impl Trap {
    fn new() -> Trap {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        fs::write(dir.path().join("secret"), "untouched").unwrap();
        fs::set_permissions(dir.path().join("secret"), Permissions::from_mode(0o600)).unwrap();
        Trap { dir }
    }

    fn spring(&self, tar: Tar) -> Result<(), Error> {
        let result = unpack(tar, &self.dir.path().join("target"));
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["secret", "target"], "something came out");
        let secret = self.dir.path().join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
        let meta = fs::metadata(&secret).unwrap();
        assert_eq!((meta.nlink(), meta.mode() & 0o7777), (1, 0o600));
        result
    }
}

#[test]
fn names_and_links_that_lead_out_are_refused() {
    let refused = |tar: Tar, why: &str| {
        let error = Trap::new().spring(tar).unwrap_err();
        assert!(
            matches!(error, Error::Refused { .. }) && error.to_string().contains(why),
            "{error}"
        );
    };
    refused(Tar::default().file("../secret", b"!"), "leads out of the layer");
    refused(
        Tar::default().file("a/../../secret", b"!"),
        "leads out of the layer",
    );
    refused(Tar::default().file("/../secret", b"!"), "leads out of the layer");
    refused(Tar::default().dir("../evil"), "leads out of the layer");
    refused(
        Tar::default().file("../.wh.secret", b""),
        "leads out of the layer",
    );
    refused(
        Tar::default().hardlink("x", "../secret"),
        "links out of the layer",
    );
    refused(
        Tar::default().pax(&[("path", "../secret")]).file("a", b"!"),
        "leads out of the layer",
    );
    refused(Tar::default().file(".wh...", b""), "whiteout of nothing");
    refused(Tar::default().file("./", b"not a directory"), "is a directory");
}

#[test]
fn links_are_followed_inside_and_never_out() {
    // Where something is written through such a link, it lands below the target.
    let trap = Trap::new();
    let at = |path: &str| trap.dir.path().join("target").join(path);
    trap.spring(
        Tar::default()
            .symlink("up", "../../..")
            .file("up/secret", b"inside"),
    )
    .unwrap();
    assert_eq!(fs::read(at("secret")).unwrap(), b"inside");
    trap.spring(
        Tar::default()
            .symlink("abs", "/etc")
            .file("abs/passwd", b"inside"),
    )
    .unwrap();
    assert_eq!(fs::read(at("etc/passwd")).unwrap(), b"inside");
    let outside = trap.dir.path().join("secret");
    let outside = outside.to_str().unwrap();
    trap.spring(
        Tar::default()
            .symlink("link", outside)
            .file("link", b"replaces it"),
    )
    .unwrap();
    assert_eq!(fs::read(at("link")).unwrap(), b"replaces it");
    // A hard link to a symbolic link is a name of the link, not of what it points to.
    trap.spring(Tar::default().symlink("one", outside).hardlink("two", "one"))
        .unwrap();
    assert!(fs::symlink_metadata(at("two")).unwrap().is_symlink());
    // The directory of a hard link's target is resolved inside as well.
    assert!(
        trap.spring(
            Tar::default()
                .symlink("out", "../")
                .hardlink("three", "out/absent")
        )
        .is_err()
    );
    assert!(
        trap.spring(Tar::default().hardlink("four", "/proc/self/exe"))
            .is_err()
    );
    trap.spring(
        Tar::default()
            .symlink("gone", "/not/there")
            .file("gone/x", b"made"),
    )
    .unwrap();
    assert_eq!(fs::read(at("not/there/x")).unwrap(), b"made");
    assert!(
        trap.spring(Tar::default().symlink("loop", "loop").file("loop/x", b"!"))
            .is_err()
    );
    trap.spring(Tar::default().file("notdir", b"").dir("d")).unwrap();
    assert!(trap.spring(Tar::default().file("notdir/x", b"!")).is_err());
}

#[test]
fn a_link_that_was_there_before_is_not_followed_out() {
    let trap = Trap::new();
    symlink("../..", trap.dir.path().join("target/way")).unwrap();
    trap.spring(
        Tar::default()
            .file("way/x", b"x")
            .file("way/.wh.secret", b"")
            .file("way/.wh..wh..opq", b""),
    )
    .unwrap();
    assert!(trap.dir.path().join("target/x").is_file());
}

/// By a hard link to a symbolic link, and by entries that take a link's place, which carry a mode of their own.
#[test]
fn cve_2021_32760_no_mode_changes_outside() {
    let trap = Trap::new();
    let outside = trap.dir.path().join("secret");
    let outside = outside.to_str().unwrap();
    trap.spring(
        Tar::default()
            .symlink("one", outside)
            .hardlink("two", "one")
            .hardlink("two", "one"),
    )
    .unwrap();
    trap.spring(Tar::default().symlink("three", outside).dir("three"))
        .unwrap();
    trap.spring(
        Tar::default()
            .symlink("four", "../secret")
            .hardlink("four", "one"),
    )
    .unwrap();
    trap.spring(
        Tar::default()
            .pax(&[("SCHILY.xattr.user.a", "b")])
            .hardlink("two", "one"),
    )
    .unwrap();
    assert!(xattrs(Path::new(outside)).is_empty());
}

/// What was looked at is what is written to, also when somebody puts a link in its place meanwhile.
#[test]
fn cve_2025_47290_a_directory_swapped_for_a_link_leads_nowhere() {
    let trap = Trap::new();
    let target = trap.dir.path().join("target");
    let (a, b) = (target.join("a"), target.join("b"));
    fs::create_dir(&a).unwrap();
    symlink(trap.dir.path(), &b).unwrap();
    let (swaps, unpacked) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !unpacked.load(Ordering::Relaxed) {
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, &a, here, &b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..300 {
            let mut tar = Tar::default();
            for number in 0..8 {
                tar = tar
                    .file(&format!("a/d{number}/x"), b"!")
                    .file(&format!("a/.wh.secret{number}"), b"");
            }
            // It may fail, as when a name is gone; it must not come out.
            let _ = trap.spring(tar.file("a/.wh.secret", b"").file("a/.wh..wh..opq", b""));
        }
        unpacked.store(true, Ordering::Relaxed);
    });
    assert!(swaps.into_inner() > 300);
}

#[test]
fn a_layer_cannot_speak_for_overlayfs() {
    let dir = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            ("SCHILY.xattr.user.ok", "1"),
        ])
        .dir("d");
    unpack(tar, dir.path()).unwrap();
    assert_eq!(
        xattrs(&dir.path().join("d")).into_keys().collect::<Vec<_>>(),
        ["user.ok"]
    );
}

#[test]
fn bombs_stop_at_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let limited = |data: &[u8]| {
        apply(
            data,
            dir.path(),
            &Options {
                limit: 1 << 20,
                ..options()
            },
        )
    };
    let zeros = Tar::default().file("zeros", &vec![0; 16 << 20]).end();
    let mut encoder = flate2::read::GzEncoder::new(zeros.as_slice(), flate2::Compression::fast());
    let mut bomb = Vec::new();
    encoder.read_to_end(&mut bomb).unwrap();
    assert!(matches!(
        limited(&bomb),
        Err(Error::TooLarge { limit: 1_048_576 })
    ));
    // Zeros behind the end of the archive count too.
    let mut trailing = Tar::default().file("small", b"x").end();
    trailing.resize(2 << 20, 0);
    assert!(matches!(limited(&trailing), Err(Error::TooLarge { .. })));
    // A name of gigabytes, of which only the size is there.
    let mut long = Tar::default().entry("././@LongLink", b'L', "", b"x").0;
    long[124..135].copy_from_slice(b"77777777777");
    sign(&mut long);
    assert!(matches!(
        limited(&long),
        Err(Error::Malformed {
            why: "extended header too long",
            ..
        })
    ));
}

#[test]
fn what_is_damaged_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |data: &[u8], words: &str| {
        let error = apply(data, dir.path(), &options()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
    };
    let good = Tar::default().file("a", &[1; 1000]).end();
    fails(&good[..700], "the archive is cut");
    fails(&good[..300], "the archive is cut");
    let mut bad = good.clone();
    bad[0] ^= 1;
    fails(&bad, "not a tar header");
    fails(&[b'x'; 4096], "not a tar header");
    fails(&Tar::default().entry("a", b'M', "", b"").end(), "several volumes");
    fails(&Tar::default().entry("a", b'!', "", b"").end(), "unknown type");
    fails(
        &Tar::default()
            .pax(&[("GNU.sparse.map", "5,1,0,1"), ("GNU.sparse.size", "9")])
            .file("a", b"xx")
            .end(),
        "sparse map out of order",
    );
    fails(
        &Tar::default()
            .pax(&[("GNU.sparse.map", "0,9"), ("GNU.sparse.size", "9")])
            .file("a", b"xx")
            .end(),
        "does not fit",
    );
    // An empty stream is an empty layer.
    apply(&b""[..], dir.path(), &options()).unwrap();
}

#[test]
fn the_reason_of_a_broken_stream_is_kept() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the cable was cut"));
            }
            let length = buffer.len().min(self.0);
            let archive = Tar::default().file("a", &[1; 100_000]).end();
            let at = 50_000 - self.0;
            buffer[..length].copy_from_slice(&archive[at..at + length]);
            self.0 -= length;
            Ok(length)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    match apply(Broken(50_000), dir.path(), &options()) {
        Err(Error::Read(source)) => assert_eq!(source.to_string(), "the cable was cut"),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic_or_come_out(flips in prop::collection::vec((0_usize..4096, any::<u8>()), 1..8), signed: bool) {
        let mut data = Tar::default()
            .pax(&[("path", "a/long/name"), ("SCHILY.xattr.user.x", "y"), ("mtime", "1.5")])
            .file("f", b"data")
            .symlink("s", "f")
            .hardlink("h", "a/long/name")
            .dir("d")
            .end();
        for (at, value) in flips {
            let at = at % data.len();
            data[at] = value;
            if signed {
                let block = at / 512 * 512;
                sign(&mut data[block..block + 512]);
            }
        }
        // Whatever it says, it says it without harm.
        let trap = Trap::new();
        let _ = apply(data.as_slice(), &trap.dir.path().join("target"), &options());
        prop_assert_eq!(fs::read_dir(trap.dir.path()).unwrap().count(), 2);
    }
}
