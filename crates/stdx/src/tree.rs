//! Whole directories.

use std::fs;
use std::io;
use std::path::Path;

/// Removes the directory `path` with all that is in it; that it is not there is as good.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
