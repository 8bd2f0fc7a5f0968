//! Files of groups that are written or read once, and closed together: a v1 group has a dozen, and their closing would be a
//! quarter of the system calls that making it takes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::Error;
use crate::group::open_file;

/// What was opened and is done with. All are closed when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<OwnedFd>);

impl Files {
    /// Writes `value` at once, as every file of a group wants it.
    pub(crate) fn write(&mut self, path: &Path, value: &str) -> Result<(), Error> {
        let failed = |source| Error::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source,
        };
        let mut file = open_file(path).map_err(failed)?;
        let written = file.write_all(value.as_bytes()).map_err(failed);
        self.0.push(file.into());
        written
    }

    /// The words of a short file: one read tells all, and an end of file is not worth a call.
    pub(crate) fn read(&mut self, path: &Path) -> Result<String, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut buffer = [0; 4096];
        let mut file = File::open(path).map_err(failed)?;
        let length = file.read(&mut buffer).map_err(failed);
        self.0.push(file.into());
        Ok(String::from_utf8_lossy(&buffer[..length?]).trim().to_owned())
    }

    /// Closes `file` with the others.
    pub(crate) fn add(&mut self, file: File) {
        self.0.push(file.into());
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        lighter_sys::descriptors::close_all(std::mem::take(&mut self.0));
    }
}
