//! The overlayfs snapshotter: a directory a snapshot, mounted one over the other by the kernel.
//!
//! `<root>/<n>/fs` holds what a snapshot adds to its parent (whiteouts and opaque directories as overlayfs writes them), `<root>/<n>/work` is the
//! kernel's; `<root>/trash` is what is being deleted. Records are in the database.
//!
//! A directory is made before its record is committed, and taken away after the record is gone: what a death in between
//! leaves is a directory without a record, which [`Overlayfs::open`] removes. A record without its directory can only come from a lost
//! disk cache (a removal whose record's end was not synced); it is removed too, unless it has children: then it is reported.
//!
//! **Many layers.** The mounts' options may be longer than the page that `mount(2)` takes (from some 90 layers, with the usual root). Whoever
//! mounts them cuts them short: containerd's shims and `mount.All` do, ours calls [`Mount::mount`](crate::Mount::mount).
//!
//! **Durability.** Making a snapshot is one durable commit; one whose key begins with `extract-` (containerd's word for a layer that is being
//! unpacked) is kill-safe, and so is its commit: the record of the image, written last, takes them along to the disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lighter_content::gc::{Collectible, Node, Thing};
use lighter_content::labels;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability, Read, WriteTx};
use lighter_stdx::clock::Clock;
use lighter_stdx::failpoint;

use crate::error::io;
use crate::record::{Record, Records, check_name};
use crate::trash::Trash;
use crate::{Error, Info, Kind, Labels, Mount, Result, Snapshotter, Snapshotters, Usage, usage};

/// The name by which it is chosen.
pub const NAME: &str = "overlayfs";
/// The number of the directory's layout.
const FORMAT: u32 = 1;

/// The overlayfs snapshotter, for all namespaces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Overlayfs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    db: Db,
    clock: Clock,
    next: AtomicU64,
    trash: Trash,
}

/// What [`Overlayfs::open`] found broken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Directories without a record; they are removed.
    pub directories: Vec<PathBuf>,
    /// Records (namespace, name) without a directory; they are removed.
    pub records: Vec<(String, String)>,
    /// Records (namespace, name) without a directory that have children; they stay, and cannot be mounted.
    pub broken: Vec<(String, String)>,
}

impl Overlayfs {
    /// Opens the snapshotter in the directory `root` (made if absent) with its records in `db`.
    pub fn open(root: &Path, db: &Db, clock: &Clock) -> Result<(Overlayfs, Repairs)> {
        lighter_meta::format::check(root, FORMAT, |from| {
            Err(format!("no migration from format {from} is known").into())
        })?;
        let root = root.canonicalize().map_err(io("resolve", root))?;
        if root.to_string_lossy().contains([':', ',', '\\']) {
            let why = "a colon, a comma or a backslash in the path has a meaning in mount options".to_owned();
            return Err(Error::Unsupported {
                name: NAME,
                path: root,
                why,
            });
        }
        let trash = Trash::open(root.join("trash"))?;
        let inner = Inner {
            root,
            db: db.clone(),
            clock: clock.clone(),
            next: AtomicU64::new(1),
            trash,
        };
        let overlayfs = Overlayfs(Arc::new(inner));
        let repairs = overlayfs.repair()?;
        Ok((overlayfs, repairs))
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
            for records in Records::all(tx, NAME)? {
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

impl Snapshotters for Overlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn namespace(&self, namespace: &str, lease: Option<&str>) -> Arc<dyn Snapshotter> {
        let records = Records {
            namespace: namespace.to_owned(),
            snapshotter: NAME,
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
        // Nothing is written to a view.
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
        self.inner.make_directory(id, kind, above.as_ref())?;
        failpoint::hit("snapshots.prepare.made");
        let mounts = self.inner.mounts(&record);
        let (records, key, lease, durable) = (
            self.records.clone(),
            key.to_owned(),
            self.lease.clone(),
            // Empty yet: a task settles it before anything can be in it.
            durability(key).min(Durability::Soon),
        );
        let added = self.inner.db.write_async(durable, move |tx| {
            if let Some(above) = above {
                // It may have been removed meanwhile, and even made again.
                let now = records.parent(tx, &record.parent)?;
                if now.id != above.id {
                    return Err(Error::NoParent(record.parent));
                }
            }
            records.add(tx, &key, &record, lease.as_deref())
        });
        match added.await {
            Ok(()) => Ok(mounts),
            Err(error) => {
                // The first failure is the one to report; a directory without a record goes at the next start.
                let _ = self.inner.trash.take(&self.inner.directory(id));
                Err(error)
            }
        }
    }
}

impl Inner {
    fn directory(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Makes `<n>/fs` and, for one that is written to, `<n>/work`. The root of a new layer has the owner and the mode of the layer below: that
    /// of the topmost layer is what is seen.
    fn make_directory(&self, id: u64, kind: Kind, above: Option<&Record>) -> Result<()> {
        let dir = self.directory(id);
        let make = |path: &Path, mode| {
            fs::DirBuilder::new()
                .mode(mode)
                .create(path)
                .map_err(io("create directory", path))
        };
        make(&dir, 0o700)?;
        let fs_dir = dir.join("fs");
        make(&fs_dir, 0o755)?;
        if kind == Kind::Active {
            make(&dir.join("work"), 0o711)?;
        }
        if let Some(above) = above {
            let lower = self.directory(above.id).join("fs");
            let metadata = lower.metadata().map_err(io("stat", &lower))?;
            std::os::unix::fs::chown(&fs_dir, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(io("change owner of", &fs_dir))?;
            // After the owner: a change of owner clears bits of the mode.
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&fs_dir, mode).map_err(io("change mode of", &fs_dir))?;
        }
        Ok(())
    }

    /// The shapes are containerd's: a bind for a single directory, else an overlay.
    fn mounts(&self, record: &Record) -> Vec<Mount> {
        let fs_dir = |id: u64| format!("{}/{id}/fs", self.root.display());
        let bind = |id, access: &str| {
            let options = vec![access.to_owned(), "rbind".to_owned()];
            vec![Mount {
                kind: "bind".into(),
                source: fs_dir(id),
                target: String::new(),
                options,
            }]
        };
        let active = record.kind == Kind::Active;
        match record.chain.as_slice() {
            [] => return bind(record.id, if active { "rw" } else { "ro" }),
            [only] if !active => return bind(*only, "ro"),
            _ => {}
        }
        let mut options = vec!["index=off".to_owned()];
        if active {
            options.push(format!("workdir={}/{}/work", self.root.display(), record.id));
            options.push(format!("upperdir={}", fs_dir(record.id)));
        }
        let lower: Vec<String> = record.chain.iter().map(|id| fs_dir(*id)).collect();
        options.push(format!("lowerdir={}", lower.join(":")));
        vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options,
        }]
    }
}

impl Collectible for Overlayfs {
    fn things(&self, tx: &dyn Read) -> lighter_content::Result<Vec<Thing>> {
        Records::things(tx, NAME).map_err(collected)
    }

    fn node(&self, bucket: &str, key: &str) -> Option<Node> {
        Records::node(bucket, key, NAME)
    }

    fn thing(&self, tx: &dyn Read, node: &Node) -> lighter_content::Result<Option<Thing>> {
        Records::thing(tx, node, NAME).map_err(collected)
    }

    fn owns(&self, node: &Node) -> bool {
        matches!(node, Node::Snapshot { snapshotter, .. } if snapshotter == NAME)
    }

    fn forget(&self, tx: &WriteTx<'_>, node: &Node) -> lighter_content::Result<Option<u64>> {
        let Node::Snapshot { namespace, key, .. } = node else {
            return Ok(None);
        };
        let records = Records {
            namespace: namespace.clone(),
            snapshotter: NAME,
        };
        let record = records.get(tx, key).map_err(collected)?;
        records.remove(tx, key, &record).map_err(collected)?;
        Ok(Some(record.id))
    }

    fn sweep(&self, forgotten: &[(Node, Option<u64>)]) -> lighter_content::Result<()> {
        let mut first = Ok(());
        for id in forgotten.iter().filter_map(|(_, id)| *id) {
            first = first.and(self.0.trash.take(&self.0.directory(id)).map_err(collected));
        }
        self.0.trash.again();
        first
    }
}

/// A failure of this store as the collector passes it on.
fn collected(error: Error) -> lighter_content::Error {
    match error {
        Error::Meta(error) => lighter_content::Error::Meta(error),
        error => lighter_content::Error::Store {
            name: NAME,
            kind: error.kind(),
            source: Box::new(error),
        },
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
