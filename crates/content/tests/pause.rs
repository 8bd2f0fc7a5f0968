//! What a collection costs those who work beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lighter_content::lease::{Leases, Resource};
use lighter_content::{Collector, ContentStore as _, Labels, LocalContent, LocalStore, write_blob};
use lighter_meta::Db;
use lighter_stdx::clock::Clock;

/// Half of them are garbage.
const BLOBS: usize = 10_000;
/// What one call may wait, as a part of the collection: it is no single stop. How long that is, is printed; the time itself depends on
/// how the test was compiled and on what else the machine does.
const MOST: f64 = 0.25;

struct Stores {
    content: LocalContent,
    collector: Collector,
    leases: Leases,
    _dir: tempfile::TempDir,
}

impl Stores {
    fn new() -> Stores {
        // In memory: what a disk makes a writer wait for is not the collection.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let db = Db::open(&dir.path().join("meta.db"), 1).unwrap();
        let clock = Clock::system();
        let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &clock).unwrap();
        Stores {
            collector: Collector::new(&db, &clock, vec![Arc::new(content.clone()) as _], Vec::new()),
            leases: Leases::new(&db, &clock, "moby"),
            content,
            _dir: dir,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_long_for_a_collection_of_ten_thousand_blobs() {
    let Stores {
        content,
        collector,
        leases,
        _dir,
    } = Stores::new();
    leases.create("kept", Labels::new()).await.unwrap();
    leases.create("work", Labels::new()).await.unwrap();
    let kept = content.namespace("moby", Some("kept"));
    let seen = write_blob(&kept, "seen".into(), Labels::new()).await.unwrap();

    let mut worst = f64::INFINITY;
    // A machine that does other things too may be slow once.
    for try_ in 0..3 {
        fill(&content, try_).await;
        let done = Arc::new(AtomicBool::new(false));
        let calls = Calls {
            store: content.namespace("moby", Some("work")),
            leases: leases.clone(),
        };
        let writer = tokio::spawn(calls.until(done.clone()));
        let reader = tokio::spawn(longest(done.clone(), {
            let (store, seen) = (content.namespace("moby", None), seen.clone());
            move |_| {
                let (store, seen) = (store.clone(), seen.clone());
                async move {
                    store.info(&seen).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }));
        let begun = Instant::now();
        let collected = collector.collect().await.unwrap();
        let took = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        let ((write, writes), (read, reads)) = (writer.await.unwrap(), reader.await.unwrap());
        println!(
            "{} removed in {took:?}; longest write {write:?} of {writes}, longest read {read:?} of {reads}",
            collected.removed.len()
        );
        assert!(
            collected.removed.len() >= BLOBS / 2,
            "{} removed",
            collected.removed.len()
        );
        worst = worst.min(write.max(read).div_duration_f64(took));
        assert!(writes > 100 && reads > 100, "{writes} writes, {reads} reads");
        if worst <= MOST {
            break;
        }
    }
    assert!(worst <= MOST, "somebody waited for {worst} of the collection");
    // What was made meanwhile, and what is counted on, is there.
    let store = content.namespace("moby", None);
    for info in store.list(&[]).await.unwrap() {
        assert!(
            store.reader_at(&info.digest).await.is_ok(),
            "{info:?} has no file"
        );
    }
}

/// Blobs, every second of them under the lease.
async fn fill(content: &LocalContent, salt: usize) {
    let mut all = tokio::task::JoinSet::new();
    for part in 0..64 {
        let (kept, loose) = (
            content.namespace("moby", Some("kept")),
            content.namespace("moby", None),
        );
        all.spawn(async move {
            for number in (part..BLOBS).step_by(64) {
                let store = if number.is_multiple_of(2) { &kept } else { &loose };
                let data = Bytes::from(format!("{salt} {number}"));
                write_blob(store, data, Labels::new()).await.unwrap();
            }
        });
    }
    while let Some(part) = all.join_next().await {
        part.unwrap();
    }
}

/// What a client does beside a collection.
struct Calls {
    store: LocalStore,
    leases: Leases,
}

impl Calls {
    /// The longest call, and how many there were.
    async fn until(self, done: Arc<AtomicBool>) -> (Duration, usize) {
        let (mut longest, mut number) = (Duration::ZERO, 0_usize);
        let mut note = |begun: Instant| longest = longest.max(begun.elapsed());
        while !done.load(Ordering::Relaxed) {
            let lease = format!("lease {number}");
            let begun = Instant::now();
            self.leases.create(&lease, Labels::new()).await.unwrap();
            note(begun);
            let begun = Instant::now();
            self.leases.delete(&lease).await.unwrap();
            note(begun);
            if number.is_multiple_of(32) {
                let text = format!("made beside a collection {number}");
                let begun = Instant::now();
                write_blob(&self.store, text.into(), Labels::new()).await.unwrap();
                note(begun);
            }
            number += 2;
        }
        (longest, number)
    }
}

/// The longest and the number of `work`, done again and again until it is over.
async fn longest<F: Future<Output = ()>>(
    done: Arc<AtomicBool>,
    mut work: impl FnMut(usize) -> F,
) -> (Duration, usize) {
    let (mut longest, mut number) = (Duration::ZERO, 0);
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        work(number).await;
        longest = longest.max(begun.elapsed());
        number += 1;
    }
    (longest, number)
}

/// Images of a manifest and a layer.
const IMAGES: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_again_while_it_is_collected_is_whole_or_gone() {
    let Stores {
        content,
        collector,
        leases,
        _dir,
    } = Stores::new();
    leases.create("wanted", Labels::new()).await.unwrap();
    let store = content.namespace("moby", None);
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let layer = write_blob(&store, format!("layer {number}").into(), Labels::new());
        let layer = layer.await.unwrap();
        let labels = Labels::from([("containerd.io/gc.ref.content.0".to_owned(), layer.to_string())]);
        let manifest = write_blob(&store, format!("manifest {number}").into(), labels);
        images.push((manifest.await.unwrap(), layer));
    }
    let collecting = tokio::spawn(async move { collector.collect().await.unwrap() });
    let mut wanted = 0;
    for (manifest, _) in &images {
        if collecting.is_finished() {
            break;
        }
        leases
            .add_resource("wanted", Resource::content(manifest))
            .await
            .unwrap();
        wanted += 1;
    }
    let collected = collecting.await.unwrap();
    let mut whole = 0;
    for (manifest, layer) in &images {
        if store.reader_at(manifest).await.is_ok() {
            assert!(
                store.reader_at(layer).await.is_ok(),
                "{manifest} is there without {layer}"
            );
            whole += 1;
        }
    }
    println!(
        "{} removed, {wanted} wanted meanwhile, {whole} whole",
        collected.removed.len()
    );
    assert!(collected.removed.len() + 2 * whole >= 2 * IMAGES);
}
