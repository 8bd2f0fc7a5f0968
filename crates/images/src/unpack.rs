//! One layer into its snapshot.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lighter_archive::{Applied, Options, Whiteouts};
use lighter_oci::{Descriptor, Digest};
use lighter_snapshots::{Error as SnapshotError, Kind, Labels, Mount, Snapshotter};

use crate::{Error, Result};

/// Whether `chain_id` is there as a committed snapshot.
pub(crate) async fn exists(snapshots: &dyn Snapshotter, chain_id: &Digest) -> Result<bool> {
    match snapshots.stat(chain_id.as_str()).await {
        Ok(info) => Ok(info.kind == Kind::Committed),
        Err(SnapshotError::NotFound(_)) => Ok(false),
        Err(error) if error.kind() == lighter_stdx::kind::Kind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An active snapshot that becomes a layer.
#[derive(Debug)]
pub(crate) struct Extraction {
    key: String,
    chain_id: Digest,
    mounts: Vec<Mount>,
}

impl Extraction {
    /// Makes one on `parent`. The key is nobody else's: what others left is passed by.
    pub(crate) async fn prepare(
        snapshots: &dyn Snapshotter,
        parent: Option<&Digest>,
        chain_id: &Digest,
    ) -> Result<Extraction> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = parent.map_or("", Digest::as_str);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let key = format!("extract-{}-{number} {chain_id}", std::process::id());
            match snapshots.prepare(&key, parent, Labels::new()).await {
                Ok(mounts) => {
                    return Ok(Extraction {
                        key,
                        chain_id: chain_id.clone(),
                        mounts,
                    });
                }
                Err(error) if error.kind() == lighter_stdx::kind::Kind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Unpacks `source` into it, on a thread that may block.
    pub(crate) async fn apply(
        &self,
        layer: &Descriptor,
        source: impl Read + Send + 'static,
        limit: u64,
    ) -> Result<Applied> {
        let [mount] = self.mounts.as_slice() else {
            return Err(Error::NoDirectory(self.key.clone()));
        };
        let target = mount
            .upper_dir()
            .ok_or_else(|| Error::NoDirectory(self.key.clone()))?;
        let lower = mount.lower_dirs();
        let whiteouts = if lower.is_empty() {
            Whiteouts::Drop
        } else {
            Whiteouts::Overlay
        };
        let options = Options {
            whiteouts,
            lower,
            limit,
        };
        let applied =
            tokio::task::spawn_blocking(move || lighter_archive::apply(source, &target, &options)).await;
        let applied = applied.map_err(|_| Error::Panicked)?;
        applied.map_err(|source| Error::Unpack {
            layer: layer.digest.clone(),
            source,
        })
    }

    /// Makes it the layer. Another may have been faster: that is as good.
    pub(crate) async fn commit(self, snapshots: &dyn Snapshotter) -> Result<()> {
        match snapshots
            .commit(self.chain_id.as_str(), &self.key, Labels::new())
            .await
        {
            Err(error) if error.kind() == lighter_stdx::kind::Kind::AlreadyExists => {
                self.discard(snapshots).await;
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Removes it. What it holds goes first: when the disk is full, there is no room to write down that it is gone.
    pub(crate) async fn discard(self, snapshots: &dyn Snapshotter) {
        if let Some(target) = self.mounts.first().and_then(Mount::upper_dir) {
            // What cannot be removed here goes with the snapshot.
            let _ = tokio::task::spawn_blocking(move || empty(&target)).await;
        }
        if let Err(error) = snapshots.remove(&self.key).await {
            // The collector takes it when the lease is gone.
            tracing::warn!(key = self.key, error = %lighter_stdx::error::chain(&error), "a half-made snapshot stays");
        }
    }
}

/// Removes what is in the directory, as far as that goes.
fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_directory {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        if let Err(error) = removed {
            tracing::debug!(path = %entry.path().display(), %error, "cannot be removed");
        }
    }
}
