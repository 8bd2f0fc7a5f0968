//! Garbage collection by mark and sweep.
//!
//! A thing is kept if a root leads to it: an image's target, a container's snapshot ([`Roots`]); a lease's resources; a thing with the
//! label `containerd.io/gc.root`. References are the labels `containerd.io/gc.ref.content*` and
//! `containerd.io/gc.ref.snapshot.<snapshotter>*`, and what the thing's own store says (a snapshot's parent).
//!
//! Marking reads one consistent view, beside writers; records are then removed in small database writes, each of which first looks at what
//! was changed since and keeps it and what it refers to. What refers goes before what it refers to, so that whatever is there and is
//! referred to anew is there with all that it needs; and who puts a new thing under a lease in the transaction that makes it
//! ([`crate::lease::protect`]) never loses it. Files go afterwards.
//!
//! Source of the labels: containerd, docs/garbage-collection.md.

use lighter_meta::{Read, WriteTx};
use lighter_oci::Digest;

use crate::{Labels, Result};

/// The label that makes a thing a root; its value does not matter.
pub const ROOT_LABEL: &str = "containerd.io/gc.root";
/// A label that begins so refers to a blob: `…`, `….NAME` or `…/NAME`.
pub const CONTENT_LABEL: &str = "containerd.io/gc.ref.content";
/// A label that begins so, and goes on with the snapshotter's name and perhaps `/NAME`, refers to a snapshot.
pub const SNAPSHOT_LABEL: &str = "containerd.io/gc.ref.snapshot.";

/// A thing that can be collected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A blob in a namespace.
    Content {
        /// The namespace.
        namespace: String,
        /// Its digest.
        digest: Digest,
    },
    /// A snapshot in a namespace.
    Snapshot {
        /// The namespace.
        namespace: String,
        /// The snapshotter's name.
        snapshotter: String,
        /// Its key.
        key: String,
    },
}

/// A thing and what it refers to by itself.
#[derive(Debug, Clone)]
pub struct Thing {
    /// The thing.
    pub node: Node,
    /// Its labels; the collector reads the references in them.
    pub labels: Labels,
    /// Other references: a snapshot's parent.
    pub references: Vec<Node>,
}

/// A store whose things are collected.
pub trait Collectible: std::fmt::Debug + Send + Sync {
    /// Every thing of the store, in all namespaces.
    fn things(&self, tx: &dyn Read) -> Result<Vec<Thing>>;

    /// The thing whose record `key` in `bucket` is, whether it is there or not; `None` for any other record.
    fn node(&self, bucket: &str, key: &str) -> Option<Node>;

    /// One of this store's things, if it is there.
    fn thing(&self, tx: &dyn Read, node: &Node) -> Result<Option<Thing>>;

    /// Whether the node is one of this store's.
    fn owns(&self, node: &Node) -> bool;

    /// Takes the record away. Called only for things that are there in this transaction; what refers to others goes before them. Gives a number by which [`Collectible::sweep`] finds the files, if it needs one.
    fn forget(&self, tx: &WriteTx<'_>, node: &Node) -> Result<Option<u64>>;

    /// Removes from the disk what has no record any more; called after the records' removal was kept, on a thread that may block.
    fn sweep(&self, forgotten: &[(Node, Option<u64>)]) -> Result<()>;
}

/// Where marking starts: the images, the containers.
pub trait Roots: std::fmt::Debug + Send + Sync {
    /// Calls `root` with everything that must be kept for its own sake. For a record with labels, see [`references`].
    fn roots(&self, tx: &dyn Read, root: &mut dyn FnMut(Node)) -> Result<()>;

    /// Whether a change of a record in `bucket` may change them.
    fn are_in(&self, bucket: &str) -> bool;
}

/// What the labels of a thing in `namespace` refer to. A label whose digest is malformed refers to nothing.
pub fn references(namespace: &str, labels: &Labels) -> Vec<Node> {
    labels
        .iter()
        .filter_map(|(label, value)| reference(namespace, label, value))
        .collect()
}

fn reference(namespace: &str, label: &str, value: &str) -> Option<Node> {
    if let Some(rest) = label.strip_prefix(CONTENT_LABEL) {
        let named = rest.is_empty() || rest.starts_with(['.', '/']);
        return match value.parse() {
            Ok(digest) if named => Some(Node::Content {
                namespace: namespace.to_owned(),
                digest,
            }),
            _ => None,
        };
    }
    let snapshotter = label.strip_prefix(SNAPSHOT_LABEL)?.split('/').next()?;
    Some(Node::Snapshot {
        namespace: namespace.to_owned(),
        snapshotter: snapshotter.to_owned(),
        key: value.to_owned(),
    })
}
