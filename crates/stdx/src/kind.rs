//! What sort of failure an error is, whatever its text.

/// The sort of a failure. The rims turn it into a gRPC code or an HTTP status; nothing else decides on it.
///
/// Source of the names: gRPC's status codes, as containerd's `errdefs` uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing does not exist.
    NotFound,
    /// A thing of that name exists.
    AlreadyExists,
    /// The thing is not in the state that the operation needs.
    FailedPrecondition,
    /// The request can never succeed.
    InvalidArgument,
    /// Busy or away now; trying later may succeed.
    Unavailable,
    /// Space, or another resource, is used up.
    Exhausted,
    /// Everything else: a system call or the store itself failed.
    Internal,
}
