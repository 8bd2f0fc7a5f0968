//! The handle of a database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::changes::Changes;
use crate::reserve::Reserve;
use crate::writer::{Job, Work, Writer};
use crate::{Durability, Error, ReadTx, WriteTx, lock};

/// A database. Cheap to clone; the last clone to go closes it.
#[derive(Clone, Debug)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    /// Connections of readers that wait to be used again.
    readers: Mutex<Vec<Connection>>,
    /// Dropped last: the lock is ours until every connection is closed.
    _lock: File,
}

/// Idle read connections that are kept; more are opened when more threads read at a time.
const IDLE_READERS: usize = 4;

impl Db {
    /// Opens the database at `path`, makes it if it is absent. `format` is the number of the records' layout: a newer one in the file
    /// is refused ([`Error::Newer`]), an older one too, for want of a migration ([`Error::Migrate`]). One process at a time
    /// ([`Error::Locked`]).
    pub fn open(path: &Path, format: u32) -> Result<Db, Error> {
        Db::open_with(path, format, |_, from| {
            Err(format!("no migration from format {from} is known").into())
        })
    }

    /// As [`Db::open`]; an older format is brought up to date by `migrate`, which is given the number that was found. What it
    /// does and the new number are one durable commit.
    pub fn open_with(
        path: &Path,
        format: u32,
        migrate: impl FnOnce(&WriteTx<'_>, u32) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Db, Error> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|source| Error::File {
                operation: "create directory",
                path: dir.to_owned(),
                source,
            })?;
        }
        let lock = lock::take(path)?;
        let open = |error: rusqlite::Error| Error::Open {
            path: path.to_owned(),
            source: error.into(),
        };
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )
        .map_err(open)?;
        prepare(&connection).map_err(open)?;
        let found: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(open)?;
        if found > format {
            return Err(Error::Newer {
                path: path.to_owned(),
                found,
                known: format,
            });
        }
        if found < format {
            let tx = connection.unchecked_transaction().map_err(open)?;
            if found > 0 {
                migrate(&WriteTx::new(&connection, &Changes::default()), found).map_err(|source| {
                    Error::Migrate {
                        path: path.to_owned(),
                        from: found,
                        source: source.into(),
                    }
                })?;
            }
            connection
                .pragma_update(None, "user_version", format)
                .map_err(open)?;
            tx.commit().map_err(open)?;
        }
        let writer = Writer::start(connection, Reserve::of(path)).map_err(|source| Error::File {
            operation: "start the writer of",
            path: path.to_owned(),
            source,
        })?;
        Ok(Db(Arc::new(Inner {
            path: path.to_owned(),
            writer,
            readers: Mutex::default(),
            _lock: lock,
        })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs `view` over one consistent state of the database: the one after every write that was answered before. It never waits for
    /// a writer, and takes microseconds, so it may be called from async code.
    pub fn read<T, E: From<Error>>(&self, view: impl FnOnce(&ReadTx<'_>) -> Result<T, E>) -> Result<T, E> {
        let idle = self
            .0
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.0.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| Error::Open {
                path: self.0.path.clone(),
                source: error.into(),
            })?,
        };
        let failed = |error: rusqlite::Error| Error::Read(error.into());
        let tx = connection.unchecked_transaction().map_err(failed)?;
        let result = view(&ReadTx::new(&connection));
        // Ends the view; there is nothing to keep.
        tx.finish().map_err(failed)?;
        let mut idle = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        result
    }

    /// The number of the state that a read sees now; it is another after each commit. `None` while a commit is under way: a read may see the
    /// state before it or after it. What was read between two calls that gave the same number is of that state.
    pub fn version(&self) -> Option<u64> {
        self.0.writer.version()
    }

    /// What SQLite finds wrong with its pages: nothing, when all is well. Reads all of the database.
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        self.read(|tx| tx.integrity())
    }

    /// Waits until every write that was answered before survives the death of the machine, those of [`Durability::Kill`] too. Costs
    /// nothing unless one of [`Durability::Soon`] is still at risk.
    pub async fn settle(&self) -> Result<(), Error> {
        if self.0.writer.at_risk() {
            self.write_async(Durability::Power, |_| Ok::<(), Error>(()))
                .await?;
        }
        Ok(())
    }

    /// Runs `change` and waits until it lasts as `durability` says. If it fails, nothing of it is kept. Writes that are queued
    /// at the same time are committed together, in no promised order. `change` must not wait for another write.
    ///
    /// Blocks the thread: from async code use [`Db::write_async`].
    pub fn write<T, E>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.queue(durability, change, move |result| {
            // A caller that is gone wants no answer.
            let _ = reply.send(result);
        });
        answer.recv().unwrap_or_else(|_| Err(Error::Closed.into()))
    }

    /// As [`Db::write`], without blocking. The write is queued by the call itself, and happens also if the future is dropped.
    pub fn write_async<T, E, C>(
        &self,
        durability: Durability,
        change: C,
    ) -> impl Future<Output = Result<T, E>> + Send + use<T, E, C>
    where
        C: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.queue(durability, change, move |result| {
            // A caller that is gone wants no answer.
            let _ = reply.send(result);
        });
        async move { answer.await.unwrap_or_else(|_| Err(Error::Closed.into())) }
    }

    fn queue<T, E>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
        reply: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let work = Box::new(Call {
            change: Some(change),
            result: None,
            reply,
        });
        if let Err(job) = self.0.writer.send(Job { durability, work }) {
            job.work.done(Err(Error::Closed));
        }
    }
}

/// A closure, its result, and the way back to its caller.
struct Call<C, T, E, R> {
    change: Option<C>,
    result: Option<Result<T, E>>,
    reply: R,
}

impl<C, T, E, R> Work for Call<C, T, E, R>
where
    C: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
    R: FnOnce(Result<T, E>) + Send,
{
    fn run(&mut self, tx: &WriteTx<'_>) -> bool {
        self.result = self.change.take().map(|change| change(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn done(self: Box<Self>, outcome: Result<(), Error>) {
        let Call { result, reply, .. } = *self;
        reply(match (outcome, result) {
            // Its own failure tells more than that of the group.
            (_, Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Closed.into()),
        });
    }
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // KiB; the kernel's page cache does the rest.
    connection.pragma_update(None, "cache_size", -512)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The writer folds the log itself, when nobody waits for it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS kv (
             bucket TEXT NOT NULL,
             key TEXT NOT NULL,
             value BLOB NOT NULL,
             PRIMARY KEY (bucket, key)
         ) WITHOUT ROWID, STRICT",
    )
}
