//! The one thread that writes: it takes what is queued and commits it together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// See [`State::soon`].
    at_risk: Arc<AtomicBool>,
}

/// What the thread works with, and knows of the log.
struct State {
    /// Pages that it has grown by since it was folded.
    pages: u64,
    /// The level that the connection is at.
    level: Option<Durability>,
    /// When the log is to be synced at the latest, for a write of [`Durability::Soon`] that no fsync has followed yet.
    soon: Option<Instant>,
    /// Whether `soon` is set, for others. It is before the caller of such a write has its answer.
    at_risk: Arc<AtomicBool>,
    /// See [`Writer::version`].
    version: Arc<AtomicU64>,
    changes: Changes,
}

/// Pages in the log after which it is folded into the database when the queue has been empty for [`QUIET`].
const FOLD_PAGES: u64 = 256;
/// Pages in the log after which it is folded even if the queue is never empty.
const MUST_FOLD_PAGES: u64 = 4096;
const QUIET: Duration = Duration::from_millis(500);
/// How long a write of [`Durability::Soon`] waits for one that needs an fsync of its own.
const SOON: Duration = Duration::from_millis(100);
/// Writes committed together at most.
const GROUP: usize = 256;

impl Writer {
    pub(crate) fn start(connection: Connection, mut reserve: Reserve) -> std::io::Result<Writer> {
        let (queue, jobs) = channel();
        let version = Arc::new(AtomicU64::new(0));
        let at_risk = Arc::new(AtomicBool::new(false));
        let mut state = State {
            pages: 0,
            level: None,
            soon: None,
            at_risk: at_risk.clone(),
            version: version.clone(),
            changes: Changes::default(),
        };
        let thread = std::thread::Builder::new()
            .name("meta-writer".into())
            .stack_size(512 << 10)
            .spawn(move || serve(&connection, &jobs, &mut reserve, &mut state))?;
        Ok(Writer {
            queue: Some(queue),
            thread: Some(thread),
            at_risk,
            version,
        })
    }

    /// The number of commits so far, twice; `None` in the middle of one.
    pub(crate) fn version(&self) -> Option<u64> {
        Some(self.version.load(Ordering::SeqCst)).filter(|version| version.is_multiple_of(2))
    }

    /// Whether a write of [`Durability::Soon`] was answered that the death of the machine would undo.
    pub(crate) fn at_risk(&self) -> bool {
        self.at_risk.load(Ordering::Acquire)
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

fn serve(connection: &Connection, jobs: &Receiver<Job>, reserve: &mut Reserve, state: &mut State) {
    loop {
        let rest = state
            .soon
            .map(|soon| soon.saturating_duration_since(Instant::now()));
        let first = match (rest, state.pages) {
            (_, MUST_FOLD_PAGES..) => jobs.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            (Some(rest), _) => jobs.recv_timeout(rest),
            (None, FOLD_PAGES..) => jobs.recv_timeout(QUIET),
            (None, _) => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        reserve.look();
        if rest.is_some_and(|rest| rest.is_zero()) {
            settle(connection, state);
        }
        match first {
            Ok(first) if state.pages < MUST_FOLD_PAGES => {
                let mut queued = vec![first];
                queued.extend(jobs.try_iter().take(GROUP - 1));
                // Those that need no fsync do not wait for those that do. Writes that were queued at the same time have no
                // order; a caller that needs one waits for the first.
                let mut groups = [Vec::new(), Vec::new(), Vec::new()];
                for job in queued {
                    groups[job.durability as usize].push(job);
                }
                let levels = [Durability::Kill, Durability::Soon, Durability::Power];
                for (group, durability) in groups.into_iter().zip(levels) {
                    commit(connection, group, durability, state);
                }
            }
            Ok(first) => {
                fold(connection, state);
                commit(connection, vec![first], Durability::Power, state);
            }
            Err(RecvTimeoutError::Timeout) if state.soon.is_some() => settle(connection, state),
            Err(RecvTimeoutError::Timeout) => fold(connection, state),
            Err(RecvTimeoutError::Disconnected) => {
                settle(connection, state);
                return;
            }
        }
    }
}

/// Syncs the log if something waits for it.
fn settle(connection: &Connection, state: &mut State) {
    if state.soon.is_none() {
        return;
    }
    let synced = set_level(connection, Durability::Power, &mut state.level).and_then(|()| {
        let tx = connection.unchecked_transaction()?;
        touch(connection)?;
        tx.commit()
    });
    match synced {
        Ok(()) => state.settled(),
        // A full disk: the next write tells of it, and then it is tried again.
        Err(_) => state.soon = Some(Instant::now() + QUIET),
    }
}

/// Writes what is written already, so that there is something to commit.
fn touch(connection: &Connection) -> rusqlite::Result<()> {
    let format: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", format)
}

impl State {
    fn settled(&mut self) {
        self.soon = None;
        self.at_risk.store(false, Ordering::Release);
    }
}

/// Copies the log into the database, as far as no reader is in the way.
fn fold(connection: &Connection, state: &mut State) {
    // A failure here loses nothing: the log stays, and the next commit tells of a disk that is full.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    state.pages = 0;
}

/// Runs `group` in one transaction and tells each caller.
fn commit(connection: &Connection, group: Vec<Job>, durability: Durability, state: &mut State) {
    if group.is_empty() {
        return;
    }
    let mut finished = Vec::with_capacity(group.len());
    let mut waiting = group.into_iter();
    let result = set_level(connection, durability, &mut state.level).and_then(|()| {
        let tx = connection.unchecked_transaction()?;
        for mut job in waiting.by_ref() {
            let outcome = one(connection, &state.changes, &mut *job.work);
            finished.push((job.work, outcome));
        }
        if durability == Durability::Power && state.soon.is_some() {
            // The group alone may have come to nothing, and nothing is not synced.
            touch(connection)?;
        }
        state.version.fetch_add(1, Ordering::SeqCst);
        let committed = tx.commit();
        state.version.fetch_add(1, Ordering::SeqCst);
        committed
    });
    match result {
        Ok(()) => {
            match durability {
                Durability::Kill => {}
                Durability::Soon => {
                    state.soon.get_or_insert_with(|| Instant::now() + SOON);
                    state.at_risk.store(true, Ordering::Release);
                }
                Durability::Power => state.settled(),
            }
            // A commit of small records writes a leaf or two and, now and then, their parents.
            state.pages += 3 + finished.len() as u64;
            for (work, outcome) in finished {
                work.done(outcome);
            }
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
            Durability::Kill | Durability::Soon => "NORMAL",
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
