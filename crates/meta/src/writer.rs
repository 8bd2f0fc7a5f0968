//! The one thread that writes: it takes what is queued and commits it together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::changes::Changes;
use crate::error::Cause;
use crate::reserve::Reserve;
use crate::{Durability, Error, WriteTx};

/// A queued write.
pub(crate) struct Job {
    pub(crate) durability: Durability,
    /// Runs the caller's closure; false asks for its changes to be undone. It keeps the closure's result until told the outcome.
    pub(crate) work: Box<dyn Work>,
}

/// The two halves of a write: what it does, and how its caller learns of it.
pub(crate) trait Work: Send {
    /// Runs the closure once. False: undo.
    fn run(&mut self, tx: &WriteTx<'_>) -> bool;
    /// Tells the caller. `Err`: the commit of the group failed, nothing was kept.
    fn done(self: Box<Self>, outcome: Result<(), Error>);
}

/// The handle of the thread. Dropping it lets the thread finish what is queued, and waits for that.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Counts the beginnings and the ends of commits: odd in between.
    version: Arc<AtomicU64>,
}

/// Pages in the log after which it is folded into the database when the queue has been empty for [`QUIET`].
const FOLD_PAGES: u64 = 256;
/// Pages in the log after which it is folded even if the queue is never empty.
const MUST_FOLD_PAGES: u64 = 4096;
const QUIET: Duration = Duration::from_millis(500);
/// Writes committed together at most.
const GROUP: usize = 256;

impl Writer {
    pub(crate) fn start(connection: Connection, mut reserve: Reserve) -> std::io::Result<Writer> {
        let (queue, jobs) = channel();
        let version = Arc::new(AtomicU64::new(0));
        let own = version.clone();
        let thread = std::thread::Builder::new()
            .name("meta-writer".into())
            .stack_size(512 << 10)
            .spawn(move || serve(&connection, &jobs, &mut reserve, &own))?;
        Ok(Writer {
            queue: Some(queue),
            thread: Some(thread),
            version,
        })
    }

    /// The number of commits so far, twice; `None` in the middle of one.
    pub(crate) fn version(&self) -> Option<u64> {
        Some(self.version.load(Ordering::SeqCst)).filter(|version| version.is_multiple_of(2))
    }

    /// Queues a write; gives it back when the thread is gone.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        match &self.queue {
            Some(queue) => queue.send(job).map_err(|error| error.0),
            None => Err(job),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The last handle may be dropped by a write's own closure, that is on the thread itself.
            if thread.thread().id() != std::thread::current().id() {
                // A panic there was the thread's own failure; its queue is empty then, and every caller got `Closed`.
                let _ = thread.join();
            }
        }
    }
}

fn serve(connection: &Connection, jobs: &Receiver<Job>, reserve: &mut Reserve, version: &AtomicU64) {
    let mut pages = 0;
    let mut level = None;
    let changes = Changes::default();
    loop {
        let first = match pages {
            0..FOLD_PAGES => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            FOLD_PAGES..MUST_FOLD_PAGES => jobs.recv_timeout(QUIET),
            _ => jobs.try_recv().map_err(|_| RecvTimeoutError::Timeout),
        };
        reserve.look();
        match first {
            Ok(first) if pages < MUST_FOLD_PAGES => {
                let mut queued = vec![first];
                queued.extend(jobs.try_iter().take(GROUP - 1));
                // Those that need no fsync do not wait for those that do. Writes that were queued at the same time have no
                // order; a caller that needs one waits for the first.
                let (durable, kill_safe): (Vec<Job>, Vec<Job>) = queued
                    .into_iter()
                    .partition(|job| job.durability == Durability::Power);
                for (group, durability) in [(kill_safe, Durability::Kill), (durable, Durability::Power)] {
                    pages += commit(connection, &changes, version, group, durability, &mut level);
                }
            }
            Ok(first) => {
                pages = fold(connection);
                pages += commit(
                    connection,
                    &changes,
                    version,
                    vec![first],
                    Durability::Power,
                    &mut level,
                );
            }
            Err(RecvTimeoutError::Timeout) => pages = fold(connection),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Copies the log into the database, as far as no reader is in the way. Gives the pages that count as left.
fn fold(connection: &Connection) -> u64 {
    // A failure here loses nothing: the log stays, and the next commit tells of a disk that is full.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    0
}

/// Runs `group` in one transaction and tells each caller. Gives about how many pages the log grew by.
fn commit(
    connection: &Connection,
    changes: &Changes,
    version: &AtomicU64,
    group: Vec<Job>,
    durability: Durability,
    level: &mut Option<Durability>,
) -> u64 {
    if group.is_empty() {
        return 0;
    }
    let mut finished = Vec::with_capacity(group.len());
    let mut waiting = group.into_iter();
    let result = set_level(connection, durability, level).and_then(|()| {
        let tx = connection.unchecked_transaction()?;
        for mut job in waiting.by_ref() {
            let outcome = one(connection, changes, &mut *job.work);
            finished.push((job.work, outcome));
        }
        version.fetch_add(1, Ordering::SeqCst);
        let committed = tx.commit();
        version.fetch_add(1, Ordering::SeqCst);
        committed
    });
    match result {
        Ok(()) => {
            let count = finished.len() as u64;
            for (work, outcome) in finished {
                work.done(outcome);
            }
            // A commit of small records writes a leaf or two and, now and then, their parents.
            3 + count
        }
        Err(error) => {
            let error = Arc::new(error);
            let failed = || {
                Error::Write(Cause::from(Box::<dyn std::error::Error + Send + Sync>::from(
                    Shared(error.clone()),
                )))
            };
            for work in finished
                .into_iter()
                .map(|(work, _)| work)
                .chain(waiting.map(|job| job.work))
            {
                work.done(Err(failed()));
            }
            0
        }
    }
}

/// One write inside the group's transaction; what it did is undone if it fails.
fn one(connection: &Connection, changes: &Changes, work: &mut dyn Work) -> Result<(), Error> {
    let savepoint = |sql: &str| {
        let result = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]));
        result.map_err(|error| Error::Write(error.into()))
    };
    savepoint("SAVEPOINT job")?;
    let keep = catch_unwind(AssertUnwindSafe(|| work.run(&WriteTx::new(connection, changes))));
    if !matches!(keep, Ok(true)) {
        savepoint("ROLLBACK TO job")?;
    }
    savepoint("RELEASE job")?;
    keep.map(drop).map_err(|_| Error::Panicked)
}

/// FULL syncs the log at each commit, NORMAL only when it is folded into the database.
/// Source: <https://sqlite.org/pragma.html#pragma_synchronous>.
fn set_level(
    connection: &Connection,
    wanted: Durability,
    level: &mut Option<Durability>,
) -> rusqlite::Result<()> {
    if *level != Some(wanted) {
        let value = match wanted {
            Durability::Power => "FULL",
            Durability::Kill => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", value)?;
        *level = Some(wanted);
    }
    Ok(())
}

/// The failure of a commit, told to every caller of the group.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<rusqlite::Error>);
