//! The collector: marks from the roots, forgets the rest in the same database write, then has the files removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use lighter_meta::{Db, Durability, Read as _, WriteTx};
use lighter_stdx::clock::Clock;

use crate::gc::{Collectible, Node, ROOT_LABEL, Roots, references};
use crate::lease::{self, EXPIRE_LABEL, FLAT_LABEL, Lease, Resource};
use crate::local::blocking;
use crate::{Labels, Result};

/// Collects what nothing refers to, in all namespaces.
#[derive(Debug, Clone)]
pub struct Collector {
    db: Db,
    clock: Clock,
    stores: Vec<Arc<dyn Collectible>>,
    roots: Vec<Arc<dyn Roots>>,
}

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Things.
    pub removed: Vec<Node>,
    /// Leases (namespace, name) whose time was over.
    pub expired: Vec<(String, String)>,
}

impl Collector {
    /// A collector of `stores`, whose records are all in `db`.
    pub fn new(
        db: &Db,
        clock: &Clock,
        stores: Vec<Arc<dyn Collectible>>,
        roots: Vec<Arc<dyn Roots>>,
    ) -> Collector {
        Collector {
            db: db.clone(),
            clock: clock.clone(),
            stores,
            roots,
        }
    }

    /// Collects once. Runs beside writers: they wait for the marking (about a millisecond for a thousand things), not for the removal of
    /// files. After an error in the removal of files the rest is still removed, and the first error returned.
    pub async fn collect(&self) -> Result<Collected> {
        let (this, now) = (self.clone(), self.clock.now());
        let (forgotten, expired) = self
            .db
            .write_async(Durability::Kill, move |tx| this.mark(tx, now))
            .await?;
        let stores = self.stores.clone();
        blocking(move || {
            let mut first = Ok(());
            for store in &stores {
                let own: Vec<Forgotten> = forgotten
                    .iter()
                    .filter(|(node, _)| store.owns(node))
                    .cloned()
                    .collect();
                first = first.and(store.sweep(&own));
            }
            first.map(|()| Collected {
                removed: forgotten.into_iter().map(|(node, _)| node).collect(),
                expired,
            })
        })
        .await
    }

    /// Finds what is not reached and takes its records away.
    fn mark(&self, tx: &WriteTx<'_>, now: Timestamp) -> Result<(Vec<Forgotten>, Vec<ExpiredLease>)> {
        let mut marks = Marks::default();
        for store in &self.stores {
            for thing in store.things(tx)? {
                let namespace = match &thing.node {
                    Node::Content { namespace, .. } | Node::Snapshot { namespace, .. } => namespace,
                };
                let mut edges = references(namespace, &thing.labels);
                edges.extend(thing.references);
                if thing.labels.contains_key(ROOT_LABEL) {
                    marks.pending.push(thing.node.clone());
                }
                marks.edges.insert(thing.node, edges);
            }
        }
        for roots in &self.roots {
            roots.roots(tx, &mut |node| marks.pending.push(node))?;
        }
        let expired = leases(tx, now, &mut marks)?;
        marks.spread();
        let mut removed: Vec<Node> = marks
            .edges
            .into_keys()
            .filter(|node| !marks.reached.contains(node))
            .collect();
        removed.sort();
        let mut forgotten = Vec::with_capacity(removed.len());
        for node in removed {
            let mut number = None;
            for store in self.stores.iter().filter(|store| store.owns(&node)) {
                number = store.forget(tx, &node)?;
            }
            forgotten.push((node, number));
        }
        Ok((forgotten, expired))
    }
}

/// A thing without a record, and the number that its store knows its files by.
type Forgotten = (Node, Option<u64>);
/// Namespace and name.
type ExpiredLease = (String, String);

#[derive(Default)]
struct Marks {
    /// Everything there is, and what it refers to.
    edges: HashMap<Node, Vec<Node>>,
    /// Kept, and followed.
    reached: HashSet<Node>,
    /// Kept, and not followed yet.
    pending: Vec<Node>,
    /// Kept by a flat lease: not followed, unless something else reaches it.
    flat: Vec<Node>,
}

impl Marks {
    fn spread(&mut self) {
        while let Some(node) = self.pending.pop() {
            if let Some((node, edges)) = self.edges.get_key_value(&node)
                && self.reached.insert(node.clone())
            {
                self.pending.extend(edges.iter().cloned());
            }
        }
        self.reached.extend(self.flat.drain(..));
    }
}

/// Ends the leases whose time is over and marks what the others keep.
fn leases(tx: &WriteTx<'_>, now: Timestamp, marks: &mut Marks) -> Result<Vec<(String, String)>> {
    let mut expired = Vec::new();
    for bucket in tx.buckets("v1/")? {
        let Some(namespace) = bucket
            .strip_prefix("v1/")
            .and_then(|rest| rest.strip_suffix("/leases"))
        else {
            continue;
        };
        let leases: Vec<(String, Lease)> = tx.list_json(&bucket, "")?;
        for (id, lease) in leases {
            if is_over(&lease.labels, now) {
                lease::delete(tx, namespace, &id)?;
                expired.push((namespace.to_owned(), id));
                continue;
            }
            let nodes = lease::resources(tx, namespace, &id)?;
            let nodes = nodes.into_iter().filter_map(|resource| node(namespace, resource));
            if lease.labels.contains_key(FLAT_LABEL) {
                marks.flat.extend(nodes);
            } else {
                marks.pending.extend(nodes);
            }
        }
    }
    Ok(expired)
}

/// A label that is no time ends nothing.
fn is_over(labels: &Labels, now: Timestamp) -> bool {
    labels
        .get(EXPIRE_LABEL)
        .and_then(|time| time.parse::<Timestamp>().ok())
        .is_some_and(|end| end <= now)
}

fn node(namespace: &str, resource: Resource) -> Option<Node> {
    let namespace = namespace.to_owned();
    match resource.kind.strip_prefix("snapshots/") {
        Some(snapshotter) => Some(Node::Snapshot {
            namespace,
            snapshotter: snapshotter.to_owned(),
            key: resource.id,
        }),
        None if resource.kind == "content" => Some(Node::Content {
            namespace,
            digest: resource.id.parse().ok()?,
        }),
        None => None,
    }
}
