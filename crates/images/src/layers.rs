//! The layers of an image: downloaded side by side, unpacked one after the other while they come.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use lighter_content::{ContentStore, Labels};
use lighter_oci::{Descriptor, Digest, ImageConfig, Manifest, chain_ids};
use lighter_registry::Repository;
use lighter_stdx::kind::Kind;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::flow::{self, Metered, Source};
use crate::progress::{Meter, Progress, State};
use crate::pull::{Stores, Unpack};
use crate::unpack::{Extraction, exists};
use crate::{Error, Result, fetch, labels};

/// Downloads at a time, as Docker's default.
const DOWNLOADS: usize = 3;
/// Tries after layers below were removed.
const TRIES: u32 = 3;

/// A layer on its way: what unpacking it waits for.
struct Coming {
    /// Told when bytes can be read.
    begun: oneshot::Receiver<Box<dyn Read + Send>>,
    /// Told when all of it is in the store, checked.
    done: oneshot::Receiver<()>,
}

/// Brings the layers of `manifest` into the stores.
pub(crate) async fn bring(
    repository: &Arc<Repository>,
    stores: &Stores,
    manifest: &Manifest,
    config: &ImageConfig,
    progress: &Progress,
) -> Result<()> {
    let chain = chain_ids(&config.rootfs.diff_ids);
    let present = match &stores.unpack {
        Some(unpack) => highest(unpack, &chain).await?,
        None => manifest.layers.len(),
    };
    let mut tasks = JoinSet::new();
    let mut coming: HashMap<Digest, Coming> = HashMap::new();
    let slots = Arc::new(Semaphore::new(DOWNLOADS));
    for (at, layer) in manifest.layers.iter().enumerate() {
        // The same layer may be in an image twice: it is one download and one line of progress.
        if coming.contains_key(&layer.digest) {
            continue;
        }
        let unpacked_later = at >= present;
        let exists = !unpacked_later && stores.content.info(&layer.digest).await.is_ok();
        progress.send(
            &layer.digest,
            if exists { State::Exists } else { State::Waiting },
            0,
            layer.size,
        );
        let (begin, begun) = oneshot::channel();
        let (finish, done) = oneshot::channel();
        coming.insert(layer.digest.clone(), Coming { begun, done });
        let download = Download {
            repository: Arc::clone(repository),
            content: Arc::clone(&stores.content),
            layer: layer.clone(),
            progress: if exists {
                Progress::default()
            } else {
                progress.clone()
            },
            unpacked_later,
        };
        let slots = Arc::clone(&slots);
        tasks.spawn(async move { download.run(slots, begin, finish).await });
    }
    let stop = Notify::new();
    let downloading = async {
        loop {
            let ended = tokio::select! {
                ended = tasks.join_next() => ended,
                () = stop.notified() => {
                    tasks.shutdown().await;
                    return Ok(());
                }
            };
            let Some(ended) = ended else { return Ok(()) };
            if let Err(error) = ended.unwrap_or(Err(Error::Panicked)) {
                // The reader that the unpacker waits on breaks with it.
                tasks.shutdown().await;
                return Err(error);
            }
        }
    };
    let unpacking = async {
        let Some(unpack) = &stores.unpack else {
            return Ok(());
        };
        let unpacker = Unpacker {
            unpack,
            content: stores.content.as_ref(),
            manifest,
            config,
            chain: &chain,
            progress,
        };
        let result = unpacker.run(present, &mut coming).await;
        // Where a download's end is the cause, the download tells it.
        if result.as_ref().is_err_and(|error| !is_of_download(error)) {
            stop.notify_one();
        }
        result
    };
    // Both to the end, so that nothing half-made stays. A download's failure is the cause of the unpacker's.
    let (downloaded, unpacked) = tokio::join!(downloading, unpacking);
    let result = downloaded.and(unpacked);
    if let Err(error) = &result
        && !fetch::is_resumable(error)
    {
        // What was stopped half-way is of no use to an image that cannot be.
        for layer in &manifest.layers {
            fetch::abort(stores.content.as_ref(), layer, "layer").await;
        }
    }
    result
}

/// Unpacks the layers of an image that is in the content store.
pub(crate) async fn unpack_stored(
    stores: &Stores,
    unpack: &Unpack,
    manifest: &Manifest,
    config: &ImageConfig,
    progress: &Progress,
) -> Result<()> {
    let chain = chain_ids(&config.rootfs.diff_ids);
    let Some(chain_id) = chain.last() else {
        return Ok(());
    };
    // Before anybody looks what layers are there: from now on the lease keeps them, through the config.
    let content = stores.content.as_ref();
    let label = labels::snapshot(&unpack.name, chain_id);
    labels::add(content, &manifest.config.digest, label).await?;
    let unpacker = Unpacker {
        unpack,
        content,
        manifest,
        config,
        chain: &chain,
        progress,
    };
    let present = highest(unpack, &chain).await?;
    unpacker.run(present, &mut HashMap::new()).await
}

/// Whether the unpacker failed only because a download did.
fn is_of_download(error: &Error) -> bool {
    match error {
        Error::Unpack { source, .. } => lighter_stdx::error::chain(source).contains(flow::BROKEN),
        // Nobody was left to tell that there is something to read, or that it is right.
        Error::Panicked => true,
        _ => false,
    }
}

/// How many layers, from the lowest, are there with all below them.
async fn highest(unpack: &Unpack, chain: &[Digest]) -> Result<usize> {
    for at in (0..chain.len()).rev() {
        if exists(unpack.snapshots.as_ref(), &chain[at]).await? {
            return Ok(at + 1);
        }
    }
    Ok(0)
}

/// One layer from the registry, or from the store where it is.
struct Download {
    repository: Arc<Repository>,
    content: Arc<dyn ContentStore>,
    layer: Descriptor,
    progress: Progress,
    unpacked_later: bool,
}

impl Download {
    async fn run(
        self,
        slots: Arc<Semaphore>,
        begin: oneshot::Sender<Box<dyn Read + Send>>,
        finish: oneshot::Sender<()>,
    ) -> Result<()> {
        // The semaphore is never closed.
        let _slot = slots.acquire().await.map_err(|_| Error::Panicked)?;
        let (content, layer) = (self.content.as_ref(), &self.layer);
        // Whoever waits for these may have gone for a reason of its own.
        let mut begin = Some(begin);
        let source = labels::source(&self.repository);
        let writer = match self.unpacked_later {
            true => fetch::open_unless_sound(content, layer, "layer").await?,
            false => fetch::open(content, layer, "layer").await?,
        };
        if let Some(writer) = writer {
            let flow = Source::new();
            // What is resumed may yet turn out wrong, and is read when it is known to be right.
            let file = writer
                .file()
                .filter(|_| writer.status().offset == 0 && self.unpacked_later);
            if let Some(begin) = file.and_then(|file| Some((begin.take()?, file))) {
                let (begin, file) = begin;
                let _ = begin.send(Box::new(flow.reader(file, self.meter(State::Extracting))));
            }
            let mut meter = self.meter(State::Downloading);
            let mut wrote = |offset| {
                flow.wrote();
                meter.at(offset);
            };
            let came = fetch::download(&self.repository, content, layer, writer, source, &mut wrote).await;
            came.map_err(|error| match error {
                Error::Content(source @ lighter_content::Error::Digest { .. }) => Error::Layer {
                    layer: layer.digest.clone(),
                    source,
                },
                error => error,
            })?;
            self.progress
                .send(&layer.digest, State::Downloaded, layer.size, layer.size);
            flow.finish();
        } else {
            labels::add(content, &layer.digest, source).await?;
            self.progress
                .send(&layer.digest, State::Downloaded, layer.size, layer.size);
        }
        if let Some(begin) = begin.filter(|_| self.unpacked_later) {
            let _ = begin.send(stored(content, layer, self.meter(State::Extracting)).await?);
        }
        if !self.unpacked_later {
            self.progress
                .send(&layer.digest, State::Complete, layer.size, layer.size);
        }
        let _ = finish.send(());
        Ok(())
    }

    fn meter(&self, state: State) -> Meter {
        Meter::new(&self.progress, &self.layer.digest, state, self.layer.size)
    }
}

/// A layer that is in the store.
async fn stored(
    content: &dyn ContentStore,
    layer: &Descriptor,
    meter: Meter,
) -> Result<Box<dyn Read + Send>> {
    let source = content.reader_at(&layer.digest).await?.into_read();
    Ok(Box::new(Metered {
        source,
        position: 0,
        meter,
    }))
}

struct Unpacker<'a> {
    unpack: &'a Unpack,
    content: &'a dyn ContentStore,
    manifest: &'a Manifest,
    config: &'a ImageConfig,
    chain: &'a [Digest],
    progress: &'a Progress,
}

impl Unpacker<'_> {
    /// Unpacks the layers from `first` on.
    async fn run(&self, first: usize, coming: &mut HashMap<Digest, Coming>) -> Result<()> {
        let mut from = first;
        for _ in 0..TRIES {
            match self.layers(from, coming).await {
                // Somebody removed a layer that was there when we looked.
                Err(Error::Snapshots(error)) if error.kind() == Kind::NotFound => {
                    from = highest(self.unpack, self.chain).await?
                }
                result => return result,
            }
        }
        Err(Error::Removed)
    }

    async fn layers(&self, from: usize, coming: &mut HashMap<Digest, Coming>) -> Result<()> {
        let snapshots = self.unpack.snapshots.as_ref();
        for at in from..self.chain.len() {
            let layer = &self.manifest.layers[at];
            // Another pull may have been faster.
            if !exists(snapshots, &self.chain[at]).await? {
                let parent = at.checked_sub(1).map(|below| &self.chain[below]);
                let extraction = Extraction::prepare(snapshots, parent, &self.chain[at]).await?;
                match self.layer(at, &extraction, coming.remove(&layer.digest)).await {
                    Ok(()) => extraction.commit(snapshots).await?,
                    Err(error) => {
                        extraction.discard(snapshots).await;
                        return Err(error);
                    }
                }
            }
            self.progress
                .send(&layer.digest, State::Complete, layer.size, layer.size);
        }
        Ok(())
    }

    /// Fills one snapshot; both hashes are right when it is done.
    async fn layer(&self, at: usize, extraction: &Extraction, coming: Option<Coming>) -> Result<()> {
        let (layer, expected) = (&self.manifest.layers[at], &self.config.rootfs.diff_ids[at]);
        let (source, done) = match coming {
            // A download that failed sends nothing; it tells its failure itself.
            Some(coming) => (
                coming.begun.await.map_err(|_| Error::Panicked)?,
                Some(coming.done),
            ),
            // The second time that it is needed.
            None => (
                stored(
                    self.content,
                    layer,
                    Meter::new(self.progress, &layer.digest, State::Extracting, layer.size),
                )
                .await?,
                None,
            ),
        };
        let applied = extraction.apply(layer, source, self.unpack.limit).await?;
        if applied.diff_id != *expected {
            return Err(Error::DiffId {
                layer: layer.digest.clone(),
                actual: applied.diff_id,
                expected: expected.clone(),
            });
        }
        if let Some(done) = done {
            done.await.map_err(|_| Error::Panicked)?;
        }
        let uncompressed = Labels::from([(labels::UNCOMPRESSED_LABEL.to_owned(), expected.to_string())]);
        labels::add(self.content, &layer.digest, uncompressed).await
    }
}
