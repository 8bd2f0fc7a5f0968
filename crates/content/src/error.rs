//! What can go wrong with content.

use std::path::{Path, PathBuf};

use lighter_oci::Digest;
use lighter_stdx::kind::Kind;

/// The result of a content operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the content store, the leases or a collection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace has no such blob.
    #[error("content digest {0}: not found")]
    NoContent(Digest),
    /// No ingest is under way under this ref.
    #[error("reference {0}: not found")]
    NoIngest(String),
    /// No such lease.
    #[error("lease {0:?}: not found")]
    NoLease(String),
    /// The namespace has this blob: there is nothing to ingest.
    #[error("content {0}: already exists")]
    ContentExists(Digest),
    /// A lease of this name exists.
    #[error("lease {0:?}: already exists")]
    LeaseExists(String),
    /// Somebody has the ingest open.
    #[error("ingest {0:?} is being written by another")]
    IngestLocked(String),
    /// What was written is not as long as was expected.
    #[error("ingest {name:?}: unexpected commit size {written}, expected {expected}: failed precondition")]
    Size {
        /// The ref of the ingest.
        name: String,
        /// Bytes written.
        written: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// What was written has another digest than was expected.
    #[error("ingest {name:?}: unexpected commit digest {actual}, expected {expected}: failed precondition")]
    Digest {
        /// The ref of the ingest.
        name: String,
        /// Digest of what was written.
        actual: Digest,
        /// Digest expected.
        expected: Digest,
    },
    /// The writer does not take this now: it is committed, or an offset is not where its data ends.
    #[error("ingest {name:?}: {why}")]
    Precondition {
        /// The ref of the ingest.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An argument can never be right.
    #[error("invalid {what} {value:?}: {why}")]
    Invalid {
        /// What it is.
        what: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("content records")]
    Meta(#[from] lighter_meta::Error),
    /// A store behind a wire failed; the wire's code says how.
    #[error("content service")]
    Remote {
        /// The sort of failure.
        kind: Kind,
        /// As the wire told it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A store that is collected failed.
    #[error("collect from {name}")]
    Store {
        /// The store's name.
        name: &'static str,
        /// The sort of failure.
        kind: Kind,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A background task of the store died.
    #[error("a task of the content store panicked")]
    Panicked,
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NoContent(_) | Error::NoIngest(_) | Error::NoLease(_) => Kind::NotFound,
            Error::ContentExists(_) | Error::LeaseExists(_) => Kind::AlreadyExists,
            Error::IngestLocked(_) => Kind::Unavailable,
            Error::Size { .. } | Error::Digest { .. } | Error::Precondition { .. } => {
                Kind::FailedPrecondition
            }
            Error::Invalid { .. } => Kind::InvalidArgument,
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Kind::Exhausted,
            Error::Io { .. } | Error::Panicked => Kind::Internal,
            Error::Meta(error) => error.kind(),
            Error::Remote { kind, .. } | Error::Store { kind, .. } => *kind,
        }
    }
}

/// Names the operation and the path of a failed file operation.
pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
