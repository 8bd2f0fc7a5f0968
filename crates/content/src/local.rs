//! Content in a directory of this machine: `blobs/<algorithm>/<hex>` and `ingest/`; records in the database.
//!
//! A blob's file is checked, synced and linked into place *before* its record is committed, and removed *after* its last record is gone. So a
//! record without its file, or a file without a record, is what a death in between left; [`LocalContent::open`] removes both.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use lighter_meta::{Db, Durability, Read, WriteTx};
use lighter_oci::Digest;
use lighter_stdx::clock::Clock;
use tokio::sync::Notify;

use crate::error::io;
use crate::gc::{Collectible, Node, Thing};
use crate::ingest::{self, Ingest};
use crate::known::Known;
use crate::lease::{Resource, check_name, parse_filters, protect};
use crate::places::Places;
use crate::reader::LocalReader;
use crate::writer::LocalWriter;
use crate::{ContentStore, Error, Info, Labels, ReadAt, Result, Status, Writer, WriterOptions, labels};

/// The number of the directory's layout.
const FORMAT: u32 = 1;
/// An ingest that nobody has written to for so long is given up.
const INGEST_AGE: SignedDuration = SignedDuration::from_hours(24);
/// How long a writer waits for an ingest that another has open: a client that looked at it, or one that was cut off, is about to let go of it.
/// containerd waits up to about a second.
const PATIENCE: Duration = Duration::from_secs(1);

/// The content of all namespaces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalContent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    db: Db,
    clock: Clock,
    files: Places,
    known: Known,
    /// The directories of the ingests that are open.
    open: Mutex<HashSet<PathBuf>>,
    /// Blobs without a record whose files could not be removed; each sweep tries them again.
    stuck: Mutex<HashSet<Digest>>,
    /// Told when one is closed.
    closed: Notify,
}

/// What [`LocalContent::open`] found broken and mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Files that no record knew; they are removed.
    pub files: Vec<PathBuf>,
    /// Records (namespace, digest) whose file was absent or had another size; they are removed.
    pub records: Vec<(String, Digest)>,
}

/// The content of one namespace.
#[derive(Debug, Clone)]
pub struct LocalStore {
    pub(crate) content: LocalContent,
    pub(crate) namespace: Arc<str>,
    lease: Option<Arc<str>>,
}

/// The right to write an ingest, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    content: LocalContent,
    dir: PathBuf,
}

impl LocalContent {
    /// Opens the store in the directory `root` (made if absent) with its records in `db`. Nobody else may have it open; the lock of `db` sees
    /// to that.
    pub fn open(root: &Path, db: &Db, clock: &Clock) -> Result<(LocalContent, Repairs)> {
        lighter_meta::format::check(root, FORMAT, |from| {
            Err(format!("no migration from format {from} is known").into())
        })?;
        for dir in ["blobs/sha256", "ingest"] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).map_err(io("create directory", &dir))?;
        }
        let inner = Inner {
            root: root.to_owned(),
            db: db.clone(),
            clock: clock.clone(),
            files: Places::default(),
            known: Known::default(),
            open: Mutex::default(),
            stuck: Mutex::default(),
            closed: Notify::new(),
        };
        let content = LocalContent(Arc::new(inner));
        let repairs = content.repair()?;
        Ok((content, repairs))
    }

    /// As `namespace` sees it; what is ingested is put under `lease`, if there is one.
    pub fn namespace(&self, namespace: &str, lease: Option<&str>) -> LocalStore {
        LocalStore {
            content: self.clone(),
            namespace: namespace.into(),
            lease: lease.map(Arc::from),
        }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        blob(&self.0.root, digest)
    }

    /// Whether the blob's file has as many bytes as its record says.
    fn is_there(&self, info: &Info) -> bool {
        fs::metadata(self.blob(&info.digest)).is_ok_and(|file| file.len() == info.size)
    }

    fn hold(&self, dir: PathBuf, name: &str) -> Result<Held> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.insert(dir.clone()) {
            return Err(Error::IngestLocked(name.to_owned()));
        }
        Ok(Held {
            content: self.clone(),
            dir,
        })
    }

    /// As [`LocalContent::hold`], and waits a moment for another to let go of it.
    async fn hold_soon(&self, dir: &Path, name: &str) -> Result<Held> {
        let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
        loop {
            let mut closed = std::pin::pin!(self.0.closed.notified());
            // Before it is tried: what is closed in between is told.
            closed.as_mut().enable();
            match self.hold(dir.to_owned(), name) {
                Err(Error::IngestLocked(_)) => {}
                other => return other,
            }
            tokio::select! {
                () = closed => {}
                () = &mut patience => return Err(Error::IngestLocked(name.to_owned())),
            }
        }
    }

    /// Removes files without a record and records without a file.
    fn repair(&self) -> Result<Repairs> {
        let mut there: HashMap<Digest, u64> = HashMap::new();
        let mut repairs = Repairs::default();
        for (path, digest) in files(&self.0.root)? {
            let metadata = fs::metadata(&path).map_err(io("stat", &path))?;
            match digest {
                Some(digest) => drop(there.insert(digest, metadata.len())),
                None => repairs.files.push(path),
            }
        }
        let mut known = HashSet::new();
        let all = self.0.db.read(|tx| all(tx))?;
        for (namespace, info) in all {
            if there.get(&info.digest) == Some(&info.size) {
                known.insert(info.digest);
            } else {
                repairs.records.push((namespace, info.digest));
            }
        }
        let unknown = there.into_keys().filter(|digest| !known.contains(digest));
        repairs.files.extend(unknown.map(|digest| self.blob(&digest)));
        for path in &repairs.files {
            fs::remove_file(path).map_err(io("remove", path))?;
        }
        if !repairs.records.is_empty() {
            let records = repairs.records.clone();
            self.0.db.write(Durability::Kill, move |tx| {
                for (namespace, digest) in records {
                    tx.delete(&bucket(&namespace), digest.as_str())?;
                }
                Ok::<(), Error>(())
            })?;
        }
        Ok(repairs)
    }

    /// Removes the blobs' files that no namespace has a record of.
    fn remove_files<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
        let mut first = Ok(());
        for digest in digests {
            let path = self.blob(digest);
            // Whoever puts it in place right now removes it himself if his commit fails.
            let Some(alone) = self.0.files.remove(digest) else {
                continue;
            };
            let kept = self.0.db.read(|tx| anywhere(tx, digest))?.is_some();
            let removed = if kept { Ok(()) } else { fs::remove_file(&path) };
            drop(alone);
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    self.stuck().insert(digest.clone());
                    first = first.and(Err(io("remove", &path)(error)))
                }
                _ => {}
            }
        }
        first
    }

    fn stuck(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up ingests that nobody has written to for a day, and those that are blobs already: their removal was cut short.
    fn remove_old_ingests(&self) -> Result<()> {
        let before = self.0.clock.now() - INGEST_AGE;
        let is_over = |dir: &Path| {
            let Some((record, status)) = ingest::status(dir)? else {
                return Ok(true);
            };
            let is_there = match &record.expected {
                Some(digest) => {
                    let bucket = bucket(&record.namespace);
                    self.0.db.read(|tx| tx.get(&bucket, digest.as_str()))?.is_some()
                }
                None => false,
            };
            Ok::<_, Error>(is_there || status.updated_at < before || ingest::is_done(dir))
        };
        let mut first = Ok(());
        for dir in entries(&self.0.root.join("ingest"))? {
            // Looked at again when nobody else may have it: it may just have been begun.
            if is_over(&dir)?
                && let Ok(_held) = self.hold(dir.clone(), "")
                && is_over(&dir)?
            {
                first = first.and(ingest::remove(&dir));
            }
        }
        first
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.content
            .0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.dir);
        self.content.0.closed.notify_waiters();
    }
}

impl LocalStore {
    /// Makes the bytes of `ingest` a blob. Blocks.
    pub(crate) fn commit(
        &self,
        ingest: &Ingest,
        size: u64,
        expected: Option<&Digest>,
        labels: Labels,
    ) -> Result<Digest> {
        let digest = ingest.verify(size, expected)?;
        self.place(ingest, &digest, labels::checked(labels)?)?;
        Ok(digest)
    }

    fn place(&self, ingest: &Ingest, digest: &Digest, labels: Labels) -> Result<()> {
        if let Ok(info) = self.lookup(digest) {
            if !self.content.is_there(&info) {
                ingest.sync()?;
                let _placing = self.content.0.files.place(digest);
                ingest.link(&self.content.blob(digest))?;
            }
            return Err(Error::ContentExists(digest.clone()));
        }
        ingest.sync()?;
        let blob = self.content.blob(digest);
        if let Some(dir) = blob.parent() {
            fs::create_dir_all(dir).map_err(io("create directory", dir))?;
        }
        let placing = self.content.0.files.place(digest);
        ingest.link(&blob)?;
        let now = self.content.0.clock.now();
        let info = Info {
            digest: digest.clone(),
            size: ingest.offset,
            created_at: now,
            updated_at: now,
            labels,
        };
        let (bucket, namespace, lease) = (
            bucket(&self.namespace),
            self.namespace.clone(),
            self.lease.clone(),
        );
        let result = self.content.0.db.write(Durability::Power, move |tx| {
            if tx.get(&bucket, info.digest.as_str())?.is_some() {
                return Err(Error::ContentExists(info.digest));
            }
            protect(tx, &namespace, lease.as_deref(), &Resource::content(&info.digest))?;
            Ok(tx.put_json(&bucket, info.digest.as_str(), &info)?)
        });
        drop(placing);
        if result.is_err() {
            // The failure of the commit is the one to report; a file without a record is removed at the next start too.
            let _ = self.content.remove_files([digest]);
        }
        result
    }

    fn lookup(&self, digest: &Digest) -> Result<Info> {
        let Inner { db, known, .. } = &*self.content.0;
        let version = db.version();
        let hit = version.and_then(|version| known.get(version, &self.namespace, digest));
        if let Some(info) = hit {
            return Ok(info);
        }
        let info: Option<Info> = db.read(|tx| tx.get_json(&bucket(&self.namespace), digest.as_str()))?;
        let info = info.ok_or_else(|| Error::NoContent(digest.clone()))?;
        // Only what nothing changed meanwhile is of that state.
        if let Some(version) = version.filter(|version| db.version() == Some(*version)) {
            known.put(version, &self.namespace, &info);
        }
        Ok(info)
    }

    /// Whether the blob is here; one that another namespace has is taken from there.
    async fn adopt(&self, digest: &Digest, size: u64) -> Result<bool> {
        match self.content.0.db.read(|tx| anywhere(tx, digest))? {
            // A file that was cut short under us is written again.
            Some(info) if size == 0 || info.size == size => {
                if !self.content.is_there(&info) {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        let (store, digest) = (self.clone(), digest.clone());
        let now = self.content.0.clock.now();
        self.content
            .0
            .db
            .write_async(Durability::Power, move |tx| {
                let bucket = bucket(&store.namespace);
                if tx.get(&bucket, digest.as_str())?.is_none() {
                    let Some(info) = anywhere(tx, &digest)? else {
                        return Ok(false);
                    };
                    let info = Info {
                        created_at: now,
                        updated_at: now,
                        labels: Labels::new(),
                        ..info
                    };
                    tx.put_json(&bucket, digest.as_str(), &info)?;
                }
                // Whoever wanted to write it counts on it, as if it had been written.
                protect(
                    tx,
                    &store.namespace,
                    store.lease.as_deref(),
                    &Resource::content(&digest),
                )?;
                Ok(true)
            })
            .await
    }

    fn ingest_dir(&self, name: &str) -> PathBuf {
        ingest::directory(&self.content.0.root, &self.namespace, name)
    }
}

#[async_trait]
impl ContentStore for LocalStore {
    async fn info(&self, digest: &Digest) -> Result<Info> {
        self.lookup(digest)
    }

    async fn list(&self, filters: &[String]) -> Result<Vec<Info>> {
        let filters = parse_filters(filters)?;
        let all: Vec<(String, Info)> = self
            .content
            .0
            .db
            .read(|tx| tx.list_json(&bucket(&self.namespace), ""))?;
        let selected = all.into_iter().map(|(_, info)| info).filter(|info| {
            let size = info.size.to_string();
            filters.matches(&|path| match path {
                ["digest"] => Some(info.digest.as_str()),
                ["size"] => Some(size.as_str()),
                ["labels", key] => info.labels.get(*key).map(String::as_str),
                _ => None,
            })
        });
        Ok(selected.collect())
    }

    async fn update(&self, digest: &Digest, labels: Labels, fields: &[String]) -> Result<Info> {
        let (bucket, digest, fields) = (bucket(&self.namespace), digest.clone(), fields.to_vec());
        let now = self.content.0.clock.now();
        self.content
            .0
            .db
            .write_async(Durability::Kill, move |tx| {
                let info: Option<Info> = tx.get_json(&bucket, digest.as_str())?;
                let mut info = info.ok_or_else(|| Error::NoContent(digest.clone()))?;
                labels::update(&mut info.labels, labels, &fields)?;
                info.updated_at = now;
                tx.put_json(&bucket, digest.as_str(), &info)?;
                Ok(info)
            })
            .await
    }

    async fn delete(&self, digest: &Digest) -> Result<()> {
        let (bucket, gone) = (bucket(&self.namespace), digest.clone());
        self.content
            .0
            .db
            .write_async(Durability::Kill, move |tx| {
                if tx.delete(&bucket, gone.as_str())? {
                    Ok(())
                } else {
                    Err(Error::NoContent(gone))
                }
            })
            .await?;
        let (content, digest) = (self.content.clone(), digest.clone());
        blocking(move || content.remove_files([&digest])).await
    }

    async fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>> {
        let info = self.lookup(digest)?;
        let path = self.content.blob(digest);
        let file = fs::File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NoContent(digest.clone()),
            _ => io("open", &path)(error),
        })?;
        Ok(Box::new(LocalReader::new(file, path, info.size)))
    }

    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        check_name("ref", &options.name)?;
        if let Some(expected) = &options.expected
            && self.adopt(expected, options.total).await?
        {
            return Err(Error::ContentExists(expected.clone()));
        }
        let store = self.clone();
        let dir = store.ingest_dir(&options.name);
        let held = store.content.hold_soon(&dir, &options.name).await?;
        // Who had it open may have made it a blob.
        if let Some(expected) = &options.expected
            && self.adopt(expected, options.total).await?
        {
            return Err(Error::ContentExists(expected.clone()));
        }
        let writer = blocking(move || {
            let now = store.content.0.clock.now();
            let ingest = Ingest::open(dir, &store.namespace, options, now, held)?;
            let clock = store.content.0.clock.clone();
            Ok(LocalWriter::new(store, ingest, clock))
        });
        Ok(Box::new(writer.await?))
    }

    async fn status(&self, name: &str) -> Result<Status> {
        let found = ingest::status(&self.ingest_dir(name))?;
        found
            .map(|(_, status)| status)
            .ok_or_else(|| Error::NoIngest(name.to_owned()))
    }

    async fn list_statuses(&self, filters: &[String]) -> Result<Vec<Status>> {
        let filters = parse_filters(filters)?;
        let mut found = Vec::new();
        for dir in entries(&self.content.0.root.join("ingest"))? {
            if let Some((record, status)) = ingest::status(&dir)?
                && record.namespace == *self.namespace
                && filters.matches(&|path| {
                    if path == ["ref"] {
                        Some(record.name.as_str())
                    } else {
                        None
                    }
                })
            {
                found.push(status);
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    async fn abort(&self, name: &str) -> Result<()> {
        let (store, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let dir = store.ingest_dir(&name);
            let _held = store.content.hold(dir.clone(), &name)?;
            if !dir.try_exists().map_err(io("stat", &dir))? {
                return Err(Error::NoIngest(name));
            }
            ingest::remove(&dir)
        })
        .await
    }
}

impl Collectible for LocalContent {
    fn things(&self, tx: &dyn Read) -> Result<Vec<Thing>> {
        Ok(all(&tx)?.into_iter().map(thing).collect())
    }

    fn node(&self, bucket: &str, key: &str) -> Option<Node> {
        let namespace = bucket.strip_prefix("v1/")?.strip_suffix("/content")?.to_owned();
        let digest = key.parse().ok()?;
        Some(Node::Content { namespace, digest })
    }

    fn thing(&self, tx: &dyn Read, node: &Node) -> Result<Option<Thing>> {
        let Node::Content { namespace, digest } = node else {
            return Ok(None);
        };
        let info: Option<Info> = (&tx).get_json(&bucket(namespace), digest.as_str())?;
        Ok(info.map(|info| thing((namespace.clone(), info))))
    }

    fn owns(&self, node: &Node) -> bool {
        matches!(node, Node::Content { .. })
    }

    fn forget(&self, tx: &WriteTx<'_>, node: &Node) -> Result<Option<u64>> {
        if let Node::Content { namespace, digest } = node {
            tx.delete(&bucket(namespace), digest.as_str())?;
        }
        Ok(None)
    }

    fn sweep(&self, forgotten: &[(Node, Option<u64>)]) -> Result<()> {
        let digests = forgotten.iter().filter_map(|(node, _)| match node {
            Node::Content { digest, .. } => Some(digest),
            Node::Snapshot { .. } => None,
        });
        // Ingests first: one that is done is known by its blob's file.
        let ingests = self.remove_old_ingests();
        let stuck = std::mem::take(&mut *self.stuck());
        self.remove_files(digests.chain(&stuck)).and(ingests)
    }
}

fn thing((namespace, info): (String, Info)) -> Thing {
    let Info { digest, labels, .. } = info;
    Thing {
        node: Node::Content { namespace, digest },
        labels,
        references: Vec::new(),
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::Panicked))
}

/// Where the blob `digest` of the store in `root` is.
pub(crate) fn blob(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs")
        .join(digest.algorithm().name())
        .join(digest.encoded())
}

/// Every file under `blobs`, with the digest that its place names.
pub(crate) fn files(root: &Path) -> Result<Vec<(PathBuf, Option<Digest>)>> {
    let mut found = Vec::new();
    for algorithm in entries(&root.join("blobs"))? {
        let name = algorithm
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for path in entries(&algorithm)? {
            let hex = path.file_name().unwrap_or_default().to_string_lossy();
            let digest = format!("{name}:{hex}").parse().ok();
            found.push((path, digest));
        }
    }
    Ok(found)
}

/// The bucket of a namespace's blobs.
pub(crate) fn bucket(namespace: &str) -> String {
    format!("v1/{namespace}/content")
}

/// The namespaces that have blobs.
fn namespaces(tx: &impl Read) -> Result<Vec<String>> {
    let named = |bucket: &String| Some(bucket.strip_prefix("v1/")?.strip_suffix("/content")?.to_owned());
    Ok(tx.buckets("v1/")?.iter().filter_map(named).collect())
}

/// The record of a blob in any namespace.
fn anywhere(tx: &impl Read, digest: &Digest) -> Result<Option<Info>> {
    for namespace in namespaces(tx)? {
        if let Some(info) = tx.get_json(&bucket(&namespace), digest.as_str())? {
            return Ok(Some(info));
        }
    }
    Ok(None)
}

/// The records of all namespaces.
pub(crate) fn all(tx: &impl Read) -> Result<Vec<(String, Info)>> {
    let mut found = Vec::new();
    for namespace in namespaces(tx)? {
        let infos: Vec<(String, Info)> = tx.list_json(&bucket(&namespace), "")?;
        found.extend(infos.into_iter().map(|(_, info)| (namespace.clone(), info)));
    }
    Ok(found)
}

/// The paths in a directory.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(io("read directory", dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths
        .collect::<std::io::Result<_>>()
        .map_err(io("read directory", dir))
}
