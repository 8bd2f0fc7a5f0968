//! What can go wrong with the database.

use std::path::PathBuf;

use lighter_stdx::kind::Kind;

/// A failure of the database; one variant an operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or set up.
    #[error("open database {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A file or directory beside the database could not be made, read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the database open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A newer version of this program has written here.
    #[error("{} has format {found}, and this program knows formats up to {known}; use the newer program", path.display())]
    Newer {
        /// The database, or the root.
        path: PathBuf,
        /// The number that is written there.
        found: u32,
        /// The newest number known.
        known: u32,
    },
    /// The format number of a root is no number.
    #[error("{} holds no format number", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// An older format could not be brought up to date.
    #[error("migrate {} from format {from}", path.display())]
    Migrate {
        /// The database, or the root.
        path: PathBuf,
        /// The number that was found.
        from: u32,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A read failed.
    #[error("read from database")]
    Read(#[source] Cause),
    /// A change failed, or the commit of a group of changes.
    #[error("write to database")]
    Write(#[source] Cause),
    /// A record does not hold what its bucket promises.
    #[error("record {bucket}/{key}")]
    Record {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The closure given to a write panicked; nothing of it was kept.
    #[error("a database write panicked")]
    Panicked,
    /// The database was closed while the write was queued.
    #[error("database is closed")]
    Closed,
}

/// The store's own account of a failure.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Cause(#[from] Box<dyn std::error::Error + Send + Sync>);

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Cause {
        Cause(Box::new(error))
    }
}

impl Cause {
    fn is_full(&self) -> bool {
        self.0
            .downcast_ref::<rusqlite::Error>()
            .and_then(rusqlite::Error::sqlite_error_code)
            == Some(rusqlite::ErrorCode::DiskFull)
    }
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Read(cause) | Error::Write(cause) if cause.is_full() => Kind::Exhausted,
            Error::Locked { .. } | Error::Closed => Kind::Unavailable,
            Error::Newer { .. } => Kind::FailedPrecondition,
            _ => Kind::Internal,
        }
    }
}
