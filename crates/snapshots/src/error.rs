//! What can go wrong with snapshots.

use std::path::{Path, PathBuf};

use lighter_stdx::kind::Kind;

/// The result of a snapshot operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a snapshotter. Its words are containerd's where clients print them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No snapshot of this name.
    #[error("snapshot {0} does not exist: not found")]
    NotFound(String),
    /// The parent that was named does not exist.
    #[error("parent snapshot {0} does not exist: not found")]
    NoParent(String),
    /// The name is taken.
    #[error("snapshot {0:?}: already exists")]
    AlreadyExists(String),
    /// A parent must be committed.
    #[error("parent {0:?} is not committed snapshot: invalid argument")]
    ParentNotCommitted(String),
    /// The operation needs an active snapshot (mounts: or a view).
    #[error("snapshot {0:?} is not active: failed precondition")]
    NotActive(String),
    /// Others are made from it.
    #[error("cannot remove snapshot with child: failed precondition")]
    HasChildren(String),
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
    /// The directories lie on a file system that cannot do it.
    #[error("snapshotter {name} does not work in {}: {why}", path.display())]
    Unsupported {
        /// The snapshotter.
        name: &'static str,
        /// Its root.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A file operation or a mount failed.
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
    /// The lease of the request, or the collector.
    #[error("lease")]
    Lease(#[from] lighter_content::Error),
    /// The database failed.
    #[error("snapshot records")]
    Meta(#[from] lighter_meta::Error),
    /// A snapshotter behind a wire failed; the wire's code says how.
    #[error("snapshot service")]
    Remote {
        /// The sort of failure.
        kind: Kind,
        /// As the wire told it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A background task of the snapshotter died.
    #[error("a task of the snapshotter panicked")]
    Panicked,
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotFound(_) | Error::NoParent(_) => Kind::NotFound,
            Error::AlreadyExists(_) => Kind::AlreadyExists,
            Error::ParentNotCommitted(_) | Error::Invalid { .. } => Kind::InvalidArgument,
            Error::NotActive(_) | Error::HasChildren(_) | Error::Unsupported { .. } => {
                Kind::FailedPrecondition
            }
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Kind::Exhausted,
            Error::Io { .. } | Error::Panicked => Kind::Internal,
            Error::Lease(error) => error.kind(),
            Error::Meta(error) => error.kind(),
            Error::Remote { kind, .. } => *kind,
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
