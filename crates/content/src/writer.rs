//! Writing an ingest without blocking: while a thread hashes and writes one batch, the next one is gathered.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lighter_oci::Digest;
use lighter_stdx::clock::Clock;
use tokio::task::JoinHandle;

use crate::ingest::{Ingest, Record};
use crate::local::LocalStore;
use crate::{Error, Labels, Result, Status, Writer};

/// Bytes that are gathered before they are handed to a thread.
const BATCH: usize = 512 << 10;

/// An ingest being written.
#[derive(Debug)]
pub(crate) struct LocalWriter {
    store: LocalStore,
    clock: Clock,
    record: Record,
    offset: u64,
    updated_at: Timestamp,
    pending: Vec<Bytes>,
    pending_size: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Box<Ingest>),
    Busy(JoinHandle<(Box<Ingest>, Result<()>)>),
    /// Committed, or dead.
    Closed,
}

impl LocalWriter {
    pub(crate) fn new(store: LocalStore, ingest: Ingest, clock: Clock) -> LocalWriter {
        LocalWriter {
            store,
            updated_at: clock.now(),
            clock,
            record: ingest.record.clone(),
            offset: ingest.offset,
            pending: Vec::new(),
            pending_size: 0,
            state: State::Idle(Box::new(ingest)),
        }
    }

    /// The ingest, when the batch under way is written.
    async fn ingest(&mut self) -> Result<Box<Ingest>> {
        if let State::Busy(batch) = &mut self.state {
            let done = batch.await;
            self.state = State::Closed;
            let (ingest, result) = done.map_err(|_| Error::Panicked)?;
            let written = ingest.offset;
            self.state = State::Idle(ingest);
            if result.is_err() {
                // What was gathered behind the failure is void.
                self.offset = written;
                self.clear();
            }
            result?;
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Idle(ingest) => Ok(ingest),
            State::Busy(_) | State::Closed => Err(Error::Precondition {
                name: self.record.name.clone(),
                why: "the writer is closed",
            }),
        }
    }

    /// Hands what was gathered to a thread.
    async fn start_batch(&mut self) -> Result<()> {
        let mut ingest = self.ingest().await?;
        let chunks = std::mem::take(&mut self.pending);
        self.pending_size = 0;
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let result = ingest.append(&chunks);
            (ingest, result)
        }));
        Ok(())
    }

    /// The ingest, with all that was given written.
    async fn flushed(&mut self) -> Result<Box<Ingest>> {
        if !self.pending.is_empty() {
            self.start_batch().await?;
        }
        self.ingest().await
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.pending_size = 0;
    }
}

#[async_trait]
impl Writer for LocalWriter {
    fn status(&self) -> Status {
        Status {
            name: self.record.name.clone(),
            offset: self.offset,
            total: self.record.total,
            expected: self.record.expected.clone(),
            started_at: self.record.started_at,
            updated_at: self.updated_at,
        }
    }

    fn file(&self) -> Option<std::fs::File> {
        match &self.state {
            State::Idle(ingest) => ingest.file(),
            State::Busy(_) | State::Closed => None,
        }
    }

    async fn write(&mut self, data: Bytes) -> Result<()> {
        if matches!(self.state, State::Closed) {
            return self.ingest().await.map(drop);
        }
        if data.is_empty() {
            return Ok(());
        }
        self.updated_at = self.clock.now();
        self.offset += data.len() as u64;
        self.pending_size += data.len();
        self.pending.push(data);
        if self.pending_size >= BATCH {
            self.start_batch().await
        } else {
            Ok(())
        }
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        let mut ingest = self.flushed().await?;
        let (ingest, result) = tokio::task::spawn_blocking(move || {
            let result = ingest.truncate(size);
            (ingest, result)
        })
        .await
        .map_err(|_| Error::Panicked)?;
        self.offset = ingest.offset;
        self.state = State::Idle(ingest);
        result
    }

    async fn commit(&mut self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<Digest> {
        let ingest = self.flushed().await?;
        let (store, expected) = (self.store.clone(), expected.cloned());
        let (ingest, result) = tokio::task::spawn_blocking(move || {
            let result = store.commit(&ingest, size, expected.as_ref(), labels);
            if matches!(result, Ok(_) | Err(Error::ContentExists(_))) {
                // The blob is there; a directory that stays is given up after a day.
                let _ = ingest.remove();
                (None, result)
            } else {
                (Some(ingest), result)
            }
        })
        .await
        .map_err(|_| Error::Panicked)?;
        self.state = ingest.map_or(State::Closed, State::Idle);
        result
    }
}
