//! The last step of a failure: its gRPC code.

use lighter_containerd::Kind;
use lighter_stdx::error::chain;
use tonic::{Code, Status};

/// The result of a call.
pub(crate) type Result<T> = std::result::Result<T, Status>;

/// A failure of the layer as gRPC tells it: the code by its kind, the message its whole chain.
pub(crate) fn status(error: impl Into<lighter_containerd::Error>) -> Status {
    let error = error.into();
    let kind = error.kind();
    if kind == Kind::Internal {
        tracing::warn!(error = %chain(&error), "a request failed");
    }
    Status::new(code(kind), chain(&error))
}

/// The code of a kind: they have the same names.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::Canceled => Code::Cancelled,
        Kind::Unknown => Code::Unknown,
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Internal => Code::Internal,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unauthenticated => Code::Unauthenticated,
    }
}
