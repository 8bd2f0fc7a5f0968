//! A directory that paths cannot leave.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::walk::{self, Links};

/// What went wrong, on which path under the root.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct Error {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Error {
    fn new(operation: &'static str, path: &Path, source: Errno) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the path, or a part of it, is not there.
    pub fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT.raw_os_error())
    }
}

/// A directory by descriptor. All paths are taken as below it, absolute or not; `..` and symbolic links, also absolute
/// ones, stay inside.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// Set when the kernel, or a filter above us, refuses `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

impl Root {
    /// Opens the directory at `path`, which is trusted and followed as usual.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::new("open", path, e))?;
        Ok(Self { fd })
    }

    /// Takes the directory behind `fd`.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Resolves `path` and opens it. The last component is followed unless `flags` has `NOFOLLOW`. Magic links
    /// (`/proc/PID/fd/N`) are never followed. Close-on-exec is added.
    pub fn at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        self.resolve(path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::new("open", path, e))
    }

    /// As [`Root::at`] with `O_PATH`.
    pub fn locate(&self, path: &Path) -> Result<OwnedFd, Error> {
        self.at(path, OFlags::PATH)
    }

    /// As [`Root::at`], but a symbolic link anywhere on the way is refused (`ELOOP`): what is opened is where `path`
    /// says.
    pub fn plain(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        self.resolve_as(path, flags | OFlags::CLOEXEC, Mode::empty(), Links::Refuse)
            .map_err(|e| Error::new("open", path, e))
    }

    /// Opens `path` below this directory without following any link and without entering another mount: `EXDEV` when
    /// something is mounted on the way or on the file itself, `ELOOP` for a link. Close-on-exec is added.
    pub fn on_same_mount(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        self.openat2(path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .unwrap_or_else(|| walk::open_on_mount(self.fd.as_fd(), path, flags))
            .map_err(|e| Error::new("open", path, e))
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        self.resolve_as(path, flags, mode, Links::Follow)
    }

    fn resolve_as(&self, path: &Path, flags: OFlags, mode: Mode, links: Links) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT
            | match links {
                Links::Follow => ResolveFlags::NO_MAGICLINKS,
                Links::Refuse => ResolveFlags::NO_SYMLINKS,
            };
        self.openat2(path, flags, mode, resolve)
            .unwrap_or_else(|| walk::open(self.fd.as_fd(), path, flags, mode, links))
    }

    /// `None`: the kernel has no `openat2`, or not for us.
    fn openat2(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> Option<Result<OwnedFd, Errno>> {
        if NO_OPENAT2.load(Ordering::Relaxed) {
            return None;
        }
        // EAGAIN: something was renamed on the way while `..` was looked at; the kernel asks to try again.
        for _ in 0..64 {
            match rustix::fs::openat2(&self.fd, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    return None;
                }
                result => return Some(result),
            }
        }
        None
    }

    /// The directory that holds `path`, and the last component of it, which is not looked at. `EINVAL` for the root
    /// itself and for paths that end in `..`.
    pub fn parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf), Error> {
        let Some(name) = path.file_name() else {
            return Err(Error::new("find the parent of", path, Errno::INVAL));
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let dir = self.at(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((dir, PathBuf::from(name)))
    }

    /// Makes `path` a directory with all above it that is missing (`mode` for each) and opens it with `O_PATH`. Existing
    /// symbolic links are followed inside the root; a dangling one makes what it points to.
    pub fn create_dir_all(&self, path: &Path, mode: u32) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(|e| Error::new("open", path, e)),
        }
        if let Some(made) = self.create_last(path, Some(Mode::from_raw_mode(mode)), None, Links::Follow) {
            return Ok(made);
        }
        self.create(path, Mode::from_raw_mode(mode), None)
    }

    /// As [`Root::create_dir_all`] (0755) or, with `file` as its mode, [`Root::create_file`], but only where no symbolic
    /// link is on the way and no more than the last component is missing. `None`: it is not that case.
    pub fn create_plain(&self, path: &Path, file: Option<u32>) -> Option<OwnedFd> {
        match self.resolve_as(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), Links::Refuse) {
            Err(Errno::NOENT) => {}
            result => return result.ok(),
        }
        let file = file.map(Mode::from_raw_mode);
        let directory = Some(Mode::from_raw_mode(0o755)).filter(|_| file.is_none());
        self.create_last(path, directory, file, Links::Refuse)
    }

    /// Makes the directory `name`, one component, right below this one and opens it with `O_PATH`. `None`: something of
    /// that name is there, or it cannot be made.
    pub fn make_directory(&self, name: &OsStr, mode: u32) -> Option<OwnedFd> {
        let plain = Path::new(name).file_name() == Some(name);
        if !plain || rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)).is_err() {
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).ok()
    }

    /// The usual case: only the last component is missing. `None`: it is not that case.
    fn create_last(
        &self,
        path: &Path,
        directory: Option<Mode>,
        file: Option<Mode>,
        links: Links,
    ) -> Option<OwnedFd> {
        let name = path.file_name()?;
        let parent = path.parent()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = self.resolve_as(parent, flags, Mode::empty(), links).ok()?;
        let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match (directory, file) {
            (Some(mode), _) => {
                rustix::fs::mkdirat(&dir, name, mode).ok()?;
                flags |= OFlags::DIRECTORY;
            }
            (None, Some(mode)) => rustix::fs::mknodat(&dir, name, FileType::RegularFile, mode, 0).ok()?,
            (None, None) => return None,
        }
        rustix::fs::openat(&dir, name, flags, Mode::empty()).ok()
    }

    fn create(&self, path: &Path, directory: Mode, file: Option<Mode>) -> Result<OwnedFd, Error> {
        let dir = self.at(Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
        walk::create(self.fd.as_fd(), dir, path, directory, file).map_err(|e| Error::new("create", path, e))
    }

    /// Makes sure that `path` names something (an empty file of `mode` when there is nothing), with the directories above
    /// it (0755), and opens it with `O_PATH`. Symbolic links are followed inside the root; a dangling one makes what it
    /// points to.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<OwnedFd, Error> {
        match self.resolve(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(|e| Error::new("open", path, e)),
        }
        let mode = Mode::from_raw_mode(mode);
        match self.create_last(path, None, Some(mode), Links::Follow) {
            Some(made) => Ok(made),
            None => self.create(path, Mode::from_raw_mode(0o755), Some(mode)),
        }
    }

    /// Makes a symbolic link at `path` that holds `target`; one that is there already with the same target is fine.
    pub fn symlink(&self, target: &str, path: &Path) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, &dir, &name) {
            Err(Errno::EXIST) => {
                let same = rustix::fs::readlinkat(&dir, &name, Vec::new())
                    .is_ok_and(|found| found.as_bytes() == target.as_bytes());
                if same {
                    Ok(())
                } else {
                    Err(Error::new("link", path, Errno::EXIST))
                }
            }
            result => result.map_err(|e| Error::new("link", path, e)),
        }
    }

    /// Removes the file (not directory) at `path`; absent is fine.
    pub fn remove_file(&self, path: &Path) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        match rustix::fs::unlinkat(&dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::new("remove", path, error)),
        }
    }

    /// Makes a device node or fifo at `path`: kind, permission bits (the umask does not count when it is 0), numbers.
    pub fn make_node(&self, path: &Path, kind: FileType, mode: u32, device: u64) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        rustix::fs::mknodat(&dir, &name, kind, Mode::from_raw_mode(mode), device)
            .map_err(|e| Error::new("make node", path, e))
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.fd
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The components of `path` that mean something, outermost first.
pub(crate) fn components(path: &Path) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::from_bytes(b"..")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn check(test: impl Fn(&Root, &Path)) {
        for fallback in [false, true] {
            let dir =
                std::env::temp_dir().join(format!("safe-fs-{}-{fallback}-{:p}", std::process::id(), &test));
            fs::create_dir_all(dir.join("root/a/b")).unwrap();
            fs::write(dir.join("outside"), "secret").unwrap();
            fs::write(dir.join("root/a/file"), "inside").unwrap();
            symlink("/a", dir.join("root/absolute")).unwrap();
            symlink("../../../../..", dir.join("root/a/up")).unwrap();
            symlink("../../../outside", dir.join("root/a/escape")).unwrap();
            symlink("loop", dir.join("root/loop")).unwrap();
            symlink("/new/dir", dir.join("root/dangling")).unwrap();
            NO_OPENAT2.store(fallback, Ordering::Relaxed);
            test(&Root::open(&dir.join("root")).unwrap(), &dir);
            NO_OPENAT2.store(false, Ordering::Relaxed);
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    fn read(fd: OwnedFd) -> String {
        std::io::read_to_string(fs::File::from(fd)).unwrap()
    }

    // One test, because the switch to the fallback is the process's.
    #[test]
    fn paths_stay_inside_with_and_without_openat2() {
        check(|root, dir| {
            for path in [
                "a/file",
                "/absolute/file",
                "a/up/a/file",
                "../../a/file",
                "a/up/absolute/b/../file",
            ] {
                assert_eq!(
                    read(root.at(Path::new(path), OFlags::RDONLY).unwrap()),
                    "inside",
                    "{path}"
                );
            }
            assert!(root.locate(Path::new("a/escape")).unwrap_err().is_absent());
            assert_eq!(
                root.locate(Path::new("loop")).unwrap_err().errno(),
                Some(Errno::LOOP.raw_os_error())
            );
            let file = root
                .at(Path::new("a/file"), OFlags::PATH | OFlags::DIRECTORY)
                .unwrap_err();
            assert_eq!(file.errno(), Some(Errno::NOTDIR.raw_os_error()));

            root.create_dir_all(Path::new("/absolute/x/y"), 0o755).unwrap();
            assert!(dir.join("root/a/x/y").is_dir());
            root.create_dir_all(Path::new("dangling/z"), 0o755).unwrap();
            assert!(dir.join("root/new/dir/z").is_dir());
            root.create_dir_all(Path::new("../../q/../w"), 0o755).unwrap();
            assert!(dir.join("root/w").is_dir() && !dir.join("w").exists());
            root.create_file(Path::new("absolute/n/e/w"), 0o644).unwrap();
            assert!(dir.join("root/a/n/e/w").is_file());
            // Dangling inside the root: what it names there is made, never what it would name outside.
            root.create_file(Path::new("a/escape"), 0o644).unwrap();
            assert!(dir.join("root/outside").is_file());
            symlink("/deep/er/file", dir.join("root/file-link")).unwrap();
            root.create_file(Path::new("file-link"), 0o644).unwrap();
            assert!(dir.join("root/deep/er/file").is_file());

            let link = root.plain(Path::new("absolute/file"), OFlags::PATH).unwrap_err();
            assert_eq!(link.errno(), Some(Errno::LOOP.raw_os_error()));
            assert_eq!(
                read(root.plain(Path::new("/a/b/../file"), OFlags::RDONLY).unwrap()),
                "inside"
            );
            assert!(root.create_plain(Path::new("/absolute/new"), None).is_none());
            assert!(root.create_plain(Path::new("/a/new/deep"), None).is_none());
            root.create_plain(Path::new("/a/new"), None).unwrap();
            root.create_plain(Path::new("/a/newfile"), Some(0o644)).unwrap();
            assert!(dir.join("root/a/new").is_dir() && dir.join("root/a/newfile").is_file());
            for (name, made) in [("made", true), ("made", false), ("..", false), ("x/y", false)] {
                let found = root.make_directory(OsStr::new(name), 0o755);
                assert_eq!(found.is_some(), made, "{name}");
            }

            assert_eq!(
                read(root.on_same_mount(Path::new("a/file"), OFlags::RDONLY).unwrap()),
                "inside"
            );
            for path in ["absolute/file", "../outside", "a/up/a/file"] {
                assert!(
                    root.on_same_mount(Path::new(path), OFlags::RDONLY).is_err(),
                    "{path}"
                );
            }
            let top = Root::open(Path::new("/")).unwrap();
            let other = top
                .on_same_mount(Path::new("proc/self"), OFlags::PATH)
                .unwrap_err();
            assert_eq!(other.errno(), Some(Errno::XDEV.raw_os_error()));
            root.symlink("/proc/self/fd", Path::new("a/fd")).unwrap();
            root.symlink("/proc/self/fd", Path::new("a/fd")).unwrap();
            assert!(root.symlink("/else", Path::new("a/fd")).is_err());
            root.remove_file(Path::new("a/fd")).unwrap();
            root.remove_file(Path::new("a/fd")).unwrap();
            assert_eq!(fs::read_to_string(dir.join("outside")).unwrap(), "secret");
        });
    }
}
