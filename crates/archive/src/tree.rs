//! Trees that are compared: plain directories, or overlayfs layers seen as one tree without a mount.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lighter_stdx::xattr;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::entry::{Metadata, Time};

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// A tree to compare.
#[derive(Debug, Clone, Copy)]
pub enum Tree<'a> {
    /// An empty one.
    Nothing,
    /// All that is below a directory.
    Plain(&'a Path),
    /// What an overlay of these directories, topmost first, would show.
    Overlay {
        /// The directories.
        layers: &'a [PathBuf],
        /// Whether the marks are in `user.overlay.` (the mount option `userxattr`) and not in `trusted.overlay.`.
        user: bool,
    },
}

/// A directory of a tree: one, or those of several layers, topmost first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stack {
    pub(crate) dirs: Vec<Rc<OwnedFd>>,
    form: Form,
}

/// What stands for "gone" in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Plain,
    /// overlayfs's marks, in attributes that begin with this.
    Overlay(&'static str),
}

/// Something in a tree. Looked at when it was found; links are not followed.
#[derive(Debug)]
pub(crate) struct Node {
    dir: Rc<OwnedFd>,
    name: OsString,
    pub(crate) stat: Stat,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Stack {
    /// The root of `tree`; the roots may be behind links.
    pub(crate) fn open(tree: &Tree<'_>) -> std::result::Result<Option<Stack>, (PathBuf, Errno)> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
            opened.map(Rc::new).map_err(|errno| (path.to_owned(), errno))
        };
        Ok(match tree {
            Tree::Nothing => None,
            Tree::Plain(path) => Some(Stack {
                dirs: vec![open(path)?],
                form: Form::Plain,
            }),
            Tree::Overlay { layers, user } => {
                let dirs = layers
                    .iter()
                    .map(|path| open(path))
                    .collect::<std::result::Result<_, _>>()?;
                let form = Form::Overlay(if *user {
                    "user.overlay."
                } else {
                    "trusted.overlay."
                });
                Some(Stack { dirs, form })
            }
        })
    }

    /// The directory itself.
    pub(crate) fn node(&self) -> Result<Node> {
        let dir = self.dirs.first().ok_or(Errno::NOENT)?;
        Ok(Node {
            dir: Rc::clone(dir),
            name: ".".into(),
            stat: rustix::fs::fstat(dir)?,
        })
    }

    /// The names in the first `count` of its directories, also of what is gone.
    pub(crate) fn names(&self, count: usize, names: &mut BTreeSet<OsString>) -> Result<()> {
        for dir in self.dirs.iter().take(count) {
            for entry in Dir::read_from(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if name != c"." && name != c".." {
                    names.insert(OsStr::from_bytes(name.to_bytes()).to_owned());
                }
            }
        }
        Ok(())
    }

    /// What `name` is here.
    pub(crate) fn lookup(&self, name: &OsStr) -> Result<Option<Node>> {
        for dir in &self.dirs {
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
            if self.form != Form::Plain && is_whiteout(&stat) {
                return Ok(None);
            }
            return Ok(Some(Node {
                dir: Rc::clone(dir),
                name: name.to_owned(),
                stat,
            }));
        }
        Ok(None)
    }

    /// The directory `name`, as the first `count` of the directories show it, and whether something there hides what is below them.
    pub(crate) fn enter(&self, name: &OsStr, count: usize) -> Result<(Stack, bool)> {
        let mut found = Stack {
            dirs: Vec::new(),
            form: self.form,
        };
        for dir in self.dirs.iter().take(count) {
            let child = match rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()) {
                Ok(child) => child,
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok((found, true)),
                Err(errno) => return Err(errno),
            };
            let opaque = self.is_opaque(&child)?;
            found.dirs.push(Rc::new(child));
            if opaque {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    fn is_opaque(&self, dir: &OwnedFd) -> Result<bool> {
        let Form::Overlay(prefix) = self.form else {
            return Ok(false);
        };
        let mut value = [0; 8];
        let mut has = |mark: &str| match rustix::fs::fgetxattr(dir, format!("{prefix}{mark}"), &mut value[..])
        {
            Ok(length) => Ok(Some((length, value[0]))),
            Err(Errno::RANGE) => Ok(Some((usize::MAX, 0))),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            Err(errno) => Err(errno),
        };
        if has("redirect")?.is_some() {
            return Err(INDIRECT);
        }
        Ok(has("opaque")? == Some((1, b'y')))
    }
}

/// The layers point into each other (`redirect_dir`, `metacopy`): only the kernel can read them.
pub(crate) const INDIRECT: Errno = Errno::REMOTE;

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// The file behind it, if it has several names.
    pub(crate) fn shared_inode(&self) -> Option<(u64, u64)> {
        (!self.is_directory() && self.stat.st_nlink > 1).then_some((self.stat.st_dev, self.stat.st_ino))
    }

    pub(crate) fn link_target(&self) -> Result<OsString> {
        let target = rustix::fs::readlinkat(&self.dir, &self.name, Vec::new())?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    /// Opens a regular file. What has become something else meanwhile is no harm to open, and gives `ESTALE`.
    pub(crate) fn open(&self) -> Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::STALE);
        }
        Ok((File::from(file), stat))
    }

    /// All that an archive says of it, but for the time of the last access.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let stat = &self.stat;
        Ok(Metadata {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: modified(stat),
            accessed: None,
            xattrs: self.attributes()?,
        })
    }

    /// The attributes that belong into a layer, in the order of their names.
    fn attributes(&self) -> Result<Vec<(OsString, Vec<u8>)>> {
        // There is no call that takes a directory and a name.
        let path = Path::new("/proc/self/fd")
            .join(self.dir.as_raw_fd().to_string())
            .join(&self.name);
        let list = xattr::list(|buffer| rustix::fs::llistxattr(&path, buffer))?;
        let mut found = Vec::new();
        for name in xattr::names(&list) {
            if name.to_bytes().ends_with(b".overlay.metacopy") {
                return Err(INDIRECT);
            }
            if !belongs(name.to_bytes()) {
                continue;
            }
            match xattr::read(|buffer| rustix::fs::lgetxattr(&path, name, buffer)) {
                Ok(value) => found.push((OsStr::from_bytes(name.to_bytes()).to_owned(), value)),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
        found.sort();
        Ok(found)
    }
}

pub(crate) fn modified(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    }
}

/// Whether a layer carries the attribute: labels of security modules and marks of file systems are of this machine only.
pub(crate) fn belongs(name: &[u8]) -> bool {
    if name.starts_with(b"user.") || name.starts_with(b"trusted.") {
        return !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.");
    }
    let others: [&[u8]; 3] = [
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    others.contains(&name)
}

/// Whether two nodes differ in nothing that a layer tells, links between names left aside.
pub(crate) fn same(one: &Node, other: &Node) -> Result<bool> {
    let (a, b) = (&one.stat, &other.stat);
    if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
        return Ok(true);
    }
    if (a.st_mode, a.st_uid, a.st_gid, modified(a)) != (b.st_mode, b.st_uid, b.st_gid, modified(b)) {
        return Ok(false);
    }
    let kind = one.kind();
    let sized = matches!(kind, FileType::RegularFile | FileType::Symlink);
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if (sized && a.st_size != b.st_size) || (device && a.st_rdev != b.st_rdev) {
        return Ok(false);
    }
    // A snapshot of the file system itself: the number and the time that nobody can set are the same.
    let whole = |stat: &Stat| (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec);
    if !one.is_directory() && whole(a) == whole(b) {
        return Ok(true);
    }
    if one.attributes()? != other.attributes()? {
        return Ok(false);
    }
    match kind {
        FileType::Symlink => Ok(one.link_target()? == other.link_target()?),
        FileType::RegularFile if a.st_size > 0 => same_data(&one.open()?.0, &other.open()?.0),
        _ => Ok(true),
    }
}

/// Whether only the times of two directories may differ.
pub(crate) fn same_but_times(one: &Node, other: &Node) -> Result<bool> {
    let (a, b) = (&one.stat, &other.stat);
    Ok((a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
        && one.attributes()? == other.attributes()?)
}

fn same_data(one: &File, other: &File) -> Result<bool> {
    const CHUNK: usize = 64 << 10;
    let (mut here, mut there) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    loop {
        let (a, b) = (
            read_full(one, &mut here, offset)?,
            read_full(other, &mut there, offset)?,
        );
        if a != b || here[..a] != there[..b] {
            return Ok(false);
        }
        if a < CHUNK {
            return Ok(true);
        }
        offset += CHUNK as u64;
    }
}

/// Reads at `offset` until `buffer` is full or the file ends.
pub(crate) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    Ok(done)
}
