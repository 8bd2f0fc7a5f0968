//! Walk, create and open under a root by descriptor.
//!
//! The threat: whoever writes inside a root (a container, a layer) puts symbolic links in the way of a path that we are
//! about to follow as root, and swaps them while we look (CVE-2021-30465, CVE-2019-19921, CVE-2023-27561). The answer:
//! a path is resolved by the kernel with the root as its `/` (`openat2`, `RESOLVE_IN_ROOT`), or one component at a time
//! where the kernel lacks that, and from then on only the descriptor is used.

mod root;
mod walk;

pub use root::{Error, Root};
