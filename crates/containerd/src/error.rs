//! What can go wrong in the layer, and what sort of failure each is.

use std::path::{Path, PathBuf};

use lighter_stdx::kind::Kind as Sort;

/// The result of an operation of the layer.
pub type Result<T> = std::result::Result<T, Error>;

/// The sort of a failure, as clients of containerd's API tell them apart.
///
/// Source of the names: gRPC's status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller went away.
    Canceled,
    /// An error without a better name: what a runtime says.
    Unknown,
    /// The request can never succeed.
    InvalidArgument,
    /// Not in time.
    DeadlineExceeded,
    /// No such thing.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Not allowed.
    PermissionDenied,
    /// Space, or another resource, is used up.
    Exhausted,
    /// Not in this state.
    FailedPrecondition,
    /// Behind the end.
    OutOfRange,
    /// Not done by this layer.
    Unimplemented,
    /// A system call or a store failed.
    Internal,
    /// Away or busy now.
    Unavailable,
    /// No credentials, or wrong ones.
    Unauthenticated,
}

/// A failure of the layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names no namespace.
    #[error("namespace is required")]
    NamespaceRequired,
    /// No such thing.
    #[error("{what} {name:?}: not found")]
    NotFound {
        /// `container`, `image`, `task`, …
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// No such container.
    #[error("container {id:?} in namespace {namespace:?}: not found")]
    NoContainer {
        /// Where it was looked for.
        namespace: String,
        /// Its name.
        id: String,
    },
    /// No such task.
    #[error("task {0} not found")]
    NoTask(String),
    /// The container has a task.
    #[error("task {0}: already exists")]
    TaskExists(String),
    /// The name is taken.
    #[error("{what} {name:?}: already exists")]
    AlreadyExists {
        /// `container`, `image`, `task`, …
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Not in the state that the operation needs.
    #[error("{0}")]
    Precondition(String),
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
    /// Behind the end of a thing.
    #[error("{0}")]
    OutOfRange(String),
    /// Not done by this layer.
    #[error("{0} is not supported")]
    Unimplemented(String),
    /// A file operation, a socket or a process failed.
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
    /// No program serves this runtime.
    #[error("runtime {runtime:?} needs the program {binary}, which is neither beside this one nor on PATH")]
    NoShim {
        /// The runtime as the container names it.
        runtime: String,
        /// The shim's file name.
        binary: String,
    },
    /// A shim did not start.
    #[error("{} {action} failed: {output}", binary.display())]
    Shim {
        /// The shim.
        binary: PathBuf,
        /// `start` or `delete`.
        action: &'static str,
        /// What it wrote.
        output: String,
    },
    /// What a shim answered.
    #[error("{message}")]
    Answer {
        /// The sort of the failure.
        kind: Kind,
        /// The shim's words.
        message: String,
    },
    /// The connection to a shim is gone.
    #[error("the shim of {0:?} is gone")]
    ShimGone(String),
    /// A shim did not answer in time.
    #[error("the shim of {id:?} did not answer {method} in time")]
    ShimSlow {
        /// The container.
        id: String,
        /// What it was asked.
        method: &'static str,
    },
    /// Content or leases.
    #[error(transparent)]
    Content(#[from] lighter_content::Error),
    /// Snapshots.
    #[error(transparent)]
    Snapshots(#[from] lighter_snapshots::Error),
    /// An image could not be pulled.
    #[error(transparent)]
    Images(#[from] lighter_images::Error),
    /// A layer could not be unpacked.
    #[error("unpack the layer")]
    Archive(#[from] lighter_archive::Error),
    /// The difference of two trees could not be made a layer.
    #[error("make the layer")]
    Compare(#[source] lighter_archive::Error),
    /// The database.
    #[error("records")]
    Meta(#[from] lighter_meta::Error),
    /// A background task of the layer died.
    #[error("a task of the layer panicked")]
    Panicked,
}

impl Error {
    /// A thing that is not there.
    pub fn not_found(what: &'static str, name: impl Into<String>) -> Error {
        Error::NotFound {
            what,
            name: name.into(),
        }
    }

    /// An argument that can never be right.
    pub fn invalid(what: &'static str, value: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid {
            what,
            value: value.into(),
            why: why.into(),
        }
    }

    /// What a shim answered, with what it was asked to do before it, in containerd's words.
    pub(crate) fn about(self, action: &str) -> Error {
        match self {
            Error::Answer { kind, message } => Error::Answer {
                kind,
                message: format!("failed to {action}: {message}"),
            },
            other => other,
        }
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } | Error::NoContainer { .. } | Error::NoTask(_) => Kind::NotFound,
            Error::AlreadyExists { .. } | Error::TaskExists(_) => Kind::AlreadyExists,
            Error::NamespaceRequired | Error::Precondition(_) => Kind::FailedPrecondition,
            Error::Invalid { .. } => Kind::InvalidArgument,
            Error::OutOfRange(_) => Kind::OutOfRange,
            Error::Unimplemented(_) => Kind::Unimplemented,
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Kind::Exhausted,
            Error::Io { .. } | Error::Panicked => Kind::Internal,
            Error::NoShim { .. } => Kind::InvalidArgument,
            Error::Shim { .. } => Kind::Unknown,
            Error::Answer { kind, .. } => *kind,
            Error::ShimGone(_) => Kind::Unavailable,
            Error::ShimSlow { .. } => Kind::DeadlineExceeded,
            Error::Content(error) => error.kind().into(),
            Error::Snapshots(error) => error.kind().into(),
            Error::Images(lighter_images::Error::Registry(lighter_registry::Error::Unauthorized {
                ..
            })) => Kind::Unauthenticated,
            Error::Images(error) if error.is_refused() => Kind::PermissionDenied,
            Error::Images(error) => error.kind().into(),
            Error::Archive(error) | Error::Compare(error) if error.is_disk_full() => Kind::Exhausted,
            Error::Archive(_) | Error::Compare(_) => Kind::Unknown,
            Error::Meta(error) => error.kind().into(),
        }
    }
}

impl From<Sort> for Kind {
    fn from(kind: Sort) -> Kind {
        match kind {
            Sort::NotFound => Kind::NotFound,
            Sort::AlreadyExists => Kind::AlreadyExists,
            Sort::FailedPrecondition => Kind::FailedPrecondition,
            Sort::InvalidArgument => Kind::InvalidArgument,
            Sort::Unavailable => Kind::Unavailable,
            Sort::Exhausted => Kind::Exhausted,
            Sort::Internal => Kind::Internal,
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
