//! What a transfer tells its client while it runs.
//!
//! The layers of a pull are named by their digests and have our words (`docs/design/0001-seams.md`); all else is told as containerd does.

use std::time::Duration;

use lighter_containerd::images::Image;
use lighter_containerd_api::any;
use lighter_containerd_api::transfer_types::Progress;
use lighter_images::Event;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::descriptor::{bytes, message};
use crate::streaming::Both;

/// How long a client may take to hear the last words once all is done.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where progress goes. Its end ends the stream.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Both>);

impl Told {
    pub(super) fn to(stream: Both) -> Told {
        Told(Some(stream))
    }

    /// A word about the whole.
    pub(super) async fn say(&self, event: String) {
        self.send(Progress {
            event,
            ..Progress::default()
        })
        .await;
    }

    /// A word about an image.
    pub(super) async fn about(&self, event: &str, image: &Image) {
        self.send(Progress {
            event: event.to_owned(),
            name: image.name.clone(),
            desc: Some(message(image.target.clone())),
            ..Progress::default()
        })
        .await;
    }

    /// The images have their names.
    pub(super) async fn saved(&self, images: &[Image]) {
        for image in images {
            self.about("saved", image).await;
        }
    }

    /// All that comes from `events`.
    pub(super) async fn events(&self, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            let mut told = Progress {
                event: event.state.name().to_owned(),
                name: event.layer.to_string(),
                progress: bytes(event.progress),
                total: bytes(event.total),
                ..Progress::default()
            };
            if let Some(part) = event.part {
                told.name = lighter_images::name(&part.descriptor);
                told.parents = part.parents;
                told.desc = Some(message(part.descriptor));
            }
            self.send(told).await;
        }
    }

    /// Says what is left to say, as long as the client listens: what was done is done. It is on its way before this returns: a client that has
    /// its answer listens no more.
    pub(super) async fn last(&self, words: impl Future<Output = ()>) {
        let words = async {
            words.await;
            if let Some(stream) = &self.0 {
                // Room for all that fits: all was taken.
                let _ = stream.to.reserve_many(stream.to.max_capacity()).await;
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, words).await.is_err() {
            tracing::debug!("a client did not listen to its transfer");
        }
    }

    async fn send(&self, progress: Progress) {
        if let Some(stream) = &self.0 {
            // Who does not listen any more misses nothing that it wants.
            let _ = stream.to.send(Ok(any::pack(&progress))).await;
        }
    }
}
