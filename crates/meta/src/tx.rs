//! What can be done inside a transaction.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::changes::{Changed, Changes};

/// What a scan calls with each key and its value.
pub type Each<'a> = dyn FnMut(&str, &[u8]) -> Result<(), Error> + 'a;

/// Reading records. Implemented by [`ReadTx`] and [`WriteTx`], so that a look-up is written once for both.
pub trait Read {
    /// The value of `key` in `bucket`.
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Calls `each` with every key of `bucket` that starts with `prefix`, and its value, in the order of the keys' bytes.
    fn scan(&self, bucket: &str, prefix: &str, each: &mut Each<'_>) -> Result<(), Error>;

    /// The names of the buckets that hold something and start with `prefix`, in order.
    fn buckets(&self, prefix: &str) -> Result<Vec<String>, Error>;

    /// The value of `key` in `bucket`, from JSON.
    fn get_json<T: DeserializeOwned>(&self, bucket: &str, key: &str) -> Result<Option<T>, Error>
    where
        Self: Sized,
    {
        self.get(bucket, key)?
            .map(|value| from_json(bucket, key, &value))
            .transpose()
    }

    /// Every key of `bucket` that starts with `prefix`, with its value from JSON, in order.
    fn list_json<T: DeserializeOwned>(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, T)>, Error>
    where
        Self: Sized,
    {
        let mut found = Vec::new();
        self.scan(bucket, prefix, &mut |key, value| {
            found.push((key.to_owned(), from_json(bucket, key, value)?));
            Ok(())
        })?;
        Ok(found)
    }
}

/// A consistent view of the database.
#[derive(Debug)]
pub struct ReadTx<'a> {
    connection: &'a Connection,
}

/// A change of the database: all of it is kept, or nothing.
#[derive(Debug)]
pub struct WriteTx<'a> {
    connection: &'a Connection,
    changes: &'a Changes,
}

impl<'a> ReadTx<'a> {
    pub(crate) fn new(connection: &'a Connection) -> ReadTx<'a> {
        ReadTx { connection }
    }

    /// Source: <https://sqlite.org/pragma.html#pragma_integrity_check>.
    pub(crate) fn integrity(&self) -> Result<Vec<String>, Error> {
        let mut statement = read(self.connection.prepare("PRAGMA integrity_check(20)"))?;
        let lines = read(statement.query_map([], |row| row.get::<_, String>(0)))?;
        let lines: Vec<String> = read(lines.collect())?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

impl<'a> WriteTx<'a> {
    pub(crate) fn new(connection: &'a Connection, changes: &'a Changes) -> WriteTx<'a> {
        WriteTx { connection, changes }
    }

    /// From now on it is kept in mind which records are changed, by whomever, until [`WriteTx::unwatch`]. One watches at a time.
    pub fn watch(&self) {
        self.changes.watch();
    }

    /// What was changed since [`WriteTx::watch`] or the last call, in this transaction too; a change that was undone may be among it.
    pub fn changed(&self) -> Changed {
        self.changes.take()
    }

    /// Ends what [`WriteTx::watch`] began.
    pub fn unwatch(&self) {
        self.changes.unwatch();
    }

    /// Sets `key` in `bucket` to `value`.
    pub fn put(&self, bucket: &str, key: &str, value: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO kv (bucket, key, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value";
        self.changes.note(bucket, key);
        self.run(sql, params![bucket, key, value]).map(drop)
    }

    /// Sets `key` in `bucket` to `value`, as JSON.
    pub fn put_json<T: Serialize>(&self, bucket: &str, key: &str, value: &T) -> Result<(), Error> {
        let value = serde_json::to_vec(value).map_err(|source| record(bucket, key, source))?;
        self.put(bucket, key, &value)
    }

    /// Removes `key` from `bucket`; false if it was not there.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<bool, Error> {
        self.changes.note(bucket, key);
        self.run(
            "DELETE FROM kv WHERE bucket = ?1 AND key = ?2",
            params![bucket, key],
        )
        .map(|rows| rows > 0)
    }

    /// Removes every key of `bucket` that starts with `prefix`; gives their number. A watcher is told the prefix as if it were a key.
    pub fn delete_prefix(&self, bucket: &str, prefix: &str) -> Result<usize, Error> {
        let sql = "DELETE FROM kv WHERE bucket = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2";
        self.changes.note(bucket, prefix);
        self.run(sql, params![bucket, prefix])
    }

    fn run(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<usize, Error> {
        let result = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters));
        result.map_err(|error| Error::Write(error.into()))
    }
}

impl<T: Read + ?Sized> Read for &T {
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        (**self).get(bucket, key)
    }

    fn scan(&self, bucket: &str, prefix: &str, each: &mut Each<'_>) -> Result<(), Error> {
        (**self).scan(bucket, prefix, each)
    }

    fn buckets(&self, prefix: &str) -> Result<Vec<String>, Error> {
        (**self).buckets(prefix)
    }
}

impl Read for ReadTx<'_> {
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        get(self.connection, bucket, key)
    }

    fn scan(&self, bucket: &str, prefix: &str, each: &mut Each<'_>) -> Result<(), Error> {
        scan(self.connection, bucket, prefix, each)
    }

    fn buckets(&self, prefix: &str) -> Result<Vec<String>, Error> {
        buckets(self.connection, prefix)
    }
}

impl Read for WriteTx<'_> {
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        get(self.connection, bucket, key)
    }

    fn scan(&self, bucket: &str, prefix: &str, each: &mut Each<'_>) -> Result<(), Error> {
        scan(self.connection, bucket, prefix, each)
    }

    fn buckets(&self, prefix: &str) -> Result<Vec<String>, Error> {
        buckets(self.connection, prefix)
    }
}

fn get(connection: &Connection, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut statement =
        read(connection.prepare_cached("SELECT value FROM kv WHERE bucket = ?1 AND key = ?2"))?;
    read(
        statement
            .query_row(params![bucket, key], |row| row.get(0))
            .optional(),
    )
}

fn scan(connection: &Connection, bucket: &str, prefix: &str, each: &mut Each<'_>) -> Result<(), Error> {
    let sql = "SELECT key, value FROM kv WHERE bucket = ?1 AND key >= ?2 ORDER BY key";
    let mut statement = read(connection.prepare_cached(sql))?;
    let mut rows = read(statement.query(params![bucket, prefix]))?;
    while let Some(row) = read(rows.next())? {
        let key = read(row.get_ref(0).and_then(|value| Ok(value.as_str()?)))?;
        if !key.starts_with(prefix) {
            break;
        }
        let value = read(row.get_ref(1).and_then(|value| Ok(value.as_blob()?)))?;
        each(key, value)?;
    }
    Ok(())
}

/// Skips from bucket to bucket, so that the cost is theirs and not that of their records.
fn buckets(connection: &Connection, prefix: &str) -> Result<Vec<String>, Error> {
    let first = "SELECT bucket FROM kv WHERE bucket >= ?1 ORDER BY bucket LIMIT 1";
    let next = "SELECT bucket FROM kv WHERE bucket > ?1 ORDER BY bucket LIMIT 1";
    let one = |sql: &str, after: &str| -> Result<Option<String>, Error> {
        let mut statement = read(connection.prepare_cached(sql))?;
        read(statement.query_row(params![after], |row| row.get(0)).optional())
    };
    let mut found = Vec::new();
    let mut bucket = one(first, prefix)?;
    while let Some(name) = bucket.filter(|name| name.starts_with(prefix)) {
        bucket = one(next, &name)?;
        found.push(name);
    }
    Ok(found)
}

fn read<T>(result: Result<T, rusqlite::Error>) -> Result<T, Error> {
    result.map_err(|error| Error::Read(error.into()))
}

fn from_json<T: DeserializeOwned>(bucket: &str, key: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|source| record(bucket, key, source))
}

fn record(bucket: &str, key: &str, source: serde_json::Error) -> Error {
    Error::Record {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        source,
    }
}
