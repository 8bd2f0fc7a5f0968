//! What a transfer tells while it runs.

use lighter_oci::{Descriptor, Digest, media_type};
use tokio::sync::mpsc::UnboundedSender;

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// `progress` of `total` bytes are here.
    Downloading,
    /// All of it is here, and is what it should be.
    Downloaded,
    /// `progress` of `total` (compressed) bytes are unpacked.
    Extracting,
    /// It is unpacked.
    Complete,
    /// It was here before.
    Exists,
    /// `progress` of `total` bytes are in the registry.
    Uploading,
    /// It was in the registry before, or in another repository of it.
    Known,
}

impl State {
    /// The word for it in `Progress` messages: `waiting`, ...
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Downloading => "downloading",
            State::Downloaded => "downloaded",
            State::Extracting => "extracting",
            State::Complete => "complete",
            State::Exists => "exists",
            State::Uploading => "uploading",
            State::Known => "already exists",
        }
    }
}

/// Something happened to a layer, or in a push to a document. The first events of the layers come in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The layer.
    pub layer: Digest,
    /// In a push: what it is, and what it is part of.
    pub part: Option<Part>,
    /// What happened.
    pub state: State,
    /// Bytes done.
    pub progress: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A part of an image that is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part.
    pub descriptor: Descriptor,
    /// What it is part of, by [`name`].
    pub parents: Vec<String>,
}

/// How containerd calls something that is transferred: `layer-sha256:...`, `manifest-...`, `index-...`, `config-...`.
pub fn name(descriptor: &Descriptor) -> String {
    let kind = match descriptor.media_type.as_str() {
        kind if media_type::is_index(kind) => "index",
        kind if media_type::is_manifest(kind) => "manifest",
        kind if media_type::is_layer(kind) => "layer",
        kind if media_type::is_config(kind) => "config",
        "application/vnd.in-toto+json" => "attestation",
        _ => "unknown",
    };
    format!("{kind}-{}", descriptor.digest)
}

/// Where events go. Nobody need listen.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<UnboundedSender<Event>>);

impl Progress {
    /// To `sender`. Events are few (some hundred for an image), so the channel needs no bound.
    pub fn new(sender: UnboundedSender<Event>) -> Progress {
        Progress(Some(sender))
    }

    pub(crate) fn send(&self, layer: &Digest, state: State, progress: u64, total: u64) {
        if let Some(sender) = &self.0 {
            // A listener that went away misses nothing that it wants.
            let _ = sender.send(Event {
                layer: layer.clone(),
                part: None,
                state,
                progress,
                total,
            });
        }
    }
}

/// A part of an image that is pushed, with somebody to tell.
#[derive(Debug, Clone)]
pub(crate) struct ToldPart {
    pub(crate) progress: Progress,
    pub(crate) part: Part,
}

impl ToldPart {
    pub(crate) fn send(&self, state: State, progress: u64) {
        if let Some(sender) = &self.progress.0 {
            let descriptor = &self.part.descriptor;
            let _ = sender.send(Event {
                layer: descriptor.digest.clone(),
                part: Some(self.part.clone()),
                state,
                progress,
                total: descriptor.size,
            });
        }
    }
}

/// Thins out the events of one layer's bytes: a hundred of them at most, none for less than a quarter of a mebibyte.
#[derive(Debug)]
pub(crate) struct Meter {
    progress: Progress,
    layer: Digest,
    state: State,
    total: u64,
    next: u64,
}

impl Meter {
    pub(crate) fn new(progress: &Progress, layer: &Digest, state: State, total: u64) -> Meter {
        Meter {
            progress: progress.clone(),
            layer: layer.clone(),
            state,
            total,
            next: 0,
        }
    }

    pub(crate) fn at(&mut self, done: u64) {
        if done >= self.next {
            self.next = done + (self.total / 100).max(256 << 10);
            self.progress.send(&self.layer, self.state, done, self.total);
        }
    }
}
