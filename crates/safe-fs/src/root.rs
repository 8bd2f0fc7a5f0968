//! A directory that paths cannot leave.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::walk;

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

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if path.as_os_str().is_empty() {
            return self.resolve(Path::new("."), flags, mode);
        }
        if !NO_OPENAT2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            // EAGAIN: something was renamed on the way while `..` was looked at; the kernel asks to try again.
            for _ in 0..64 {
                match rustix::fs::openat2(&self.fd, path, flags, mode, resolve) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM) => {
                        NO_OPENAT2.store(true, Ordering::Relaxed);
                        break;
                    }
                    result => return result,
                }
            }
        }
        walk::open(self.fd.as_fd(), path, flags, mode)
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
        if let Some(made) = self.create_last(path, mode) {
            return Ok(made);
        }
        let dir = self.at(Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
        walk::create_dirs(self.fd.as_fd(), dir, path, Mode::from_raw_mode(mode))
            .map_err(|e| Error::new("create directory", path, e))
    }

    /// The usual case of [`Root::create_dir_all`]: only the last directory is missing. `None`: it is not that case.
    fn create_last(&self, path: &Path, mode: u32) -> Option<OwnedFd> {
        let (dir, name) = self.parent(path).ok()?;
        rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(mode)).ok()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&dir, &name, flags, Mode::empty()).ok()
    }

    /// Makes sure that `path` names something that is no directory (an empty file of `mode` when there is nothing),
    /// with the directories above it (0755), and opens it with `O_PATH`.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<OwnedFd, Error> {
        match self.resolve(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(|e| Error::new("open", path, e)),
        }
        let (dir, name) = match path.parent() {
            Some(parent) => (self.create_dir_all(parent, 0o755)?, path.file_name()),
            None => return Err(Error::new("create", path, Errno::ISDIR)),
        };
        let name = name.ok_or_else(|| Error::new("create", path, Errno::ISDIR))?;
        let inner = Self { fd: dir };
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        // The name itself may be a dangling link: NOFOLLOW refuses it (ELOOP) rather than write elsewhere.
        let made = rustix::fs::openat(&inner.fd, name, flags, Mode::from_raw_mode(mode))
            .map_err(|e| Error::new("create", path, e))?;
        drop(made);
        rustix::fs::openat(
            &inner.fd,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::new("open", path, e))
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
            assert!(root.create_file(Path::new("a/escape"), 0o644).is_err());
            root.symlink("/proc/self/fd", Path::new("a/fd")).unwrap();
            root.symlink("/proc/self/fd", Path::new("a/fd")).unwrap();
            assert!(root.symlink("/else", Path::new("a/fd")).is_err());
            root.remove_file(Path::new("a/fd")).unwrap();
            root.remove_file(Path::new("a/fd")).unwrap();
            assert_eq!(fs::read_to_string(dir.join("outside")).unwrap(), "secret");
        });
    }
}
