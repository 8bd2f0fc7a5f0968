//! What a pull tells while it runs.

use lighter_oci::Digest;
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
        }
    }
}

/// Something happened to a layer. The first events of the layers come in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The layer.
    pub layer: Digest,
    /// What happened.
    pub state: State,
    /// Bytes done.
    pub progress: u64,
    /// Bytes in all.
    pub total: u64,
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
                state,
                progress,
                total,
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
