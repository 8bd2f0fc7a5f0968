//! An ingest on the disk: `ingest/<hash of namespace and name>/` with `data` and `ingest.json`.
//!
//! It survives restarts: how far it is, is the length of `data`; the running hash is computed again from it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use lighter_oci::{Algorithm, Digest, Hasher};
use lighter_stdx::atomic::{self, Keep};
use serde::{Deserialize, Serialize};

use crate::error::io;
use crate::local::Held;
use crate::{Error, Result, Status, WriterOptions};

/// What is written down of an ingest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) total: u64,
    #[serde(default)]
    pub(crate) expected: Option<Digest>,
    pub(crate) started_at: Timestamp,
}

/// An ingest that is open: nobody else has it while this lives.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) record: Record,
    pub(crate) offset: u64,
    dir: PathBuf,
    file: File,
    hasher: Hasher,
    _held: Held,
}

/// The directory of an ingest below the store's `ingest`.
pub(crate) fn directory(root: &Path, namespace: &str, name: &str) -> PathBuf {
    let hash = Digest::sha256(format!("{namespace}\0{name}").as_bytes());
    root.join("ingest").join(hash.encoded())
}

/// What is known of the ingest in `dir`; none if it is not there, or was not completely begun.
pub(crate) fn status(dir: &Path) -> Result<Option<(Record, Status)>> {
    let text = match fs::read(dir.join("ingest.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", dir)(error)),
    };
    let Ok(record) = serde_json::from_slice::<Record>(&text) else {
        return Ok(None);
    };
    let data = dir.join("data");
    let (offset, updated_at) = match fs::metadata(&data) {
        Ok(metadata) => {
            let modified = metadata
                .modified()
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok());
            (metadata.len(), modified.unwrap_or(record.started_at))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => (0, record.started_at),
        Err(error) => return Err(io("stat", &data)(error)),
    };
    let status = Status {
        name: record.name.clone(),
        offset,
        total: record.total,
        expected: record.expected.clone(),
        started_at: record.started_at,
        updated_at,
    };
    Ok(Some((record, status)))
}

impl Ingest {
    /// Begins the ingest in `dir`, or goes on with it. Blocks: what is there is read once.
    pub(crate) fn open(
        dir: PathBuf,
        namespace: &str,
        options: WriterOptions,
        now: Timestamp,
        held: Held,
    ) -> Result<Ingest> {
        if is_done(&dir) {
            // Its bytes are a blob's: what is written now must not be written there.
            remove(&dir)?;
        }
        let record = match status(&dir)? {
            Some((record, _)) => resumed(record, &options)?,
            None => {
                let WriterOptions {
                    name,
                    total,
                    expected,
                } = options;
                let record = Record {
                    namespace: namespace.to_owned(),
                    name,
                    total,
                    expected,
                    started_at: now,
                };
                fs::create_dir_all(&dir).map_err(io("create directory", &dir))?;
                save(&dir, &record)?;
                record
            }
        };
        let path = dir.join("data");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = file.map_err(io("open", &path))?;
        let algorithm = record
            .expected
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = algorithm.hasher();
        let offset = hash(&mut file, u64::MAX, &mut hasher).map_err(io("read", &path))?;
        Ok(Ingest {
            record,
            offset,
            dir,
            file,
            hasher,
            _held: held,
        })
    }

    /// Appends. After a failure the file ends where the hash does, if that can be.
    pub(crate) fn append(&mut self, chunks: &[Bytes]) -> Result<()> {
        for chunk in chunks {
            if let Err(error) = self.file.write_all(chunk) {
                // The first failure is the one to report; a tail that stays is hashed by the next opening.
                let _ = self.file.set_len(self.offset);
                return Err(io("write", &self.dir.join("data"))(error));
            }
            self.hasher.update(chunk);
            self.offset += chunk.len() as u64;
        }
        Ok(())
    }

    /// A second descriptor of the data.
    pub(crate) fn file(&self) -> Option<File> {
        self.file.try_clone().ok()
    }

    /// Cuts to `size` bytes.
    pub(crate) fn truncate(&mut self, size: u64) -> Result<()> {
        if size > self.offset {
            let why = "it cannot be cut to more than it has";
            return Err(Error::Precondition {
                name: self.record.name.clone(),
                why,
            });
        }
        if size == self.offset {
            return Ok(());
        }
        let path = self.dir.join("data");
        self.file.set_len(size).map_err(io("truncate", &path))?;
        let algorithm = self
            .record
            .expected
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        self.hasher = algorithm.hasher();
        self.file.seek(SeekFrom::Start(0)).map_err(io("seek", &path))?;
        self.offset = hash(&mut self.file, size, &mut self.hasher).map_err(io("read", &path))?;
        Ok(())
    }

    /// The digest of what is there, if it and the size are as they should be.
    pub(crate) fn verify(&self, size: u64, expected: Option<&Digest>) -> Result<Digest> {
        let name = || self.record.name.clone();
        let wanted = if size > 0 { size } else { self.record.total };
        if wanted > 0 && wanted != self.offset {
            return Err(Error::Size {
                name: name(),
                written: self.offset,
                expected: wanted,
            });
        }
        let actual = self.hasher.clone().finish();
        match expected.or(self.record.expected.as_ref()) {
            Some(expected) if *expected != actual => Err(Error::Digest {
                name: name(),
                actual,
                expected: expected.clone(),
            }),
            _ => Ok(actual),
        }
    }

    /// Makes the bytes durable: the one fsync of a blob.
    pub(crate) fn sync(&self) -> Result<()> {
        let path = self.dir.join("data");
        self.file
            .set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(io("chmod", &path))?;
        self.file.sync_data().map_err(io("sync", &path))
    }

    /// Puts the bytes at `blob`, in place of what is there: that had the same digest once, and these were just checked. The ingest keeps its own
    /// name of them, so that it can be committed again if this commit fails.
    pub(crate) fn link(&self, blob: &Path) -> Result<()> {
        let data = self.dir.join("data");
        match fs::hard_link(&data, blob) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map_err(io("link", blob)),
        }
        let second = self.dir.join("blob");
        match fs::hard_link(&data, &second) {
            // From a commit that failed: it has the same bytes.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.map_err(io("link", &second))?,
        }
        fs::rename(&second, blob).map_err(io("rename to", blob))?;
        // Where both were names of the same bytes, the rename has left both.
        let _ = fs::remove_file(&second);
        Ok(())
    }

    /// Removes what is left of it.
    pub(crate) fn remove(&self) -> Result<()> {
        remove(&self.dir)
    }
}

/// Whether the bytes of the ingest in `dir` have another name, the blob's, or are gone: what is left of a commit.
pub(crate) fn is_done(dir: &Path) -> bool {
    match fs::metadata(dir.join("data")) {
        Ok(metadata) => metadata.nlink() > 1,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Removes the ingest in `dir`.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    lighter_stdx::tree::remove(dir).map_err(io("remove", dir))
}

/// What was begun must be what is asked for now; what was not known then may be told now.
fn resumed(mut record: Record, options: &WriterOptions) -> Result<Record> {
    let refuse = |why| {
        Err(Error::Precondition {
            name: record.name.clone(),
            why,
        })
    };
    match (&record.expected, &options.expected) {
        (Some(begun), Some(now)) if begun != now => return refuse("it was begun for another digest"),
        (None, Some(now)) => record.expected = Some(now.clone()),
        _ => {}
    }
    match (record.total, options.total) {
        (begun, now) if begun > 0 && now > 0 && begun != now => refuse("it was begun for another size"),
        (0, now) => {
            record.total = now;
            Ok(record)
        }
        _ => Ok(record),
    }
}

fn save(dir: &Path, record: &Record) -> Result<()> {
    let path = dir.join("ingest.json");
    let text = serde_json::to_vec(record).map_err(|error| io("encode", &path)(error.into()))?;
    atomic::write(&path, &text, 0o600, Keep::Kill).map_err(io("write", &path))
}

/// Hashes up to `limit` bytes from the file's position; gives their number, and leaves the position behind them.
fn hash(file: &mut File, limit: u64, hasher: &mut Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    let mut file = file.take(limit);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(done),
            length => {
                hasher.update(&buffer[..length]);
                done += length as u64;
            }
        }
    }
}
