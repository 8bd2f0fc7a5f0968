//! Applying a layer to mounts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lighter_archive::{Options, Whiteouts};
use lighter_oci::Descriptor;
use lighter_snapshots::Mount;

use crate::error::io;
use crate::layer::Layer;
use crate::{Error, Result};

/// Most uncompressed bytes of one layer: a bomb ends here.
pub(crate) const LIMIT: u64 = 1 << 40;

impl Layer {
    /// Unpacks the blob `diff` onto what `mounts` say; gives the descriptor of its uncompressed form. Nothing is mounted: a snapshot
    /// that is being made is written to where its mounts would write. With `sync` it is on the disk when this returns.
    pub async fn apply(
        &self,
        namespace: &str,
        diff: &Descriptor,
        mounts: &[Mount],
        sync: bool,
    ) -> Result<Descriptor> {
        let [mount] = mounts else {
            return Err(Error::invalid(
                "mounts",
                mounts.len().to_string(),
                "one is expected",
            ));
        };
        let target: PathBuf = mount.upper_dir().ok_or_else(|| {
            Error::invalid(
                "mount",
                &mount.kind,
                "a layer can be applied to a writable bind or an overlay",
            )
        })?;
        let whiteouts = whiteouts(mount, &target)?;
        let reader = self.content(namespace, None).reader_at(&diff.digest).await?;
        let options = Options {
            whiteouts,
            lower: mount.lower_dirs(),
            limit: LIMIT,
        };
        let unpack = move || {
            let applied = lighter_archive::apply(reader.into_read(), &target, &options)?;
            if sync {
                sync_fs(&target).map_err(io("sync the file system of", &target))?;
            }
            Ok::<_, Error>(applied)
        };
        let applied = tokio::task::spawn_blocking(unpack)
            .await
            .map_err(|_| Error::Panicked)??;
        let media_type = lighter_oci::media_type::OCI_LAYER.to_owned();
        let mut descriptor = Descriptor::new(media_type, applied.diff_id, applied.size);
        descriptor.annotations = BTreeMap::new();
        Ok(descriptor)
    }
}

/// What whiteouts are where `mount` writes.
fn whiteouts(mount: &Mount, target: &Path) -> Result<Whiteouts> {
    if mount.kind == "overlay" {
        let user = mount.options.iter().any(|option| option == "userxattr");
        return Ok(if user {
            Whiteouts::UserOverlay
        } else {
            Whiteouts::Overlay
        });
    }
    let mut entries = std::fs::read_dir(target).map_err(io("read directory", target))?;
    // A copy of what is below, or the lowest layer.
    Ok(match entries.next() {
        Some(_) => Whiteouts::Remove,
        None => Whiteouts::Drop,
    })
}

fn sync_fs(directory: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(std::fs::File::open(directory)?)?)
}
