//! Overlay mounts of any number of layers.
//!
//! `mount(2)` takes its options in one page (4 KiB): some 60 layers with long paths. The new mount API takes layer by layer
//! (`lowerdir+`, Linux 6.7); on older kernels the paths are made short by a change of directory, in a thread of its own.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::{check, mount};

/// What [`mount_overlay`] mounts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overlay<'a> {
    /// The directories that are only read, topmost first. At least one; two without an upper one.
    pub lower: &'a [&'a Path],
    /// The directory that takes what is written, and the empty one beside it that the kernel works in. None: read-only.
    pub upper_and_work: Option<(&'a Path, &'a Path)>,
    /// Other options: `index=off`, `userxattr`, `volatile`, …
    pub options: &'a [&'a str],
    /// Attributes of the mount, bits of [`mount::attribute`].
    pub attributes: u64,
}

/// Strings that `fsconfig(2)` takes are shorter than this, with their nul.
const FSCONFIG_MAX: usize = 256;
/// Options that `mount(2)` takes are shorter than this, with their nul.
const PAGE: usize = 4096;

/// Mounts an overlay on the directory `target`. The error is the kernel's.
pub fn mount_overlay(overlay: &Overlay<'_>, target: &Path) -> io::Result<()> {
    let target = rustix::fs::openat(
        CWD,
        target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match by_layer(overlay) {
        Ok(tree) => mount::attach(tree.as_fd(), target.as_fd()),
        // The kernel does not know the calls or the option; or the request is wrong, and will fail again.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP)
            ) =>
        {
            by_options(overlay, &target)
        }
        Err(error) => Err(error),
    }
}

fn by_layer(overlay: &Overlay<'_>) -> io::Result<OwnedFd> {
    let mut options: Vec<(CString, Option<CString>)> = Vec::with_capacity(overlay.lower.len() + 4);
    for lower in overlay.lower {
        options.push((c"lowerdir+".into(), Some(path(lower)?)));
    }
    if let Some((upper, work)) = overlay.upper_and_work {
        options.push((c"upperdir".into(), Some(path(upper)?)));
        options.push((c"workdir".into(), Some(path(work)?)));
    }
    for option in overlay.options {
        options.push(match option.split_once('=') {
            Some((key, value)) => (CString::new(key)?, Some(CString::new(value)?)),
            None => (CString::new(*option)?, None),
        });
    }
    if options.iter().any(|(_, value)| {
        value
            .as_ref()
            .is_some_and(|value| value.count_bytes() >= FSCONFIG_MAX)
    }) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let options: Vec<(&CStr, Option<&CStr>)> = options
        .iter()
        .map(|(key, value)| (key.as_c_str(), value.as_deref()))
        .collect();
    mount::new_filesystem(c"overlay", Some(c"overlay"), &options, overlay.attributes)
}

fn by_options(overlay: &Overlay<'_>, target: &OwnedFd) -> io::Result<()> {
    let whole = option_text(overlay, Path::new(""))?;
    if whole.count_bytes() < PAGE {
        return mount_here(&whole, target, overlay.attributes);
    }
    let base = common_directory(overlay.lower);
    let short = option_text(overlay, &base)?;
    let base = path(&base)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: an integer. From here on this thread has a working directory of its own; nothing else changes.
            check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_FS) }))?;
            rustix::process::chdir(base.as_c_str())?;
            mount_here(&short, target, overlay.attributes)
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}

/// One `mount(2)`. The flags of a mount have the values of the attributes, but for the access times.
fn mount_here(options: &CStr, target: &OwnedFd, attributes: u64) -> io::Result<()> {
    let flag = |attribute, flag| if attributes & attribute == 0 { 0 } else { flag };
    let flags = flag(mount::attribute::RDONLY, libc::MS_RDONLY)
        | flag(mount::attribute::NOSUID, libc::MS_NOSUID)
        | flag(mount::attribute::NODEV, libc::MS_NODEV)
        | flag(mount::attribute::NOEXEC, libc::MS_NOEXEC)
        | flag(mount::attribute::NOATIME, libc::MS_NOATIME);
    let target = mount::path_of(target.as_fd());
    mount::mount(Some(c"overlay"), &target, Some(c"overlay"), flags, Some(options))
}

/// The options as `mount(2)` takes them, the layers relative to `base`.
fn option_text(overlay: &Overlay<'_>, base: &Path) -> io::Result<CString> {
    let mut text = b"lowerdir=".to_vec();
    for (number, lower) in overlay.lower.iter().enumerate() {
        if number > 0 {
            text.push(b':');
        }
        escape(lower.strip_prefix(base).unwrap_or(lower), b":\\,", &mut text);
    }
    if let Some((upper, work)) = overlay.upper_and_work {
        text.extend(b",upperdir=");
        escape(upper, b"\\,", &mut text);
        text.extend(b",workdir=");
        escape(work, b"\\,", &mut text);
    }
    for option in overlay.options {
        text.push(b',');
        text.extend(option.as_bytes());
    }
    Ok(CString::new(text)?)
}

fn escape(path: &Path, special: &[u8], text: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
}

/// The longest directory that holds all of `paths`.
fn common_directory(paths: &[&Path]) -> PathBuf {
    let first = paths
        .first()
        .and_then(|path| path.parent())
        .unwrap_or(Path::new("/"));
    let holds_all = |dir: &&Path| paths.iter().all(|path| path.starts_with(dir) && path != dir);
    first
        .ancestors()
        .find(holds_all)
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::namespace;

    /// Both ways of mounting, in a mount namespace that dies with its thread.
    #[test]
    fn two_hundred_layers_are_mounted_layer_by_layer_and_by_short_names() {
        let base =
            std::env::temp_dir().join(format!("sys-overlay-{}-{}", std::process::id(), "long".repeat(8)));
        let dirs: Vec<PathBuf> = (0..200)
            .rev()
            .map(|number| base.join(number.to_string()).join("fs"))
            .collect();
        for (number, dir) in dirs.iter().rev().enumerate() {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join(format!("only-{number}")), "").unwrap();
            fs::write(dir.join("top"), number.to_string()).unwrap();
        }
        let directories = ["merged", "upper", "work"].map(|name| base.join(name));
        for dir in &directories {
            fs::create_dir_all(dir).unwrap();
        }
        let [merged, upper, work] = directories;
        let thread = std::thread::spawn(move || {
            namespace::unshare(namespace::MOUNT).unwrap();
            mount::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None).unwrap();
            let lower: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
            let overlay = Overlay {
                lower: &lower,
                upper_and_work: Some((&upper, &work)),
                ..Overlay::default()
            };
            let target = rustix::fs::openat(CWD, &merged, OFlags::PATH, Mode::empty()).unwrap();
            for way in ["by layer", "by options"] {
                match way {
                    "by layer" => mount::attach(by_layer(&overlay).unwrap().as_fd(), target.as_fd()).unwrap(),
                    _ => by_options(&overlay, &target).unwrap(),
                }
                assert_eq!(fs::read_to_string(merged.join("top")).unwrap(), "199", "{way}");
                for number in 0..200 {
                    assert!(merged.join(format!("only-{number}")).exists(), "{way}: {number}");
                }
                mount::unmount(&path(&merged).unwrap(), libc::MNT_DETACH).unwrap();
            }
            mount_overlay(&overlay, &merged).unwrap();
            fs::write(merged.join("new"), "").unwrap();
            assert!(upper.join("new").exists());
        });
        thread.join().unwrap();
        fs::remove_dir_all(&base).unwrap();
    }
}
