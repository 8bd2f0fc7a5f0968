//! Stores that tell the event bus what becomes of their things.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lighter_content::gc::Node;
use lighter_content::{
    ContentStore, Info as Blob, Labels, ReadAt, Result as ContentResult, Status, Writer, WriterOptions,
};
use lighter_oci::Digest;
use lighter_snapshots::{Info, Mount, Result as SnapshotResult, Snapshotter, Usage};

use crate::event_types::{
    ContentCreate, ContentDelete, Event, SnapshotCommit, SnapshotPrepare, SnapshotRemove,
};
use crate::events::Bus;

/// Tells what a collection removed.
pub(crate) fn removed(bus: &Bus, nodes: &[Node]) {
    for node in nodes {
        match node {
            Node::Content { namespace, digest } => {
                let digest = digest.to_string();
                tell(bus, namespace, &ContentDelete { digest });
            }
            Node::Snapshot {
                namespace,
                snapshotter,
                key,
            } => {
                let (key, snapshotter) = (key.clone(), snapshotter.clone());
                tell(bus, namespace, &SnapshotRemove { key, snapshotter });
            }
        }
    }
}

fn tell<E: Event>(bus: &Bus, namespace: &str, event: &E) {
    bus.publish(namespace, E::TOPIC, event.to_any());
}

/// A content store as a namespace sees it.
#[derive(Debug, Clone)]
pub(crate) struct Content<S> {
    store: S,
    bus: Bus,
    namespace: String,
}

impl<S> Content<S> {
    pub(crate) fn new(store: S, bus: &Bus, namespace: &str) -> Content<S> {
        Content {
            store,
            bus: bus.clone(),
            namespace: namespace.to_owned(),
        }
    }
}

#[async_trait]
impl<S: ContentStore> ContentStore for Content<S> {
    async fn info(&self, digest: &Digest) -> ContentResult<Blob> {
        self.store.info(digest).await
    }

    async fn list(&self, filters: &[String]) -> ContentResult<Vec<Blob>> {
        self.store.list(filters).await
    }

    async fn update(&self, digest: &Digest, labels: Labels, fields: &[String]) -> ContentResult<Blob> {
        self.store.update(digest, labels, fields).await
    }

    async fn delete(&self, digest: &Digest) -> ContentResult<()> {
        self.store.delete(digest).await?;
        let digest = digest.to_string();
        tell(&self.bus, &self.namespace, &ContentDelete { digest });
        Ok(())
    }

    async fn reader_at(&self, digest: &Digest) -> ContentResult<Box<dyn ReadAt>> {
        self.store.reader_at(digest).await
    }

    async fn writer(&self, options: WriterOptions) -> ContentResult<Box<dyn Writer>> {
        let writer = self.store.writer(options).await?;
        let (bus, namespace) = (self.bus.clone(), self.namespace.clone());
        Ok(Box::new(ToldWriter {
            writer,
            bus,
            namespace,
        }))
    }

    async fn status(&self, name: &str) -> ContentResult<Status> {
        self.store.status(name).await
    }

    async fn list_statuses(&self, filters: &[String]) -> ContentResult<Vec<Status>> {
        self.store.list_statuses(filters).await
    }

    async fn abort(&self, name: &str) -> ContentResult<()> {
        self.store.abort(name).await
    }
}

#[derive(Debug)]
struct ToldWriter {
    writer: Box<dyn Writer>,
    bus: Bus,
    namespace: String,
}

#[async_trait]
impl Writer for ToldWriter {
    fn status(&self) -> Status {
        self.writer.status()
    }

    fn file(&self) -> Option<std::fs::File> {
        self.writer.file()
    }

    async fn write(&mut self, data: Bytes) -> ContentResult<()> {
        self.writer.write(data).await
    }

    async fn truncate(&mut self, size: u64) -> ContentResult<()> {
        self.writer.truncate(size).await
    }

    async fn commit(
        &mut self,
        size: u64,
        expected: Option<&Digest>,
        labels: Labels,
    ) -> ContentResult<Digest> {
        let digest = self.writer.commit(size, expected, labels).await?;
        let event = ContentCreate {
            digest: digest.to_string(),
            size: i64::try_from(self.writer.status().offset).unwrap_or(i64::MAX),
        };
        tell(&self.bus, &self.namespace, &event);
        Ok(digest)
    }
}

/// A snapshotter as a namespace sees it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    snapshots: Arc<dyn Snapshotter>,
    name: &'static str,
    bus: Bus,
    namespace: String,
}

impl Snapshots {
    pub(crate) fn new(
        snapshots: Arc<dyn Snapshotter>,
        name: &'static str,
        bus: &Bus,
        namespace: &str,
    ) -> Snapshots {
        Snapshots {
            snapshots,
            name,
            bus: bus.clone(),
            namespace: namespace.to_owned(),
        }
    }
}

#[async_trait]
impl Snapshotter for Snapshots {
    async fn stat(&self, name: &str) -> SnapshotResult<Info> {
        self.snapshots.stat(name).await
    }

    async fn update(&self, info: Info, fields: &[String]) -> SnapshotResult<Info> {
        self.snapshots.update(info, fields).await
    }

    async fn usage(&self, name: &str) -> SnapshotResult<Usage> {
        self.snapshots.usage(name).await
    }

    async fn mounts(&self, key: &str) -> SnapshotResult<Vec<Mount>> {
        self.snapshots.mounts(key).await
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> SnapshotResult<Vec<Mount>> {
        let mounts = self.snapshots.prepare(key, parent, labels).await?;
        let event = SnapshotPrepare {
            key: key.to_owned(),
            parent: parent.to_owned(),
            snapshotter: self.name.to_owned(),
        };
        tell(&self.bus, &self.namespace, &event);
        Ok(mounts)
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> SnapshotResult<Vec<Mount>> {
        // Of views containerd tells nothing.
        self.snapshots.view(key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, labels: Labels) -> SnapshotResult<()> {
        self.snapshots.commit(name, key, labels).await?;
        let event = SnapshotCommit {
            key: key.to_owned(),
            name: name.to_owned(),
            snapshotter: self.name.to_owned(),
        };
        tell(&self.bus, &self.namespace, &event);
        Ok(())
    }

    async fn remove(&self, name: &str) -> SnapshotResult<()> {
        self.snapshots.remove(name).await?;
        let event = SnapshotRemove {
            key: name.to_owned(),
            snapshotter: self.name.to_owned(),
        };
        tell(&self.bus, &self.namespace, &event);
        Ok(())
    }

    async fn walk(&self, filters: &[String]) -> SnapshotResult<Vec<Info>> {
        self.snapshots.walk(filters).await
    }

    async fn cleanup(&self) -> SnapshotResult<()> {
        self.snapshots.cleanup().await
    }
}
