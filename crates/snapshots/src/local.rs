//! What every snapshotter that keeps its trees on this machine has in common: records, numbers, directories, the trash.
//!
//! A snapshot is the directory `<root>/<n>`; what is in it is its [`Driver`]'s; `<root>/trash` is what is being deleted. Records are
//! in the database.
//!
//! A directory is made before its record is committed, and taken away after the record is gone: what a death in between
//! leaves is a directory without a record, which [`Local::open`] removes. A record without its directory can only come from a lost
//! disk cache (a removal whose record's end was not synced); it is removed too, unless it has children: then it is reported.
//!
//! **Durability.** Making a snapshot is one durable commit; one whose key begins with `extract-` (containerd's word for a layer that is being
//! unpacked) is kill-safe, and so is its commit: the record of the image, written last, takes them along to the disk.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lighter_content::labels;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability};
use lighter_stdx::clock::Clock;
use lighter_stdx::failpoint;

use crate::error::io;
use crate::record::{Record, Records, check_name};
use crate::trash::Trash;
use crate::{Error, Info, Kind, Labels, Mount, Result, Snapshotter, Snapshotters, Usage, usage};

mod collect;

/// The number of the directory's layout.
const FORMAT: u32 = 1;

/// What one snapshotter does differently from the others: the trees themselves.
pub(crate) trait Driver: Debug + Send + Sync {
    /// The name by which it is chosen.
    fn name(&self) -> &'static str;

    /// Whether [`Driver::make`] may take long: then it is done on a thread that may wait, and to its end even if nobody waits for it.
    fn is_slow(&self) -> bool;

    /// Fills the empty directory `dir` (mode 0700) of a new snapshot; `above` is the directory of its parent. Blocks.
    fn make(&self, dir: &Path, kind: Kind, above: Option<&Path>) -> Result<()>;

    /// The mounts of a snapshot whose directory is `dir`; those of its ancestors are `chain`, nearest first.
    fn mounts(&self, dir: &Path, kind: Kind, chain: &[PathBuf]) -> Vec<Mount>;
}

/// A snapshotter of this machine, for all namespaces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Local(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Box<dyn Driver>,
    root: PathBuf,
    db: Db,
    clock: Clock,
    next: AtomicU64,
    trash: Trash,
}

/// What a start found broken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Directories without a record; they are removed.
    pub directories: Vec<PathBuf>,
    /// Records (namespace, name) without a directory; they are removed.
    pub records: Vec<(String, String)>,
    /// Records (namespace, name) without a directory that have children; they stay, and cannot be mounted.
    pub broken: Vec<(String, String)>,
}

impl Repairs {
    /// Whether nothing was broken.
    pub fn is_empty(&self) -> bool {
        *self == Repairs::default()
    }
}

impl Local {
    /// Opens the snapshotter in the directory `root` (made if absent) with its records in `db`.
    pub(crate) fn open(
        driver: impl Driver + 'static,
        root: &Path,
        db: &Db,
        clock: &Clock,
    ) -> Result<(Local, Repairs)> {
        lighter_meta::format::check(root, FORMAT, |from| {
            Err(format!("no migration from format {from} is known").into())
        })?;
        let root = root.canonicalize().map_err(io("resolve", root))?;
        let trash = Trash::open(root.join("trash"))?;
        let inner = Inner {
            driver: Box::new(driver),
            root,
            db: db.clone(),
            clock: clock.clone(),
            next: AtomicU64::new(1),
            trash,
        };
        let local = Local(Arc::new(inner));
        let repairs = local.repair()?;
        Ok((local, repairs))
    }

    /// Where its trees are.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Compares directories and records, and chooses the next number.
    fn repair(&self) -> Result<Repairs> {
        let inner = &*self.0;
        let mut directories = HashSet::new();
        for entry in fs::read_dir(&inner.root).map_err(io("read directory", &inner.root))? {
            let entry = entry.map_err(io("read directory", &inner.root))?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok())
            {
                directories.insert(id);
            }
        }
        let mut last = directories.iter().copied().max().unwrap_or(0);
        let mut repairs = Repairs::default();
        let mut lost = Vec::new();
        inner.db.read(|tx| {
            for records in Records::all(tx, inner.driver.name())? {
                for (name, record) in records.list(tx)? {
                    last = last.max(record.id);
                    if directories.remove(&record.id) {
                        continue;
                    }
                    let told = (records.namespace.clone(), name.clone());
                    if records.has_children(tx, &name)? {
                        repairs.broken.push(told);
                    } else {
                        repairs.records.push(told);
                        lost.push((records.clone(), name, record));
                    }
                }
            }
            Ok::<(), Error>(())
        })?;
        if !lost.is_empty() {
            inner.db.write(Durability::Kill, move |tx| {
                for (records, name, record) in &lost {
                    records.remove(tx, name, record)?;
                }
                Ok::<(), Error>(())
            })?;
        }
        for id in directories {
            let path = inner.directory(id);
            inner.trash.take(&path)?;
            repairs.directories.push(path);
        }
        repairs.directories.sort();
        inner.next.store(last + 1, Ordering::Relaxed);
        Ok(repairs)
    }
}

impl Snapshotters for Local {
    fn name(&self) -> &'static str {
        self.0.driver.name()
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.0.root)
    }

    fn namespace(&self, namespace: &str, lease: Option<&str>) -> Arc<dyn Snapshotter> {
        let records = Records {
            namespace: namespace.to_owned(),
            snapshotter: self.0.driver.name(),
        };
        Arc::new(Namespace {
            inner: self.0.clone(),
            records,
            lease: lease.map(str::to_owned),
        })
    }
}

/// The snapshotter as one namespace sees it.
#[derive(Debug, Clone)]
struct Namespace {
    inner: Arc<Inner>,
    records: Records,
    lease: Option<String>,
}

#[async_trait]
impl Snapshotter for Namespace {
    async fn stat(&self, name: &str) -> Result<Info> {
        Ok(self.record(name)?.info(name.to_owned()))
    }

    async fn update(&self, info: Info, fields: &[String]) -> Result<Info> {
        let (records, fields) = (self.records.clone(), fields.to_vec());
        let now = self.inner.clock.now();
        self.inner
            .db
            .write_async(Durability::Kill, move |tx| {
                let mut record = records.get(tx, &info.name)?;
                labels::update(&mut record.labels, info.labels, &fields)?;
                record.updated_at = now;
                records.put(tx, &info.name, &record)?;
                Ok(record.info(info.name))
            })
            .await
    }

    async fn usage(&self, name: &str) -> Result<Usage> {
        let record = self.record(name)?;
        if let Some(usage) = record.usage {
            return Ok(usage);
        }
        // Nothing is in a view but what is its parent's.
        if record.kind == Kind::View {
            return Ok(Usage::default());
        }
        let fs = self.inner.directory(record.id).join("fs");
        let usage = blocking(move || usage::of(&fs)).await?;
        if record.kind == Kind::Committed {
            let (records, name) = (self.records.clone(), name.to_owned());
            let kept = self.inner.db.write_async(Durability::Kill, move |tx| {
                let mut current = records.get(tx, &name)?;
                current.usage = Some(usage);
                records.put(tx, &name, &current)
            });
            match kept.await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(usage)
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let record = self.record(key)?;
        if record.kind == Kind::Committed {
            return Err(Error::NotActive(key.to_owned()));
        }
        Ok(self.inner.mounts(&record))
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::Active, key, parent, labels).await
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, labels: Labels) -> Result<()> {
        check_name("snapshot name", name)?;
        let labels = labels::checked(labels)?;
        let (records, name, key, lease) = (
            self.records.clone(),
            name.to_owned(),
            key.to_owned(),
            self.lease.clone(),
        );
        let now = self.inner.clock.now();
        self.inner
            .db
            .write_async(durability(&key), move |tx| {
                let record = records.get(tx, &key)?;
                if record.kind != Kind::Active {
                    return Err(Error::NotActive(key));
                }
                records.remove(tx, &key, &record)?;
                let record = Record {
                    kind: Kind::Committed,
                    labels,
                    created_at: now,
                    updated_at: now,
                    usage: None,
                    ..record
                };
                records.add(tx, &name, &record, lease.as_deref())
            })
            .await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let (records, name) = (self.records.clone(), name.to_owned());
        let remove = self.inner.db.write_async(Durability::Kill, move |tx| {
            let record = records.get(tx, &name)?;
            if records.has_children(tx, &name)? {
                return Err(Error::HasChildren(name));
            }
            records.remove(tx, &name, &record)?;
            Ok(record.id)
        });
        let id = remove.await?;
        failpoint::hit("snapshots.remove.forgotten");
        self.inner.trash.take(&self.inner.directory(id))
    }

    async fn walk(&self, filters: &[String]) -> Result<Vec<Info>> {
        let filters = Filters::parse(filters).map_err(|error| Error::Invalid {
            what: "filter",
            value: error.filter.clone(),
            why: error.to_string(),
        })?;
        let all = self.inner.db.read(|tx| self.records.list(tx))?;
        let all = all.into_iter().map(|(name, record)| record.info(name));
        let selected = all.filter(|info| {
            filters.matches(&|path| match path {
                ["name"] => Some(info.name.as_str()),
                ["parent"] => Some(info.parent.as_str()).filter(|parent| !parent.is_empty()),
                ["kind"] => Some(info.kind.name()),
                ["labels", key] => info.labels.get(*key).map(String::as_str),
                _ => None,
            })
        });
        Ok(selected.collect())
    }

    async fn cleanup(&self) -> Result<()> {
        let inner = self.inner.clone();
        blocking(move || inner.trash.empty()).await
    }
}

impl Namespace {
    fn record(&self, name: &str) -> Result<Record> {
        self.inner.db.read(|tx| self.records.get(tx, name))
    }

    async fn create(&self, kind: Kind, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        check_name("snapshot key", key)?;
        let labels = labels::checked(labels)?;
        let above = match parent {
            "" => None,
            parent => Some(self.inner.db.read(|tx| self.records.parent(tx, parent))?),
        };
        // Asked again in the transaction; here it saves making a directory for nothing.
        if self.record(key).is_ok() {
            return Err(Error::AlreadyExists(key.to_owned()));
        }
        let now = self.inner.clock.now();
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let chain = above
            .iter()
            .flat_map(|above| std::iter::once(above.id).chain(above.chain.iter().copied()))
            .collect();
        let record = Record {
            id,
            kind,
            parent: parent.to_owned(),
            chain,
            labels,
            created_at: now,
            updated_at: now,
            usage: None,
        };
        // Empty yet, or a copy of what is durable: a task settles it before anything can be in it.
        let durable = durability(key).min(Durability::Soon);
        if self.inner.driver.is_slow() {
            // A caller that goes away half-way leaves no half-made tree.
            let whole = self.clone().add(key.to_owned(), record, durable);
            return tokio::spawn(whole).await.unwrap_or(Err(Error::Panicked));
        }
        self.clone().add(key.to_owned(), record, durable).await
    }

    /// Makes the directory of the new snapshot `key`, then its record.
    async fn add(self, key: String, record: Record, durable: Durability) -> Result<Vec<Mount>> {
        let (inner, id) = (self.inner, record.id);
        if inner.driver.is_slow() {
            let (inner, record) = (inner.clone(), record.clone());
            blocking(move || inner.make(&record)).await?;
        } else {
            inner.make(&record)?;
        }
        failpoint::hit("snapshots.prepare.made");
        let mounts = inner.mounts(&record);
        let (records, lease) = (self.records, self.lease);
        let added = inner.db.write_async(durable, move |tx| {
            if let Some(above) = record.chain.first() {
                // It may have been removed meanwhile, and even made again.
                let now = records.parent(tx, &record.parent)?;
                if now.id != *above {
                    return Err(Error::NoParent(record.parent));
                }
            }
            records.add(tx, &key, &record, lease.as_deref())
        });
        match added.await {
            Ok(()) => Ok(mounts),
            Err(error) => {
                inner.give_up(id);
                Err(error)
            }
        }
    }
}

impl Inner {
    fn directory(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string())
    }

    fn make(&self, record: &Record) -> Result<()> {
        let dir = self.directory(record.id);
        let above = record.chain.first().map(|id| self.directory(*id));
        let made = fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(io("create directory", &dir))
            .and_then(|()| self.driver.make(&dir, record.kind, above.as_deref()));
        if made.is_err() {
            self.give_up(record.id);
        }
        made
    }

    /// Takes away a directory that gets no record.
    fn give_up(&self, id: u64) {
        // The failure that led here is the one to report; what stays goes at the next start.
        let _ = self.trash.take(&self.directory(id));
    }

    fn mounts(&self, record: &Record) -> Vec<Mount> {
        let chain: Vec<PathBuf> = record.chain.iter().map(|id| self.directory(*id)).collect();
        self.driver
            .mounts(&self.directory(record.id), record.kind, &chain)
    }
}

/// What a snapshot of this key must survive.
fn durability(key: &str) -> Durability {
    if key.starts_with("extract-") {
        Durability::Kill
    } else {
        Durability::Power
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::Panicked))
}
