//! A blob that is read while it is written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::progress::Meter;

/// What a reader fails with when the writer gave up.
pub(crate) const BROKEN: &str = "the download ended early";

/// What the writing side tells the reading side.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the writes.
    writes: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

/// The writing side. Dropped before [`Source::finish`], it tells that there will be no more.
#[derive(Debug)]
pub(crate) struct Source(Arc<Shared>);

impl Source {
    pub(crate) fn new() -> Source {
        Source(Arc::default())
    }

    /// A reader of `file`, from its start, that waits for what is written to it.
    pub(crate) fn reader(&self, file: File, meter: Meter) -> Follow {
        Follow {
            shared: Arc::clone(&self.0),
            file,
            position: 0,
            meter,
        }
    }

    /// Something was, or will soon be, in the file.
    pub(crate) fn wrote(&self) {
        self.change(|state| state.writes += 1);
    }

    /// All is in the file, and is what it should be.
    pub(crate) fn finish(self) {
        self.change(|state| state.end = Some(End::Whole));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.change(|state| {
            state.end.get_or_insert(End::Broken);
        });
    }
}

/// The reading side, for a thread that may block.
#[derive(Debug)]
pub(crate) struct Follow {
    shared: Arc<Shared>,
    file: File,
    position: u64,
    meter: Meter,
}

impl Read for Follow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Looked at before the file, so that a write between the two is not missed.
            let (writes, end) = {
                let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.writes, state.end)
            };
            if end == Some(End::Broken) {
                return Err(io::Error::other(BROKEN));
            }
            let length = self.file.read_at(buffer, self.position)?;
            if length > 0 || end.is_some() {
                self.position += length as u64;
                // While it is still being downloaded, that is what there is to tell.
                if end.is_some() {
                    self.meter.at(self.position);
                }
                return Ok(length);
            }
            let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let unchanged = |state: &mut State| state.writes == writes && state.end.is_none();
            drop(
                self.shared
                    .changed
                    .wait_while(state, unchanged)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}

/// A blob that is there, with a meter.
pub(crate) struct Metered<R> {
    pub(crate) source: R,
    pub(crate) position: u64,
    pub(crate) meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.position += length as u64;
        self.meter.at(self.position);
        Ok(length)
    }
}
