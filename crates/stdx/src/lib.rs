//! Small std-like helpers: atomic write, backoff, error chains, sizes and durations.
//!
//! What is here has no home elsewhere and is smaller than a page.

pub mod atomic;
pub mod clock;
pub mod error;
pub mod failpoint;
pub mod kind;
pub mod tree;
pub mod unix_socket;
pub mod xattr;
