//! What a transfer tells its client while it runs.
//!
//! Layers are named by their digests and have our words (`docs/design/0001-seams.md`); what concerns the whole is told as containerd does.

use lighter_containerd::images::Image;
use lighter_containerd_api::any;
use lighter_containerd_api::transfer_types::Progress;
use lighter_images::Event;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::descriptor::{bytes, message};
use crate::streaming::Both;

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

    /// The image has its name.
    pub(super) async fn saved(&self, image: &Image) {
        self.send(Progress {
            event: "saved".to_owned(),
            name: image.name.clone(),
            desc: Some(message(image.target.clone())),
            ..Progress::default()
        })
        .await;
    }

    /// All that comes from `events`.
    pub(super) async fn events(&self, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            self.send(Progress {
                event: event.state.name().to_owned(),
                name: event.layer.to_string(),
                progress: bytes(event.progress),
                total: bytes(event.total),
                ..Progress::default()
            })
            .await;
        }
    }

    async fn send(&self, progress: Progress) {
        if let Some(stream) = &self.0 {
            // Who does not listen any more misses nothing that it wants.
            let _ = stream.to.send(Ok(any::pack(&progress))).await;
        }
    }
}
