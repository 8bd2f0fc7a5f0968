//! The content store as its users see it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lighter_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{Error, Labels, Result};

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// What it is called.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When this namespace got it.
    pub created_at: Timestamp,
    /// When its labels were last changed.
    pub updated_at: Timestamp,
    /// Its labels in this namespace.
    pub labels: Labels,
}

/// An ingest: a blob on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The name under which it is written and resumed (containerd's `ref`).
    pub name: String,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes there will be; 0: not known.
    pub total: u64,
    /// The digest it shall have, if known.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was last written to.
    pub updated_at: Timestamp,
}

/// What is known of a blob before it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterOptions {
    /// The name under which it is written and resumed (containerd's `ref`). Required.
    pub name: String,
    /// Bytes there will be; 0: not known.
    pub total: u64,
    /// The digest it shall have, if known.
    pub expected: Option<Digest>,
}

/// A content store, as one namespace (and one lease) sees it.
#[async_trait]
pub trait ContentStore: Debug + Send + Sync {
    /// The blob's record. [`Error::NoContent`].
    async fn info(&self, digest: &Digest) -> Result<Info>;

    /// Every blob that one of `filters` selects (all, if there are none), in the order of their digests. Fields: `digest`, `size`,
    /// `labels."key"`; the syntax is that of [`lighter_meta::filter`].
    async fn list(&self, filters: &[String]) -> Result<Vec<Info>>;

    /// Changes labels. `fields` as containerd's field mask: empty or `labels` replaces all of them, `labels.KEY` sets that one (an
    /// empty or absent value removes it).
    async fn update(&self, digest: &Digest, labels: Labels, fields: &[String]) -> Result<Info>;

    /// Takes the blob from this namespace. Its bytes go when no namespace has it any more.
    async fn delete(&self, digest: &Digest) -> Result<()>;

    /// Opens the blob for reading; it stays readable if it is deleted meanwhile.
    async fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>>;

    /// Begins an ingest, or goes on with the one of this name, at the offset that its [`Writer::status`] tells.
    /// [`Error::ContentExists`] if the expected blob is in this namespace, or in another one, from where it is taken at once;
    /// [`Error::IngestLocked`] when another has the ingest open, and keeps it open for a second more.
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>>;

    /// The ingest of this name. [`Error::NoIngest`].
    async fn status(&self, name: &str) -> Result<Status>;

    /// The ingests that one of `filters` selects (field: `ref`), in the order of their names.
    async fn list_statuses(&self, filters: &[String]) -> Result<Vec<Status>>;

    /// Ends an ingest and removes what it had. [`Error::NoIngest`]; [`Error::IngestLocked`] while somebody has it open.
    async fn abort(&self, name: &str) -> Result<()>;
}

/// A blob being read. All methods of `&self` may be called at the same time.
#[async_trait]
pub trait ReadAt: Debug + Send + Sync {
    /// Bytes of the blob.
    fn size(&self) -> u64;

    /// Up to `length` bytes from `offset`; fewer only at the end, none behind it.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes>;

    /// The whole blob as a stream for blocking code (to be read on a thread that may block).
    fn into_read(self: Box<Self>) -> Box<dyn std::io::Read + Send>;
}

/// An ingest being written. Dropping it keeps what was written, up to a little that was not yet handed to the kernel, for the
/// next writer of the same name.
#[async_trait]
pub trait Writer: Debug + Send {
    /// How far it is. `offset` counts all that [`Writer::write`] took.
    fn status(&self) -> Status;

    /// The file in which the ingest grows, if there is one here: to be read by position only, up to where it ends at the time. `None` for a
    /// store elsewhere, and while a batch is being written: ask before the first [`Writer::write`].
    fn file(&self) -> Option<std::fs::File> {
        None
    }

    /// Appends `data`. A failure may be told by a later call; the offset to resume from is then that of a new writer.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Cuts the ingest to `size` bytes, at most its offset; to begin anew, to 0.
    async fn truncate(&mut self, size: u64) -> Result<()>;

    /// Makes the ingest a blob, durably: its size must be `size` (if not 0) and its digest `expected` (if given), or the one that was
    /// expected at the start. Gives the digest. [`Error::Size`], [`Error::Digest`]: the ingest is kept; [`Error::ContentExists`]: it is not
    /// needed, and gone. After success the writer takes nothing more.
    async fn commit(&mut self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<Digest>;
}

/// The whole of a small blob, at most `limit` bytes ([`Error::Invalid`] if it is larger).
pub async fn read_blob(store: &dyn ContentStore, digest: &Digest, limit: u64) -> Result<Bytes> {
    let reader = store.reader_at(digest).await?;
    let size = reader.size();
    let length = usize::try_from(size).ok().filter(|_| size <= limit);
    let length = length.ok_or_else(|| Error::Invalid {
        what: "content",
        value: digest.to_string(),
        why: format!("it has {size} bytes, at most {limit} are read into memory"),
    })?;
    reader.read_at(0, length).await
}

/// Stores a small blob that is in memory; that it exists already is no error. Its labels are added to those that it has.
pub async fn write_blob(store: &dyn ContentStore, data: Bytes, labels: Labels) -> Result<Digest> {
    let digest = Digest::sha256(&data);
    let total = data.len() as u64;
    // A name of its own: two that write the same blob at once do not wait for each other.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "blob-{}-{}-{digest}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let options = WriterOptions {
        name,
        total,
        expected: Some(digest.clone()),
    };
    let written = match store.writer(options).await {
        Ok(mut writer) => {
            writer.truncate(0).await?;
            writer.write(data).await?;
            writer
                .commit(total, Some(&digest), labels.clone())
                .await
                .map(drop)
        }
        Err(error) => Err(error),
    };
    match written {
        Err(Error::ContentExists(_)) => {
            let fields: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
            if !fields.is_empty() {
                store.update(&digest, labels, &fields).await?;
            }
        }
        other => other?,
    }
    Ok(digest)
}
