//! The collector: marks from the roots in a view of the database, forgets the rest in small writes, then has the files removed.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lighter_meta::{Changed, Db, Durability, Read, WriteTx};
use lighter_stdx::clock::Clock;

use crate::gc::{Collectible, Node, Roots};
use crate::lease::{self, EXPIRE_LABEL, FLAT_LABEL, Lease, Resource};
use crate::local::blocking;
use crate::marks::Marks;
use crate::{Error, Labels, Result};

/// Things that are forgotten in one database write: writers wait for a few milliseconds at most.
const STEP: usize = 64;

/// Collects what nothing refers to, in all namespaces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    clock: Clock,
    stores: Vec<Arc<dyn Collectible>>,
    roots: Vec<Arc<dyn Roots>>,
    /// One collection at a time.
    turn: Mutex<()>,
}

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Things.
    pub removed: Vec<Node>,
    /// Leases (namespace, name) whose time was over.
    pub expired: Vec<(String, String)>,
    /// Things were changed meanwhile. They are kept for this time, whether something refers to them or not: it is worth another collection.
    pub again: bool,
}

impl Collector {
    /// A collector of `stores`, whose records are all in `db`.
    pub fn new(
        db: &Db,
        clock: &Clock,
        stores: Vec<Arc<dyn Collectible>>,
        roots: Vec<Arc<dyn Roots>>,
    ) -> Collector {
        Collector(Arc::new(Inner {
            db: db.clone(),
            clock: clock.clone(),
            stores,
            roots,
            turn: Mutex::default(),
        }))
    }

    /// Collects once. Runs beside readers and writers: a writer waits for one step at most, which forgets a hundred things. What was garbage when
    /// this is called is gone when it returns, but for what was touched meanwhile ([`Collected::again`]). After an error in the removal of files
    /// the rest is still removed, and the first error returned. Goes on if the future is dropped.
    pub async fn collect(&self) -> Result<Collected> {
        let inner = self.0.clone();
        blocking(move || inner.collect()).await
    }
}

impl Inner {
    fn collect(self: Arc<Self>) -> Result<Collected> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        self.db.write(Durability::Kill, |tx| {
            tx.watch();
            Ok::<(), Error>(())
        })?;
        let done = self.forget(now);
        let unwatched = self.db.write(Durability::Kill, |tx| {
            tx.unwatch();
            Ok::<(), Error>(())
        });
        let (forgotten, expired, again) = done?;
        unwatched?;
        let mut first = Ok(());
        for store in &self.stores {
            let own: Vec<Forgotten> = forgotten
                .iter()
                .filter(|(node, _)| store.owns(node))
                .cloned()
                .collect();
            first = first.and(store.sweep(&own));
        }
        let mut removed: Vec<Node> = forgotten.into_iter().map(|(node, _)| node).collect();
        removed.sort();
        first.map(|()| Collected {
            removed,
            expired,
            again,
        })
    }

    /// Finds what is not reached and takes its records away, step by step.
    fn forget(self: &Arc<Self>, now: Timestamp) -> Result<(Vec<Forgotten>, Vec<ExpiredLease>, bool)> {
        let mut work = self.db.read(|tx| self.mark(tx, now))?;
        let (mut forgotten, mut again) = (Vec::new(), false);
        while !work.litter.is_empty() || !work.over.is_empty() {
            let this = self.clone();
            let step = self.db.write(Durability::Kill, move |tx| {
                let touched = this.look_again(tx, &mut work, now)?;
                work.expired.extend(end(tx, std::mem::take(&mut work.over), now)?);
                let forgotten = this.step(tx, &mut work)?;
                // What this very write changed is no news.
                tx.changed();
                Ok::<_, Error>((work, forgotten, touched))
            })?;
            work = step.0;
            forgotten.extend(step.1);
            again |= step.2;
        }
        Ok((forgotten, work.expired, again))
    }

    /// Marks all that a root leads to.
    fn mark(&self, tx: &dyn Read, now: Timestamp) -> Result<Work> {
        let mut marks = Marks::default();
        for store in &self.stores {
            for thing in store.things(tx)? {
                marks.add(thing);
            }
        }
        self.begin(tx, &mut marks)?;
        let over = leases(tx, now, &mut marks)?;
        marks.spread();
        let mut litter = marks.litter();
        litter.reverse();
        Ok(Work {
            marks,
            litter,
            over,
            expired: Vec::new(),
        })
    }

    /// Marks the roots.
    fn begin(&self, tx: &dyn Read, marks: &mut Marks) -> Result<()> {
        for roots in &self.roots {
            roots.roots(tx, &mut |node| marks.keep(node))?;
        }
        Ok(())
    }

    /// Keeps what was changed since it was looked at, and what that refers to now. Says whether any thing was.
    fn look_again(&self, tx: &WriteTx<'_>, work: &mut Work, now: Timestamp) -> Result<bool> {
        let Changed::Records(changed) = tx.changed() else {
            // More than is worth looking at one by one.
            *work = Work {
                expired: std::mem::take(&mut work.expired),
                ..self.mark(tx, now)?
            };
            return Ok(true);
        };
        let (mut touched, mut roots) = (false, false);
        for (bucket, key) in changed {
            let mut found = self
                .stores
                .iter()
                .filter_map(|store| Some((store, store.node(&bucket, &key)?)));
            let Some((store, node)) = found.next() else {
                roots |= self.roots.iter().any(|roots| roots.are_in(&bucket));
                leased(tx, &bucket, &key, &mut work.marks)?;
                continue;
            };
            touched = true;
            match store.thing(tx, &node)? {
                Some(thing) => {
                    work.marks.add(thing);
                    work.marks.keep(node);
                }
                None => work.marks.gone(&node),
            }
        }
        if roots {
            self.begin(tx, &mut work.marks)?;
        }
        work.marks.spread();
        Ok(touched)
    }

    fn step(&self, tx: &WriteTx<'_>, work: &mut Work) -> Result<Vec<Forgotten>> {
        let mut forgotten = Vec::with_capacity(STEP);
        while forgotten.len() < STEP
            && let Some(node) = work.litter.pop()
        {
            if !work.marks.is_litter(&node) {
                continue;
            }
            let mut number = None;
            for store in self.stores.iter().filter(|store| store.owns(&node)) {
                number = store.forget(tx, &node)?;
            }
            work.marks.gone(&node);
            forgotten.push((node, number));
        }
        Ok(forgotten)
    }
}

/// What is still to do.
struct Work {
    marks: Marks,
    /// What nothing kept when it was looked at; the last goes first.
    litter: Vec<Node>,
    /// Leases whose time was over.
    over: Vec<ExpiredLease>,
    /// Those of them that were ended.
    expired: Vec<ExpiredLease>,
}

/// A thing without a record, and the number that its store knows its files by.
type Forgotten = (Node, Option<u64>);
/// Namespace and name.
type ExpiredLease = (String, String);

/// Marks what the leases keep; gives those whose time is over, which keep nothing.
fn leases(tx: &dyn Read, now: Timestamp, marks: &mut Marks) -> Result<Vec<ExpiredLease>> {
    let mut over = Vec::new();
    for bucket in tx.buckets("v1/")? {
        let Some(namespace) = bucket
            .strip_prefix("v1/")
            .and_then(|rest| rest.strip_suffix("/leases"))
        else {
            continue;
        };
        let leases: Vec<(String, Lease)> = (&tx).list_json(&bucket, "")?;
        for (id, lease) in leases {
            if is_over(&lease.labels, now) {
                over.push((namespace.to_owned(), id));
                continue;
            }
            let nodes = lease::resources(tx, namespace, &id)?;
            let nodes = nodes.into_iter().filter_map(|resource| node(namespace, resource));
            if lease.labels.contains_key(FLAT_LABEL) {
                nodes.for_each(|node| marks.keep_alone(node));
            } else {
                nodes.for_each(|node| marks.keep(node));
            }
        }
    }
    Ok(over)
}

/// Marks what a lease keeps that is new, or has got something.
fn leased(tx: &WriteTx<'_>, bucket: &str, key: &str, marks: &mut Marks) -> Result<()> {
    let Some((namespace, kind)) = bucket.strip_prefix("v1/").and_then(|rest| rest.split_once('/')) else {
        return Ok(());
    };
    let resources = match kind {
        "leases" => lease::resources(tx, namespace, key)?,
        "lease-resources" if tx.get(bucket, key)?.is_some() => lease::resource(key).into_iter().collect(),
        _ => Vec::new(),
    };
    let nodes = resources
        .into_iter()
        .filter_map(|resource| node(namespace, resource));
    nodes.for_each(|node| marks.keep(node));
    Ok(())
}

/// Ends the leases whose time is over and was not made longer since.
fn end(tx: &WriteTx<'_>, over: Vec<ExpiredLease>, now: Timestamp) -> Result<Vec<ExpiredLease>> {
    let mut ended = Vec::new();
    for (namespace, id) in over {
        let lease: Option<Lease> = tx.get_json(&lease::bucket(&namespace), &id)?;
        if lease.is_some_and(|lease| is_over(&lease.labels, now)) {
            lease::delete(tx, &namespace, &id)?;
            ended.push((namespace, id));
        }
    }
    Ok(ended)
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
