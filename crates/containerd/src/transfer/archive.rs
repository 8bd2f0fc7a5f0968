//! Archives into the store and out of it.

use std::io::Read;

use bytes::Bytes;
use lighter_images::{Event, Progress, TakeIn};
use lighter_oci::{Descriptor, Platform};
use tokio::sync::mpsc::{Sender, UnboundedSender};

use super::{Held, Names};
use crate::images::Image;
use crate::{Layer, Result};

/// An import.
#[derive(Debug, Default)]
pub struct Import {
    /// The names that the index and the images get.
    pub names: Names,
    /// What is taken in of images for several platforms; none: all that is there.
    pub platforms: Vec<Platform>,
    /// What is unpacked: platform and snapshotter (empty: the default).
    pub unpacks: Vec<(Platform, String)>,
    /// Whether layers of what `docker save` writes are compressed.
    pub compress: bool,
    /// The lease of the request, which then keeps what is brought.
    pub lease: Option<String>,
}

/// An export.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// The images' names.
    pub images: Vec<String>,
    /// What is exported of images for several platforms, best first; none: what is this machine's.
    pub platforms: Vec<Platform>,
    /// All of them.
    pub all_platforms: bool,
    /// Without what `docker load` of old reads.
    pub skip_docker: bool,
    /// Without layers that may not be distributed.
    pub skip_nondistributable: bool,
}

impl Layer {
    /// Takes in an archive: an OCI image layout, or what `docker save` writes. Nothing is named before all of it is there and looked at. Dropping
    /// the future gives it up; `source` must then end by itself.
    pub async fn import(
        &self,
        namespace: &str,
        import: Import,
        source: impl Read + Send + 'static,
        events: UnboundedSender<Event>,
    ) -> Result<Vec<Image>> {
        let lease = match &import.lease {
            Some(id) => Held::given(namespace, id),
            None => Held::create(self, namespace).await?,
        };
        let imported = self.take_in(namespace, &import, source, lease.id(), events).await;
        let named = match imported {
            Ok((index, entries)) => self.name_imported(namespace, &import.names, index, entries).await,
            Err(error) => Err(error),
        };
        lease.end().await;
        named
    }

    async fn take_in(
        &self,
        namespace: &str,
        import: &Import,
        source: impl Read + Send + 'static,
        lease: &str,
        events: UnboundedSender<Event>,
    ) -> Result<(Descriptor, Vec<Descriptor>)> {
        let content = self.content(namespace, Some(lease));
        let mut wanted = TakeIn {
            platforms: import.platforms.clone(),
            unpacks: Vec::new(),
        };
        for (platform, snapshotter) in &import.unpacks {
            let unpack = self.unpack(namespace, snapshotter, lease)?;
            wanted.unpacks.push((platform.clone(), unpack));
        }
        let how = lighter_images::Import {
            compress: import.compress,
        };
        let index = lighter_images::import(&content, source, how).await?;
        let progress = Progress::new(events);
        let entries = lighter_images::take_in(&content, &index, &wanted, &progress).await?;
        Ok((index, entries))
    }

    /// Sends an archive of images to `sink`, part by part.
    pub async fn export(&self, namespace: &str, export: Export, sink: &Sender<Bytes>) -> Result<()> {
        let mut images = Vec::with_capacity(export.images.len());
        for name in &export.images {
            images.push((name.clone(), self.images().get(namespace, name)?.target));
        }
        let content = self.content(namespace, None);
        let what = lighter_images::Export {
            images,
            platforms: export.platforms,
            all_platforms: export.all_platforms,
            skip_docker: export.skip_docker,
            skip_nondistributable: export.skip_nondistributable,
        };
        Ok(lighter_images::export(content.as_ref(), &what, sink).await?)
    }
}
