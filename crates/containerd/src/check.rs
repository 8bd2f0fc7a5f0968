//! `content check`: everything that is kept is looked at while no layer has it open, and what is wrong is told or mended.
//!
//! A blob is hashed. A committed snapshot that is the layer of an image whose blobs are there is compared, byte for byte, with that layer
//! unpacked once more: nothing has to be written down for that when a layer is unpacked. A snapshot without such a blob, and what
//! containers write, can only be looked for.
//!
//! Mending drops what is bad and can be fetched again, and puts freshly unpacked layers in the place of changed ones, below whatever
//! stands on them.

mod layers;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use lighter_meta::{Db, Durability, Read as _};
use lighter_oci::Digest;
use lighter_snapshots::Kind;
use lighter_snapshots::check::Kept;

use crate::containers::{self, Container};
use crate::images::{self, Image};
use crate::layer::FORMAT;
use crate::{Error, Result};

/// What was looked at.
#[derive(Debug, Default)]
pub struct Report {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Snapshots that there are.
    pub snapshots: usize,
    /// Those of them that were compared with their layers.
    pub compared: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What a death left; the next start removes it.
    pub leftovers: Vec<PathBuf>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What, and where.
    pub what: String,
    /// What was done about it; `None`: it is as it was.
    pub mended: Option<&'static str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mended {
            Some(mended) => write!(f, "{}; {mended}", self.what),
            None => write!(f, "{}", self.what),
        }
    }
}

impl Report {
    /// Whether something is wrong still.
    pub fn is_bad(&self) -> bool {
        self.faults.iter().any(|fault| fault.mended.is_none())
    }

    fn fault(&mut self, what: String, mended: Option<&'static str>) {
        self.faults.push(Fault { what, mended });
    }
}

const DROPPED: &str = "dropped: the next pull fetches it";
const UNPACKED: &str = "unpacked anew";
const REMOVED: &str = "removed with what stood on it: the next pull unpacks it";

/// Looks at everything in `root`, and mends it with `repair`. Blocks. [`lighter_meta::Error::Locked`] while a layer works on it.
pub fn check(root: &Path, repair: bool) -> Result<Report> {
    let file = root.join("meta.db");
    if !file.exists() {
        return Err(Error::NotFound {
            what: "database",
            name: file.display().to_string(),
        });
    }
    let db = Db::open(&file, FORMAT)?;
    let mut report = Report::default();
    for fault in db.integrity()? {
        // What its pages lost nobody else has.
        report.fault(format!("database {}: {fault}", file.display()), None);
    }
    records(&db, repair, &mut report)?;

    let content = root.join("content");
    let blobs = lighter_content::check::check(&content, &db)?;
    report.blobs = blobs.whole.len() + blobs.bad.len();
    report.leftovers.extend(blobs.leftovers);
    if repair && !blobs.bad.is_empty() {
        lighter_content::check::drop_bad(&content, &db, &blobs.bad)?;
    }
    for bad in &blobs.bad {
        report.fault(bad.to_string(), repair.then_some(DROPPED));
    }
    let whole: BTreeSet<Digest> = blobs.whole.into_iter().collect();

    let directory = root.join("snapshots");
    let found = lighter_snapshots::check::check(&directory, &db)?;
    report.snapshots = found.snapshots.len();
    report.leftovers.extend(found.leftovers);
    let layers = layers::Layers::of_images(&content, &db, &whole)?;
    let scratch = layers::Scratch::new(&directory);
    let mut gone = BTreeSet::new();
    for kept in &found.snapshots {
        if gone.contains(&(kept.namespace.clone(), kept.name.clone())) {
            continue;
        }
        let Some((what, fresh)) = look(kept, &layers, &scratch, &mut report)? else {
            continue;
        };
        let mended = match fresh {
            _ if !repair => None,
            Some(fresh) => {
                layers::put(&fresh, &kept.fs)?;
                Some(UNPACKED)
            }
            None => remove(&db, kept, &found.snapshots, &mut gone)?,
        };
        report.fault(
            format!("snapshot {} (in {}): {what}", kept.name, kept.namespace),
            mended,
        );
    }
    references(&db, &whole, &found.snapshots, &gone, &mut report)?;
    Ok(report)
}

/// Records that are no JSON any more. What a broken one said is lost; without it the rest can be used.
fn records(db: &Db, repair: bool, report: &mut Report) -> Result<()> {
    let broken: Vec<(String, String)> = db.read(|tx| {
        let mut broken = Vec::new();
        for bucket in tx.buckets("v1/")? {
            tx.scan(&bucket, "", &mut |key, value| {
                // Some records say all in their key.
                if !value.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(value).is_err() {
                    broken.push((bucket.clone(), key.to_owned()));
                }
                Ok(())
            })?;
        }
        Ok::<_, Error>(broken)
    })?;
    for (bucket, key) in &broken {
        let what = format!("record {bucket}/{key}: it cannot be read");
        report.fault(what, repair.then_some("removed"));
    }
    if repair && !broken.is_empty() {
        db.write(Durability::Power, move |tx| {
            for (bucket, key) in &broken {
                tx.delete(bucket, key)?;
            }
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// What is wrong with a snapshot, if anything, and what should be there, if that is known.
fn look(
    kept: &Kept,
    layers: &layers::Layers,
    scratch: &layers::Scratch,
    report: &mut Report,
) -> Result<Option<(String, Option<PathBuf>)>> {
    if !kept.has_parent {
        return Ok(Some((format!("its parent {} is gone", kept.parent), None)));
    }
    let layer = match kept.kind {
        Kind::Committed => layers.get(&kept.namespace, &kept.name),
        _ => None,
    };
    let fresh = match layer {
        // A layer below is gone, and told of itself.
        Some(_) if kept.below.iter().any(|below| !below.is_dir()) => None,
        Some(layer) => scratch.unpack(layer, &kept.below)?,
        None => None,
    };
    if !kept.is_there {
        return Ok(Some(("its directory is gone".to_owned(), fresh)));
    }
    let Some(fresh) = fresh else { return Ok(None) };
    report.compared += 1;
    let differing = layers::differences(&kept.fs, &fresh, &kept.below)?;
    if differing.is_empty() {
        return Ok(None);
    }
    let shown: Vec<_> = differing
        .iter()
        .take(5)
        .map(|path| path.display().to_string())
        .collect();
    let more = if differing.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    let what = format!(
        "{} of its files are not those of its layer: {}{more}",
        differing.len(),
        shown.join(", ")
    );
    Ok(Some((what, Some(fresh))))
}

/// Takes a snapshot away, with those that stand on it: unless a container's is among them.
fn remove(
    db: &Db,
    bad: &Kept,
    all: &[Kept],
    gone: &mut BTreeSet<(String, String)>,
) -> Result<Option<&'static str>> {
    let mut names = vec![bad.name.clone()];
    // Parents come first.
    for kept in all.iter().filter(|kept| kept.namespace == bad.namespace) {
        if names.contains(&kept.parent) {
            if kept.kind != Kind::Committed {
                return Ok(None);
            }
            names.push(kept.name.clone());
        }
    }
    gone.extend(names.iter().map(|name| (bad.namespace.clone(), name.clone())));
    names.reverse();
    lighter_snapshots::check::forget(db, &bad.namespace, names)?;
    Ok(Some(REMOVED))
}

/// Images without their manifests, containers without their snapshots.
fn references(
    db: &Db,
    whole: &BTreeSet<Digest>,
    snapshots: &[Kept],
    gone: &BTreeSet<(String, String)>,
    report: &mut Report,
) -> Result<()> {
    let there: BTreeSet<(&str, &str)> = snapshots
        .iter()
        .filter(|kept| !gone.contains(&(kept.namespace.clone(), kept.name.clone())))
        .map(|kept| (kept.namespace.as_str(), kept.name.as_str()))
        .collect();
    let mut missing = Vec::new();
    db.read(|tx| {
        for bucket in tx.buckets("v1/")? {
            let namespace = bucket.split('/').nth(1).unwrap_or_default();
            if bucket == images::bucket(namespace) {
                for (name, image) in tx.list_json::<Image>(&bucket, "")? {
                    if !whole.contains(&image.target.digest) {
                        let digest = &image.target.digest;
                        missing.push(format!(
                            "image {name} (in {namespace}): its target {digest} is not there; pull it again"
                        ));
                    }
                }
            } else if bucket == containers::bucket(namespace) {
                for (id, container) in tx.list_json::<Container>(&bucket, "")? {
                    let key = container.snapshot_key.as_str();
                    let ours = container.snapshotter == lighter_snapshots::overlayfs::NAME;
                    if ours && !key.is_empty() && !there.contains(&(namespace, key)) {
                        missing.push(format!(
                            "container {id} (in {namespace}): its snapshot {key} is not there"
                        ));
                    }
                }
            }
        }
        Ok::<(), Error>(())
    })?;
    for what in missing {
        report.fault(what, None);
    }
    Ok(())
}
