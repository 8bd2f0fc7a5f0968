//! Looking at every blob: whether it is there, and is what its name says. Nobody may have the store open meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lighter_meta::{Db, Durability};
use lighter_oci::Digest;

use crate::error::io;
use crate::local::{all, bucket, files};
use crate::{Error, Result};

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Checked {
    /// Blobs that are as they should be.
    pub whole: Vec<Digest>,
    /// Blobs that are not.
    pub bad: Vec<Bad>,
    /// Files that no record knows: what a death leaves, and the next start removes.
    pub leftovers: Vec<PathBuf>,
}

/// A blob that is not what its record says.
#[derive(Debug)]
pub struct Bad {
    /// Its name.
    pub digest: Digest,
    /// The namespaces that have it.
    pub namespaces: Vec<String>,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a blob.
#[derive(Debug)]
pub enum Fault {
    /// Its file is gone.
    Missing,
    /// Its file has another length: bytes that there are, bytes that there should be.
    Size(u64, u64),
    /// Its bytes are others; these are what they would be called.
    Bytes(Digest),
    /// It cannot be read.
    Unreadable(std::io::Error),
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blob {} (in {}): ", self.digest, self.namespaces.join(", "))?;
        match &self.fault {
            Fault::Missing => write!(f, "its file is gone"),
            Fault::Size(there, wanted) => write!(f, "its file has {there} bytes, not {wanted}"),
            Fault::Bytes(actual) => write!(f, "its bytes are those of {actual}"),
            Fault::Unreadable(error) => write!(f, "its file cannot be read: {error}"),
        }
    }
}

/// Where the blob `digest` of the store in `root` is.
pub fn blob(root: &Path, digest: &Digest) -> PathBuf {
    crate::local::blob(root, digest)
}

/// Hashes every blob of the store in the directory `root` with records in `db`. Changes nothing.
pub fn check(root: &Path, db: &Db) -> Result<Checked> {
    let mut records: BTreeMap<Digest, (u64, Vec<String>)> = BTreeMap::new();
    for (namespace, info) in db.read(|tx| all(tx))? {
        let record = records.entry(info.digest).or_insert((info.size, Vec::new()));
        record.1.push(namespace);
    }
    let mut checked = Checked::default();
    for (path, digest) in files(root)? {
        if !digest.is_some_and(|digest| records.contains_key(&digest)) {
            checked.leftovers.push(path);
        }
    }
    for (digest, (size, namespaces)) in records {
        match fault(&blob(root, &digest), &digest, size) {
            None => checked.whole.push(digest),
            Some(fault) => checked.bad.push(Bad {
                digest,
                namespaces,
                fault,
            }),
        }
    }
    Ok(checked)
}

/// Drops what [`check`] found to be bad, records first, so that the next one who wants it fetches it.
pub fn drop_bad(root: &Path, db: &Db, bad: &[Bad]) -> Result<()> {
    let records: Vec<(String, Digest)> = bad
        .iter()
        .flat_map(|bad| {
            bad.namespaces
                .iter()
                .map(|namespace| (bucket(namespace), bad.digest.clone()))
        })
        .collect();
    db.write(Durability::Power, move |tx| {
        for (bucket, digest) in &records {
            tx.delete(bucket, digest.as_str())?;
        }
        Ok::<(), Error>(())
    })?;
    for bad in bad {
        let path = blob(root, &bad.digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn fault(path: &Path, digest: &Digest, size: u64) -> Option<Fault> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Fault::Missing),
        Err(error) => return Some(Fault::Unreadable(error)),
    };
    if length != size {
        return Some(Fault::Size(length, size));
    }
    match File::open(path).and_then(|file| digest.algorithm().digest(file)) {
        Ok(actual) if actual == *digest => None,
        Ok(actual) => Some(Fault::Bytes(actual)),
        Err(error) => Some(Fault::Unreadable(error)),
    }
}
