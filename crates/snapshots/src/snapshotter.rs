//! A snapshotter as its users see it.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Labels, Mount, Result};

/// What can be done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Read only; goes with its holder.
    View,
    /// Written to.
    Active,
    /// Fixed; may be a parent.
    Committed,
}

impl Kind {
    /// `View`, `Active` or `Committed`, as containerd prints and filters them.
    pub fn name(self) -> &'static str {
        match self {
            Kind::View => "View",
            Kind::Active => "Active",
            Kind::Committed => "Committed",
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What can be done with it.
    pub kind: Kind,
    /// Its name (key of an active snapshot or view, name of a committed one); one name space in each namespace.
    pub name: String,
    /// The name of its parent; empty: none.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a snapshot takes by itself, without its parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Files, directories and others, its root not counted twice for hard links.
    pub inodes: u64,
    /// Bytes on the disk.
    pub size: u64,
}

/// A snapshotter, as one namespace (and one lease) sees it. An empty `parent` means none.
#[async_trait]
pub trait Snapshotter: Debug + Send + Sync {
    /// The record of a snapshot of any kind.
    async fn stat(&self, name: &str) -> Result<Info>;

    /// Changes labels of `info.name`. `fields` as containerd's field mask: empty or `labels` replaces all, `labels.KEY` sets that one
    /// (an empty or absent value removes it); nothing else can be changed.
    async fn update(&self, info: Info, fields: &[String]) -> Result<Info>;

    /// What it takes by itself.
    async fn usage(&self, name: &str) -> Result<Usage>;

    /// The mounts of an active snapshot or a view.
    async fn mounts(&self, key: &str) -> Result<Vec<Mount>>;

    /// Makes an active snapshot on a committed parent.
    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>>;

    /// Makes a read-only snapshot of a committed parent.
    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>>;

    /// Makes the active snapshot `key` a committed one called `name`; `key` is no more.
    async fn commit(&self, name: &str, key: &str, labels: Labels) -> Result<()>;

    /// Removes a snapshot that has no children; whoever used it has unmounted it.
    async fn remove(&self, name: &str) -> Result<()>;

    /// The snapshots that one of `filters` selects (all, if there are none), in the order of their names. Fields: `name`, `parent`, `kind`,
    /// `labels."key"`.
    async fn walk(&self, filters: &[String]) -> Result<Vec<Info>>;

    /// Frees now what removed snapshots still take on the disk.
    async fn cleanup(&self) -> Result<()>;
}

/// All of one snapshotter: where the views of it by namespace come from.
pub trait Snapshotters: Debug + Send + Sync {
    /// Its name: `overlayfs`.
    fn name(&self) -> &'static str;

    /// Where its trees are, if they are on this machine.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// Where it is served, if it is another program's.
    fn address(&self) -> Option<&str> {
        None
    }

    /// As `namespace` sees it; what is made is put under `lease`, if there is one.
    fn namespace(&self, namespace: &str, lease: Option<&str>) -> Arc<dyn Snapshotter>;
}
