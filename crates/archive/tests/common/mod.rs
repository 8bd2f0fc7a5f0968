//! What the suites share: a picture of a tree, and archives made by hand.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lighter_archive::{Options, Whiteouts};

/// Overlay form, nothing below, and a limit that nothing here reaches.
pub(crate) fn options() -> Options {
    Options {
        whiteouts: Whiteouts::Overlay,
        lower: Vec::new(),
        limit: 1 << 30,
    }
}

/// One line for each path below `root`: all that a layer can say about it.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut links: BTreeMap<u64, PathBuf> = BTreeMap::new();
    look(root, Path::new(""), &mut found, &mut links);
    found
}

fn look(root: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>, links: &mut BTreeMap<u64, PathBuf>) {
    let full = root.join(path);
    let meta = std::fs::symlink_metadata(&full).unwrap();
    let mut line = format!(
        "{:o} {}:{} {}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let kind = meta.file_type();
    if kind.is_symlink() {
        write!(line, " -> {:?}", std::fs::read_link(&full).unwrap()).unwrap();
    } else if kind.is_file() {
        let digest = lighter_oci::Digest::sha256(&std::fs::read(&full).unwrap());
        write!(line, " {} {digest}", meta.len()).unwrap();
    } else if !kind.is_dir() {
        write!(line, " device {:x}", meta.rdev()).unwrap();
    }
    if !kind.is_dir() && meta.nlink() > 1 {
        let first = links.entry(meta.ino()).or_insert_with(|| path.to_owned());
        if first != path {
            write!(line, " same as {}", first.display()).unwrap();
        }
    }
    for (name, value) in xattrs(&full) {
        write!(line, " {name}={value:?}").unwrap();
    }
    found.insert(path.to_owned(), line);
    if kind.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(&full)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            look(root, &path.join(name), found, links);
        }
    }
}

/// The extended attributes of `path`, not followed.
pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap();
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = str::from_utf8(name).unwrap();
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
            value.truncate(length);
            (name.to_owned(), value)
        })
        .collect()
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// An archive made by hand.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// A file with data.
    pub(crate) fn file(self, name: &str, data: &[u8]) -> Tar {
        self.entry(name, b'0', "", data)
    }

    /// A directory.
    pub(crate) fn dir(self, name: &str) -> Tar {
        self.entry(name, b'5', "", b"")
    }

    /// A symbolic link.
    pub(crate) fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(name, b'2', target, b"")
    }

    /// A hard link.
    pub(crate) fn hardlink(self, name: &str, target: &str) -> Tar {
        self.entry(name, b'1', target, b"")
    }

    /// Any entry.
    pub(crate) fn entry(mut self, name: &str, kind: u8, link: &str, data: &[u8]) -> Tar {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(if kind == b'5' { b"0000755" } else { b"0000644" });
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[136..147].copy_from_slice(b"14371573400");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        sign(&mut block);
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Tar {
        let mut data = String::new();
        for (key, value) in records {
            let body = format!(" {key}={value}\n");
            let mut length = body.len() + 1;
            while length.to_string().len() + body.len() != length {
                length += 1;
            }
            write!(data, "{length}{body}").unwrap();
        }
        self.entry("PaxHeaders/x", b'x', "", data.as_bytes())
    }

    /// The archive with its end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Writes the checksum of a header.
pub(crate) fn sign(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
