//! What the collector keeps and what it removes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use lighter_content::gc::{Node, Roots};
use lighter_content::lease::{Leases, Resource};
use lighter_content::{Collector, ContentStore as _, Error, Labels, LocalContent, WriterOptions, write_blob};
use lighter_meta::{Db, Read};
use lighter_oci::Digest;
use lighter_stdx::clock::Clock;

const NAMESPACE: &str = "moby";

/// Roots as a caller keeps them: here, in memory.
#[derive(Debug, Default, Clone)]
struct Named(Arc<Mutex<Vec<Digest>>>);

impl Roots for Named {
    fn roots(&self, _: &dyn Read, root: &mut dyn FnMut(Node)) -> lighter_content::Result<()> {
        for digest in self.0.lock().unwrap().iter() {
            root(Node::Content {
                namespace: NAMESPACE.into(),
                digest: digest.clone(),
            });
        }
        Ok(())
    }

    fn are_in(&self, _: &str) -> bool {
        false
    }
}

struct World {
    _dir: tempfile::TempDir,
    content: LocalContent,
    collector: Collector,
    leases: Leases,
    roots: Named,
    now: Arc<Mutex<Timestamp>>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("meta.db"), 1).unwrap();
        let now = Arc::new(Mutex::new(Timestamp::now()));
        let told = now.clone();
        let clock = Clock::new(move || *told.lock().unwrap());
        let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &clock).unwrap();
        let roots = Named::default();
        let stores = vec![Arc::new(content.clone()) as _];
        let collector = Collector::new(&db, &clock, stores, vec![Arc::new(roots.clone()) as _]);
        World {
            _dir: dir,
            content,
            collector,
            leases: Leases::new(&db, &clock, NAMESPACE),
            roots,
            now,
        }
    }

    async fn write(&self, lease: Option<&str>, text: &'static str, labels: &[(&str, &Digest)]) -> Digest {
        let labels = labels
            .iter()
            .map(|(key, digest)| ((*key).to_owned(), digest.to_string()))
            .collect();
        let store = self.content.namespace(NAMESPACE, lease);
        write_blob(&store, Bytes::from_static(text.as_bytes()), labels)
            .await
            .unwrap()
    }

    /// The digests that a collection removes.
    async fn collect(&self) -> Vec<Digest> {
        let removed = self.collector.collect().await.unwrap().removed;
        let digest = |node| match node {
            Node::Content { digest, .. } => digest,
            Node::Snapshot { .. } => unreachable!("there are no snapshots here"),
        };
        removed.into_iter().map(digest).collect()
    }
}

fn sorted<const N: usize>(digests: [&Digest; N]) -> Vec<Digest> {
    let mut digests = digests.map(Clone::clone).to_vec();
    digests.sort();
    digests
}

#[tokio::test]
async fn what_a_root_leads_to_is_kept_and_the_rest_goes() {
    let world = World::new();
    let layer = world.write(None, "layer", &[]).await;
    let config = world.write(None, "config", &[]).await;
    let named: &[(&str, &Digest)] = &[
        ("containerd.io/gc.ref.content.config", &config),
        ("containerd.io/gc.ref.content.l.0", &layer),
    ];
    let manifest = world.write(None, "manifest", named).await;
    let index = world
        .write(None, "index", &[("containerd.io/gc.ref.content.m.0", &manifest)])
        .await;
    let other = world
        .write(None, "other", &[("containerd.io/gc.ref.contentious", &layer)])
        .await;
    let pinned = world
        .write(None, "pinned", &[("containerd.io/gc.root", &layer)])
        .await;
    world.roots.0.lock().unwrap().push(index.clone());
    assert_eq!(world.collect().await, [other]);
    world.roots.0.lock().unwrap().clear();
    assert_eq!(
        world.collect().await,
        sorted([&layer, &config, &manifest, &index])
    );
    assert_eq!(world.collect().await, []);
    let store = world.content.namespace(NAMESPACE, None);
    assert_eq!(store.list(&[]).await.unwrap().len(), 1);
    store.info(&pinned).await.unwrap();
}

#[tokio::test]
async fn a_lease_keeps_what_was_made_under_it_until_it_ends() {
    let world = World::new();
    world.leases.create("pull", Labels::new()).await.unwrap();
    assert!(matches!(
        world.leases.create("pull", Labels::new()).await,
        Err(Error::LeaseExists(_))
    ));
    let layer = world.write(None, "layer", &[]).await;
    let manifest = world
        .write(
            Some("pull"),
            "manifest",
            &[("containerd.io/gc.ref.content", &layer)],
        )
        .await;
    assert_eq!(
        world.leases.resources("pull").unwrap(),
        [Resource::content(&manifest)]
    );
    assert_eq!(world.collect().await, []);
    // A blob that is there already comes under the lease of who would have written it.
    world.leases.create("second", Labels::new()).await.unwrap();
    world.write(Some("second"), "layer", &[]).await;
    world.leases.delete("pull").await.unwrap();
    assert_eq!(world.collect().await, [manifest]);
    world
        .leases
        .remove_resource("second", Resource::content(&layer))
        .await
        .unwrap();
    assert_eq!(world.collect().await, [layer]);
    assert!(matches!(
        world.leases.delete("pull").await,
        Err(Error::NoLease(_))
    ));
}

#[tokio::test]
async fn a_lease_ends_at_its_time_and_a_flat_one_keeps_only_what_it_names() {
    let world = World::new();
    let end = *world.now.lock().unwrap() + jiff::SignedDuration::from_secs(60);
    let labels = |key: &str, value: String| Labels::from([(key.to_owned(), value)]);
    world
        .leases
        .create("short", labels("containerd.io/gc.expire", end.to_string()))
        .await
        .unwrap();
    world
        .leases
        .create("flat", labels("containerd.io/gc.flat", "1".into()))
        .await
        .unwrap();
    let short = world.write(Some("short"), "short", &[]).await;
    let layer = world.write(None, "layer", &[]).await;
    let flat = world
        .write(Some("flat"), "flat", &[("containerd.io/gc.ref.content", &layer)])
        .await;
    assert_eq!(world.collect().await, [layer]);
    *world.now.lock().unwrap() = end;
    let collected = world.collector.collect().await.unwrap();
    assert_eq!(collected.expired, [(NAMESPACE.to_owned(), "short".to_owned())]);
    assert_eq!(
        collected.removed,
        [Node::Content {
            namespace: NAMESPACE.into(),
            digest: short
        }]
    );
    assert_eq!(world.leases.list(&[]).unwrap().len(), 1);
    world
        .content
        .namespace(NAMESPACE, None)
        .info(&flat)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_without_pause_beside_leased_writers_loses_nothing() {
    let world = Arc::new(World::new());
    world.leases.create("pull", Labels::new()).await.unwrap();
    let collecting = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let collector = {
        let (world, collecting) = (world.clone(), collecting.clone());
        tokio::spawn(async move {
            while collecting.load(std::sync::atomic::Ordering::Relaxed) {
                world.collector.collect().await.unwrap();
            }
        })
    };
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let world = world.clone();
            tokio::spawn(async move {
                let leased = world.content.namespace(NAMESPACE, Some("pull"));
                let free = world.content.namespace("other", None);
                for number in 0..40 {
                    // Without a lease, in another namespace: its file is removed at any time, also while the other is committed.
                    let data = Bytes::from(format!("blob {} {number}", writer % 2));
                    let _ = write_blob(&free, data.clone(), Labels::new()).await;
                    let digest = write_blob(&leased, data.clone(), Labels::new()).await.unwrap();
                    let read = lighter_content::read_blob(&leased, &digest, 100).await.unwrap();
                    assert_eq!(read, data);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    collecting.store(false, std::sync::atomic::Ordering::Relaxed);
    collector.await.unwrap();
    assert_eq!(
        world
            .content
            .namespace(NAMESPACE, None)
            .list(&[])
            .await
            .unwrap()
            .len(),
        80
    );
}

#[tokio::test]
async fn an_ingest_that_nobody_writes_to_is_given_up_after_a_day() {
    let world = World::new();
    let store = world.content.namespace(NAMESPACE, None);
    for name in ["left", "held"] {
        let options = WriterOptions {
            name: name.into(),
            ..WriterOptions::default()
        };
        store
            .writer(options)
            .await
            .unwrap()
            .write(Bytes::from_static(b"data"))
            .await
            .unwrap();
    }
    let options = WriterOptions {
        name: "held".into(),
        ..WriterOptions::default()
    };
    let _held = store.writer(options).await.unwrap();
    world.collect().await;
    assert_eq!(store.list_statuses(&[]).await.unwrap().len(), 2);
    *world.now.lock().unwrap() += jiff::SignedDuration::from_hours(25);
    world.collect().await;
    let left: Vec<String> = store
        .list_statuses(&[])
        .await
        .unwrap()
        .into_iter()
        .map(|status| status.name)
        .collect();
    assert_eq!(left, ["held"]);
}
