//! Finding the user's program, and what its environment lacks. In the words of Go's `exec.LookPath`, which runc uses and
//! engines look for.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// The path of `name`, looked up in the `PATH` of `environment` when it has no slash.
pub(crate) fn find(name: &str, environment: &[String]) -> Result<PathBuf> {
    let failed = |reason: String| Error::Program {
        name: name.to_owned(),
        reason,
    };
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ACCESS) => Err(failed("permission denied".into())),
            Err(Errno::ISDIR) => Err(failed("is a directory: permission denied".into())),
            Err(error) => Err(failed(format!("stat {name}: {}", words(error)))),
        };
    }
    let path = environment
        .iter()
        .rev()
        .find_map(|pair| pair.strip_prefix("PATH="))
        .unwrap_or_default();
    let mut denied = false;
    if !name.is_empty() {
        for dir in path.split(':') {
            let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
            match runnable(&candidate) {
                Ok(()) if candidate.is_absolute() => return Ok(candidate),
                // Go refuses what only the working directory makes reachable.
                Ok(()) => {
                    return Err(failed(
                        "cannot run executable found relative to current directory".into(),
                    ));
                }
                Err(Errno::ACCESS) => denied = true,
                Err(_) => {}
            }
        }
    }
    let _ = denied;
    Err(failed("executable file not found in $PATH".into()))
}

fn runnable(path: &Path) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        result => result,
    }
}

/// An error number as C and Go word it.
pub(crate) fn words(error: impl Into<io::Error>) -> String {
    let error = error.into();
    let text = error.to_string();
    // Rust adds the number and begins with a capital.
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

/// The environment that the program gets: of each name the last value, and `HOME` from the container's `/etc/passwd` when
/// it is missing or empty.
pub(crate) fn environment(list: &[String], uid: u32) -> Result<Vec<String>> {
    let mut result: Vec<&str> = Vec::with_capacity(list.len() + 1);
    let mut has_home = false;
    for (at, pair) in list.iter().enumerate().rev() {
        let wrong = |reason: &str| {
            Err(Error::Config(format!(
                "process.env[{at}]: invalid environment variable: {reason}"
            )))
        };
        let Some((name, value)) = pair.split_once('=') else {
            return wrong("missing '='");
        };
        if name.is_empty() {
            return wrong("name cannot be empty");
        }
        if pair.contains('\0') {
            return wrong("contains nul byte (\\x00)");
        }
        let same = |other: &&str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        if name == "HOME" {
            if has_home || list[at + 1..].iter().any(|later| same(&later.as_str())) {
                continue;
            }
            if value.is_empty() {
                continue;
            }
            has_home = true;
        } else if result.iter().any(same) {
            continue;
        }
        result.push(pair);
    }
    let mut result: Vec<String> = result.into_iter().rev().map(str::to_owned).collect();
    if !has_home {
        result.push(format!("HOME={}", home(uid)));
    }
    Ok(result)
}

fn home(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.nth(2)?.parse::<u32>().ok()?;
        (found == uid).then(|| fields.nth(2).unwrap_or_default())
    });
    home.filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
}

/// A C string; what holds a zero byte is cut there, as Go's and the kernel's callers would.
pub(crate) fn c_string(text: impl AsRef<std::ffi::OsStr>) -> CString {
    let bytes = text.as_ref().as_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
