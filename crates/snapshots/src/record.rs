//! The records of snapshots: made, looked up and taken away in transactions of the database.
//!
//! `v1/<namespace>/snapshots/<snapshotter>` holds a record by name, `v1/<namespace>/snapshot-children/<snapshotter>` a key
//! `<parent>\n<child>` for each child. Every snapshotter that keeps its trees on this machine can use them.

use jiff::Timestamp;
use lighter_content::gc::{Node, Thing};
use lighter_content::lease::{Resource, protect};
use lighter_meta::{Read, WriteTx};
use serde::{Deserialize, Serialize};

use crate::{Error, Info, Kind, Labels, Result, Usage};

/// A snapshot's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The number of its directory.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) parent: String,
    /// The numbers of its ancestors' directories, nearest first. Committed snapshots never change theirs.
    #[serde(default)]
    pub(crate) chain: Vec<u64>,
    #[serde(default)]
    pub(crate) labels: Labels,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Known once it was asked for; only of committed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
}

/// Where the records of one snapshotter in one namespace are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) namespace: String,
    pub(crate) snapshotter: &'static str,
}

impl Record {
    pub(crate) fn info(self, name: String) -> Info {
        let Record {
            kind,
            parent,
            labels,
            created_at,
            updated_at,
            ..
        } = self;
        Info {
            kind,
            name,
            parent,
            labels,
            created_at,
            updated_at,
        }
    }
}

impl Records {
    /// The namespaces that have records of `snapshotter`.
    pub(crate) fn all(tx: &impl Read, snapshotter: &'static str) -> Result<Vec<Records>> {
        let suffix = format!("/snapshots/{snapshotter}");
        let named = |bucket: &String| {
            let namespace = bucket.strip_prefix("v1/")?.strip_suffix(&suffix)?.to_owned();
            Some(Records {
                namespace,
                snapshotter,
            })
        };
        Ok(tx.buckets("v1/")?.iter().filter_map(named).collect())
    }

    fn bucket(&self) -> String {
        format!("v1/{}/snapshots/{}", self.namespace, self.snapshotter)
    }

    fn children_bucket(&self) -> String {
        format!("v1/{}/snapshot-children/{}", self.namespace, self.snapshotter)
    }

    pub(crate) fn list(&self, tx: &impl Read) -> Result<Vec<(String, Record)>> {
        Ok(tx.list_json(&self.bucket(), "")?)
    }

    /// [`Error::NotFound`].
    pub(crate) fn get(&self, tx: &impl Read, name: &str) -> Result<Record> {
        tx.get_json(&self.bucket(), name)?
            .ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    pub(crate) fn put(&self, tx: &WriteTx<'_>, name: &str, record: &Record) -> Result<()> {
        Ok(tx.put_json(&self.bucket(), name, record)?)
    }

    /// All snapshots of `snapshotter`, as the collector sees them.
    pub(crate) fn things(tx: &dyn Read, snapshotter: &'static str) -> Result<Vec<Thing>> {
        let mut things = Vec::new();
        for records in Records::all(&tx, snapshotter)? {
            let list = records.list(&tx)?;
            things.extend(
                list.into_iter()
                    .map(|(name, record)| records.collectible(name, record)),
            );
        }
        Ok(things)
    }

    /// The snapshot of `snapshotter` whose record `key` in `bucket` is.
    pub(crate) fn node(bucket: &str, key: &str, snapshotter: &'static str) -> Option<Node> {
        let (namespace, own) = bucket.strip_prefix("v1/")?.split_once("/snapshots/")?;
        (own == snapshotter).then(|| Node::Snapshot {
            namespace: namespace.to_owned(),
            snapshotter: own.to_owned(),
            key: key.to_owned(),
        })
    }

    /// What the collector sees of one snapshot of `snapshotter`, if it is there.
    pub(crate) fn thing(tx: &dyn Read, node: &Node, snapshotter: &'static str) -> Result<Option<Thing>> {
        let Node::Snapshot { namespace, key, .. } = node else {
            return Ok(None);
        };
        let namespace = namespace.clone();
        let records = Records {
            namespace,
            snapshotter,
        };
        let record: Option<Record> = (&tx).get_json(&records.bucket(), key)?;
        Ok(record.map(|record| records.collectible(key.clone(), record)))
    }

    fn collectible(&self, key: String, record: Record) -> Thing {
        let node = |key| Node::Snapshot {
            namespace: self.namespace.clone(),
            snapshotter: self.snapshotter.to_owned(),
            key,
        };
        let parent = Some(record.parent).filter(|parent| !parent.is_empty());
        Thing {
            node: node(key),
            labels: record.labels,
            references: parent.map(node).into_iter().collect(),
        }
    }

    /// The committed snapshot that others may be made from.
    pub(crate) fn parent(&self, tx: &impl Read, name: &str) -> Result<Record> {
        let parent: Option<Record> = tx.get_json(&self.bucket(), name)?;
        match parent {
            Some(parent) if parent.kind == Kind::Committed => Ok(parent),
            Some(_) => Err(Error::ParentNotCommitted(name.to_owned())),
            None => Err(Error::NoParent(name.to_owned())),
        }
    }

    /// Adds a record, its place among its parent's children, and its protection by `lease`.
    pub(crate) fn add(
        &self,
        tx: &WriteTx<'_>,
        name: &str,
        record: &Record,
        lease: Option<&str>,
    ) -> Result<()> {
        if tx.get(&self.bucket(), name)?.is_some() {
            return Err(Error::AlreadyExists(name.to_owned()));
        }
        self.put(tx, name, record)?;
        if !record.parent.is_empty() {
            tx.put(
                &self.children_bucket(),
                &format!("{}\n{name}", record.parent),
                b"",
            )?;
        }
        protect(
            tx,
            &self.namespace,
            lease,
            &Resource::snapshot(self.snapshotter, name),
        )?;
        Ok(())
    }

    /// Takes a record away.
    pub(crate) fn remove(&self, tx: &WriteTx<'_>, name: &str, record: &Record) -> Result<()> {
        tx.delete(&self.bucket(), name)?;
        if !record.parent.is_empty() {
            tx.delete(&self.children_bucket(), &format!("{}\n{name}", record.parent))?;
        }
        Ok(())
    }

    pub(crate) fn has_children(&self, tx: &impl Read, name: &str) -> Result<bool> {
        let mut found = false;
        tx.scan(&self.children_bucket(), &format!("{name}\n"), &mut |_, _| {
            found = true;
            Ok(())
        })?;
        Ok(found)
    }
}

/// Refuses a name that cannot be part of a key.
pub(crate) fn check_name(what: &'static str, value: &str) -> Result<()> {
    match lighter_meta::key::objection(value) {
        None => Ok(()),
        Some(why) => Err(Error::Invalid {
            what,
            value: value.to_owned(),
            why: why.to_owned(),
        }),
    }
}
