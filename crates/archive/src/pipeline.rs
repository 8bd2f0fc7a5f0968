//! Decompression, hashing and unpacking side by side.
//!
//! Three threads: one reads and decompresses, one hashes what comes out, and the caller unpacks it. A full queue makes the
//! first wait, so the memory is bounded.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use lighter_oci::{Algorithm, Digest};

use crate::decode::{Compression, decode};
use crate::{Error, Result};

const CHUNK: usize = 256 << 10;
/// Chunks that may wait in each queue.
const QUEUE: usize = 8;

type Chunk = Arc<Vec<u8>>;

/// The uncompressed bytes of a stream, as the unpacking thread reads them.
pub(crate) struct Pipeline<'scope> {
    chunks: Receiver<Chunk>,
    current: Chunk,
    used: usize,
    decoder: Option<ScopedJoinHandle<'scope, Result<Compression>>>,
    hasher: ScopedJoinHandle<'scope, Digest>,
    size: &'scope AtomicU64,
    /// What the decoder came to, once a read has seen its end.
    outcome: Option<Result<Compression>>,
}

impl<'scope> Pipeline<'scope> {
    /// Starts the threads on `source`; more than `limit` uncompressed bytes are an error.
    pub(crate) fn start<'env, R: Read + Send + 'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: R,
        limit: u64,
        size: &'scope AtomicU64,
    ) -> io::Result<Pipeline<'scope>> {
        let (to_unpack, chunks) = sync_channel(QUEUE);
        let (to_hash, hashed) = sync_channel(QUEUE);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let hasher = thread("layer-hash").spawn_scoped(scope, move || hash(&hashed))?;
        let decoder = thread("layer-decode").spawn_scoped(scope, move || {
            decompress(source, limit, size, &to_unpack, &to_hash)
        })?;
        Ok(Pipeline {
            chunks,
            current: Arc::default(),
            used: 0,
            decoder: Some(decoder),
            hasher,
            size,
            outcome: None,
        })
    }

    /// Reads what is left and gives the digest and the number of all bytes, and how they were compressed. An error of the stream
    /// comes before `unpacked`, which it caused.
    pub(crate) fn finish(mut self, unpacked: Result<()>) -> Result<(Digest, u64, Compression)> {
        if let Err(error) = unpacked {
            // The threads end when nobody listens; the scope waits for them.
            return Err(self.outcome.and_then(Result::err).unwrap_or(error));
        }
        while self.chunks.recv().is_ok() {}
        self.see_end();
        let compression = self.outcome.unwrap_or(Ok(Compression::None))?;
        let digest = join(self.hasher)?;
        Ok((digest, self.size.load(Ordering::Relaxed), compression))
    }
}

impl Pipeline<'_> {
    /// The queue is at its end: asks the thread behind it why.
    fn see_end(&mut self) {
        if let Some(decoder) = self.decoder.take() {
            self.outcome = Some(join(decoder).flatten());
        }
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread
        .join()
        .map_err(|_| Error::Read(io::Error::other("a thread of the pipeline panicked")))
}

fn decompress(
    source: impl Read + Send,
    limit: u64,
    size: &AtomicU64,
    to_unpack: &SyncSender<Chunk>,
    to_hash: &SyncSender<Chunk>,
) -> Result<Compression> {
    let (compression, mut stream) = decode(source)?;
    let mut total = 0_u64;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut stream)
            .take(CHUNK as u64)
            .read_to_end(&mut chunk)
            .map_err(Error::Read)?;
        if read == 0 {
            return Ok(compression);
        }
        total += read as u64;
        if total > limit {
            return Err(Error::TooLarge { limit });
        }
        size.store(total, Ordering::Relaxed);
        let chunk = Arc::new(chunk);
        // Whoever does not listen any more has failed, and tells so itself.
        if to_hash.send(Arc::clone(&chunk)).is_err() || to_unpack.send(chunk).is_err() {
            return Ok(compression);
        }
    }
}

fn hash(chunks: &Receiver<Chunk>) -> Digest {
    let mut hasher = Algorithm::Sha256.hasher();
    while let Ok(chunk) = chunks.recv() {
        hasher.update(&chunk);
    }
    hasher.finish()
}

impl Read for Pipeline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pipeline<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.current.len() {
            match self.chunks.recv() {
                Ok(chunk) => (self.current, self.used) = (chunk, 0),
                Err(_) => {
                    // Its failure is kept for `finish`, because io::Error would hide what it is.
                    self.see_end();
                    if matches!(self.outcome, Some(Err(_))) {
                        return Err(io::Error::other("the stream failed"));
                    }
                }
            }
        }
        Ok(&self.current[self.used..])
    }

    fn consume(&mut self, length: usize) {
        self.used += length;
    }
}
