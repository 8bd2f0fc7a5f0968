//! Unpacking a layer.

use std::ffi::OsStr;
use std::io::{BufRead, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use lighter_oci::Digest;
use lighter_safe_fs::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::decode::Compression;
use crate::entry::{Entry, Kind, Metadata, Segment, Time};
use crate::made::{Made, remove_all_but};
use crate::metadata::{
    DEFAULT_ACL, Failed, clear_attributes, owner, set_default_acl, set_named, set_open, set_times, times,
};
use crate::name::{self, Name};
use crate::pipeline::Pipeline;
use crate::remove::remove;
use crate::{Error, Reader, Result};

/// How to unpack a layer.
#[derive(Debug, Clone)]
pub struct Options {
    /// What becomes of whiteouts.
    pub whiteouts: Whiteouts,
    /// The trees below this one, topmost first: a directory that the layer implies and does not list is made like theirs.
    pub lower: Vec<PathBuf>,
    /// Most uncompressed bytes.
    pub limit: u64,
}

/// What becomes of whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// overlayfs's form: a character device 0:0 for a name, `trusted.overlay.opaque` for a directory.
    Overlay,
    /// As [`Whiteouts::Overlay`] with `user.overlay.opaque`: for overlays in a user namespace (the mount option `userxattr`).
    UserOverlay,
    /// What they name is removed from the target, unless the layer itself made it.
    Remove,
    /// There is nothing below: they say nothing.
    Drop,
}

impl Whiteouts {
    /// The attribute that marks a directory as opaque.
    fn opaque(self) -> Option<&'static str> {
        match self {
            Whiteouts::Overlay => Some("trusted.overlay.opaque"),
            Whiteouts::UserOverlay => Some("user.overlay.opaque"),
            Whiteouts::Remove | Whiteouts::Drop => None,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its bytes.
    pub size: u64,
    /// How it was compressed.
    pub compression: Compression,
}

/// Unpacks the layer that `source` gives, compressed or not, into the existing directory `target`, where nothing else is at work. It runs
/// on the calling thread and two others, and does not end before a read of `source` that is under way.
///
/// Sources: OCI image-spec, layer.md; the kernel's Documentation/filesystems/overlayfs.rst. On an error the target is half-made:
/// the caller throws it away.
pub fn apply(source: impl Read + Send, target: &Path, options: &Options) -> Result<Applied> {
    let root = Root::open(target)?;
    let lower = options
        .lower
        .iter()
        .map(|path| Root::open(path))
        .collect::<std::result::Result<_, _>>()?;
    let size = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let pipeline = Pipeline::start(scope, source, options.limit, &size).map_err(Error::Read)?;
        let mut reader = Reader::new(pipeline);
        let mut unpacker = Unpacker {
            root,
            lower,
            whiteouts: options.whiteouts,
            directories: Vec::new(),
            parent: None,
            made: Made::default(),
        };
        let unpacked = unpacker.run(&mut reader);
        let (diff_id, size, compression) = reader.into_inner().finish(unpacked)?;
        Ok(Applied {
            diff_id,
            size,
            compression,
        })
    })
}

struct Unpacker {
    root: Root,
    lower: Vec<Root>,
    whiteouts: Whiteouts,
    /// Directories whose times are set at the end, because what is created in them changes them; with the ACL that what is created
    /// in them would inherit.
    directories: Vec<(PathBuf, Timestamps, Option<Vec<u8>>)>,
    /// The directory of the last entry: the next one is often in it too.
    parent: Option<(PathBuf, OwnedFd)>,
    /// With [`Whiteouts::Remove`]: what the layer itself has.
    made: Made,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Unpacker {
    fn run<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<()> {
        while let Some(entry) = reader.next_entry()? {
            let name = name::read(&entry.path).map_err(|why| refused(&entry, why))?;
            match (name, self.whiteouts) {
                (Name::Root, _) => self.root_entry(&entry)?,
                (Name::Entry(path), Whiteouts::Remove) => {
                    self.entry(reader, &entry, &path)?;
                    self.made.add(path);
                }
                (Name::Entry(path), _) => self.entry(reader, &entry, &path)?,
                (Name::Whiteout(_) | Name::Opaque(_), Whiteouts::Drop) | (Name::Ignored, _) => {}
                (Name::Whiteout(path), Whiteouts::Remove) => self.remove_lower(&path, false)?,
                (Name::Opaque(path), Whiteouts::Remove) => self.remove_lower(&path, true)?,
                (Name::Whiteout(path), _) => self.whiteout(&path, &entry.metadata)?,
                (Name::Opaque(path), _) => {
                    let directory = self.directory(&path)?;
                    self.set_opaque(&directory, &path)?;
                }
            }
        }
        self.finish_directories()
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(refused(entry, "the root of a layer is a directory"));
        }
        let root = self.root.at(Path::new("."), DIRECTORY)?;
        if self.whiteouts == Whiteouts::Remove {
            clear_attributes(root.as_fd()).map_err(io("clear the attributes of", Path::new("/")))?;
        }
        set_open(root.as_fd(), &entry.metadata).map_err(failed(Path::new("/")))?;
        self.finish_later(Path::new(""), &entry.metadata);
        Ok(())
    }

    fn entry<R: BufRead>(&mut self, reader: &mut Reader<R>, entry: &Entry, path: &Path) -> Result<()> {
        let Some(name) = path.file_name() else {
            return Err(refused(entry, "it has no name"));
        };
        self.enter(path)?;
        match &entry.kind {
            Kind::File { size, segments } => {
                self.file(reader, path, name, &entry.metadata, *size, segments.as_deref())
            }
            Kind::Directory => self.make_directory(path, name, &entry.metadata),
            Kind::Symlink(target) => {
                if target.is_empty() {
                    return Err(refused(entry, "it is a link to nothing"));
                }
                self.replace("link", path, |dir| rustix::fs::symlinkat(target, dir, name))?;
                set_named(self.dir()?, name, &entry.metadata, true).map_err(failed(path))
            }
            Kind::Hardlink(target) => {
                let target = name::clean(target).map_err(|_| refused(entry, "it links out of the layer"))?;
                if target == path {
                    // A link to itself: what is there stays.
                    return Ok(());
                }
                let Some(target_name) = target.file_name() else {
                    return Err(refused(entry, "it links to the root"));
                };
                let (target_dir, _) = self.root.parent(&target)?;
                self.replace("link", path, |dir| {
                    rustix::fs::linkat(&target_dir, target_name, dir, name, AtFlags::empty())
                })
            }
            Kind::Character(major, minor) => self.node(
                path,
                name,
                FileType::CharacterDevice,
                (*major, *minor),
                &entry.metadata,
            ),
            Kind::Block(major, minor) => self.node(
                path,
                name,
                FileType::BlockDevice,
                (*major, *minor),
                &entry.metadata,
            ),
            Kind::Fifo => self.node(path, name, FileType::Fifo, (0, 0), &entry.metadata),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        path: &Path,
        name: &OsStr,
        metadata: &Metadata,
        size: u64,
        segments: Option<&[Segment]>,
    ) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = self.replace("create", path, |dir| rustix::fs::openat(dir, name, flags, mode))?;
        match segments {
            None => loop {
                let data = reader.data()?;
                if data.is_empty() {
                    break;
                }
                let length = data.len();
                write_all(data, |data| rustix::io::write(&file, data)).map_err(io("write", path))?;
                reader.consume(length);
            },
            Some(segments) => {
                rustix::fs::ftruncate(&file, size).map_err(io("set the size of", path))?;
                for segment in segments {
                    let (mut at, mut left) = (segment.offset, segment.length);
                    while left > 0 {
                        let data = reader.data()?;
                        let length = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
                        let mut position = at;
                        write_all(&data[..length], |data| {
                            let written = rustix::io::pwrite(&file, data, position)?;
                            position += written as u64;
                            Ok(written)
                        })
                        .map_err(io("write", path))?;
                        reader.consume(length);
                        at += length as u64;
                        left -= length as u64;
                    }
                }
            }
        }
        set_open(file.as_fd(), metadata)
            .and_then(|()| set_times(file.as_fd(), &times(metadata)))
            .map_err(failed(path))
    }

    fn make_directory(&mut self, path: &Path, name: &OsStr, metadata: &Metadata) -> Result<()> {
        let mut hides = false;
        match self.kind_of(path, name)? {
            Some(Found::Directory) => {}
            found => {
                // A whiteout of this layer and then a directory: nothing of lower layers shows through.
                hides = matches!(found, Some(Found::Whiteout));
                self.replace("create directory", path, |dir| {
                    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))
                })?;
            }
        }
        let dir = self.dir()?;
        let directory = rustix::fs::openat(dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(io("open", path))?;
        if self.whiteouts == Whiteouts::Remove {
            clear_attributes(directory.as_fd()).map_err(io("clear the attributes of", path))?;
        }
        set_open(directory.as_fd(), metadata).map_err(failed(path))?;
        if hides {
            self.set_opaque(&directory, path)?;
        }
        self.finish_later(path, metadata);
        // What it holds comes next, most likely.
        self.parent = Some((path.to_owned(), directory));
        Ok(())
    }

    fn node(
        &mut self,
        path: &Path,
        name: &OsStr,
        kind: FileType,
        device: (u32, u32),
        metadata: &Metadata,
    ) -> Result<()> {
        let device = rustix::fs::makedev(device.0, device.1);
        self.replace("create", path, |dir| {
            rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        set_named(self.dir()?, name, metadata, false).map_err(failed(path))
    }

    /// Hides `path` of lower layers. What this layer itself has there stays (whiteouts are about lower layers, wherever they stand
    /// in the archive); a directory of it becomes opaque.
    fn whiteout(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        self.enter(path)?;
        match self.kind_of(path, name)? {
            Some(Found::Directory) => {
                let flags = DIRECTORY | OFlags::NOFOLLOW;
                let directory =
                    rustix::fs::openat(self.dir()?, name, flags, Mode::empty()).map_err(io("open", path))?;
                return self.set_opaque(&directory, path);
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let dir = self.dir()?;
        rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(io("white out", path))?;
        let (uid, gid) = owner(metadata);
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io("set the owner of", path))
    }

    fn set_opaque(&self, directory: &OwnedFd, path: &Path) -> Result<()> {
        match self.whiteouts.opaque() {
            Some(name) => rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty())
                .map_err(io("mark as opaque", path)),
            None => Ok(()),
        }
    }

    /// Removes what was at `path` (`inside`: in the directory there) before this layer.
    fn remove_lower(&mut self, path: &Path, inside: bool) -> Result<()> {
        let failed = || io("remove", path);
        let (dir, name) = if path.as_os_str().is_empty() {
            (self.root.at(Path::new("."), DIRECTORY)?, PathBuf::from("."))
        } else {
            match self.root.at(path.parent().unwrap_or(Path::new("")), DIRECTORY) {
                Ok(dir) => (dir, path.file_name().unwrap_or_default().into()),
                Err(error) if is_replaced(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        };
        if !inside && !self.made.has(path) {
            // Whatever was opened in it may be gone.
            self.parent = None;
            return match remove(dir.as_fd(), name.as_os_str()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(failed()(errno)),
            };
        }
        match rustix::fs::openat(&dir, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(directory) => remove_all_but(&directory, path, &mut self.made).map_err(failed()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(failed()(errno)),
        }
    }

    /// Runs `create` in the current directory; what is in its way is removed first.
    fn replace<T>(
        &mut self,
        operation: &'static str,
        path: &Path,
        create: impl Fn(&OwnedFd) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let dir = self.dir()?;
        match create(dir) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(io(operation, path)),
        }
        let name = path.file_name().unwrap_or_default();
        remove(dir.as_fd(), name).map_err(io("replace", path))?;
        create(dir).map_err(io(operation, path))
    }

    /// Makes the directory that holds `path` the current one.
    fn enter(&mut self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(current, _)| current != parent) {
            // Opened anew each time: what was a directory may have become a link, and the other way round.
            let directory = self.directory(parent)?;
            self.parent = Some((parent.to_owned(), directory));
        }
        Ok(())
    }

    fn dir(&self) -> Result<&OwnedFd> {
        let none = || Error::Malformed {
            offset: 0,
            why: "an entry without a directory",
        };
        self.parent.as_ref().map(|(_, dir)| dir).ok_or_else(none)
    }

    /// Opens the directory at `path`, which is made, like the one of the topmost lower layer that has it, when it is missing.
    fn directory(&mut self, path: &Path) -> Result<OwnedFd> {
        match self.root.at(path, DIRECTORY) {
            Err(error) if error.is_absent() => {}
            result => return Ok(result?),
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.root.create_dir_all(path, 0o755)?;
        let directory = self.root.at(path, DIRECTORY)?;
        match self.lower_metadata(path) {
            Some(metadata) => {
                set_open(directory.as_fd(), &metadata).map_err(failed(path))?;
                self.finish_later(path, &metadata);
            }
            None => {
                // Whatever the umask is.
                rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))
                    .map_err(io("set the mode of", path))?;
            }
        }
        Ok(directory)
    }

    /// Owner, mode, times and attributes of the directory at `path` in the topmost lower tree that has something there.
    fn lower_metadata(&self, path: &Path) -> Option<Metadata> {
        for lower in &self.lower {
            let directory = match lower.at(path, DIRECTORY) {
                Ok(directory) => directory,
                Err(error) if error.is_absent() => continue,
                // Something else is there: it is replaced by a new directory.
                Err(_) => return None,
            };
            let stat = rustix::fs::fstat(&directory).ok()?;
            let time = |seconds, nanoseconds| Time {
                seconds,
                nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
            };
            return Some(Metadata {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                modified: time(stat.st_mtime, stat.st_mtime_nsec),
                accessed: Some(time(stat.st_atime, stat.st_atime_nsec)),
                xattrs: Vec::new(),
            });
        }
        None
    }

    /// What is at `path` now, not followed.
    fn kind_of(&self, path: &Path, name: &OsStr) -> Result<Option<Found>> {
        match rustix::fs::statat(self.dir()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Found::Directory,
                FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
                _ => Found::Other,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io("look at", path)(error)),
        }
    }

    fn finish_later(&mut self, path: &Path, metadata: &Metadata) {
        let inherited = metadata.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL);
        let inherited = inherited.map(|(_, acl)| acl.clone());
        self.directories
            .push((path.to_owned(), times(metadata), inherited));
    }

    fn finish_directories(&mut self) -> Result<()> {
        // Later entries for a path win: they come last here too.
        for (path, times, inherited) in std::mem::take(&mut self.directories) {
            match self.root.at(&path, DIRECTORY | OFlags::NOFOLLOW) {
                Ok(directory) => {
                    if let Some(acl) = inherited {
                        set_default_acl(directory.as_fd(), &acl).map_err(failed(&path))?;
                    }
                    set_times(directory.as_fd(), &times).map_err(failed(&path))?;
                }
                // Replaced by a later entry.
                Err(error) if is_replaced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn is_replaced(error: &lighter_safe_fs::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP]
        .iter()
        .any(|errno| error.errno() == Some(errno.raw_os_error()))
}

enum Found {
    Directory,
    Whiteout,
    Other,
}

fn write_all(
    mut data: &[u8],
    mut write: impl FnMut(&[u8]) -> std::result::Result<usize, Errno>,
) -> std::result::Result<(), Errno> {
    while !data.is_empty() {
        match write(data) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn refused(entry: &Entry, why: &'static str) -> Error {
    Error::Refused {
        name: entry.path.to_string_lossy().into_owned(),
        why,
    }
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Io {
        operation,
        path: path.to_owned(),
        source: errno.into(),
    }
}

fn failed(path: &Path) -> impl FnOnce(Failed) -> Error {
    move |(operation, errno)| io(operation, path)(errno)
}
