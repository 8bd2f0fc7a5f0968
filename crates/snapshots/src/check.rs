//! Comparing the records of overlayfs snapshots with their directories. Nobody may have the snapshotter open meanwhile.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lighter_meta::{Db, Durability};

use crate::error::io;
use crate::overlayfs::NAME;
use crate::record::Records;
use crate::{Error, Kind, Result};

/// What was looked at.
#[derive(Debug, Default)]
pub struct Checked {
    /// All snapshots, parents before their children.
    pub snapshots: Vec<Kept>,
    /// Directories that no record knows: what a death leaves, and the next start removes.
    pub leftovers: Vec<PathBuf>,
}

/// A snapshot on the disk.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its parent; empty if there is none.
    pub parent: String,
    /// Where what it adds is.
    pub fs: PathBuf,
    /// Where what its ancestors add is, nearest first.
    pub below: Vec<PathBuf>,
    /// Whether `fs` is there.
    pub is_there: bool,
    /// Whether its parent is, as a record.
    pub has_parent: bool,
}

/// Looks at the snapshots in the directory `root` with records in `db`. Changes nothing.
pub fn check(root: &Path, db: &Db) -> Result<Checked> {
    let fs_dir = |id: u64| root.join(id.to_string()).join("fs");
    let mut checked = Checked::default();
    let mut known = HashSet::new();
    db.read(|tx| {
        for records in Records::all(tx, NAME)? {
            let list = records.list(tx)?;
            let names: BTreeSet<_> = list.iter().map(|(name, _)| name.clone()).collect();
            for (name, record) in list {
                known.insert(record.id);
                let fs = fs_dir(record.id);
                checked.snapshots.push(Kept {
                    namespace: records.namespace.clone(),
                    kind: record.kind,
                    is_there: fs.is_dir(),
                    has_parent: record.parent.is_empty() || names.contains(&record.parent),
                    parent: record.parent,
                    below: record.chain.iter().map(|id| fs_dir(*id)).collect(),
                    name,
                    fs,
                });
            }
        }
        Ok::<(), Error>(())
    })?;
    checked.snapshots.sort_by_key(|kept| kept.below.len());
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(checked),
        other => other.map_err(io("read directory", root))?,
    };
    for entry in entries {
        let path = entry.map_err(io("read directory", root))?.path();
        let id = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u64>().ok());
        if id.is_some_and(|id| !known.contains(&id)) {
            checked.leftovers.push(path);
        }
    }
    Ok(checked)
}

/// Forgets `names` in `namespace`; children must be among them or gone. Their directories go at the next start.
pub fn forget(db: &Db, namespace: &str, names: Vec<String>) -> Result<()> {
    let records = Records {
        namespace: namespace.to_owned(),
        snapshotter: NAME,
    };
    db.write(Durability::Power, move |tx| {
        for name in &names {
            let record = records.get(tx, name)?;
            records.remove(tx, name, &record)?;
        }
        Ok::<(), Error>(())
    })
}
