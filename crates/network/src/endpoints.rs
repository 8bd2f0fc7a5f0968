//! Records of endpoints, a file each, replaced by rename: they survive the death of any process, not the machine's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lighter_stdx::atomic::{self, Keep};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Endpoint;
use crate::error::{Error, Result};

/// The format that this program writes.
pub(crate) const VERSION: u32 = 1;

/// The directory of records.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

impl Records {
    /// Opens the directory, made when missing.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(Self(path))
    }

    /// Writes a record.
    pub(crate) fn write(&self, endpoint: &Endpoint) -> Result<()> {
        write(&self.path(&endpoint.container_id), endpoint)
    }

    /// Removes a record; none is no error.
    pub(crate) fn remove(&self, container_id: &str) -> Result<()> {
        let path = self.path(container_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
            _ => Ok(()),
        }
    }

    /// All of them. One that cannot be read (not ours, or cut short by a full disk) is reported and passed over: its namespace
    /// then belongs to nobody and goes.
    pub(crate) fn load(&self) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed(&self.0))? {
            let path = entry.map_err(failed(&self.0))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read::<Endpoint>(&path) {
                Ok(Some(endpoint)) if endpoint.version > VERSION => {
                    return Err(Error::Newer {
                        path,
                        found: endpoint.version,
                    });
                }
                Ok(Some(endpoint)) => endpoints.push(endpoint),
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    error = lighter_stdx::error::chain(&error),
                    "passing over a record"
                ),
            }
        }
        endpoints.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        Ok(endpoints)
    }

    fn path(&self, container_id: &str) -> PathBuf {
        self.0.join(format!("{container_id}.json"))
    }
}

/// Writes `value` as JSON, kill-safe.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value)
        .map_err(io::Error::other)
        .map_err(failed(path))?;
    atomic::write(path, &bytes, 0o600, Keep::Kill).map_err(failed(path))
}

/// Reads JSON; None: no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(failed(path))?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(io::Error::other)
        .map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Record {
        path: path.to_owned(),
        source,
    }
}
