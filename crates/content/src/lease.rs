//! Leases: what is listed in one is kept by the collector, whoever refers to it.
//!
//! Semantics: containerd's `leases` service; the label `containerd.io/gc.expire` (RFC 3339) ends a lease, and
//! `containerd.io/gc.flat` keeps its resources without what they refer to.

use jiff::Timestamp;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability, Read, WriteTx};
use lighter_stdx::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::{Error, Labels, Result};

/// The label that ends a lease: an RFC 3339 time.
pub const EXPIRE_LABEL: &str = "containerd.io/gc.expire";
/// The label of a lease that does not keep what its resources refer to.
pub const FLAT_LABEL: &str = "containerd.io/gc.flat";

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its labels.
    pub labels: Labels,
}

/// A thing that a lease keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// `content`, `ingests` or `snapshots/<snapshotter>` (containerd's `type`).
    pub kind: String,
    /// A digest, the name of an ingest, or a snapshot's key.
    pub id: String,
}

impl Resource {
    /// A blob.
    pub fn content(digest: &lighter_oci::Digest) -> Resource {
        Resource {
            kind: "content".into(),
            id: digest.to_string(),
        }
    }

    /// A snapshot of the named snapshotter.
    pub fn snapshot(snapshotter: &str, key: &str) -> Resource {
        Resource {
            kind: format!("snapshots/{snapshotter}"),
            id: key.to_owned(),
        }
    }
}

/// The leases of one namespace.
#[derive(Debug, Clone)]
pub struct Leases {
    db: Db,
    clock: Clock,
    namespace: String,
}

impl Leases {
    /// The leases of `namespace` in `db`.
    pub fn new(db: &Db, clock: &Clock, namespace: &str) -> Leases {
        Leases {
            db: db.clone(),
            clock: clock.clone(),
            namespace: namespace.to_owned(),
        }
    }

    /// Makes a lease. [`Error::LeaseExists`].
    pub async fn create(&self, id: &str, labels: Labels) -> Result<Lease> {
        check_name("lease", id)?;
        let lease = Lease {
            id: id.to_owned(),
            created_at: self.clock.now(),
            labels,
        };
        let bucket = bucket(&self.namespace);
        self.db
            .write_async(Durability::Kill, move |tx| {
                if tx.get(&bucket, &lease.id)?.is_some() {
                    return Err(Error::LeaseExists(lease.id));
                }
                tx.put_json(&bucket, &lease.id, &lease)?;
                Ok(lease)
            })
            .await
    }

    /// Ends a lease; what only it kept goes at the next collection. [`Error::NoLease`].
    pub async fn delete(&self, id: &str) -> Result<()> {
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        self.db
            .write_async(Durability::Kill, move |tx| delete(tx, &namespace, &id))
            .await
    }

    /// The lease of this name. [`Error::NoLease`].
    pub fn get(&self, id: &str) -> Result<Lease> {
        let lease = self.db.read(|tx| tx.get_json(&bucket(&self.namespace), id))?;
        lease.ok_or_else(|| Error::NoLease(id.to_owned()))
    }

    /// The leases that one of `filters` selects (fields: `id`, `labels."key"`), in the order of their names.
    pub fn list(&self, filters: &[String]) -> Result<Vec<Lease>> {
        let filters = parse_filters(filters)?;
        let all: Vec<(String, Lease)> = self.db.read(|tx| tx.list_json(&bucket(&self.namespace), ""))?;
        let selected = all.into_iter().map(|(_, lease)| lease).filter(|lease| {
            filters.matches(&|path| match path {
                ["id"] => Some(lease.id.as_str()),
                ["labels", key] => lease.labels.get(*key).map(String::as_str),
                _ => None,
            })
        });
        Ok(selected.collect())
    }

    /// Puts a thing under a lease; that it is there already is no error. [`Error::NoLease`].
    pub async fn add_resource(&self, id: &str, resource: Resource) -> Result<()> {
        check_resource(&resource)?;
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        self.db
            .write_async(Durability::Kill, move |tx| {
                protect(tx, &namespace, Some(&id), &resource)
            })
            .await
    }

    /// Takes a thing from a lease; that it is not there is no error. [`Error::NoLease`].
    pub async fn remove_resource(&self, id: &str, resource: Resource) -> Result<()> {
        check_resource(&resource)?;
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        self.db
            .write_async(Durability::Kill, move |tx| {
                if tx.get(&bucket(&namespace), &id)?.is_none() {
                    return Err(Error::NoLease(id));
                }
                tx.delete(&resources_bucket(&namespace), &key(&id, &resource))?;
                Ok(())
            })
            .await
    }

    /// What a lease keeps, in order. [`Error::NoLease`].
    pub fn resources(&self, id: &str) -> Result<Vec<Resource>> {
        self.db.read(|tx| {
            if tx.get(&bucket(&self.namespace), id)?.is_none() {
                return Err(Error::NoLease(id.to_owned()));
            }
            resources(tx, &self.namespace, id)
        })
    }
}

/// Lets every lease that has `label` end at `end`, if it does not end before. Gives their number. Blocks.
pub fn shorten(db: &Db, label: &'static str, end: Timestamp) -> Result<usize> {
    db.write(Durability::Kill, move |tx| {
        let mut shortened = 0;
        for bucket in tx
            .buckets("v1/")?
            .iter()
            .filter(|bucket| bucket.ends_with("/leases"))
        {
            for (id, mut lease) in tx.list_json::<Lease>(bucket, "")? {
                let ends: Option<Timestamp> =
                    lease.labels.get(EXPIRE_LABEL).and_then(|time| time.parse().ok());
                if lease.labels.contains_key(label) && ends.is_none_or(|ends| ends > end) {
                    lease.labels.insert(EXPIRE_LABEL.to_owned(), end.to_string());
                    tx.put_json(bucket, &id, &lease)?;
                    shortened += 1;
                }
            }
        }
        Ok(shortened)
    })
}

/// Puts `resource` under `lease` in the transaction that makes the thing, so that no collection can come between. Nothing to do
/// without a lease. [`Error::NoLease`].
pub fn protect(tx: &WriteTx<'_>, namespace: &str, lease: Option<&str>, resource: &Resource) -> Result<()> {
    let Some(id) = lease else { return Ok(()) };
    if tx.get(&bucket(namespace), id)?.is_none() {
        return Err(Error::NoLease(id.to_owned()));
    }
    Ok(tx.put(&resources_bucket(namespace), &key(id, resource), b"")?)
}

/// Removes a lease and its list. [`Error::NoLease`].
pub(crate) fn delete(tx: &WriteTx<'_>, namespace: &str, id: &str) -> Result<()> {
    if !tx.delete(&bucket(namespace), id)? {
        return Err(Error::NoLease(id.to_owned()));
    }
    tx.delete_prefix(&resources_bucket(namespace), &format!("{id}\n"))?;
    Ok(())
}

/// What a lease keeps.
pub(crate) fn resources(tx: &(impl Read + ?Sized), namespace: &str, id: &str) -> Result<Vec<Resource>> {
    let prefix = format!("{id}\n");
    let mut found = Vec::new();
    tx.scan(&resources_bucket(namespace), &prefix, &mut |key, _| {
        if let Some((kind, id)) = key[prefix.len()..].split_once('\n') {
            found.push(Resource {
                kind: kind.to_owned(),
                id: id.to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// The bucket of the leases' records.
pub(crate) fn bucket(namespace: &str) -> String {
    format!("v1/{namespace}/leases")
}

fn resources_bucket(namespace: &str) -> String {
    format!("v1/{namespace}/lease-resources")
}

/// The thing that a key of the leases' resources names.
pub(crate) fn resource(key: &str) -> Option<Resource> {
    let mut parts = key.splitn(3, '\n').skip(1);
    Some(Resource {
        kind: parts.next()?.to_owned(),
        id: parts.next()?.to_owned(),
    })
}

/// Newlines part it: no name has one ([`check_name`]).
fn key(id: &str, resource: &Resource) -> String {
    format!("{id}\n{}\n{}", resource.kind, resource.id)
}

fn check_resource(resource: &Resource) -> Result<()> {
    check_name("resource type", &resource.kind)?;
    check_name("resource", &resource.id)
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

/// The filters of a list request.
pub(crate) fn parse_filters(filters: &[String]) -> Result<Filters> {
    Filters::parse(filters).map_err(|error| Error::Invalid {
        what: "filter",
        value: error.filter.clone(),
        why: error.to_string(),
    })
}
