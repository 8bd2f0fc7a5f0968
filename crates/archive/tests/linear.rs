//! The work of an unpack grows as its entries do, whatever a hostile layer repeats (GHSA-rp3h-jf77-q9p4). Work is counted in system calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use common::{Tar, options};
use lighter_archive::{Options, Whiteouts, apply};

/// `SHAPE FORM ENTRIES DIRECTORY`: what the traced child does.
const ORDER: &str = "LIGHTER_ARCHIVE_TEST_ORDER";
const SHAPES: [&str; 6] = [
    "opaque directory again and again",
    "opaque directories inside out",
    "whiteouts of one directory",
    "hard links in one directory",
    "one directory again and again",
    "one file again and again",
];

/// A hostile layer of about `count` entries, made as it is read.
fn hostile(shape: &str, count: usize) -> impl Read + Send + use<> {
    let shape = SHAPES.into_iter().position(|known| known == shape).unwrap();
    // Deep enough to be walked often, short enough to be a path.
    let depth = if shape == 1 { count.min(200) } else { 0 };
    let inner = "d/".repeat(depth);
    let entry = move |at: usize| match shape {
        0 if at.is_multiple_of(2) => Tar::default().file(&format!("top/file-{at}"), b""),
        0 => Tar::default().file("top/.wh..wh..opq", b""),
        1 if at < count - depth => long(&format!("top/{inner}file-{at}")),
        1 => {
            let above = "d/".repeat(count - 1 - at);
            long(&format!("top/{above}.wh..wh..opq"))
        }
        2 if at.is_multiple_of(2) => Tar::default().file(&format!("top/file-{at}"), b""),
        2 => Tar::default().file(".wh.top", b""),
        3 if at == 0 => Tar::default().file("top/file", b"x"),
        // More names than that a file cannot have on every file system.
        3 if at.is_multiple_of(1000) => Tar::default().file("top/file", b"x"),
        3 => Tar::default().hardlink(&format!("top/link-{at}"), "top/file"),
        4 => Tar::default().dir("top/dir"),
        _ => Tar::default().file("top/file", b"x"),
    };
    Pieces {
        next: (0..count).map(move |at| entry(at).0).chain([vec![0; 1024]]),
        piece: std::io::Cursor::default(),
    }
}

/// An empty file with a name that a header of its own has to hold.
fn long(name: &str) -> Tar {
    Tar::default().pax(&[("path", name)]).file("long", b"")
}

struct Pieces<I> {
    next: I,
    piece: std::io::Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = Vec<u8>>> Read for Pieces<I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.piece.read(&mut buffer[filled..])? {
                0 => match self.next.next() {
                    Some(piece) => self.piece = std::io::Cursor::new(piece),
                    None => break,
                },
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

fn unpack(shape: &str, whiteouts: Whiteouts, count: usize, target: &Path) {
    let options = Options {
        whiteouts,
        ..options()
    };
    apply(hostile(shape, count), target, &options).unwrap();
}

fn form(name: &str) -> Whiteouts {
    match name {
        "remove" => Whiteouts::Remove,
        _ => Whiteouts::Overlay,
    }
}

/// What the traced child does; nothing when a person runs the tests.
#[test]
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let [shape, whiteouts, count, target] = order.split('\t').collect::<Vec<_>>().try_into().unwrap();
    unpack(shape, form(whiteouts), count.parse().unwrap(), Path::new(target));
}

/// The system calls of one unpack.
fn calls(shape: &str, whiteouts: &str, count: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::create_dir_all(target.join("top/below")).unwrap();
    let summary = dir.path().join("summary");
    let mut strace = Command::new("strace");
    // Threads that wait for each other do so as often as they like.
    strace
        .args([
            "-f",
            "-qq",
            "-c",
            "-U",
            "calls,name",
            "-e",
            "trace=%file,%desc",
            "-o",
        ])
        .arg(&summary)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--test-threads=1"])
        .env(
            ORDER,
            format!("{shape}\t{whiteouts}\t{count}\t{}", target.display()),
        );
    let output = strace.output().expect("this test needs strace");
    assert!(output.status.success(), "{output:?}");
    let summary = fs::read_to_string(&summary).unwrap();
    let total = summary.lines().rev().find(|line| line.contains("total")).unwrap();
    total.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn twice_the_entries_are_twice_the_work() {
    const COUNT: usize = 600;
    std::thread::scope(|scope| {
        for shape in SHAPES {
            scope.spawn(move || {
                for whiteouts in ["overlay", "remove"] {
                    let (one, two) = (calls(shape, whiteouts, COUNT), calls(shape, whiteouts, 2 * COUNT));
                    assert!(
                        two < 3 * one && two < 60 * COUNT as u64,
                        "{shape}, {whiteouts}: {one} calls for {COUNT} entries, {two} for twice as many"
                    );
                }
            });
        }
    });
}

/// With work that grew as the square this would not end before the patience of whoever runs it does.
#[test]
fn a_hundred_thousand_hostile_entries_are_unpacked() {
    for shape in &SHAPES[..1] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("top/below")).unwrap();
        unpack(shape, Whiteouts::Remove, 100_000, dir.path());
        assert!(!dir.path().join("top/below").exists(), "{shape}");
    }
}
